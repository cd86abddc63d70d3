//! How late a path may be before what it carries is repeated elsewhere.
//!
//! A loss holds what is behind it for a round trip; on a lossy path that is normal, and to repeat each
//! time would send much twice. So the patience with a path is learned, by stochastic approximation
//! (Robbins and Monro, "A Stochastic Approximation Method", 1951): what is repeated raises it, what the
//! session sends lowers it, and it settles where the one is [`SHARE`] of the other.

use std::time::Duration;

use guywire_sched::Time;

/// The share of all bytes that may be repeated for each path's sake: three make less than 1 %.
const SHARE: f64 = 0.003;
/// What the repetition of [`UNIT`] bytes adds.
const STEP: Duration = Duration::from_millis(20);
/// See [`STEP`].
const UNIT: f64 = 32e3;
/// More is never waited.
const MOST: Duration = Duration::from_millis(500);

/// The learned part of the patience with a path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    learned: Duration,
    /// When the last lesson began, and what it has counted, in bytes.
    lesson: Option<(Time, u64)>,
}

impl Patience {
    pub(crate) fn get(self) -> Duration {
        self.learned
    }

    /// The session has sent `bytes` on any path.
    pub(crate) fn sent(&mut self, bytes: u64) {
        let step = STEP.mul_f64(bytes as f64 * SHARE / UNIT);
        self.learned = self.learned.saturating_sub(step);
    }

    /// So many bytes of this path are repeated elsewhere. What is repeated within one round trip is one lesson
    /// of at most [`UNIT`]: a queue that overflows loses much at once, and that tells no more of how
    /// late single losses are mended than one of them would.
    pub(crate) fn repeated(&mut self, now: Time, bytes: u64, round_trip: Duration) {
        let same = self
            .lesson
            .filter(|(began, _)| now.since(*began) < round_trip);
        let (began, counted) = same.unwrap_or((now, 0));
        let bytes = bytes.min(UNIT as u64 - counted);
        self.lesson = Some((began, counted + bytes));
        self.learned = (self.learned + STEP.mul_f64(bytes as f64 / UNIT)).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_settles_where_the_permitted_share_is_repeated() {
        const CHUNKS: u64 = 100_000;
        const CHUNK: u64 = 16_000;
        let mut patience = Patience::default();
        let mut repeated = 0;
        for chunk in 0..CHUNKS {
            patience.sent(CHUNK);
            // Every value from 0 to 199 ms, evenly.
            let late = Duration::from_millis(chunk * 7_919 % 200);
            if late > patience.get() {
                patience.repeated(Time::ZERO, CHUNK, Duration::ZERO);
                repeated += 1;
            }
        }
        let share = f64::from(repeated) / CHUNKS as f64;
        assert!((share / SHARE - 1.0).abs() < 0.1, "{share}");
        assert!(patience.get() > Duration::from_millis(170));
    }

    #[test]
    fn what_is_lost_at_once_is_one_lesson() {
        let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
        let trip = Duration::from_millis(50);
        let mut patience = Patience::default();
        for ms in [0, 10, 20, 30, 40] {
            patience.repeated(at(ms), 100_000, trip);
        }
        assert_eq!(patience.get(), STEP);
        patience.repeated(at(50), 16_000, trip);
        assert_eq!(patience.get(), STEP + STEP / 2);
    }
}
