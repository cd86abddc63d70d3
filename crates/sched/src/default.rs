//! The native scheduler `default`; its page:
//!
#![doc = include_str!("default.md")]

use std::time::Duration;

use crate::{FlowView, Marks, Scheduler, SubflowView};

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
        let fastest = delivers_first(flow, |_| true);
        let free = delivers_first(flow, |subflow| subflow.room > 0);
        if let (Some((_, fastest)), Some((position, at))) = (fastest, free)
            && helps(flow, at, fastest)
        {
            marks.mark(position);
        }
    }

    /// What is sent again blocks the receiver: it waits for room on the subflow that delivers it first.
    /// The others go on with new data meanwhile.
    fn get_retrans(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        if let Some((position, _)) = delivers_first(flow, |_| true) {
            marks.mark(position);
        }
    }
}

/// The position of the subflow among the `fit` ones that delivers first, and when it does.
fn delivers_first(
    flow: &FlowView<'_>,
    fit: impl Fn(&SubflowView) -> bool,
) -> Option<(usize, Duration)> {
    flow.usable()
        .filter(|(_, subflow)| fit(subflow))
        .map(|(position, subflow)| (position, subflow.expected_delivery(flow.chunk)))
        .min_by_key(|&(_, at)| at)
}

/// Whether a subflow that delivers at `at`, while the best delivers at `fastest`, makes the flow
/// faster rather than slower.
fn helps(flow: &FlowView<'_>, at: Duration, fastest: Duration) -> bool {
    if at == fastest {
        return true;
    }
    let faster = |time: Duration| -> f64 {
        flow.usable()
            .map(|(_, subflow)| subflow)
            .filter(|subflow| subflow.expected_delivery(flow.chunk) < at)
            .map(|subflow| subflow.sends_within(time))
            .sum()
    };
    let window = flow.window_free.saturating_add(flow.outstanding) as f64;
    if faster(at + back(flow)) * SPARE_WINDOW > window {
        return false;
    }
    flow.sent >= SHORT_FLOW || flow.backlog as f64 > faster(at - fastest) * SPARE_BACKLOG
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
