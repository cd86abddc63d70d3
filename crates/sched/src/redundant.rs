//! `redundant`: a copy of every chunk on every link.
//!
//! **Overview.** Every live subflow is marked for every chunk; each sends what it owes as fast as it
//! can, and the receiver takes whichever copy comes first. A subflow that falls behind skips what was
//! acknowledged meanwhile.
//!
//! **Typical use.** SSH, calls, control traffic: when a link dies, a flow below the rate of its
//! second-best link sees no more than the difference of the two one-way delays.
//! **When it hurts.** It bonds nothing: the flow is as fast as its best link, and pays for all of them.
//! **Production ready?** Yes.

use crate::{FlowView, Marks, Scheduler};

/// The redundant scheduler.
pub struct Redundant;

impl Scheduler for Redundant {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        for position in 0..flow.subflows.len() {
            marks.mark(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_support::{flow, subflow};

    #[test]
    fn full_subflows_are_marked_too() {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 60, 50)];
        subflows[1].room = 0;
        let mut marks = Marks::default();
        Redundant.get_send(&flow(&subflows), &mut marks);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [0, 1]);
    }
}
