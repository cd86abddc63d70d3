//! Acknowledgements that come together, as WiFi, cable and jitter bring them, and what BBR does about them.

use std::time::Duration;

use guywire_flow::Time;

/// Acknowledgements that come in lumps are seen in the lumps of so many round trips, twice
/// (`bbr_extra_acked_win_rtts`).
const LUMP_ROUNDS: u32 = 5;
/// They widen the window by what the bottleneck carries in this time at most (`bbr_extra_acked_max_us`).
const LUMP_TIME: Duration = Duration::from_millis(100);
/// An epoch ends when so many segments were acknowledged in it (`bbr_ack_epoch_acked_reset_thresh`).
const LUMP_EPOCH: u64 = 1 << 20;

/// How much more than the bottleneck's rate is acknowledged at once: acknowledgements that come together need a wider
/// window to keep the path full (`bbr_update_ack_aggregation`).
#[derive(Debug, Default)]
pub(super) struct Lumps {
    /// Since when segments have been acknowledged faster than that, and how many.
    epoch: Option<(Time, u64)>,
    /// The largest lump of this period and of the one before, in segments.
    largest: [u64; 2],
    rounds: u32,
}

impl Lumps {
    /// A round trip begins.
    pub(super) fn round_begins(&mut self) {
        self.rounds += 1;
        if self.rounds >= LUMP_ROUNDS {
            self.rounds = 0;
            self.largest = [0, self.largest[0]];
        }
    }

    /// So many segments were acknowledged; `rate` is the bottleneck's, in segments a second, `window` what may be in
    /// flight.
    pub(super) fn observe(&mut self, now: Time, newly: u64, rate: f64, window: u64) {
        let expected = |since: Time| (rate * now.since(since).as_secs_f64()) as u64;
        let ahead = self
            .epoch
            .filter(|&(since, acked)| acked > expected(since) && acked + newly < LUMP_EPOCH);
        let (since, before) = ahead.unwrap_or((now, 0));
        let acked = before + newly;
        self.epoch = Some((since, acked));
        let lump = (acked - expected(since)).min(window);
        self.largest[0] = self.largest[0].max(lump);
    }

    /// Segments by which the window is wider.
    pub(super) fn window(&self, rate: f64) -> u64 {
        let [this, before] = self.largest;
        this.max(before)
            .min((rate * LUMP_TIME.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The widening after a second of a link with 1,000 segments a second, acknowledged so many at a time.
    fn widened(at_once: u64) -> u64 {
        let mut lumps = Lumps::default();
        for ms in (0..1_000).step_by(at_once as usize) {
            lumps.observe(Time::from_nanos(ms * 1_000_000), at_once, 1_000.0, 500);
        }
        lumps.window(1_000.0)
    }

    #[test]
    fn a_lump_widens_the_window_by_itself_and_not_without_end() {
        assert_eq!([1, 20, 80].map(widened), [1, 20, 80]);
        assert_eq!(widened(250), 100, "100 ms of what the link carries");
    }

    #[test]
    fn lumps_are_forgotten_after_ten_round_trips() {
        let mut lumps = Lumps::default();
        lumps.observe(Time::ZERO, 50, 1_000.0, 500);
        for _ in 0..LUMP_ROUNDS {
            assert_eq!(lumps.window(1_000.0), 50);
            lumps.round_begins();
        }
        for _ in 0..LUMP_ROUNDS {
            assert_eq!(lumps.window(1_000.0), 50, "in the period before");
            lumps.round_begins();
        }
        assert_eq!(lumps.window(1_000.0), 0);
    }
}
