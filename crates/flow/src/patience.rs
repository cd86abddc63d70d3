//! How late a path may be before what it carries is repeated elsewhere.
//!
//! A loss holds what is behind it for a round trip; on a lossy path that is normal, and to repeat each
//! time would send much twice. So the patience with a path is learned, by stochastic approximation
//! (Robbins and Monro, "A Stochastic Approximation Method", 1951): what is repeated raises it, what the
//! session sends lowers it, and it settles where the one is [`SHARE`] of the other.

use std::time::Duration;

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
pub(crate) struct Patience(Duration);

impl Patience {
    pub(crate) fn get(self) -> Duration {
        self.0
    }

    /// The session has sent `bytes` on any path.
    pub(crate) fn sent(&mut self, bytes: u64) {
        let step = STEP.mul_f64(bytes as f64 * SHARE / UNIT);
        self.0 = self.0.saturating_sub(step);
    }

    /// So many bytes of this path are repeated elsewhere.
    pub(crate) fn repeated(&mut self, bytes: u64) {
        self.0 = (self.0 + STEP.mul_f64(bytes as f64 / UNIT)).min(MOST);
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
                patience.repeated(CHUNK);
                repeated += 1;
            }
        }
        let share = f64::from(repeated) / CHUNKS as f64;
        assert!((share / SHARE - 1.0).abs() < 0.1, "{share}");
        assert!(patience.get() > Duration::from_millis(170));
    }
}
