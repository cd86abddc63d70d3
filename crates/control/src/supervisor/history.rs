//! What a router did lately, so that people can compare a scheduler on trial with the one before it.

use std::collections::VecDeque;
use std::ops::Range;

use super::status::Status;

/// Seconds from one sample to the next.
const EVERY: u64 = 10;
/// Samples that are kept: two hours.
const KEPT: usize = 720;

/// Counters of a router.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    received: u64,
    sent: u64,
    /// Bytes sent more than once.
    repeated: u64,
    /// How often a path was held stale.
    alarms: u64,
    resets: u64,
}

impl Counters {
    fn of(status: &Status) -> Self {
        Self {
            received: status.paths.iter().map(|path| path.received_bytes).sum(),
            sent: status.paths.iter().map(|path| path.sent_bytes).sum(),
            repeated: status.repeated_bytes,
            alarms: status.alarms,
            resets: status.flows_reset,
        }
    }

    fn map(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            received: of(self.received, other.received),
            sent: of(self.sent, other.sent),
            repeated: of(self.repeated, other.repeated),
            alarms: of(self.alarms, other.alarms),
            resets: of(self.resets, other.resets),
        }
    }

    fn since(self, earlier: Self) -> Self {
        self.map(earlier, u64::saturating_sub)
    }
}

/// Samples of what passed, by seconds since 1970.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<(u64, Counters)>,
    /// What passed so far. What is reported falls when a connection or a worker ends; this does not.
    passed: Counters,
    reported: Counters,
}

impl History {
    /// Takes what the worker reports.
    pub(super) fn note(&mut self, now: u64, status: &Status) {
        let reported = Counters::of(status);
        let grown = reported.since(self.reported);
        self.passed = self.passed.map(grown, u64::saturating_add);
        self.reported = reported;
        let due = self.samples.back().is_none_or(|(at, _)| now >= at + EVERY);
        if due {
            if self.samples.len() == KEPT {
                self.samples.pop_front();
            }
            self.samples.push_back((now, self.passed));
        }
    }

    /// What passed between two times, in words; `None` where too little is known of that.
    pub(super) fn tell(&self, between: Range<u64>) -> Option<String> {
        let within = || self.samples.iter().filter(|(at, _)| between.contains(at));
        let (&(begin, before), &(end, after)) = (within().next()?, within().next_back()?);
        let seconds = end.checked_sub(begin).filter(|seconds| *seconds > 0)?;
        let passed = after.since(before);
        let mbps = |bytes: u64| bytes as f64 * 8.0 / 1e6 / seconds as f64;
        let twice = passed.repeated as f64 * 100.0 / passed.sent.max(1) as f64;
        Some(format!(
            "{:.1} Mbit/s down and {:.1} up on average over {seconds} s, {twice:.1} % of what was sent sent twice, \
             links held stale {} times, {} connections reset",
            mbps(passed.received),
            mbps(passed.sent),
            passed.alarms,
            passed.resets,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::journal::Journal;
    use crate::supervisor::status::Board;
    use crate::testing::TempDir;

    #[tokio::test]
    async fn what_passed_is_told_although_counters_fall() {
        let dir = TempDir::new("history");
        let mut status = Board::new("router", "home", Journal::open(dir.path())).read();
        let mut history = History::default();
        for (now, repeated, alarms) in [
            (100, 1_000, 5),
            (110, 2_000, 5),
            (120, 500, 1),
            (130, 900, 4),
        ] {
            (status.repeated_bytes, status.alarms) = (repeated, alarms);
            history.note(now, &status);
        }
        let told = history.tell(105..131).expect("it is known");
        assert!(
            told.contains("over 20 s") && told.contains("stale 3 times"),
            "{told}"
        );
        assert_eq!(history.tell(0..100), None);
        assert_eq!(history.tell(125..200), None);
    }

    #[tokio::test]
    async fn it_is_bounded() {
        let dir = TempDir::new("history-bounds");
        let status = Board::new("router", "home", Journal::open(dir.path())).read();
        let mut history = History::default();
        for now in 0..20_000 {
            history.note(now, &status);
        }
        assert_eq!(history.samples.len(), KEPT);
    }
}
