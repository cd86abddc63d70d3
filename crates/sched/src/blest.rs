//! The native scheduler `blest`; its page:
//!
#![doc = include_str!("blest.md")]

use crate::minrtt::MinRtt;
use crate::{FlowView, Marks, Scheduler, SubflowView, Time};

/// `lambda` in thousandths: where it begins and its bounds.
const LAMBDA: u64 = 1_200;
const LEAST: u64 = 1_000;
const MOST: u64 = 1_300;
/// What it gains when the window was in the way, and loses when it was not, each round trip of the
/// quickest link.
const BAD: u64 = 40;
const GOOD: u64 = 10;

/// The scheduler.
pub struct Blest {
    lambda: u64,
    /// When `lambda` was last moved, and whether the window has been in the way since.
    moved: Time,
    blocked: bool,
}

impl Default for Blest {
    fn default() -> Blest {
        Blest {
            lambda: LAMBDA,
            moved: Time::ZERO,
            blocked: false,
        }
    }
}

impl Blest {
    /// Moves `lambda` once a round trip of the quickest link; a window without space for a segment was in the
    /// way.
    fn follow(&mut self, flow: &FlowView<'_>, quick: &SubflowView) {
        self.blocked |= flow.window_free < u64::from(quick.mss);
        if flow.now.since(self.moved) < quick.srtt {
            return;
        }
        self.moved = flow.now;
        self.lambda = match std::mem::take(&mut self.blocked) {
            true => (self.lambda + BAD).min(MOST),
            false => (self.lambda - GOOD).max(LEAST),
        };
    }
}

/// Bytes that `quick` sends within the round trip of `slow`: its window each round trip, which grows by a
/// segment each time.
fn sends_meanwhile(quick: &SubflowView, slow: &SubflowView) -> u64 {
    let trips = (slow.srtt.as_micros() / quick.srtt.as_micros().max(1)) as u64;
    let growth = u64::from(quick.mss) * trips.saturating_sub(1) / 2;
    quick.window().saturating_add(growth).saturating_mul(trips)
}

impl Scheduler for Blest {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        let Some((quickest, quick)) = flow.quickest(|_| true) else {
            return;
        };
        self.follow(flow, quick);
        if quick.room > 0 {
            return marks.mark(quickest);
        }
        let Some((position, slow)) = flow.quickest(|subflow| subflow.room > 0) else {
            return;
        };
        let on_their_way: u64 = flow.subflows.iter().map(SubflowView::in_socket).sum();
        let window = flow.window_free.saturating_add(on_their_way);
        let space = window.saturating_sub(slow.in_socket() + u64::from(slow.mss));
        if sends_meanwhile(quick, slow).saturating_mul(self.lambda) / 1_000 <= space {
            marks.mark(position);
        }
    }

    /// What was lost holds up all that follows: the quickest link with room has it.
    fn get_retrans(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        MinRtt.get_send(flow, marks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_support::{flow, subflow};

    /// What is marked when the quick one of two links is full, at a window of so many bytes.
    fn chosen(scheduler: &mut Blest, window_free: u64, now: u64) -> Vec<usize> {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 200, 5)];
        subflows[0].room = 0;
        let view = FlowView {
            window_free,
            now: Time::from_nanos(now),
            ..flow(&subflows)
        };
        let mut marks = Marks::default();
        scheduler.get_send(&view, &mut marks);
        marks.iter().collect()
    }

    #[test]
    fn a_slow_link_is_used_where_the_window_has_space() {
        // 250 kB a round trip, ten round trips, 9 x 1,400 / 2 more bytes each: 2.56 MB.
        assert_eq!(chosen(&mut Blest::default(), 4 << 20, 0), [1]);
        assert_eq!(
            chosen(&mut Blest::default(), 3_000_000, 0),
            [] as [usize; 0]
        );
    }

    #[test]
    fn it_learns_from_a_window_that_is_in_the_way() {
        let mut scheduler = Blest::default();
        for trip in 1..100 {
            chosen(&mut scheduler, 4 << 20, trip * 20_000_000);
        }
        assert_eq!(scheduler.lambda, LEAST);
        assert_eq!(chosen(&mut scheduler, 2_600_000, 2_000_000_000), [1]);
        for trip in 101..200 {
            chosen(&mut scheduler, 0, trip * 20_000_000);
        }
        assert_eq!(scheduler.lambda, MOST);
    }
}
