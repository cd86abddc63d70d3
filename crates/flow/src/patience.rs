//! How late a path may be before what it carries is repeated elsewhere.
//!
//! A loss holds what is behind it for a round trip; on a lossy path that is normal, and to repeat each
//! time would send much twice. So the patience with a path is learned, by stochastic approximation
//! (Robbins and Monro, "A Stochastic Approximation Method", 1951): what is repeated raises it, what the
//! session sends lowers it, and it settles where the one is [`SHARE`] of the other.
//!
//! One round trip raises it by one step at most, for what is lost at once tells no more of how late single losses
//! are mended than one of them would. But all of it was repeated: until the session has sent so much that
//! it was [`SHARE`] of that, nothing is lowered. So patience settles where late bytes are few, also where they come
//! in bursts, as jitter brings them.

use std::time::Duration;

use guywire_sched::Time;

/// The share of all bytes that may be repeated for each path's sake: three make less than 1 %, with what each
/// repeats before it has learned.
const SHARE: f64 = 0.0025;
/// What the repetition of [`UNIT`] bytes adds.
const STEP: Duration = Duration::from_millis(20);
/// See [`STEP`].
const UNIT: f64 = 32e3;
/// More is never waited.
const MOST: Duration = Duration::from_millis(500);
/// More than this is not remembered as repeated, in bytes: as much as would have raised it from nothing to [`MOST`].
const UNCOVERED: f64 = 25.0 * UNIT;

/// The learned part of the patience with a path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    learned: Duration,
    /// When the last lesson began, and what it has counted, in bytes.
    lesson: Option<(Time, u64)>,
    /// Bytes that were repeated and did not raise it: what is sent has to cover them before it is lowered.
    uncovered: f64,
}

impl Patience {
    pub(crate) fn get(self) -> Duration {
        self.learned
    }

    /// The session has sent `bytes` on any path.
    pub(crate) fn sent(&mut self, bytes: u64) {
        let permitted = bytes as f64 * SHARE;
        let covers = permitted.min(self.uncovered);
        self.uncovered -= covers;
        let step = STEP.mul_f64((permitted - covers) / UNIT);
        self.learned = self.learned.saturating_sub(step);
    }

    /// So many bytes of this path are repeated elsewhere. What is repeated within one round trip is one lesson
    /// of at most [`UNIT`]; what exceeds that is remembered, up to [`UNCOVERED`].
    pub(crate) fn repeated(&mut self, now: Time, bytes: u64, round_trip: Duration) {
        let same = self
            .lesson
            .filter(|(began, _)| now.since(*began) < round_trip);
        let (began, counted) = same.unwrap_or((now, 0));
        let counts = bytes.min(UNIT as u64 - counted);
        self.lesson = Some((began, counted + counts));
        self.learned = (self.learned + STEP.mul_f64(counts as f64 / UNIT)).min(MOST);
        self.uncovered = (self.uncovered + (bytes - counts) as f64).min(UNCOVERED);
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
        // 468,000 bytes raised nothing.
        patience.sent((468e3 / SHARE) as u64 - 1);
        assert_eq!(patience.get(), STEP + STEP / 2);
        patience.sent((UNIT / SHARE) as u64);
        assert!(patience.get() < STEP);
    }

    #[test]
    fn it_settles_there_too_where_much_is_late_at_once() {
        const BURST: u64 = 300_000;
        // A link of 150 Mbit/s whose delay is drawn anew every 50 ms.
        const MEANWHILE: u64 = 150_000_000 / 8 / 20;
        let mut patience = Patience::default();
        let (mut sent, mut repeated) = (0, 0);
        for draw in 0..20_000_u64 {
            let now = Time::from_nanos(draw * 50_000_000);
            patience.sent(MEANWHILE);
            sent += MEANWHILE;
            let late = Duration::from_millis(draw * 7_919 % 61);
            if late > patience.get() {
                patience.repeated(now, BURST, Duration::from_millis(80));
                repeated += BURST;
            }
        }
        let share = repeated as f64 / sent as f64;
        assert!((share / SHARE - 1.0).abs() < 0.1, "{share}");
        assert!(patience.get() < Duration::from_millis(90));
    }
}
