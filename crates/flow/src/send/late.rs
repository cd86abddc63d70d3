//! What comes later than was expected: overdue chunks, and what waits behind a collapsed window.

use std::collections::BTreeSet;

use guywire_sched::{SubflowId, Time};

use super::{Carrier, Chunk, SendHalf};

/// So many of the oldest chunks are looked at when the oldest is overdue.
const AT_A_TIME: usize = 64;

impl SendHalf {
    /// When the oldest chunk, which the receiver waits for, is overdue on each of its carriers. `None`
    /// while somebody has yet to send it, and once it is lost.
    pub(crate) fn head_due(&self) -> Option<Time> {
        let head = self.chunks.front()?;
        if self.lost.contains(&head.dsn) {
            return None;
        }
        head.due()
    }

    /// If the oldest chunk is overdue, it is lost, and with it what the same subflow sent after it and is
    /// overdue too: a subflow delivers in order. They will be repeated on others. Chunks of other
    /// subflows may have arrived behind it; the acknowledgement does not tell. Returns the
    /// subflow, and how many bytes.
    pub(crate) fn lose_overdue(&mut self, now: Time) -> Option<(SubflowId, u64)> {
        self.head_due().filter(|&due| due <= now)?;
        let subflow = self.chunks.front()?.carriers.last()?.subflow;
        let held = |chunk: &Chunk| chunk.carriers.iter().any(|c| c.subflow == subflow);
        let overdue = |chunk: &Chunk| chunk.due().is_some_and(|due| due <= now);
        let oldest = self.chunks.iter().take(AT_A_TIME);
        let mut bytes = 0;
        for chunk in oldest.filter(|chunk| held(chunk) && overdue(chunk)) {
            if self.lost.insert(chunk.dsn) {
                bytes += chunk.length;
            }
        }
        Some((subflow, bytes))
    }

    /// The last `bytes` that `subflow` was given will be late: they need not be waited for.
    pub(crate) fn expect_late(&mut self, now: Time, subflow: SubflowId, bytes: u64) {
        let mut left = bytes;
        let sent = self.chunks.iter_mut().rev().filter_map(|chunk| {
            let length = chunk.length;
            let mut carriers = chunk.carriers.iter_mut();
            let carrier = carriers.find(|c| c.subflow == subflow && c.sent())?;
            Some((length, carrier))
        });
        for (length, carrier) in sent {
            if left == 0 {
                return;
            }
            carrier.due = Some(now);
            left = left.saturating_sub(length);
        }
    }

    /// Copies that are overdue on `subflow`, or owed there, are lost unless one of the `quick` ones will have delivered
    /// them soon, or none of them could. Returns whether any is.
    pub(crate) fn lose_late_copies(
        &mut self,
        now: Time,
        subflow: SubflowId,
        quick: &BTreeSet<SubflowId>,
    ) -> bool {
        let late = |c: &Carrier| c.due.is_none_or(|due| due <= now);
        let soon = |c: &Carrier| quick.contains(&c.subflow) && c.due.is_none_or(|due| due > now);
        let before = self.lost.len();
        for chunk in self.chunks.iter().filter(|chunk| chunk.carriers.len() > 1) {
            let carriers = &chunk.carriers;
            let is_late = carriers.iter().any(|c| c.subflow == subflow && late(c));
            let has = |id: &SubflowId| carriers.iter().any(|c| c.subflow == *id);
            if is_late && !carriers.iter().any(soon) && !quick.iter().all(has) {
                self.lost.insert(chunk.dsn);
            }
        }
        self.lost.len() > before
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{A, B, half};
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn an_overdue_head_takes_only_its_own_subflow_along() {
        let mut half = half();
        for subflow in [A, B, A, A] {
            half.cut(5, &[subflow]);
        }
        half.pay(A, at(100));
        half.pay(B, at(50));
        assert_eq!(half.head_due(), Some(at(100)));
        half.pay(A, at(110));
        assert_eq!(half.lose_overdue(at(99)), None);
        assert_eq!(half.lose_overdue(at(110)), Some((A, 10)));
        assert_eq!(
            half.lost.iter().copied().collect::<Vec<_>>(),
            [0, 10],
            "B's may have arrived, the last is a debt still"
        );
        assert_eq!(half.head_due(), None, "lost already");
    }

    #[test]
    fn what_is_queued_behind_a_collapsed_window_is_overdue_at_once() {
        let mut half = half();
        for subflow in [A, B, A] {
            half.cut(5, &[subflow]);
            half.pay(subflow, at(100));
        }
        half.expect_late(at(10), A, 4);
        assert_eq!(half.head_due(), Some(at(100)), "it had left before");
        half.expect_late(at(20), A, 6);
        assert_eq!(half.head_due(), Some(at(20)));
        assert_eq!(half.lose_overdue(at(20)), Some((A, 10)));
    }

    #[test]
    fn a_copy_that_will_be_late_and_nobody_else_brings_is_lost() {
        let mut half = half();
        let third = SubflowId(3);
        for subflows in [&[A][..], &[A, B], &[A, B], &[B, third], &[A, third]] {
            half.cut(2, subflows);
        }
        for (subflow, due) in [(A, 100), (A, 100), (A, 100), (B, 10)] {
            half.pay(subflow, at(due));
        }
        half.expect_late(at(20), A, 6);
        let mut quick = BTreeSet::from([B]);
        assert!(half.lose_late_copies(at(20), A, &quick));
        assert_eq!(
            half.lost,
            BTreeSet::from([8]),
            "the first is no copy, B owes one, and has sent the other"
        );
        assert!(!half.lose_late_copies(at(20), A, &quick), "once");
        quick.insert(SubflowId(4));
        assert!(half.lose_late_copies(at(20), A, &quick));
        assert_eq!(half.lost, BTreeSet::from([2, 8]), "what B sent is overdue");
    }
}
