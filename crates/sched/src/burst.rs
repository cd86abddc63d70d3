//! The native scheduler `burst`; its page:
//!
#![doc = include_str!("burst.md")]

use crate::{FlowView, Marks, Run, Scheduler, SubflowId, SubflowView};

/// Most bytes of one burst: 64 kB less the headers that a segment may carry.
const BURST_MAX: u64 = 65_536 - 20 - 40 - 40 - 8;
/// Paces that are remembered: what subflows of a flow there have been lately.
const REMEMBERED: usize = 16;

/// The scheduler.
#[derive(Default)]
pub struct Burst {
    run: Run,
    /// The average pace of each subflow, in bytes a second.
    paces: Vec<(SubflowId, u64)>,
}

impl Burst {
    /// The average pace of a subflow; one that has none yet starts with its rate.
    fn pace(&mut self, subflow: &SubflowView) -> &mut u64 {
        let known = self.paces.iter().position(|(id, _)| *id == subflow.id);
        let at = known.unwrap_or_else(|| {
            if self.paces.len() == REMEMBERED {
                self.paces.remove(0);
            }
            self.paces.push((subflow.id, 0));
            self.paces.len() - 1
        });
        let pace = &mut self.paces[at].1;
        if *pace as u32 == 0 {
            *pace = subflow.rate;
        }
        pace
    }

    /// Among those that are backups or those that are not: whose queue drains soonest.
    fn soonest(&mut self, flow: &FlowView<'_>, backup: bool) -> Option<usize> {
        let mut best = None;
        for (position, subflow) in flow.subflows.iter().enumerate() {
            // The kernel keeps paces of all that it looks at, and those in 32 bits count.
            let pace = u64::from(*self.pace(subflow) as u32);
            if subflow.backup != backup || pace == 0 {
                continue;
            }
            let linger = (subflow.in_socket() << 32) / pace;
            if best.is_none_or(|(least, _)| linger < least) {
                best = Some((linger, position));
            }
        }
        best.map(|(_, position)| position)
    }
}

impl Scheduler for Burst {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        if self.run.go_on(flow, marks) {
            return;
        }
        // What is left of a burst that ended early counts on, as `snd_burst` does.
        let left = self.run.left(flow);
        self.run = Run::start(flow, *marks, left);
        let only_backups = flow.subflows.iter().all(|subflow| subflow.backup);
        let Some(position) = self.soonest(flow, only_backups) else {
            return;
        };
        let subflow = &flow.subflows[position];
        if subflow.room == 0 {
            return;
        }
        marks.mark(position);
        let burst = flow.window_free.min(BURST_MAX);
        if burst > 0 {
            let queued = subflow.in_socket();
            let pace = self.pace(subflow);
            let sent = subflow.rate.wrapping_mul(burst);
            *pace = pace.wrapping_mul(queued).wrapping_add(sent) / (burst + queued);
        }
        self.run = Run::start(flow, *marks, if burst > 0 { burst } else { left });
    }

    /// The first that has nothing under way; a backup only where no other is active.
    fn get_retrans(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        let idle = |subflow: &SubflowView| subflow.in_socket() == 0;
        let first = |backup: bool| {
            let fit = |subflow: &SubflowView| subflow.backup == backup && idle(subflow);
            flow.subflows.iter().position(fit)
        };
        let backups = || {
            flow.subflows
                .iter()
                .all(idle)
                .then(|| first(true))
                .flatten()
        };
        if let Some(position) = first(false).or_else(backups) {
            marks.mark(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_support::{flow, subflow};

    #[test]
    fn a_burst_stays_where_it_began() {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 20, 100)];
        subflows[0].queued = 1_000;
        let mut scheduler = Burst::default();
        let mut marks = Marks::default();
        scheduler.get_send(&flow(&subflows), &mut marks);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [1]);
        subflows[1].queued = 2_000;
        for (sent, chosen) in [(16_000, 1), (BURST_MAX, 0)] {
            let mut view = flow(&subflows);
            view.sent += sent;
            let mut marks = Marks::default();
            scheduler.get_send(&view, &mut marks);
            assert_eq!(marks.iter().collect::<Vec<_>>(), [chosen]);
        }
    }

    #[test]
    fn what_was_lost_waits_for_an_idle_link() {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 20, 100)];
        subflows[0].unacked = 1;
        let mut marks = Marks::default();
        Burst::default().get_retrans(&flow(&subflows), &mut marks);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [1]);
        subflows[1].queued = 1;
        let mut marks = Marks::default();
        Burst::default().get_retrans(&flow(&subflows), &mut marks);
        assert!(marks.is_empty());
    }
}
