//! What a path has lately proven to carry, by all its subflows together.
//!
//! Each subflow's congestion control knows what it carried itself, at best when it was alone. A crowd of flows
//! shares several subflows of a path; after a pause each of these sends at that rate, together several times what
//! the link takes, and what overflows its queue is lost. So what all have in flight is bounded by what all have
//! carried, as a congestion window that was not used is bounded (RFC 7661).

use std::time::Duration;

use guywire_sched::Time;

/// Rates are taken over this time and a round trip at least, in which even a link with jitter delivers evenly.
const SAMPLE: Duration = Duration::from_millis(50);
/// As long as the rate grows by a quarter, twice of it may be in flight; after so many samples without, it is what
/// the path carries (`bbr_check_full_bw_reached`).
const STAGNANT: u32 = 3;
/// The highest rate of this period, and of the one before, counts: as long as BBR's memory of a round trip.
const PERIOD: Duration = Duration::from_secs(10);
/// What may be in flight where nothing is proven, in bytes: the first windows of four connections (RFC 6928).
const UNPROVEN: u64 = 64_000;

/// What a path has proven.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Proven {
    /// When the sample began, and what it has delivered, in bytes.
    sample: Option<(Time, u64)>,
    /// Highest rates of this period and of the one before, in bytes a second.
    rates: [u64; 2],
    period: Time,
    /// The rate when it last grew by a quarter, and how many samples came since.
    grown: (u64, u32),
}

impl Proven {
    /// So many more bytes were delivered. A sample that began before a pause tells too little, which does no harm.
    pub(crate) fn delivered(&mut self, now: Time, bytes: u64, round_trip: Duration) {
        let (since, before) = self.sample.unwrap_or((now, 0));
        let (age, sum) = (now.since(since), before + bytes);
        self.sample = Some((since, sum));
        if age < SAMPLE.max(round_trip) {
            return;
        }
        self.sample = Some((now, 0));
        if now.since(self.period) >= PERIOD {
            self.rates = [0, self.rates[0]];
            self.period = now;
        }
        let rate = (sum as f64 / age.as_secs_f64()) as u64;
        self.rates[0] = self.rates[0].max(rate);
        self.grown = match self.grown {
            // What it once was is forgotten.
            (grown, _) if self.rate() < grown / 2 => (self.rate(), 0),
            (grown, since) if since < STAGNANT && rate >= grown + grown / 4 => (rate, 0),
            (grown, since) => (grown, since.saturating_add(1)),
        };
    }

    fn rate(&self) -> u64 {
        self.rates[0].max(self.rates[1])
    }

    /// What may be in flight, in bytes, where a round trip takes so long and a queue may stand for `queue`.
    pub(crate) fn bound(&self, round_trip: Duration, queue: Duration) -> u64 {
        let trips = if self.grown.1 < STAGNANT { 2 } else { 1 };
        let time = trips * round_trip + queue;
        UNPROVEN.max((self.rate() as f64 * time.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Duration = Duration::from_millis(40);
    const QUEUE: Duration = Duration::from_millis(10);

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    /// Delivers so many bytes in each of some milliseconds; what may be in flight then.
    fn carry(proven: &mut Proven, ms: std::ops::Range<u64>, bytes: u64) -> u64 {
        for ms in ms {
            proven.delivered(at(ms), bytes, TRIP);
        }
        proven.bound(TRIP, QUEUE)
    }

    #[test]
    fn what_grows_may_double_and_what_does_not_is_kept_up() {
        let mut proven = Proven::default();
        assert_eq!(proven.bound(TRIP, QUEUE), UNPROVEN);
        // 10 MB/s, for 90 ms and then for 50.
        let first = carry(&mut proven, 20_000..20_100, 10_000);
        assert!((890_000..=930_000).contains(&first), "{first}");
        let settled = carry(&mut proven, 20_100..20_400, 10_000);
        assert!((490_000..=510_000).contains(&settled), "{settled}");
        let burst = carry(&mut proven, 20_400..20_500, 20_000);
        assert!(
            (980_000..=1_020_000).contains(&burst),
            "{burst}: no more than it carried"
        );
    }

    #[test]
    fn it_is_forgotten_late() {
        let mut proven = Proven::default();
        let settled = carry(&mut proven, 20_000..20_400, 10_000);
        assert_eq!(
            carry(&mut proven, 20_400..30_300, 10),
            settled,
            "ten seconds later"
        );
        assert_eq!(
            carry(&mut proven, 30_300..51_000, 10),
            UNPROVEN,
            "long after"
        );
    }
}
