//! How often strangers may try to enrol: per address, and in all.
//!
//! Guessing a secret of 128 bits needs no limit; the signature that every attempt costs the
//! server does. A state machine with time passed in; its table is bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// What the limiter allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimiterSettings {
    /// Attempts that one address may make at once.
    pub burst: u32,
    /// Time after which it may make one more.
    pub every: Duration,
    /// Attempts from all addresses at once.
    pub overall_burst: u32,
    /// Time after which there may be one more from any address.
    pub overall_every: Duration,
    /// Most addresses remembered, at about 40 bytes each.
    pub addresses: usize,
}

impl Default for LimiterSettings {
    /// 5 at once, then one in 10 s per address; 50 at once, then 5 a second in all, which is less
    /// than 1 ms of a core each second; 1,024 addresses.
    fn default() -> Self {
        Self {
            burst: 5,
            every: Duration::from_secs(10),
            overall_burst: 50,
            overall_every: Duration::from_millis(200),
            addresses: 1024,
        }
    }
}

/// A leaky bucket: the moment at which it will be empty says all.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    empty_at: Instant,
}

impl Bucket {
    fn has_room(self, now: Instant, burst: u32, every: Duration) -> bool {
        let fill = self.empty_at.saturating_duration_since(now);
        burst > 0 && fill <= every * (burst - 1)
    }

    fn add(&mut self, now: Instant, every: Duration) {
        self.empty_at = self.empty_at.max(now) + every;
    }
}

/// Limits attempts to enrol. Ask [`EnrolLimiter::admit`] once for each.
#[derive(Debug)]
pub struct EnrolLimiter {
    settings: LimiterSettings,
    /// Buckets that are not known to be empty; at most `settings.addresses`.
    buckets: HashMap<IpAddr, Bucket>,
    /// The bucket of all addresses together; `None` until the first attempt.
    overall: Option<Bucket>,
}

impl EnrolLimiter {
    /// A limiter that has seen nobody yet.
    pub fn new(settings: LimiterSettings) -> Self {
        Self {
            settings,
            buckets: HashMap::new(),
            overall: None,
        }
    }

    /// Whether an attempt from `address` may go on at `now`; if so it counts. An IPv6 /64 counts
    /// as one address, since whoever has one has all of it.
    pub fn admit(&mut self, now: Instant, address: IpAddr) -> bool {
        let settings = self.settings;
        let address = network(address);
        let empty = Bucket { empty_at: now };
        let mut bucket = self.buckets.get(&address).copied().unwrap_or(empty);
        let mut overall = self.overall.unwrap_or(empty);
        // Who is over the own limit takes nothing from the others.
        if !bucket.has_room(now, settings.burst, settings.every)
            || !overall.has_room(now, settings.overall_burst, settings.overall_every)
        {
            return false;
        }
        bucket.add(now, settings.every);
        overall.add(now, settings.overall_every);
        self.overall = Some(overall);
        if !self.buckets.contains_key(&address) && self.buckets.len() >= settings.addresses {
            self.make_room(now);
        }
        self.buckets.insert(address, bucket);
        true
    }

    /// Addresses remembered.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether no address is remembered.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Forgets all empty buckets, or else the one that is nearest to it: who loses it gains least.
    fn make_room(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| bucket.empty_at > now);
        if self.buckets.len() < self.settings.addresses {
            return;
        }
        let nearest = self.buckets.iter().min_by_key(|(_, b)| b.empty_at);
        if let Some(address) = nearest.map(|(address, _)| *address) {
            self.buckets.remove(&address);
        }
    }
}

/// What counts as one address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn five_at_once_then_one_in_ten_seconds() {
        let start = Instant::now();
        let mut limiter = EnrolLimiter::new(LimiterSettings::default());
        let mut at = |seconds: u32| limiter.admit(start + SECOND * seconds, address(1));
        assert_eq!(
            [at(0), at(0), at(0), at(0), at(0), at(0)],
            [true, true, true, true, true, false]
        );
        assert_eq!([at(9), at(10), at(10)], [false, true, false]);
        // Refused attempts cost nothing; a long pause gives the burst back, and no more.
        assert_eq!([at(20), at(20)], [true, false]);
        let later: Vec<bool> = (0..6).map(|_| at(1000)).collect();
        assert_eq!(later, [true, true, true, true, true, false]);
    }

    #[test]
    fn one_address_does_not_stop_another() {
        let now = Instant::now();
        let mut limiter = EnrolLimiter::new(LimiterSettings::default());
        let admitted = (0..1000).filter(|_| limiter.admit(now, address(1))).count();
        assert_eq!(admitted, 5);
        assert!(limiter.admit(now, address(2)));
    }

    #[test]
    fn all_together_are_limited_too() {
        let now = Instant::now();
        let mut limiter = EnrolLimiter::new(LimiterSettings::default());
        let admitted = (0..=255)
            .filter(|i| limiter.admit(now, address(*i)))
            .count();
        assert_eq!(admitted, 50);
        assert!(limiter.admit(now + SECOND, address(200)));
    }

    #[test]
    fn an_ipv6_network_and_a_mapped_address_count_as_one() {
        let now = Instant::now();
        let mut limiter = EnrolLimiter::new(LimiterSettings::default());
        for i in 0..5u16 {
            let one = Ipv6Addr::new(0x2001, 0xdb8, 0, 7, i, 0, 0, 1);
            assert!(limiter.admit(now, one.into()));
        }
        let same = Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 9, 9, 9, 9);
        let other = Ipv6Addr::new(0x2001, 0xdb8, 0, 8, 9, 9, 9, 9);
        assert!(!limiter.admit(now, same.into()));
        assert!(limiter.admit(now, other.into()));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), address(1));
    }

    proptest! {
        #[test]
        fn the_table_is_bounded_and_limits_hold(
            attempts in proptest::collection::vec((0u8..20, 0u64..3_000), 1..300),
        ) {
            let settings = LimiterSettings { addresses: 4, overall_burst: 20, ..LimiterSettings::default() };
            let mut limiter = EnrolLimiter::new(settings);
            let start = Instant::now();
            let mut now = start;
            let mut admitted = 0;
            for (who, pause) in attempts {
                now += Duration::from_millis(pause);
                admitted += u128::from(limiter.admit(now, address(who)));
                prop_assert!(limiter.len() <= settings.addresses);
            }
            let most = 20 + (now - start).as_millis() / settings.overall_every.as_millis();
            prop_assert!(admitted <= most, "{} admitted, at most {}", admitted, most);
        }
    }
}
