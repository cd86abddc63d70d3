//! Huge pages for who moves much, small ones for who waits, none kept free by who waits for long.
//!
//! With small pages, moving a gigabyte takes up to a tenth more CPU time. With huge ones, thousands of idle flows hold
//! 10 MB more: what they leave free in pages of 2 MB is nobody else's (docs/performance.md).

use std::time::Duration;

use guywire_control::worker::{PathStatus, WorkerStatus};

use super::STATUS_EVERY;
use crate::allocator;

/// Moving as much as this between two snapshots is worth huge pages, bytes: half a second at 0.5 Gbit/s.
const MUCH: u64 = 32 << 20;
/// Moving less than this between two snapshots is nothing, bytes: PINGs and what idle flows say.
const LITTLE: u64 = 64 << 10;
/// After so long with little to move, what is free goes back to the kernel.
const QUIET: Duration = Duration::from_secs(3);

/// Which pages this process gets from now on (PR_SET_THP_DISABLE) and when it gives them back; what is
/// in use stays as it is.
#[derive(Default)]
pub(super) struct Pages {
    /// Bytes that the paths of the last snapshot had moved.
    moved: u64,
    /// Whether it gets huge ones; its supervisor left it small ones.
    huge: bool,
    /// For how long it has moved little.
    quiet: Duration,
}

impl Pages {
    /// Goes by what was moved since the last snapshot.
    pub(super) fn follow(&mut self, status: &WorkerStatus) {
        let of = |path: &PathStatus| path.sent_bytes + path.received_bytes;
        let total: u64 = status.paths.iter().map(of).sum();
        let moved = total.saturating_sub(self.moved);
        self.moved = total;
        self.choose(moved >= MUCH);
        if self.falls_quiet(moved) {
            give_back();
        }
    }

    fn choose(&mut self, huge: bool) {
        if huge != self.huge {
            // A kernel without huge pages has nothing to forbid.
            let _ = rustix::thread::disable_transparent_huge_pages(!huge);
            self.huge = huge;
        }
    }

    /// Whether it has now moved little for long enough: once in every time of quiet.
    fn falls_quiet(&mut self, moved: u64) -> bool {
        let before = self.quiet;
        self.quiet = if moved > LITTLE {
            Duration::ZERO
        } else {
            before + STATUS_EVERY
        };
        before < QUIET && self.quiet >= QUIET
    }
}

/// All threads give back what they keep; each has to do that itself. The runtime does not say which of its threads
/// takes a task: what one of them leaves goes the next time.
fn give_back() {
    allocator::give_back();
    for _ in 0..super::threads() {
        tokio::spawn(async { allocator::give_back() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_in_every_time_of_quiet() {
        let mut pages = Pages::default();
        let looks = |pages: &mut Pages, moved: u64, count: usize| {
            (0..count).filter(|_| pages.falls_quiet(moved)).count()
        };
        assert_eq!(looks(&mut pages, LITTLE, 5), 0, "not for long enough");
        assert_eq!(looks(&mut pages, LITTLE, 100), 1);
        assert_eq!(looks(&mut pages, LITTLE + 1, 100), 0);
        assert_eq!(looks(&mut pages, 0, 6), 1, "after 3 s");
    }
}
