//! The sending half of a flow: its bytes, the chunks cut from them, and who owes which.
//!
//! ```text
//!        acked          scheduled            written
//!   ───────┼─────────────────┼──────────────────┼──────
//!   dropped│ chunks: owed by │ backlog, not yet │
//!          │ or sent on some │ cut into chunks  │
//!          │ subflows        │                  │
//! ```
//!
//! A *debt* is a chunk that a subflow owes and has not sent. A chunk whose carriers are all stale or
//! gone is *lost* and waits to be owed again, before anything new. Only a data acknowledgement frees
//! bytes: that the peer's kernel has them proves nothing, a reset would throw them away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Buf, Bytes};
use guywire_sched::{SubflowId, Time};
use smallvec::SmallVec;

use crate::outgoing::Outgoing;

mod audit;
mod late;

/// A piece of the flow's data, sent in one record; never cut again.
#[derive(Debug)]
struct Chunk {
    dsn: u64,
    length: u64,
    /// Mostly one.
    carriers: SmallVec<[Carrier; 1]>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.dsn + self.length
    }

    /// When the last of its carriers is overdue; `None` while one has yet to send it.
    fn due(&self) -> Option<Time> {
        let dues = self.carriers.iter().map(|carrier| carrier.due);
        dues.reduce(|a, b| Some(a?.max(b?))).flatten()
    }
}

/// A subflow that has a chunk.
#[derive(Clone, Copy, Debug)]
struct Carrier {
    subflow: SubflowId,
    /// Once sent: when the acknowledgement is overdue. `None` while it is a debt.
    due: Option<Time>,
}

impl Carrier {
    fn sent(&self) -> bool {
        self.due.is_some()
    }
}

/// Debts that were taken off a subflow, in bytes.
pub(crate) type Relief = Vec<(SubflowId, u64)>;

/// The sending half of a flow.
#[derive(Debug, Default)]
pub(crate) struct SendHalf {
    /// Bytes from `acked` to `written`, in pieces with the number of their first byte.
    pieces: VecDeque<(u64, Bytes)>,
    acked: u64,
    scheduled: u64,
    written: u64,
    /// The receiver takes bytes below this number.
    limit: u64,
    chunks: VecDeque<Chunk>,
    debts: BTreeMap<SubflowId, BTreeSet<u64>>,
    lost: BTreeSet<u64>,
    head_since: Time,
    /// Set once the local program has ended its direction.
    finished: bool,
    /// Everything arrived, the end included.
    done: bool,
    /// Bytes that were sent more than once.
    repeated: u64,
}

impl SendHalf {
    pub(crate) fn new(limit: u64) -> SendHalf {
        SendHalf {
            limit,
            ..SendHalf::default()
        }
    }

    /// Bytes that may be written now without exceeding the receiver's window.
    pub(crate) fn writable(&self) -> u64 {
        if self.finished {
            return 0;
        }
        self.limit.saturating_sub(self.written)
    }

    pub(crate) fn write(&mut self, bytes: Bytes) {
        debug_assert!(!self.finished);
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len() as u64;
        self.pieces.push_back((self.written, bytes));
        self.written += length;
    }

    /// Ends this direction; returns the number of its bytes.
    pub(crate) fn finish(&mut self) -> u64 {
        self.finished = true;
        self.written
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// The receiver has everything, the end included.
    pub(crate) fn complete(&mut self) {
        self.done = true;
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    pub(crate) fn backlog(&self) -> u64 {
        self.written - self.scheduled
    }

    pub(crate) fn scheduled(&self) -> u64 {
        self.scheduled
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes in memory: written and not acknowledged.
    pub(crate) fn held(&self) -> u64 {
        self.written - self.acked
    }

    pub(crate) fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Bytes scheduled and not acknowledged.
    pub(crate) fn outstanding(&self) -> u64 {
        self.scheduled - self.acked
    }

    pub(crate) fn window_free(&self) -> u64 {
        self.limit.saturating_sub(self.scheduled)
    }

    /// Whether anything waits to be scheduled, the window permitting.
    pub(crate) fn has_work(&self) -> bool {
        !self.lost.is_empty() || (self.backlog() > 0 && self.window_free() > 0)
    }

    /// Whether anything is neither acknowledged nor waiting to be scheduled.
    pub(crate) fn is_outstanding(&self) -> bool {
        !self.chunks.is_empty()
    }

    /// The first lost chunk: its number and length.
    pub(crate) fn first_lost(&self) -> Option<(u64, u64)> {
        let dsn = *self.lost.first()?;
        let chunk = &self.chunks[self.position(dsn)?];
        Some((chunk.dsn, chunk.length))
    }

    /// Cuts the next chunk, at most `length` bytes, owed by `subflows`. Returns its length; 0 if
    /// there is nothing to cut.
    pub(crate) fn cut(&mut self, length: u64, subflows: &[SubflowId]) -> u64 {
        let length = length.min(self.backlog()).min(self.window_free());
        if length == 0 {
            return 0;
        }
        let dsn = self.scheduled;
        self.scheduled += length;
        self.chunks.push_back(Chunk {
            dsn,
            length,
            carriers: SmallVec::new(),
        });
        self.owe(dsn, subflows);
        length
    }

    /// Makes `subflows` owe the lost chunk `dsn`, none of which has sent it. Returns those that did not owe
    /// it already: a subflow that was not trusted for a while keeps its debts.
    pub(crate) fn owe_lost(&mut self, dsn: u64, subflows: &[SubflowId]) -> Vec<SubflowId> {
        self.lost.remove(&dsn);
        let debts = &self.debts;
        let owes = |id: &SubflowId| debts.get(id).is_some_and(|debts| debts.contains(&dsn));
        let new: Vec<SubflowId> = subflows.iter().copied().filter(|id| !owes(id)).collect();
        self.owe(dsn, &new);
        new
    }

    fn owe(&mut self, dsn: u64, subflows: &[SubflowId]) {
        let Some(position) = self.position(dsn) else {
            return;
        };
        let chunk = &mut self.chunks[position];
        for &subflow in subflows {
            chunk.carriers.push(Carrier { subflow, due: None });
            self.debts.entry(subflow).or_default().insert(dsn);
        }
    }

    /// The oldest chunk that `subflow` owes is sent now, its acknowledgement overdue at `due`: its number
    /// and length.
    pub(crate) fn pay(&mut self, subflow: SubflowId, due: Time) -> Option<(u64, u64)> {
        let debts = self.debts.get_mut(&subflow)?;
        let dsn = debts.pop_first()?;
        if debts.is_empty() {
            self.debts.remove(&subflow);
        }
        let position = self.position(dsn)?;
        let chunk = &mut self.chunks[position];
        if chunk.carriers.iter().any(Carrier::sent) {
            self.repeated += chunk.length;
        }
        for carrier in &mut chunk.carriers {
            if carrier.subflow == subflow {
                carrier.due = Some(due);
            }
        }
        Some((chunk.dsn, chunk.length))
    }

    pub(crate) fn owes(&self, subflow: SubflowId) -> bool {
        self.debts.contains_key(&subflow)
    }

    /// All debts, in bytes for each subflow.
    pub(crate) fn debts(&self) -> BTreeMap<SubflowId, u64> {
        let mut debts = BTreeMap::new();
        for chunk in &self.chunks {
            for carrier in chunk.carriers.iter().filter(|carrier| !carrier.sent()) {
                *debts.entry(carrier.subflow).or_default() += chunk.length;
            }
        }
        debts
    }

    /// Whether `subflow` has sent the chunk `dsn`, which may yet arrive from there.
    pub(crate) fn has_sent(&self, dsn: u64, subflow: SubflowId) -> bool {
        self.position(dsn).is_some_and(|at| {
            let mut carriers = self.chunks[at].carriers.iter();
            carriers.any(|carrier| carrier.subflow == subflow && carrier.sent())
        })
    }

    /// Adds the bytes of a chunk that is not acknowledged yet.
    pub(crate) fn give(&self, dsn: u64, length: u64, out: &mut Outgoing) {
        let first = self
            .pieces
            .partition_point(|(start, piece)| start + piece.len() as u64 <= dsn);
        let mut at = dsn;
        let end = dsn + length;
        for (start, piece) in self.pieces.range(first..) {
            if at >= end {
                break;
            }
            let from = (at - start) as usize;
            let upto = ((end - start) as usize).min(piece.len());
            out.add_body(piece.slice(from..upto));
            at = start + upto as u64;
        }
        debug_assert_eq!(at, end, "an unacknowledged chunk has all its bytes");
    }

    /// Takes an acknowledgement. `Err` if it covers what was never sent. Old ones change nothing but
    /// may still widen the window.
    pub(crate) fn acknowledge(
        &mut self,
        now: Time,
        cumulative: u64,
        window: u64,
    ) -> Result<Relief, AckOfUnsent> {
        if cumulative > self.scheduled {
            return Err(AckOfUnsent);
        }
        self.limit = self.limit.max(cumulative.saturating_add(window));
        let mut relief = Relief::new();
        self.acked = self.acked.max(cumulative);
        while self
            .chunks
            .front()
            .is_some_and(|chunk| chunk.end() <= self.acked)
        {
            if let Some(chunk) = self.chunks.pop_front() {
                self.drop_chunk(&chunk, &mut relief);
                self.head_since = now;
            }
        }
        self.drop_pieces();
        if self.pieces.is_empty() {
            self.rest();
        }
        Ok(relief)
    }

    /// Nothing is held any more: most flows are idle, and what is empty is to take no memory then.
    fn rest(&mut self) {
        debug_assert!(self.chunks.is_empty() && self.debts.is_empty() && self.lost.is_empty());
        self.pieces = VecDeque::new();
        self.chunks = VecDeque::new();
        self.debts = BTreeMap::new();
        self.lost = BTreeSet::new();
    }

    fn drop_chunk(&mut self, chunk: &Chunk, relief: &mut Relief) {
        self.lost.remove(&chunk.dsn);
        for carrier in chunk.carriers.iter().filter(|carrier| !carrier.sent()) {
            self.forgive(carrier.subflow, chunk.dsn);
            relief.push((carrier.subflow, chunk.length));
        }
    }

    fn forgive(&mut self, subflow: SubflowId, dsn: u64) {
        if let Some(debts) = self.debts.get_mut(&subflow) {
            debts.remove(&dsn);
            if debts.is_empty() {
                self.debts.remove(&subflow);
            }
        }
    }

    fn drop_pieces(&mut self) {
        // A chunk that is acknowledged in part keeps its bytes until it is acknowledged whole.
        let keep = self.chunks.front().map_or(self.acked, |chunk| chunk.dsn);
        while let Some((start, piece)) = self.pieces.front_mut() {
            let end = *start + piece.len() as u64;
            if end <= keep {
                self.pieces.pop_front();
                continue;
            }
            if *start < keep {
                piece.advance((keep - *start) as usize);
                *start = keep;
            }
            break;
        }
    }

    /// A subflow went stale (`gone` false: what it sent may still arrive) or closed (`gone`): its
    /// debts end, and every chunk that no subflow of `alive` has is lost. Returns the bytes of debts
    /// taken off it.
    pub(crate) fn abandon(
        &mut self,
        subflow: SubflowId,
        gone: bool,
        alive: impl Fn(SubflowId) -> bool,
    ) -> u64 {
        self.debts.remove(&subflow);
        let mut relieved = 0;
        let head = self.chunks.front().map_or(0, |chunk| chunk.dsn);
        for chunk in &mut self.chunks {
            let Some(had) = chunk.carriers.iter().position(|c| c.subflow == subflow) else {
                continue;
            };
            if !chunk.carriers[had].sent() {
                relieved += chunk.length;
            }
            if gone || !chunk.carriers[had].sent() {
                chunk.carriers.remove(had);
            }
            let mut others = chunk.carriers.iter().filter(|c| c.subflow != subflow);
            let held = others.any(|c| alive(c.subflow));
            let passed_over = planted!(HeadNotRepeated) && chunk.dsn == head;
            if !held && !passed_over {
                self.lost.insert(chunk.dsn);
            }
        }
        relieved
    }

    /// A stale subflow makes progress again: what it has sent is no longer lost.
    pub(crate) fn trust(&mut self, subflow: SubflowId) {
        if planted!(WrongTrust) {
            self.lost.clear();
        }
        let chunks = &self.chunks;
        self.lost.retain(|&dsn| {
            let at = chunks.partition_point(|chunk| chunk.dsn < dsn);
            !chunks
                .get(at)
                .is_some_and(|c| c.carriers.iter().any(|c| c.subflow == subflow && c.sent()))
        });
    }

    /// The oldest chunk, if `subflow` alone has sent it, is lost: it will be repeated elsewhere.
    pub(crate) fn lose_head(&mut self, subflow: SubflowId) -> bool {
        let Some(head) = self.chunks.front() else {
            return false;
        };
        let alone = matches!(head.carriers[..], [Carrier { subflow: only, due: Some(_) }] if only == subflow);
        alone && self.lost.insert(head.dsn)
    }

    /// The oldest chunk.
    pub(crate) fn head(&self) -> Option<u64> {
        self.chunks.front().map(|chunk| chunk.dsn)
    }

    /// Since when the oldest chunk has been the oldest: all before it has arrived.
    pub(crate) fn head_since(&self) -> Time {
        self.head_since
    }

    fn position(&self, dsn: u64) -> Option<usize> {
        // Mostly the one that was just cut.
        let last = self.chunks.len().checked_sub(1)?;
        if self.chunks[last].dsn == dsn {
            return Some(last);
        }
        let at = self.chunks.partition_point(|chunk| chunk.dsn < dsn);
        (self.chunks.get(at)?.dsn == dsn).then_some(at)
    }
}

/// An acknowledgement of data that was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AckOfUnsent;

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const A: SubflowId = SubflowId(1);
    pub(super) const B: SubflowId = SubflowId(2);

    pub(super) fn half() -> SendHalf {
        let mut half = SendHalf::new(100);
        half.write(Bytes::from_static(b"0123456789"));
        half.write(Bytes::from_static(b"abcdefghij"));
        half
    }

    #[test]
    fn chunks_cross_pieces_and_acks_free_them() {
        let mut half = half();
        assert_eq!(half.cut(15, &[A]), 15);
        assert_eq!(half.cut(15, &[B]), 5);
        assert_eq!(half.cut(15, &[B]), 0);
        assert_eq!(half.pay(A, Time::ZERO), Some((0, 15)));
        let given = |half: &SendHalf, dsn, length: u64| {
            let mut out = Outgoing::default();
            half.give(dsn, length, &mut out);
            out.copy_to_bytes(length as usize)
        };
        assert_eq!(given(&half, 0, 15)[..], b"0123456789abcde"[..]);
        assert_eq!(half.acknowledge(Time::ZERO, 15, 100), Ok(vec![]));
        assert_eq!(given(&half, 15, 5)[..], b"fghij"[..]);
        assert_eq!(
            half.acknowledge(Time::ZERO, 20, 100),
            Ok(vec![(B, 5)]),
            "B's debt is forgiven"
        );
        assert!(!half.owes(B) && !half.is_outstanding() && half.pieces.is_empty());
        assert_eq!(half.acknowledge(Time::ZERO, 21, 100), Err(AckOfUnsent));
    }

    #[test]
    fn a_lost_subflow_loses_only_what_nobody_else_has() {
        let mut half = half();
        half.cut(5, &[A]);
        half.cut(5, &[A, B]);
        half.cut(5, &[A]);
        half.pay(A, Time::ZERO);
        assert_eq!(half.abandon(A, false, |s| s == B), 10);
        assert_eq!(half.first_lost(), Some((0, 5)));
        assert_eq!(half.lost.iter().copied().collect::<Vec<_>>(), [0, 10]);
        half.trust(A);
        assert_eq!(
            half.first_lost(),
            Some((10, 5)),
            "what A had sent may still arrive"
        );
        half.owe_lost(10, &[B]);
        assert_eq!(
            (
                half.pay(B, Time::ZERO),
                half.pay(B, Time::ZERO),
                half.pay(B, Time::ZERO)
            ),
            (Some((5, 5)), Some((10, 5)), None)
        );
    }

    #[test]
    fn the_window_bounds_what_is_cut_and_written() {
        let mut half = SendHalf::new(12);
        half.write(Bytes::from_static(b"0123456789"));
        assert_eq!(half.writable(), 2);
        half.cut(10, &[A]);
        assert_eq!(half.acknowledge(Time::ZERO, 0, 30), Ok(vec![]));
        assert_eq!(half.writable(), 20);
        assert_eq!(half.acknowledge(Time::ZERO, 0, 5), Ok(vec![]));
        assert_eq!(half.writable(), 20, "a limit is never taken back");
    }
}
