//! The native scheduler `minrtt`; its page:
//!
#![doc = include_str!("minrtt.md")]

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
