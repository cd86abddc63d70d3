//! Destinations that were refused a moment ago: they fail fast for a while, without asking the server again.
//!
//! A program that tries a dead port over and over costs a round trip and a flow each time; here it costs a look-up.
//! The table does no I/O and gets the time passed in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use guywire_flow::FlowReason;

/// Destinations that are remembered; one that finds no room is asked for again, which is always right.
const MAX: usize = 1_024;
/// How long a destination fails fast after its first refusal. Doubles with each further one.
const FIRST: Duration = Duration::from_secs(1);
/// The longest: so long may a service that was just started seem dead.
const LONGEST: Duration = Duration::from_secs(10);
/// A destination that was not refused again for so long after its pause begins anew.
const MEMORY: Duration = Duration::from_secs(10);

/// Pairs of address and port, each with its pause.
#[derive(Debug, Default)]
pub(super) struct Refused(HashMap<SocketAddr, Entry>);

#[derive(Debug)]
struct Entry {
    pause: Duration,
    until: Instant,
}

impl Refused {
    /// Whether a connection to there is to fail now.
    pub(super) fn holds(&self, now: Instant, to: &SocketAddr) -> bool {
        self.0.get(to).is_some_and(|entry| now < entry.until)
    }

    /// A flow to there was reset for this reason; most reasons say nothing about the destination.
    pub(super) fn handle_reset(&mut self, now: Instant, to: SocketAddr, reason: FlowReason) {
        if !matches!(
            reason,
            FlowReason::Refused
                | FlowReason::Unreachable
                | FlowReason::TimedOut
                | FlowReason::Forbidden
        ) {
            return;
        }
        let pause = match self.0.get(&to) {
            // One of several that were under way at once: they are one refusal.
            Some(entry) if now < entry.until => return,
            Some(entry) if now < entry.until + MEMORY => (entry.pause * 2).min(LONGEST),
            _ => FIRST,
        };
        if self.0.len() >= MAX {
            self.0.retain(|_, entry| now < entry.until);
        }
        if self.0.len() < MAX {
            let until = now + pause;
            self.0.insert(to, Entry { pause, until });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> SocketAddr {
        ([203, 0, 113, 1], port).into()
    }

    #[test]
    fn pauses_grow_to_ten_seconds_and_are_forgotten() {
        let mut now = Instant::now();
        let mut refused = Refused::default();
        for expected in [1, 2, 4, 8, 10, 10] {
            assert!(!refused.holds(now, &to(81)));
            refused.handle_reset(now, to(81), FlowReason::Refused);
            let end = now + Duration::from_secs(expected);
            assert!(refused.holds(end - Duration::from_millis(1), &to(81)));
            assert!(!refused.holds(end, &to(81)));
            now = end;
        }
        now += MEMORY;
        refused.handle_reset(now, to(81), FlowReason::Refused);
        assert!(!refused.holds(now + FIRST, &to(81)));
        assert!(!refused.holds(now, &to(80)), "another port");
    }

    #[test]
    fn many_at_once_are_one_refusal() {
        let now = Instant::now();
        let mut refused = Refused::default();
        for _ in 0..100 {
            refused.handle_reset(now, to(81), FlowReason::TimedOut);
        }
        assert!(!refused.holds(now + FIRST, &to(81)));
    }

    #[test]
    fn what_is_not_the_destinations_fault_is_not_held_against_it() {
        let now = Instant::now();
        let mut refused = Refused::default();
        for reason in [
            FlowReason::ResetByPeer,
            FlowReason::NoPath,
            FlowReason::SessionEnded,
            FlowReason::TooMany,
        ] {
            refused.handle_reset(now, to(81), reason);
        }
        assert!(!refused.holds(now, &to(81)));
    }

    #[test]
    fn a_scan_of_all_ports_is_bounded_and_makes_room_again() {
        let now = Instant::now();
        let mut refused = Refused::default();
        for port in 0..u16::MAX {
            refused.handle_reset(now, to(port), FlowReason::Refused);
        }
        assert_eq!(refused.0.len(), MAX);
        let later = now + LONGEST;
        refused.handle_reset(later, to(65_535), FlowReason::Refused);
        assert_eq!(refused.0.len(), 1);
    }
}
