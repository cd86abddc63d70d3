//! A run: what goes to the same subflows before the scheduler is asked again.
//!
//! Linux asks once for a burst of bytes (`snd_burst`, net/mptcp/protocol.c, `__subflow_push_pending`) and
//! goes on with the subflow until they are sent, or it cannot take more.

use crate::{FlowView, MAX_SUBFLOWS, Marks, SubflowId};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    subflows: [Option<SubflowId>; MAX_SUBFLOWS],
    /// It lasts until so many bytes of the flow are scheduled.
    until: u64,
}

impl Run {
    /// The marked subflows get the next `bytes`.
    pub fn start(flow: &FlowView<'_>, marks: Marks, bytes: u64) -> Run {
        let mut subflows = [None; MAX_SUBFLOWS];
        let marked = marks
            .iter()
            .filter_map(|position| flow.subflows.get(position));
        for (slot, subflow) in subflows.iter_mut().zip(marked) {
            *slot = Some(subflow.id);
        }
        Run {
            subflows,
            until: flow.sent.saturating_add(bytes),
        }
    }

    /// Bytes of it that are left.
    pub fn left(&self, flow: &FlowView<'_>) -> u64 {
        self.until.saturating_sub(flow.sent)
    }

    /// Marks those subflows that are still shown, if it lasts and one of them has room.
    pub fn go_on(&self, flow: &FlowView<'_>, marks: &mut Marks) -> bool {
        let of_run = |&(_, subflow): &(usize, &crate::SubflowView)| {
            self.subflows.contains(&Some(subflow.id))
        };
        let mine = || flow.subflows.iter().enumerate().filter(of_run);
        let lasts = self.left(flow) > 0 && mine().any(|(_, subflow)| subflow.room > 0);
        if lasts {
            for (position, _) in mine() {
                marks.mark(position);
            }
        }
        lasts
    }
}
