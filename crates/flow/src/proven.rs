//! What a path has lately proven to carry, by all its subflows together.
//!
//! Each subflow's congestion control knows what it carried itself, at best when it was alone. A crowd of flows
//! shares several subflows of a path; after a pause each of these sends at that rate, together several times what
//! the link takes, and what overflows its queue is lost. So what all have in flight is bounded by what all have
//! carried, as a congestion window that was not used is bounded (RFC 7661).

use std::time::Duration;

use guywire_sched::Time;

/// Rates are taken over this time at least, in which even a link with jitter delivers evenly.
const SAMPLE: Duration = Duration::from_millis(50);
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
}

impl Proven {
    /// So many more bytes were delivered. A sample that began before a pause tells too little, which does no harm.
    pub(crate) fn delivered(&mut self, now: Time, bytes: u64) {
        let (since, before) = self.sample.unwrap_or((now, 0));
        let (age, sum) = (now.since(since), before + bytes);
        self.sample = Some((since, sum));
        if age < SAMPLE {
            return;
        }
        self.sample = Some((now, 0));
        if now.since(self.period) >= PERIOD {
            self.rates = [0, self.rates[0]];
            self.period = now;
        }
        let rate = (sum as f64 / age.as_secs_f64()) as u64;
        self.rates[0] = self.rates[0].max(rate);
    }

    /// What it has carried in such a time, in bytes; more than nothing where nothing is proven.
    pub(crate) fn in_time(&self, time: Duration) -> u64 {
        let rate = self.rates[0].max(self.rates[1]) as f64;
        UNPROVEN.max((rate * time.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(100);

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn the_bound_follows_what_was_delivered_and_forgets_it_late() {
        let mut proven = Proven::default();
        assert_eq!(proven.in_time(TIME), UNPROVEN);
        for ms in 0..200 {
            proven.delivered(at(20_000 + ms), 10_000);
        }
        let bound = proven.in_time(TIME);
        assert!((980_000..=1_020_000).contains(&bound), "{bound} at 10 MB/s");
        for ms in 0..100 {
            proven.delivered(at(20_200 + ms * 100), 100);
        }
        assert_eq!(proven.in_time(TIME), bound, "ten seconds later");
        for ms in 0..250 {
            proven.delivered(at(30_200 + ms * 100), 100);
        }
        assert_eq!(proven.in_time(TIME), UNPROVEN, "long after");
    }
}
