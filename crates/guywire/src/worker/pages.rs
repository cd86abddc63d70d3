//! Huge pages for who moves much, small ones for who waits.
//!
//! With small pages, moving a gigabyte takes up to a tenth more CPU time. With huge ones, thousands of idle flows hold
//! 10 MB more: what they leave free in pages of 2 MB is nobody else's (docs/performance.md).

use guywire_control::worker::{PathStatus, WorkerStatus};

/// Moving as much as this between two snapshots is worth huge pages, bytes: half a second at 0.5 Gbit/s.
const MUCH: u64 = 32 << 20;

/// Which pages this process gets from now on (PR_SET_THP_DISABLE); what it has stays as it is.
#[derive(Default)]
pub(super) struct Pages {
    /// Bytes that the paths of the last snapshot had moved.
    moved: u64,
    /// Whether it gets huge ones; its supervisor left it small ones.
    huge: bool,
}

impl Pages {
    /// Goes by what was moved since the last snapshot.
    pub(super) fn follow(&mut self, status: &WorkerStatus) {
        let of = |path: &PathStatus| path.sent_bytes + path.received_bytes;
        let moved: u64 = status.paths.iter().map(of).sum();
        let huge = moved.saturating_sub(self.moved) >= MUCH;
        self.moved = moved;
        if huge != self.huge {
            // A kernel without huge pages has nothing to forbid.
            let _ = rustix::thread::disable_transparent_huge_pages(!huge);
            self.huge = huge;
        }
    }
}
