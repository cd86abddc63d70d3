//! A path: one link towards the server, and what both ends know of it.
//!
//! ```text
//!            data or PING overdue            500 ms without a byte
//!      ┌──► Up ────────────────────► Stale ────────────────────► Down
//!      │     ▲ bytes acknowledged      │                          │
//!      │     └─────────────────────────┘   a fresh subflow joins  │
//!      └──────────────────────────────────────────────────────────┘
//!    Withdrawn: the router says so; ends when it says otherwise.
//! ```

use std::fmt;
use std::time::Duration;

use guywire_sched::Time;

use crate::patience::Patience;
use crate::proven::Proven;

/// After so long without a byte a stale path is down, and a fresh subflow is tried. Shorter outages
/// keep the old one, which is quicker than a handshake.
pub(crate) const DOWN_AFTER: Duration = Duration::from_millis(500);
/// A path that goes stale so soon after a fresh subflow joined has relapsed.
const RELAPSE: Duration = Duration::from_secs(2);
/// After so many relapses, or dials that stalled, in a row the size of segments is suspected.
const RELAPSES: u32 = 2;
/// How long an old subflow that makes progress again waits for a fresh one.
const FRESH_WITHIN: Duration = Duration::from_secs(3);
/// Between two attempts to reach the server on a path that is down.
const DIAL_EVERY: Duration = Duration::from_millis(250);
/// The same, once it has been down for [`DIAL_PATIENCE`].
const DIAL_SELDOM: Duration = Duration::from_secs(1);
/// See [`DIAL_SELDOM`].
const DIAL_PATIENCE: Duration = Duration::from_secs(30);
/// Silence after which a path is pinged while flows are open.
const PING_AFTER: Duration = Duration::from_millis(400);
/// The same on a link that is paid by volume.
const PING_METERED: Duration = Duration::from_secs(30);
/// The same while no flow is open: keeps the entries of NATs, which hold TCP for minutes.
const PING_IDLE: Duration = Duration::from_secs(25);
/// The least time a PING has for its answer.
const PONG_WITHIN: Duration = Duration::from_millis(300);

/// The state of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// It carries data.
    Up,
    /// Data is overdue: probed, not trusted.
    Stale,
    /// No subflow, or no byte for 500 ms although something is outstanding.
    Down,
    /// The router has withdrawn it.
    Withdrawn,
}

impl fmt::Display for PathState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathState::Up => "up",
            PathState::Stale => "stale",
            PathState::Down => "down",
            PathState::Withdrawn => "withdrawn",
        })
    }
}

/// What the router says of a path's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathAttributes {
    /// To be used only when nothing else is left.
    pub backup: bool,
    /// Paid by volume: probed seldom, and without connections in reserve.
    pub metered: bool,
}

/// One path of a session.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) attributes: PathAttributes,
    pub(crate) withdrawn: bool,
    /// Since when this end holds it stale.
    pub(crate) alarm: Option<Time>,
    /// When it first made progress after it was down.
    revived: Option<Time>,
    /// Since when the other end holds it stale.
    pub(crate) told: Option<Time>,
    /// Since when it has had no subflow.
    pub(crate) bare_since: Option<Time>,
    /// Number of the last notice taken from the other end; older ones are late.
    pub(crate) last_notice: Option<u64>,
    pub(crate) last_heard: Time,
    pub(crate) pinged: Option<Time>,
    pub(crate) dialled: Option<Time>,
    /// Dials under way.
    pub(crate) dials: u32,
    /// When the last fresh subflow joined.
    pub(crate) joined: Option<Time>,
    /// How many times in a row it went stale right after a fresh subflow had joined.
    pub(crate) relapses: u32,
    /// How many dials in a row were answered by TCP and by nothing else.
    stalls: u32,
    /// Full-size segments are lost while small ones pass: fresh subflows use small ones.
    pub(crate) small_segments: bool,
    pub(crate) patience: Patience,
    pub(crate) proven: Proven,
}

impl Path {
    pub(crate) fn new(attributes: PathAttributes, now: Time) -> Path {
        Path {
            attributes,
            withdrawn: false,
            alarm: None,
            revived: None,
            told: None,
            bare_since: Some(now),
            last_notice: None,
            last_heard: now,
            pinged: None,
            dialled: None,
            dials: 0,
            joined: None,
            relapses: 0,
            stalls: 0,
            small_segments: false,
            patience: Patience::default(),
            proven: Proven::default(),
        }
    }

    pub(crate) fn state(&self, now: Time) -> PathState {
        if self.withdrawn {
            return PathState::Withdrawn;
        }
        if self.bare_since.is_some() {
            return PathState::Down;
        }
        match self.stale_since() {
            None => PathState::Up,
            Some(since) if now.since(since) < DOWN_AFTER => PathState::Stale,
            Some(_) => PathState::Down,
        }
    }

    /// Whether new data may go there.
    pub(crate) fn is_up(&self) -> bool {
        !self.withdrawn && self.bare_since.is_none() && self.stale_since().is_none()
    }

    /// An old subflow makes progress. Returns whether the path is stale and to be trusted again. One that
    /// was down waits for a fresh subflow: the old one has a window of one segment, and sends first
    /// what was repeated long ago. Only if none comes is the old one good enough.
    pub(crate) fn progressed(&mut self, now: Time) -> bool {
        match self.alarm {
            None => false,
            Some(since) if now.since(since) < DOWN_AFTER => true,
            Some(_) => {
                let revived = *self.revived.get_or_insert(now);
                now.since(revived) >= FRESH_WITHIN
            }
        }
    }

    /// Returns whether there was an alarm.
    pub(crate) fn end_alarm(&mut self) -> bool {
        self.revived = None;
        self.alarm.take().is_some()
    }

    /// It goes stale. A handshake passes and data does not, again and again: full-size segments are lost
    /// somewhere, and nobody says so (a black hole in path MTU discovery, RFC 2923).
    pub(crate) fn note_relapse(&mut self, now: Time) {
        let fresh = self.joined.is_some_and(|at| now.since(at) < RELAPSE);
        self.relapses = if fresh { self.relapses + 1 } else { 0 };
        self.small_segments |= self.relapses >= RELAPSES;
    }

    /// A dial was answered by TCP, whose own segments are small, and by nothing else: a handshake has full-size ones.
    pub(crate) fn note_stall(&mut self) {
        self.stalls += 1;
        self.small_segments |= self.stalls >= RELAPSES;
    }

    /// A fresh subflow joined.
    pub(crate) fn note_join(&mut self, now: Time) {
        self.joined = Some(now);
        self.stalls = 0;
    }

    pub(crate) fn stale_since(&self) -> Option<Time> {
        match (self.alarm, self.told) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// When the next attempt to reach the server is due, for a path that is down.
    pub(crate) fn dial_at(&self, now: Time) -> Option<Time> {
        if self.withdrawn {
            return None;
        }
        let down_since = match self.bare_since {
            Some(since) => since,
            None => self.stale_since()? + DOWN_AFTER,
        };
        let every = if now.since(down_since) > DIAL_PATIENCE {
            DIAL_SELDOM
        } else {
            DIAL_EVERY
        };
        Some(
            self.dialled
                .map_or(down_since, |last| down_since.max(last + every)),
        )
    }

    /// When a PING is due, or the answer to the last one overdue.
    pub(crate) fn ping_at(&self, flows_open: bool, round_trip: Duration) -> Option<Time> {
        if !self.is_up() {
            return None;
        }
        Some(match self.pinged {
            Some(pinged) => pinged + round_trip.max(PONG_WITHIN),
            None if self.attributes.metered => self.last_heard + PING_METERED,
            None if flows_open => self.last_heard + PING_AFTER,
            None => self.last_heard + PING_IDLE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn states_follow_the_evidence() {
        let mut path = Path::new(PathAttributes::default(), at(0));
        assert_eq!(path.state(at(1)), PathState::Down, "no subflow yet");
        path.bare_since = None;
        assert_eq!(path.state(at(1)), PathState::Up);
        path.told = Some(at(100));
        assert_eq!(path.state(at(200)), PathState::Stale);
        path.alarm = Some(at(150));
        assert_eq!(path.state(at(599)), PathState::Stale);
        assert_eq!(path.state(at(600)), PathState::Down);
        assert_eq!(path.dial_at(at(600)), Some(at(600)));
        path.dialled = Some(at(600));
        assert_eq!(path.dial_at(at(600)), Some(at(850)));
        path.withdrawn = true;
        assert_eq!(path.state(at(600)), PathState::Withdrawn);
        assert_eq!(path.dial_at(at(600)), None);
    }
}
