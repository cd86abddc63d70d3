//! The native scheduler `lowlatency`; its page:
//!
#![doc = include_str!("lowlatency.md")]

use std::time::Duration;

use crate::{FlowView, Marks, Scheduler, SubflowView, Time, default};

/// A flow is silent when it has sent nothing for so long, or for a round trip, if that is longer.
const SILENCE: Duration = Duration::from_millis(20);
/// More of the free window than one part in so many is on its way: the flow fills its window.
const FILLS: u64 = 4;

/// The scheduler.
#[derive(Default)]
pub struct LowLatency {
    /// When it was last asked.
    asked: Option<Time>,
}

impl LowLatency {
    /// Whether the loss of the next chunk would be noticed late.
    fn at_risk(&mut self, flow: &FlowView<'_>) -> bool {
        let round_trip = flow.usable().map(|(_, subflow)| subflow.srtt).min();
        let silence = round_trip.unwrap_or_default().max(SILENCE);
        let asked = self.asked.replace(flow.now);
        let head = asked.is_none_or(|asked| flow.now.since(asked) > silence);
        let tail = flow.backlog <= flow.chunk;
        let on_its_way: u64 = flow.subflows.iter().map(SubflowView::in_socket).sum();
        head || (tail && on_its_way.saturating_mul(FILLS) <= flow.window_free)
    }
}

impl Scheduler for LowLatency {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        if !self.at_risk(flow) {
            return default::Default.get_send(flow, marks);
        }
        let mut links: Vec<(Duration, usize)> = flow
            .usable()
            .map(|(position, subflow)| (subflow.expected_delivery(flow.chunk), position))
            .collect();
        links.sort_unstable();
        for (_, position) in links.into_iter().take(2) {
            marks.mark(position);
        }
    }

    fn get_retrans(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        default::Default.get_retrans(flow, marks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_support::{flow, subflow};

    #[test]
    fn heads_and_tails_are_copied() {
        let subflows = [subflow(0, 120, 20), subflow(1, 20, 100), subflow(2, 60, 50)];
        let mut scheduler = LowLatency::default();
        let mut chosen = |at_ms: u64, backlog, window_free| {
            let view = FlowView {
                now: Time::from_nanos(at_ms * 1_000_000),
                backlog,
                window_free,
                ..flow(&subflows)
            };
            let mut marks = Marks::default();
            scheduler.get_send(&view, &mut marks);
            marks.iter().collect::<Vec<_>>()
        };
        assert_eq!(chosen(1_000, 100_000, 1 << 20), [1, 2], "the head");
        assert_eq!(chosen(1_001, 84_000, 1 << 20), [1]);
        assert_eq!(chosen(1_002, 16_000, 1 << 20), [1, 2], "the tail");
        assert_eq!(chosen(1_500, 84_000, 1 << 20), [1, 2], "a head again");
    }

    #[test]
    fn a_flow_that_fills_its_window_has_no_tails() {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 60, 50)];
        subflows[1].queued = 500_000;
        let view = FlowView {
            backlog: 16_000,
            window_free: 1 << 20,
            ..flow(&subflows)
        };
        let mut scheduler = LowLatency {
            asked: Some(view.now),
        };
        let mut marks = Marks::default();
        scheduler.get_send(&view, &mut marks);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [0]);
    }
}
