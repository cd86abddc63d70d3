//! The native scheduler `redundant`; its page:
//!
#![doc = include_str!("redundant.md")]

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
