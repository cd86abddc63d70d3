//! What one network is: links, what happens to them, the programs that talk over them. Drawn from a
//! seed by [`crate::draw`], or read from a scenario of the lab by [`crate::scenario`].

use std::str::FromStr;
use std::time::Duration;

use guywire_lab::spec::{EmulatedLink, Verb};
use guywire_sched::Factory;

/// The router's end, as an index.
pub const ROUTER: usize = 0;
/// The server's end, as an index.
pub const SERVER: usize = 1;

/// One network with everything that happens in it.
#[derive(Clone)]
pub struct Network {
    /// Seed of everything that happens by chance; names the network.
    pub seed: u64,
    /// What it was drawn for.
    pub class: Class,
    /// Its links; path ids are their positions.
    pub links: Vec<EmulatedLink>,
    /// What happens to them, by time.
    pub faults: Vec<Fault>,
    /// What the programs do.
    pub talks: Vec<Talk>,
    /// The scheduler of both ends.
    pub scheduler: Factory,
    /// Memory of a session, at each end, in bytes.
    pub memory: [u64; 2],
    /// Flows that each end permits.
    pub max_flows: u64,
    /// Congestion control of subflows.
    pub algorithm: Algorithm,
    /// Without paths for so long that the session must end.
    pub ends: bool,
    /// When what is measured begins: the links need a moment to be joined.
    pub begin: Duration,
    /// When it is over, whatever is still going on; else when everything is complete.
    pub until: Option<Duration>,
    /// A small packet crosses each link and returns this often, past the sessions, as a ping does.
    pub pings: Option<Duration>,
}

impl Network {
    /// Lets a single flow have about so many bytes on their way: the whole memory of each end.
    pub fn limit_window(&mut self, bytes: u64) {
        self.memory = [bytes; 2];
        self.max_flows = self.max_flows.min(self.talks.len().max(1) as u64);
    }
}

/// Congestion control of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// A model of the bottleneck, after BBR version 1.
    #[default]
    Bbr,
    /// A window that grows until something is lost (RFC 9438).
    Cubic,
}

impl Algorithm {
    /// Its name in Linux.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Bbr => "bbr",
            Algorithm::Cubic => "cubic",
        }
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(name: &str) -> Result<Algorithm, String> {
        [Algorithm::Bbr, Algorithm::Cubic]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| format!("{name:?} is not simulated; there are `bbr` and `cubic`"))
    }
}

/// What a network is drawn for. Other things may happen in it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Nothing happens.
    Steady,
    /// A link falls silent in both directions, and returns.
    CutSilent,
    /// A link falls silent in one direction, and returns: acknowledgements and control records are
    /// lost while data passes.
    CutOneWay,
    /// Connections are reset by something in between.
    CutReset,
    /// A device vanishes, and returns.
    CutGone,
    /// All links fall silent or vanish at once, and return.
    AllGone,
    /// All links stay away until the session ends.
    SessionEnds,
    /// A link comes and goes.
    Flapping,
    /// Rates and delays change.
    Changing,
    /// Large packets vanish on one link.
    BlackHole,
    /// Loss and jitter.
    Lossy,
    /// Windows of half a megabyte and less.
    SmallWindow,
    /// A copy of every chunk on every link, with cuts.
    Copies,
    /// The links in turn, with cuts.
    InTurn,
    /// One direction ends long before the other.
    HalfClose,
    /// Programs reset their connections.
    ProgramResets,
    /// Destinations refuse.
    Refusals,
    /// Readers that do not read for a while, among others that do.
    DeafReaders,
    /// Many short flows.
    ShortFlows,
    /// Programs that write at a pace.
    Paced,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 20] = [
        Class::Steady,
        Class::CutSilent,
        Class::CutOneWay,
        Class::CutReset,
        Class::CutGone,
        Class::AllGone,
        Class::SessionEnds,
        Class::Flapping,
        Class::Changing,
        Class::BlackHole,
        Class::Lossy,
        Class::SmallWindow,
        Class::Copies,
        Class::InTurn,
        Class::HalfClose,
        Class::ProgramResets,
        Class::Refusals,
        Class::DeafReaders,
        Class::ShortFlows,
        Class::Paced,
    ];

    /// The class of the network with this seed: they take turns.
    pub fn of_seed(seed: u64) -> Class {
        Class::ALL[(seed % Class::ALL.len() as u64) as usize]
    }
}

/// Something that happens to a link.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When.
    pub at: Duration,
    /// Position of the link.
    pub link: usize,
    /// What.
    pub action: Action,
}

/// See [`Fault`].
#[derive(Clone, Debug)]
pub enum Action {
    /// As in a scenario of the lab.
    Verb(Verb),
    /// Every connection over the link is reset at both ends.
    Reset,
    /// From now on large packets vanish, and nobody is told.
    BlackHole,
}

/// One proxied connection as its programs see it.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    /// When the client connects.
    pub at: Duration,
    /// What the destination says.
    pub answer: Answer,
    /// What the client's program does and what the destination's does.
    pub programs: [Program; 2],
}

/// What the destination says to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Answer {
    /// It accepts.
    #[default]
    Accept,
    /// It accepts after a while.
    AcceptAfter(Duration),
    /// It refuses.
    Refuse,
}

/// What the program at one end does. It reads to the end in any case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Program {
    /// Bytes it writes before it ends its direction.
    pub bytes: u64,
    /// It writes only when it has read the other direction to its end.
    pub answers: bool,
    /// It writes so many bytes at a time, at this interval.
    pub pace: Option<(u64, Duration)>,
    /// It does not read between these times, counted from the beginning of the talk.
    pub deaf: Option<(Duration, Duration)>,
    /// It resets the connection when it has read and written so many bytes.
    pub resets_after: Option<u64>,
}

impl Talk {
    /// Whether one of its programs resets it or the destination refuses: then it need not complete.
    pub fn may_break(&self) -> bool {
        self.answer == Answer::Refuse || self.programs.iter().any(|p| p.resets_after.is_some())
    }
}
