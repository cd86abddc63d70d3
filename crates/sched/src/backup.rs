//! `backup`: the first link that is no backup; a backup only where no other is left.
//!
//! **Overview.** One link at a time; the next takes over when it is stale or gone.
//! **Typical use.** A metered link behind one that costs nothing.
//! **When it hurts.** It bonds nothing.
//! **Production ready?** It is safe; `default` spares backups too, and bonds the others.

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
