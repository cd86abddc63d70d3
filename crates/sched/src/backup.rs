//! The native scheduler `backup`; its page:
//!
#![doc = include_str!("backup.md")]

use crate::{FlowView, Marks, Scheduler};

/// The scheduler.
pub struct Backup;

impl Scheduler for Backup {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        let normal = flow.subflows.iter().position(|subflow| !subflow.backup);
        if !flow.subflows.is_empty() {
            marks.mark(normal.unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_support::{flow, subflow};

    #[test]
    fn a_backup_is_used_only_alone() {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 60, 50)];
        subflows[0].backup = true;
        let mut marks = Marks::default();
        Backup.get_send(&flow(&subflows), &mut marks);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [1]);
        let mut marks = Marks::default();
        Backup.get_send(&flow(&subflows[..1]), &mut marks);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [0]);
    }
}
