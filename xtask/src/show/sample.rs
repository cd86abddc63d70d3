//! What many single measurements come to, and seeded choices between them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The middle one; NaN where there is none, which no bound holds.
pub(super) fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The smallest value that `percent` of all values do not exceed; NaN where there is none.
pub(super) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    let index = rank.saturating_sub(1);
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// The largest; NaN where there is none.
pub(super) fn worst(values: &[f64]) -> f64 {
    percentile(values, 100.0)
}

/// The smallest; NaN where there is none.
pub(super) fn least(values: &[f64]) -> f64 {
    percentile(values, 0.0)
}

/// Seconds since 1970 by the machine's clock, as the measuring client counts them.
pub(super) fn unix_now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs_f64()
}

/// Choices that are the same in every run: `SplitMix64` (Steele, Lea and Flood 2014).
pub(super) struct Choices(u64);

impl Choices {
    /// The choices of this seed.
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which must not be 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(median(&values), 3.0);
        assert_eq!(percentile(&values, 95.0), 5.0);
        assert_eq!(worst(&values), 5.0);
        assert_eq!(least(&values), 1.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn choices_repeat_and_reach_everything() {
        let draw = || {
            let mut choices = Choices::seeded(7);
            (0..100).map(|_| choices.below(5)).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
        assert!((0..5).all(|wanted| draw().contains(&wanted)));
    }
}
