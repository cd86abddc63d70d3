//! The world of one network: its clock, its links, its subflows, and the two sessions.
//!
//! A step goes to the next time at which anything happens and lets all of it happen: packets
//! arrive, TCP's timers and the sessions' come, drivers read the kernel's figures, programs read and write.
//! Then the invariants are checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use guywire_flow::{Config, Session, Side, SubflowId, Time};
use guywire_lab::emulator::{Direction, DirectionConfig};
use guywire_lab::spec::EmulatedLink;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::counted::Counts;
use crate::network::{Network, ROUTER, SERVER};
use crate::oracle::{Ejected, Outcome, Seen, Trouble};

mod checks;
mod driver;
mod faults;
mod links;
mod metering;
mod programs;

use driver::Subflow;
use links::Packet;
use metering::Metering;
use programs::TalkState;

/// What the ends are called in texts.
pub(crate) const ENDS: [&str; 2] = ["router", "server"];
/// When every network begins: not zero, so that nothing is at the epoch by chance.
const EPOCH: Time = Time::from_nanos(1_000_000_000);
/// After everything is complete the sessions clean up for so long at least, and have so long to do it.
const AFTERMATH: Duration = Duration::from_secs(2);
const CLEAN_WITHIN: Duration = Duration::from_secs(40);
/// More steps than any network needs.
const MAX_STEPS: u64 = 40_000_000;
/// More virtual time than any network needs.
const MAX_TIME: Duration = Duration::from_secs(1_200);

/// Something to do at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Errand {
    /// A fault happens.
    Fault(usize),
    /// A talk begins.
    Begin(usize),
    /// The destination of a talk accepts.
    Accept(usize),
    /// A program looks what it can do.
    Wake(usize, usize),
    /// A dial's handshake is through, if the link works: path, when it began, small segments.
    Dialled(usize, Time, bool),
    /// A dial is given up.
    GiveUp(usize),
    /// Pings leave.
    Ping,
}

/// A link with its two directions, by sending end.
struct Link {
    spec: EmulatedLink,
    directions: [Direction<Packet>; 2],
    /// When something arrives next, by sending end: the queues themselves are large.
    next: [Time; 2],
    /// Since when packets pass both ways.
    works_since: Option<Time>,
    gone: bool,
    black_hole: bool,
}

/// See the module.
pub(crate) struct World<'a> {
    network: &'a Network,
    now: Time,
    ends: [Session; 2],
    links: Vec<Link>,
    subflows: BTreeMap<SubflowId, Subflow>,
    next_subflow: u32,
    /// When the first timer of a subflow comes, as last looked at.
    timer_at: Time,
    agenda: BTreeSet<(Time, Errand)>,
    /// Decides how long threads and kernels take.
    chance: Pcg64Mcg,
    talks: Vec<TalkState>,
    /// The talk of a flow.
    by_flow: BTreeMap<u64, usize>,
    /// Programs that may have something to do: end and talk.
    dirty: BTreeSet<(usize, usize)>,
    seen: Seen,
    ejected: Vec<Ejected>,
    steps: u64,
    judged_at: Time,
    /// Where something is measured, nothing is checked: that takes longer than the rest.
    metering: Option<Metering>,
}

impl<'a> World<'a> {
    /// The world before anything has happened.
    ///
    /// # Errors
    /// A trace cannot be read.
    pub(crate) fn new(network: &'a Network) -> Result<World<'a>, Trouble> {
        let end = |side, mine: usize| {
            Session::new(Config {
                side,
                memory: network.memory[mine],
                max_flows: network.max_flows,
                scheduler: network.scheduler.clone(),
                limits: Default::default(),
            })
        };
        let mut world = World {
            network,
            now: EPOCH,
            ends: [end(Side::Router, ROUTER), end(Side::Server, SERVER)],
            links: Vec::new(),
            subflows: BTreeMap::new(),
            next_subflow: 0,
            timer_at: EPOCH,
            agenda: BTreeSet::new(),
            chance: Pcg64Mcg::seed_from_u64(network.seed ^ 0x77616b65),
            talks: network.talks.iter().map(|_| TalkState::new()).collect(),
            by_flow: BTreeMap::new(),
            dirty: BTreeSet::new(),
            seen: Seen::default(),
            ejected: Vec::new(),
            steps: 0,
            judged_at: EPOCH,
            metering: None,
        };
        for side in [ROUTER, SERVER] {
            world.ends[side].set_peer(network.memory[1 - side], network.max_flows);
        }
        for (path, spec) in network.links.iter().enumerate() {
            let link = Link::new(spec, network.seed ^ (path as u64 + 1) << 32)?;
            world.links.push(link);
            world.ends[ROUTER].add_path(EPOCH, path as u8, Default::default());
        }
        for (index, fault) in network.faults.iter().enumerate() {
            world
                .agenda
                .insert((EPOCH + fault.at, Errand::Fault(index)));
        }
        for (index, talk) in network.talks.iter().enumerate() {
            world.agenda.insert((EPOCH + talk.at, Errand::Begin(index)));
        }
        if network.pings.is_some() {
            let begin = EPOCH + network.begin;
            world.agenda.insert((begin, Errand::Ping));
        }
        Ok(world)
    }

    /// From now on what happens is measured, and not checked.
    pub(crate) fn meter(&mut self, counts: Arc<Counts>) {
        let (talks, links) = (self.talks.len(), self.links.len());
        self.metering = Some(Metering::new(counts, talks, links));
    }

    /// Plays it until everything is complete, or its time is over.
    pub(crate) fn play_through(&mut self) -> Result<(), Trouble> {
        let end = self.deadline();
        self.settle()?;
        while !self.is_over() {
            match self.next_time() {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => {
                    self.now = end.min(self.now + MAX_TIME);
                    break;
                }
            }
            self.steps += 1;
            self.step()?;
        }
        Ok(())
    }

    /// When it is over in any case.
    fn deadline(&self) -> Time {
        let until = self.network.until;
        until.map_or(Time::from_nanos(u64::MAX), |until| EPOCH + until)
    }

    /// Plays it to its end.
    pub(crate) fn play(&mut self) -> Result<(), Trouble> {
        self.settle()?;
        let mut over_at = None;
        loop {
            if self.is_over() {
                let over = *over_at.get_or_insert(self.now);
                let patient = self.now >= over + CLEAN_WITHIN;
                if patient || (self.now >= over + AFTERMATH && self.check_end().is_ok()) {
                    break;
                }
            }
            let next = self.next_time();
            let until = over_at
                .map(|over| over + AFTERMATH)
                .filter(|&at| at > self.now);
            let next = until.into_iter().chain(next).min();
            let Some(next) = next else {
                if over_at.is_some() {
                    break;
                }
                let state = self.state();
                return Err(Trouble::Stuck { state });
            };
            if next > self.deadline() {
                return Ok(());
            }
            self.now = self.now.max(next);
            self.steps += 1;
            if self.steps > MAX_STEPS || self.elapsed() > MAX_TIME {
                let (steps, state) = (self.steps, self.state());
                return Err(Trouble::Unfinished { steps, state });
            }
            self.step()?;
            self.check()?;
        }
        self.check_end()
    }

    /// The virtual time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now.since(EPOCH)
    }

    /// A time up to this, by chance.
    fn by_chance(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.chance.random_range(0..most.as_nanos() as u64))
    }

    /// How it went.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut seen = self.seen;
        seen.repeated = self.ends.iter().map(Session::repeated_bytes).sum();
        Outcome {
            seed: self.network.seed,
            class: self.network.class,
            elapsed: self.elapsed(),
            steps: self.steps,
            seen,
            ejected: self.ejected.clone(),
        }
    }

    fn next_time(&mut self) -> Option<Time> {
        let never = Time::from_nanos(u64::MAX);
        let subflows = self.subflows.values_mut().map(Subflow::next_time);
        self.timer_at = subflows.min().unwrap_or(never);
        let errand = self.agenda.first().map(|&(at, _)| at);
        let sessions = self.ends.iter().filter_map(Session::next_deadline);
        let links = self.links.iter().map(Link::next_time);
        let others = errand.into_iter().chain(sessions).chain(links);
        let next = others.fold(self.timer_at, Time::min);
        (next < never).then_some(next)
    }

    fn step(&mut self) -> Result<(), Trouble> {
        while let Some(&(at, errand)) = self.agenda.first() {
            if at > self.now {
                break;
            }
            self.agenda.pop_first();
            self.run_errand(errand)?;
        }
        self.deliver_packets()?;
        if self.timer_at <= self.now {
            self.run_subflows();
        }
        for side in [ROUTER, SERVER] {
            let now = self.now;
            if self.ends[side].next_deadline().is_some_and(|at| at <= now) {
                self.ends[side].handle_timeout(now);
            }
        }
        self.settle()
    }

    fn run_errand(&mut self, errand: Errand) -> Result<(), Trouble> {
        match errand {
            Errand::Fault(index) => self.happen(index)?,
            Errand::Begin(talk) => self.begin(talk)?,
            Errand::Accept(talk) => self.accept(talk),
            Errand::Wake(side, talk) => {
                self.dirty.insert((side, talk));
            }
            Errand::Dialled(path, began, small) => self.dialled(path, began, small),
            Errand::GiveUp(path) => {
                self.seen.failed_dials += 1;
                self.ends[ROUTER].dial_failed(self.now, path as u8);
            }
            Errand::Ping => self.ping(),
        }
        Ok(())
    }

    /// Serves events and programs until both ends are quiet.
    fn settle(&mut self) -> Result<(), Trouble> {
        loop {
            let mut quiet = true;
            for side in [ROUTER, SERVER] {
                while let Some(event) = self.ends[side].poll_event() {
                    quiet = false;
                    self.handle_event(side, event)?;
                }
            }
            while let Some((side, talk)) = self.dirty.pop_first() {
                quiet = false;
                self.run_program(side, talk)?;
            }
            if quiet {
                return Ok(());
            }
        }
    }
}

impl Link {
    fn new(spec: &EmulatedLink, seed: u64) -> Result<Link, Trouble> {
        let (down, up) = DirectionConfig::resolve_link(spec)?;
        let begin = links::lab(EPOCH);
        Ok(Link {
            spec: spec.clone(),
            directions: [
                Direction::new(up, seed, begin),
                Direction::new(down, seed ^ 1, begin),
            ],
            next: [Time::from_nanos(u64::MAX); 2],
            works_since: Some(EPOCH),
            gone: false,
            black_hole: false,
        })
    }
}
