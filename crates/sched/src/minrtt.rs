//! `minrtt`: the link with the shortest round trip that has room.
//!
//! **Overview.** MPTCP's first default: the quickest link is filled before the next one is used.
//! **Typical use.** Links alike in rate; short transfers.
//! **When it hurts.** The last chunks of a transfer wait for a slow link; `default` foresees that.
//! **Production ready?** It is safe; `default` is rarely slower.

use crate::{FlowView, Marks, Scheduler};

/// The scheduler.
pub struct MinRtt;

impl Scheduler for MinRtt {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        if let Some((position, _)) = flow.quickest(|subflow| subflow.room > 0) {
            marks.mark(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_support::{flow, subflow};

    #[test]
    fn the_next_is_used_when_the_quickest_is_full() {
        let mut subflows = [subflow(0, 60, 100), subflow(1, 20, 50)];
        let mut marks = Marks::default();
        MinRtt.get_send(&flow(&subflows), &mut marks);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [1]);
        subflows[1].room = 0;
        let mut marks = Marks::default();
        MinRtt.get_send(&flow(&subflows), &mut marks);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [0]);
    }
}
