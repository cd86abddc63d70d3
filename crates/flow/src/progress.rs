//! Evidence from one subflow: does what it carries arrive, or is it overdue?
//!
//! Progress is a change of `tcpi_delivered`, which counts selectively acknowledged segments too;
//! `tcpi_bytes_acked` stands still behind a hole and gives false alarms on lossy links, and any
//! received segment is blind to one-way death.

use std::time::Duration;

use guywire_sched::Time;

/// The least time without progress that counts as overdue; 30 ms gave false alarms.
const BASE: Duration = Duration::from_millis(50);
/// With fewer segments in flight acknowledgements come in clumps, a round trip apart, and the gaps of busier
/// times say nothing: so it is in BBR's PROBE_RTT, which keeps four. What a hole holds back, received and not yet
/// acknowledged in order, is not in flight: counted with the rest, it hid nearly every such time on a lossy link.
const FEW: u32 = 8;
/// How much history the longest gap is taken from before it may shorten the threshold.
const HISTORY: Duration = Duration::from_secs(1);

/// Who looks more seldom than this was not running itself, and accuses nobody of what it did not see.
const LOOK: Duration = Duration::from_millis(20);

/// What is known of a subflow's progress.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    delivered: u64,
    bytes_acked: u64,
    /// The last change of `delivered`, or the first write after idle if that was later.
    moved: Time,
    /// When data was last put in flight after idle; `None` while idle.
    busy_since: Option<Time>,
    /// When it was last looked at.
    looked: Time,
    /// Longest gaps of this second and of the one before.
    gaps: [Duration; 2],
    gap_bucket: Time,
}

/// What a snapshot showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Segments were delivered, in order or not.
    pub(crate) delivered: bool,
    /// Bytes were acknowledged in order.
    pub(crate) acked: bool,
}

impl Progress {
    pub(crate) fn new(now: Time, delivered: u64, bytes_acked: u64) -> Progress {
        Progress {
            delivered,
            bytes_acked,
            moved: now,
            busy_since: None,
            looked: now,
            gaps: [Duration::ZERO; 2],
            gap_bucket: now,
        }
    }

    /// Bytes were handed to the kernel.
    pub(crate) fn wrote(&mut self, now: Time) {
        if self.busy_since.is_none() {
            self.busy_since = Some(now);
            self.moved = now;
            self.looked = now;
        }
    }

    /// Takes the kernel's counters; `in_flight` tells whether anything is unsent or unacknowledged.
    pub(crate) fn observe(
        &mut self,
        now: Time,
        delivered: u64,
        bytes_acked: u64,
        in_flight: bool,
    ) -> Moved {
        let moved = Moved {
            delivered: delivered != self.delivered,
            acked: bytes_acked != self.bytes_acked,
        };
        self.delivered = delivered;
        self.bytes_acked = bytes_acked;
        let absent = now.since(self.looked).saturating_sub(LOOK);
        self.moved = (self.moved + absent).min(now);
        self.looked = now;
        if moved.delivered {
            if self.busy_since.is_some() {
                self.note_gap(now, now.since(self.moved));
            }
            self.moved = now;
        }
        if !in_flight {
            self.busy_since = None;
        } else if self.busy_since.is_none() {
            self.wrote(now);
        }
        moved
    }

    fn note_gap(&mut self, now: Time, gap: Duration) {
        let age = now.since(self.gap_bucket);
        if age >= HISTORY {
            let aged = if age < 2 * HISTORY {
                self.gaps[0]
            } else {
                Duration::ZERO
            };
            self.gaps = [Duration::ZERO, aged];
            self.gap_bucket = now;
        }
        self.gaps[0] = self.gaps[0].max(gap);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy_since.is_some()
    }

    /// When what is in flight, so many segments, becomes overdue, if nothing moves before; `None`
    /// while idle.
    pub(crate) fn overdue_at(
        &self,
        srtt: Duration,
        rttvar: Duration,
        in_flight: u32,
    ) -> Option<Time> {
        let busy_since = self.busy_since?;
        let by_round_trip = srtt + 4 * rttvar + BASE;
        let busy_for = self.moved.since(busy_since);
        let threshold = if in_flight < FEW || busy_for < HISTORY.max(srtt) {
            by_round_trip
        } else {
            by_round_trip.min(BASE.max(3 * self.gaps[0].max(self.gaps[1])))
        };
        Some(self.moved + threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);
    const VAR: Duration = Duration::from_millis(5);

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn without_history_the_round_trip_decides() {
        let mut progress = Progress::new(at(0), 0, 0);
        assert_eq!(progress.overdue_at(RTT, VAR, 100), None);
        progress.wrote(at(100));
        assert_eq!(progress.overdue_at(RTT, VAR, 100), Some(at(210)));
        progress.observe(at(150), 3, 3_000, true);
        assert_eq!(progress.overdue_at(RTT, VAR, 100), Some(at(260)));
        progress.observe(at(160), 4, 4_000, false);
        assert_eq!(progress.overdue_at(RTT, VAR, 100), None);
    }

    #[test]
    fn who_did_not_look_accuses_nobody() {
        let mut progress = Progress::new(at(0), 0, 0);
        progress.wrote(at(0));
        progress.observe(at(10), 1, 1_000, true);
        progress.observe(at(510), 1, 1_000, true);
        assert_eq!(progress.overdue_at(RTT, VAR, 100), Some(at(490 + 110)));
    }

    #[test]
    fn steady_progress_shortens_the_alarm_and_gaps_lengthen_it() {
        let mut progress = Progress::new(at(0), 0, 0);
        progress.wrote(at(0));
        for ms in 1..1_500 {
            progress.observe(at(ms), ms, ms, true);
        }
        assert_eq!(progress.overdue_at(RTT, VAR, 100), Some(at(1_499 + 50)));
        for ms in 1_500..1_529 {
            progress.observe(at(ms), 1_499, 1_499, true);
        }
        assert_eq!(progress.overdue_at(RTT, VAR, 4), Some(at(1_499 + 110)));
        progress.observe(at(1_529), 2_000, 2_000, true);
        assert_eq!(progress.overdue_at(RTT, VAR, 100), Some(at(1_529 + 90)));
    }
}
