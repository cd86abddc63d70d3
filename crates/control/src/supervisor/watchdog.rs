//! When a worker that says nothing counts as hung: a state machine that gets the time passed in.

use std::time::{Duration, Instant};

/// The time between two looks at the worker.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// A worker that has reported before and is silent for so long is hung; it reports every 500 ms.
const SILENCE: Duration = Duration::from_secs(3);
/// A worker that just started may take longer until its first report.
const START: Duration = Duration::from_secs(10);

/// Counts how long a worker is silent, in the supervisor's own running time: a tick that comes late means that the
/// supervisor itself did not run, and counts as two at most. What waits to be read is to be heard before each tick.
#[derive(Debug)]
pub(super) struct Watchdog {
    last: Instant,
    silent: Duration,
    bound: Duration,
}

impl Watchdog {
    /// Watches a worker that starts at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last: now,
            silent: Duration::ZERO,
            bound: START,
        }
    }

    /// The worker reported.
    pub(super) fn handle_report(&mut self) {
        self.silent = Duration::ZERO;
        self.bound = SILENCE;
    }

    /// Time passed, about a [`TICK`]. Says how long the worker has been silent once that is too long.
    pub(super) fn handle_tick(&mut self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.last);
        self.last = now;
        self.silent += passed.min(2 * TICK);
        (self.silent >= self.bound).then_some(self.silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks, each so long after the one before, until the verdict; `None` if there is none.
    fn ticks(dog: &mut Watchdog, start: Instant, every: Duration, count: u32) -> Option<u32> {
        (1..=count).find(|&tick| dog.handle_tick(start + every * tick).is_some())
    }

    #[test]
    fn three_seconds_of_silence_are_too_many_after_a_report() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        dog.handle_report();
        assert_eq!(ticks(&mut dog, start, TICK, 100), Some(12));
    }

    #[test]
    fn a_worker_that_starts_has_ten() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        assert_eq!(ticks(&mut dog, start, TICK, 100), Some(40));
    }

    #[test]
    fn reports_keep_it_quiet() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        for tick in 1..=200 {
            if tick % 11 == 0 {
                dog.handle_report();
            }
            assert_eq!(dog.handle_tick(start + TICK * tick), None, "tick {tick}");
        }
    }

    #[test]
    fn a_supervisor_that_did_not_run_accuses_nobody() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        dog.handle_report();
        assert_eq!(dog.handle_tick(start + Duration::from_secs(600)), None);
        dog.handle_report();
        assert_eq!(ticks(&mut dog, start, Duration::from_secs(60), 5), None);
    }
}
