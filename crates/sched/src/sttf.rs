//! The native scheduler `sttf`; its page:
//!
#![doc = include_str!("sttf.md")]

use std::time::Duration;

use crate::{FlowView, Marks, Scheduler, SubflowView};

/// The scheduler.
pub struct Sttf;

/// When a chunk of `bytes` given to it now will have arrived, and what breaks a tie: the queue.
fn transfer_time(subflow: &SubflowView, bytes: u64) -> (Duration, u64) {
    let ahead = subflow.in_socket();
    // Windows that must be through before the chunk's last byte may leave.
    let windows = ahead.saturating_add(bytes).saturating_sub(1) / subflow.window().max(bytes);
    let trips = u32::try_from(windows).unwrap_or(u32::MAX);
    (subflow.srtt / 2 + subflow.srtt.saturating_mul(trips), ahead)
}

impl Scheduler for Sttf {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        let times = flow
            .usable()
            .map(|(position, subflow)| (transfer_time(subflow, flow.chunk), position));
        if let Some((_, position)) = times.min() {
            marks.mark(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_support::{flow, subflow};

    #[test]
    fn windows_ahead_cost_a_round_trip_each() {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 70, 50)];
        // 250 kB a window on the first link: 10 ms, 30 ms, 50 ms; the other: 35 ms.
        for (queued, expected) in [(0, 0), (240_000, 0), (490_000, 1)] {
            subflows[0].queued = queued;
            subflows[0].room = 0;
            let mut marks = Marks::default();
            Sttf.get_send(&flow(&subflows), &mut marks);
            assert_eq!(marks.iter().collect::<Vec<_>>(), [expected], "{queued}");
        }
    }
}
