//! What an end may be told how fast: records that carry little cost more than their bytes.
//!
//! A record costs the receiver about a microsecond, however little it carries. Data is paid for by
//! its bytes; acknowledgements by what was sent to be acknowledged; the rest comes as often as
//! connections begin and end. What exceeds that by far is a flood.

use std::time::Duration;

use guywire_flow::Time;
use guywire_flow::record::{Control, Record};

/// DATA with fewer bytes than this is a crumb.
pub(crate) const CRUMB: usize = 64;
/// A session may bring so many crumbs, or signals, at once ...
const BURST: u64 = 100_000;
/// ... and so many a second.
const A_SECOND: u64 = 50_000;
/// What changes the state of a path costs as much as so many other signals: every flow is looked at.
const HEAVY: u64 = 100;
/// So many bytes sent allow one more signal. A record has up to 16 kB.
const BYTES_PER_SIGNAL: u64 = 2_048;
/// This end sends no more than so many crumbs a second, and as many at once: less than half of what
/// the other end takes.
const OWN_A_SECOND: u64 = 20_000;

/// A bucket that fills with time.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: u64,
    most: u64,
    a_second: u64,
    filled: Time,
}

impl Allowance {
    fn new(most: u64, a_second: u64) -> Allowance {
        Allowance {
            left: most,
            most,
            a_second,
            filled: Time::ZERO,
        }
    }

    /// Takes `count` out; false if they are not there.
    fn take(&mut self, now: Time, count: u64) -> bool {
        if self.left < count {
            let elapsed = now.since(self.filled).min(Duration::from_secs(60));
            let earned = elapsed.as_micros() as u64 * self.a_second / 1_000_000;
            if earned > 0 {
                self.filled = now;
                self.add(earned);
            }
        }
        let there = self.left >= count;
        if there {
            self.left -= count;
        }
        there
    }

    fn add(&mut self, count: u64) {
        self.left = (self.left + count).min(self.most);
    }
}

/// What is thought of a record before it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Take it.
    Take,
    /// Its flow is to be reset.
    Crumbs(u64),
    /// The session is to end.
    Flood,
}

/// What a session has been told lately.
#[derive(Debug)]
pub(crate) struct Inflow {
    crumbs: Allowance,
    signals: Allowance,
    own_crumbs: Allowance,
}

impl Inflow {
    pub(crate) fn new() -> Inflow {
        Inflow {
            crumbs: Allowance::new(BURST, A_SECOND),
            signals: Allowance::new(BURST, A_SECOND),
            own_crumbs: Allowance::new(OWN_A_SECOND, OWN_A_SECOND),
        }
    }

    /// Judges a record that arrived.
    pub(crate) fn judge(&mut self, now: Time, record: &Record) -> Verdict {
        let cost = match record {
            Record::Data { bytes, .. } if bytes.len() >= CRUMB => return Verdict::Take,
            Record::Data { flow, .. } => {
                return match self.crumbs.take(now, 1) {
                    true => Verdict::Take,
                    false => Verdict::Crumbs(*flow),
                };
            }
            Record::Control(_, Control::PathStatus { .. } | Control::Scheduler(_)) => HEAVY,
            _ => 1,
        };
        match self.signals.take(now, cost) {
            true => Verdict::Take,
            false => Verdict::Flood,
        }
    }

    /// So many bytes were sent, and will be acknowledged.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.signals.add(bytes as u64 / BYTES_PER_SIGNAL);
    }

    /// Whether this end may send a crumb now, or should rather gather more.
    pub(crate) fn may_send_crumb(&mut self, now: Time) -> bool {
        self.own_crumbs.take(now, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn crumb(flow: u64, bytes: &[u8]) -> Record {
        Record::Data {
            flow,
            dsn: 0,
            bytes: bytes.to_vec().into(),
        }
    }

    #[test]
    fn what_carries_its_weight_is_never_limited() {
        let mut inflow = Inflow::new();
        for _ in 0..1_000_000 {
            let verdict = inflow.judge(at(0), &crumb(2, &[0; CRUMB]));
            assert_eq!(verdict, Verdict::Take);
        }
    }

    #[test]
    fn crumbs_cost_their_flow_and_come_back_with_time() {
        let mut inflow = Inflow::new();
        let taken = (0..BURST).all(|_| inflow.judge(at(0), &crumb(2, b"x")) == Verdict::Take);
        assert!(taken);
        assert_eq!(inflow.judge(at(0), &crumb(4, b"x")), Verdict::Crumbs(4));
        let later =
            (0..A_SECOND).all(|_| inflow.judge(at(1_000), &crumb(2, b"x")) == Verdict::Take);
        assert!(later);
        assert_eq!(inflow.judge(at(1_000), &crumb(2, b"x")), Verdict::Crumbs(2));
    }

    #[test]
    fn signals_are_paid_by_what_was_sent() {
        let ack = Record::Ack {
            flow: 2,
            cumulative: 0,
            window: 0,
        };
        let mut inflow = Inflow::new();
        for _ in 0..10 * BURST {
            assert_eq!(inflow.judge(at(0), &ack), Verdict::Take);
            inflow.sent(BYTES_PER_SIGNAL as usize);
        }
        let flood = (0..=BURST).any(|_| inflow.judge(at(0), &ack) == Verdict::Flood);
        assert!(flood);
    }

    #[test]
    fn an_honest_end_stays_below_what_the_other_takes() {
        let (mut ours, mut theirs) = (Inflow::new(), Inflow::new());
        for micro in (0..20_000_000).step_by(5) {
            let now = Time::ZERO + Duration::from_micros(micro);
            if ours.may_send_crumb(now) {
                assert_eq!(theirs.judge(now, &crumb(2, b"x")), Verdict::Take);
            }
        }
    }
}
