//! The native scheduler `roundrobin`; its page:
//!
#![doc = include_str!("roundrobin.md")]

use crate::{FlowView, Marks, Scheduler};

/// The round-robin scheduler.
#[derive(Default)]
pub struct RoundRobin {
    /// The path that had the last chunk; the search starts behind it.
    last_path: Option<u8>,
}

impl Scheduler for RoundRobin {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        let start = flow
            .subflows
            .iter()
            .position(|subflow| Some(subflow.path) > self.last_path)
            .unwrap_or(0);
        let turn = (start..flow.subflows.len()).chain(0..start);
        if let Some(position) = turn.into_iter().find(|&at| flow.subflows[at].room > 0) {
            self.last_path = Some(flow.subflows[position].path);
            marks.mark(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_support::{flow, subflow};

    #[test]
    fn takes_turns_and_skips_full_ones() {
        let mut subflows = [subflow(1, 20, 100), subflow(2, 60, 50), subflow(3, 60, 50)];
        subflows[1].room = 0;
        let mut scheduler = RoundRobin::default();
        let mut turns = Vec::new();
        for _ in 0..4 {
            let mut marks = Marks::default();
            scheduler.get_send(&flow(&subflows), &mut marks);
            turns.extend(marks.iter());
        }
        assert_eq!(turns, [0, 2, 0, 2]);
    }
}
