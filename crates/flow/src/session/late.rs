//! Repeats what comes later than was expected.

use std::collections::BTreeSet;
use std::time::Duration;

use guywire_sched::{SubflowId, Time};

use super::Session;
use crate::record;
use crate::subflow::Subflow;
use crate::timer::Timer;

impl Session {
    /// Looks again when the chunk the receiver waits for will be overdue.
    pub(super) fn watch_head(&mut self, id: u64) {
        let due = self.flows.get(&id).and_then(|flow| flow.send.head_due());
        self.timers.set(Timer::Head(id), due);
    }

    /// The chunk the receiver waits for is overdue, though its path is not: a loss there holds what
    /// is behind it. It is repeated where it arrives first, but not before the receiver has waited as
    /// long as the repetition will take: most losses are mended by then, and whoever waits so costs
    /// at most twice what the best choice would have.
    pub(super) fn head_timeout(&mut self, now: Time, id: u64) {
        let Some(again) = self.repetition_time(id) else {
            return;
        };
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let fair = flow.send.head_since() + again;
        if fair > now {
            return self.timers.set(Timer::Head(id), Some(fair));
        }
        let Some((late, bytes)) = flow.send.lose_overdue(now) else {
            return;
        };
        if let Some(subflow) = self.subflows.get(&late).filter(|s| s.collapsed.is_none())
            && let Some(path) = self.paths.get_mut(&subflow.path)
        {
            path.patience.repeated(now, bytes, subflow.info.srtt);
        }
        self.enqueue(id);
        self.unpark();
    }

    /// How long the oldest chunk would take on the best subflow that has not sent it.
    fn repetition_time(&self, id: u64) -> Option<Duration> {
        let send = &self.flows.get(&id)?.send;
        let head = send.head()?;
        let views = self.views(id);
        let others = views.iter().filter(|view| !send.has_sent(head, view.id));
        others
            .map(|view| view.expected_delivery(record::MAX_BODY as u64))
            .min()
    }

    /// What a subflow has queued in the kernel will be late. Copies, which may use every subflow of a path, are repeated
    /// at once; other chunks would have to wait for a slower path.
    pub(super) fn expect_late(&mut self, now: Time, id: SubflowId, bytes: u64) {
        let is_quick = |subflow: &Subflow| {
            subflow.collapsed.is_none() && subflow.is_fit() && self.is_up(subflow.path)
        };
        let all = self.subflows.iter();
        let quick: BTreeSet<SubflowId> = all
            .filter(|(_, subflow)| is_quick(subflow))
            .map(|(&id, _)| id)
            .collect();
        let ids: Vec<u64> = self.flows.keys().copied().collect();
        let mut repeats = false;
        for flow in ids {
            let Some(state) = self.flows.get_mut(&flow) else {
                continue;
            };
            state.send.expect_late(now, id, bytes);
            if state.send.lose_late_copies(now, id, &quick) {
                self.enqueue(flow);
                repeats = true;
            }
            self.watch_head(flow);
        }
        if repeats {
            self.pump(now);
        }
    }
}
