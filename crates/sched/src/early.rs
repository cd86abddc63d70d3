//! The native scheduler `early`; its page:
//!
#![doc = include_str!("early.md")]

use crate::minrtt::MinRtt;
use crate::{FlowView, Marks, Scheduler, SubflowView};

/// Thresholds of the average queue, in microseconds; the upper one is three times the lower: at least twice, says the
/// paper. 10 ms is what a session itself queues.
const LOWER: u32 = 10_000;
const UPPER: u32 = 3 * LOWER;
/// One decision moves the average by 2^-9: the paper's weight of 0.002.
const WEIGHT: u32 = 9;
/// The probability at the upper threshold, of 65,536: the paper's 1/50.
const CERTAIN: u64 = 65_536;
const MOST: u64 = CERTAIN / 50;
/// After so many nanoseconds without a link the quickest that has room is taken.
pub const PATIENCE: u64 = 100_000_000;
/// Links that are remembered, by number: as many as there may be.
const LINKS: usize = 32;
/// Where the random numbers of a flow begin.
const SEED: u32 = 0x9e37_79b9;

/// The scheduler.
pub struct Early {
    links: [Link; LINKS],
    random: u32,
    /// Since when there was no link, in nanoseconds of the session's clock; 0 if there was one.
    waits_since: u64,
}

/// What is remembered of a link.
#[derive(Clone, Copy, Default)]
struct Link {
    /// The least round trip, in microseconds; 0 before the first.
    least: u32,
    /// The average queue in microseconds, times 2^[`WEIGHT`].
    average: u64,
    /// Decisions since it was passed over.
    since: u32,
    /// It is passed over until then, in nanoseconds, unless its queue is short before.
    until: u64,
}

/// How long a queue is, in microseconds.
#[derive(Debug, PartialEq)]
struct Queue {
    /// As round trips tell, which see it late, or what is in flight.
    seen: u32,
    /// As what is in flight tells: when that is gone, the queue is.
    left: u32,
}

impl Default for Early {
    fn default() -> Early {
        Early {
            links: [Link::default(); LINKS],
            random: SEED,
            waits_since: 0,
        }
    }
}

impl Early {
    /// Whether the link is passed over this time.
    fn passes_over(&mut self, subflow: &SubflowView, now: u64) -> bool {
        let link = &mut self.links[usize::from(subflow.path) % LINKS];
        let queue = link.queue(subflow);
        link.average = link.average - (link.average >> WEIGHT) + u64::from(queue.seen);
        let idle = subflow.unacked == 0 && subflow.queued == 0;
        if idle || queue.seen.min(queue.left) <= LOWER {
            (link.since, link.until) = (0, 0);
            return false;
        }
        if now < link.until {
            return true;
        }
        let share = link.share();
        self.random = xorshift(self.random);
        let passes = u64::from(self.random & 0xffff) < share;
        link.since = if passes {
            0
        } else {
            link.since.saturating_add(1)
        };
        if passes {
            link.until = now + u64::from(micros(subflow)) * 1_000;
        }
        passes
    }

    /// The quickest link that has room and is not passed over, and the quickest that has room.
    fn candidates(&mut self, flow: &FlowView<'_>) -> [Option<usize>; 2] {
        let mut best = [None; 2];
        let mut keep = |at: usize, position: usize, micros: u128| {
            if best[at].is_none_or(|(least, _)| micros < least) {
                best[at] = Some((micros, position));
            }
        };
        let now = flow.now.as_nanos();
        for (position, subflow) in flow.usable() {
            let passes = self.passes_over(subflow, now);
            if subflow.room == 0 {
                continue;
            }
            let micros = subflow.srtt.as_micros();
            keep(1, position, micros);
            if !passes {
                keep(0, position, micros);
            }
        }
        best.map(|it| it.map(|(_, position)| position))
    }
}

/// The round trip in microseconds, as far as programs see it.
fn micros(subflow: &SubflowView) -> u32 {
    let micros = u32::try_from(subflow.srtt.as_micros()).unwrap_or(u32::MAX);
    micros.min(u32::MAX >> 3)
}

impl Link {
    /// How long the queue is.
    fn queue(&mut self, subflow: &SubflowView) -> Queue {
        let trip = micros(subflow);
        if self.least == 0 || trip < self.least {
            self.least = trip;
        }
        let in_flight = u64::from(subflow.unacked) * u64::from(subflow.mss);
        let takes = in_flight.saturating_mul(1_000_000) / subflow.rate.max(1);
        let takes = u32::try_from(takes).unwrap_or(u32::MAX);
        let left = takes.saturating_sub(self.least);
        Queue {
            seen: left.max(trip - self.least),
            left,
        }
    }

    /// How likely it is passed over, of [`CERTAIN`]: the longer it was not, the more, so that this is evenly spread.
    fn share(&self) -> u64 {
        let average = self.average >> WEIGHT;
        let (lower, upper) = (u64::from(LOWER), u64::from(UPPER));
        if average < lower {
            return 0;
        }
        if average >= upper {
            return CERTAIN;
        }
        let base = MOST * (average - lower) / (upper - lower);
        match CERTAIN.checked_sub(u64::from(self.since) * base) {
            Some(rest) if rest > 0 => base * CERTAIN / rest,
            _ => CERTAIN,
        }
    }
}

/// The next number of Marsaglia's "Xorshift RNGs" (Journal of Statistical Software, 2003).
fn xorshift(mut number: u32) -> u32 {
    number ^= number << 13;
    number ^= number >> 17;
    number ^ number << 5
}

impl Scheduler for Early {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        let [chosen, any] = self.candidates(flow);
        let now = flow.now.as_nanos();
        let impatient = self.waits_since > 0 && now >= self.waits_since.saturating_add(PATIENCE);
        let chosen = chosen.or(any.filter(|_| impatient));
        match chosen {
            Some(position) => {
                self.waits_since = 0;
                marks.mark(position);
            }
            None if any.is_some() && self.waits_since == 0 => self.waits_since = now,
            None => {}
        }
    }

    /// What was lost holds up all that follows: the quickest link with room has it.
    fn get_retrans(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        MinRtt.get_send(flow, marks);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Time;
    use crate::view::tests_support::{flow, subflow};

    /// Segments that are in flight when they take a round trip.
    fn in_flight(subflow: &SubflowView) -> u32 {
        let bytes = subflow.rate as f64 * subflow.srtt.as_secs_f64();
        (bytes / f64::from(subflow.mss)).round() as u32
    }

    /// How often each of two links is chosen in `count` decisions, 1 ms apart from `clock` on, while the first has
    /// such a queue.
    fn shares(scheduler: &mut Early, clock: &mut Time, queue_ms: u64, count: u64) -> [u64; 2] {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 500, 50)];
        subflows[0].srtt += Duration::from_millis(queue_ms);
        for subflow in &mut subflows {
            subflow.unacked = in_flight(subflow);
        }
        let mut chosen = [0; 2];
        for _ in 0..count {
            *clock = *clock + Duration::from_millis(1);
            let view = FlowView {
                now: *clock,
                ..flow(&subflows)
            };
            let mut marks = Marks::default();
            scheduler.get_send(&view, &mut marks);
            marks.iter().for_each(|at| chosen[at] += 1);
        }
        chosen
    }

    #[test]
    fn the_longer_the_queue_the_more_it_is_passed_over() {
        let (mut scheduler, mut clock) = (Early::default(), Time::ZERO);
        let mut shares = |queue_ms, count| shares(&mut scheduler, &mut clock, queue_ms, count);
        assert_eq!(shares(0, 1_000), [1_000, 0]);
        assert_eq!(shares(9, 5_000), [5_000, 0]);
        // Between the thresholds: one in a hundred, spread evenly, makes one in about seventy, each for 40 ms.
        shares(20, 5_000);
        let [_, passed] = shares(20, 10_000);
        assert!((2_500..5_000).contains(&passed), "{passed}");
        shares(100, 1_000);
        assert_eq!(shares(100, 1_000), [0, 1_000]);
        // The queue is gone before the average is.
        assert_eq!(shares(5, 1), [1, 0]);
    }

    #[test]
    fn what_is_in_flight_counts_at_once() {
        let mut link = Link::default();
        let mut subflow = subflow(0, 20, 100);
        assert_eq!(link.queue(&subflow), Queue { seen: 0, left: 0 });
        // 12.5 bytes a microsecond: 40 ms, of which the way takes 20.
        (subflow.unacked, subflow.mss) = (500, 1_000);
        let both = |micros| Queue {
            seen: micros,
            left: micros,
        };
        assert_eq!(link.queue(&subflow), both(20_000));
        // Round trips still tell of what has left.
        (subflow.unacked, subflow.srtt) = (250, Duration::from_millis(50));
        let gone = Queue {
            seen: 30_000,
            left: 0,
        };
        assert_eq!(link.queue(&subflow), gone);
        (subflow.unacked, subflow.mss, subflow.rate) = (u32::MAX, u32::MAX, 1);
        assert_eq!(link.queue(&subflow), both(u32::MAX - 20_000));
    }

    #[test]
    fn nothing_waits_for_ever() {
        let mut scheduler = Early::default();
        let mut subflows = [subflow(0, 20, 100)];
        subflows[0].unacked = 10;
        let mut sent = Vec::new();
        for number in 0..2_000 {
            let view = FlowView {
                now: Time::from_nanos(1 + number * 1_000_000),
                ..flow(&subflows)
            };
            let mut marks = Marks::default();
            scheduler.get_send(&view, &mut marks);
            if !marks.is_empty() {
                sent.push(number);
            }
            subflows[0].srtt = Duration::from_millis(150);
            subflows[0].unacked = in_flight(&subflows[0]);
        }
        let late = &sent[sent.len() - 3..];
        assert_eq!(
            [late[1] - late[0], late[2] - late[1]],
            [101, 101],
            "{late:?}"
        );
    }
}
