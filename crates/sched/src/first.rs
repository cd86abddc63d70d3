//! The native scheduler `first`; its page:
//!
#![doc = include_str!("first.md")]

use crate::{FlowView, Marks, Scheduler};

/// The scheduler.
pub struct First;

impl Scheduler for First {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        if !flow.subflows.is_empty() {
            marks.mark(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_support::{flow, subflow};

    #[test]
    fn it_waits_for_the_first() {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 60, 50)];
        subflows[0].room = 0;
        let mut marks = Marks::default();
        First.get_send(&flow(&subflows), &mut marks);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [0]);
    }
}
