//! The native scheduler `default`; its page:
//!
#![doc = include_str!("default.md")]

use std::time::Duration;

use crate::{FlowView, MAX_SUBFLOWS, Marks, Scheduler, SubflowView};

/// A flow that sent less than this counts as short: its end may be near, and what waits is all of it. Of a long one
/// no more waits than its window lets in. With 1 MiB the tail of 2 MB went to slow links: over 100/20 + 50/60 +
/// 20/120 it took 0.212 s, with 4 MiB 0.170 s (medians in the lab).
const SHORT_FLOW: u64 = 4 << 20;

/// What the faster subflows send until a chunk of a slower one is acknowledged must fit in the window this many times:
/// rates and delays are guesses.
const SPARE_WINDOW: f64 = 1.2;
/// What waits must be this many times what the faster ones send until the chunk arrives: the end of a short flow must
/// not wait for a link that has just begun.
const SPARE_BACKLOG: f64 = 2.0;

/// The default scheduler. It keeps no state: every decision follows from the view.
pub struct Default;

impl Scheduler for Default {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        let arrivals = Arrivals::of(flow);
        let free = arrivals.first(flow, |subflow| subflow.room > 0);
        if let Some((position, at)) = free
            && arrivals.helps(flow, at)
        {
            marks.mark(position);
        }
    }

    /// What is sent again blocks the receiver: it waits for room on the subflow that delivers it first.
    /// The others go on with new data meanwhile.
    fn get_retrans(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        if let Some((position, _)) = Arrivals::of(flow).first(flow, |_| true) {
            marks.mark(position);
        }
    }
}

/// When the chunk is expected to have arrived, by the subflow at each position; none for those that are not to be used.
struct Arrivals([Option<Duration>; MAX_SUBFLOWS]);

impl Arrivals {
    fn of(flow: &FlowView<'_>) -> Arrivals {
        let mut arrivals = [None; MAX_SUBFLOWS];
        for (position, subflow) in flow.usable() {
            if let Some(arrival) = arrivals.get_mut(position) {
                *arrival = Some(subflow.expected_delivery(flow.chunk));
            }
        }
        Arrivals(arrivals)
    }

    fn all<'a>(
        &self,
        flow: &FlowView<'a>,
    ) -> impl Iterator<Item = (usize, &'a SubflowView, Duration)> {
        let all = flow.subflows.iter().zip(&self.0).enumerate();
        all.filter_map(|(position, (subflow, at))| Some((position, subflow, (*at)?)))
    }

    /// The position of the subflow among the `fit` ones that delivers first, and when it does.
    fn first(
        &self,
        flow: &FlowView<'_>,
        fit: impl Fn(&SubflowView) -> bool,
    ) -> Option<(usize, Duration)> {
        self.all(flow)
            .filter(|(_, subflow, _)| fit(subflow))
            .map(|(position, _, at)| (position, at))
            .min_by_key(|&(_, at)| at)
    }

    /// Whether a subflow that delivers at `at` makes the flow faster rather than slower.
    fn helps(&self, flow: &FlowView<'_>, at: Duration) -> bool {
        let faster = || self.all(flow).filter(|&(_, _, arrival)| arrival < at);
        let Some(fastest) = faster().map(|(_, _, arrival)| arrival).min() else {
            return true;
        };
        let sent_within = |time| -> f64 {
            faster()
                .map(|(_, subflow, _)| subflow.sends_within(time))
                .sum()
        };
        let window = flow.window_free.saturating_add(flow.outstanding) as f64;
        if sent_within(at.saturating_add(back(flow))) * SPARE_WINDOW > window {
            return false;
        }
        flow.sent >= SHORT_FLOW || flow.backlog as f64 > sent_within(at - fastest) * SPARE_BACKLOG
    }
}

/// How long an acknowledgement takes: it comes by the quickest way.
fn back(flow: &FlowView<'_>) -> Duration {
    let ways = flow.usable().map(|(_, subflow)| subflow.min_rtt / 2);
    ways.min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_support::{flow, subflow};

    fn chosen(view: &FlowView<'_>) -> Vec<usize> {
        let mut marks = Marks::default();
        Default.get_send(view, &mut marks);
        marks.iter().collect()
    }

    #[test]
    fn the_earliest_with_room_gets_the_chunk() {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 60, 50)];
        assert_eq!(chosen(&flow(&subflows)), [0]);
        subflows[0].room = 0;
        subflows[0].queued = 125_000;
        assert_eq!(chosen(&flow(&subflows)), [1], "work-conserving");
        subflows[1].room = 0;
        assert_eq!(chosen(&flow(&subflows)), [] as [usize; 0]);
    }

    #[test]
    fn what_blocks_the_receiver_waits_for_the_quickest() {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 60, 50)];
        subflows[0].room = 0;
        subflows[0].queued = 125_000;
        let mut marks = Marks::default();
        Default.get_retrans(&flow(&subflows), &mut marks);
        assert_eq!(
            marks.iter().collect::<Vec<_>>(),
            [0],
            "20 ms, and there only 31"
        );
        subflows[0].queued = 1_250_000;
        let mut marks = Marks::default();
        Default.get_retrans(&flow(&subflows), &mut marks);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_small_window_leaves_the_slow_path_idle() {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 300, 5)];
        subflows[0].room = 0;
        let mut view = flow(&subflows);
        view.window_free = 100_000;
        assert_eq!(chosen(&view), [] as [usize; 0]);
        view.window_free = 16 << 20;
        assert_eq!(chosen(&view), [1]);
    }

    #[test]
    fn a_window_that_is_in_use_is_large_enough() {
        let mut subflows = [subflow(0, 25, 100), subflow(1, 25, 100)];
        subflows[0].room = 0;
        subflows[1].queued = 30_000;
        let mut view = flow(&subflows);
        (view.window_free, view.outstanding) = (16_000, 1 << 20);
        assert_eq!(chosen(&view), [1], "all of it will be acknowledged by then");
        view.outstanding = 200_000;
        assert_eq!(chosen(&view), [] as [usize; 0]);
    }

    #[test]
    fn a_short_flow_counts_on_a_window_that_doubles() {
        let mut subflows = [subflow(0, 20, 5), subflow(1, 200, 5)];
        subflows[0].room = 0;
        let mut view = flow(&subflows);
        (view.sent, view.backlog) = (20_000, 400_000);
        assert_eq!(chosen(&view), [1], "56 kB until then, as steadily as now");
        let mut starting = subflows;
        starting[0].delivered = 9;
        view.subflows = &starting;
        assert_eq!(chosen(&view), [] as [usize; 0], "288 kB");
        view.sent = SHORT_FLOW;
        assert_eq!(chosen(&view), [1]);
    }

    #[test]
    fn a_short_flow_waits_for_the_fast_path() {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 120, 50)];
        subflows[0].room = 0;
        let mut view = flow(&subflows);
        view.sent = 20_000;
        view.backlog = 50_000;
        assert_eq!(chosen(&view), [] as [usize; 0]);
        view.backlog = 2_000_000;
        assert_eq!(chosen(&view), [1]);
    }

    #[test]
    fn a_backup_is_used_only_alone() {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 60, 50)];
        subflows[0].backup = true;
        assert_eq!(chosen(&flow(&subflows)), [1]);
        subflows[1].room = 0;
        assert_eq!(chosen(&flow(&subflows)), [] as [usize; 0]);
        assert_eq!(chosen(&flow(&subflows[..1])), [0]);
    }
}
