//! The receiving half of a flow: reassembly by data sequence number.
//!
//! What may arrive is bounded by the limit that was granted; what arrives beyond it, beyond the end,
//! or in crumbs that cost more than they carry, is an offence with a reason.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, Bytes};

use crate::reason::FlowReason;

/// So many pieces may wait out of order whatever their size; beyond, they must carry
/// [`BYTES_PER_PIECE`] on average, since each costs memory of its own.
const FREE_PIECES: usize = 4_096;
/// See [`FREE_PIECES`].
const BYTES_PER_PIECE: u64 = 256;

/// The receiving half of a flow.
#[derive(Debug, Default)]
pub(crate) struct RecvHalf {
    /// Every byte below has arrived.
    cumulative: u64,
    /// Every byte below was handed out.
    taken: u64,
    /// Every byte below has left our memory.
    consumed: u64,
    /// Bytes below this number may arrive.
    limit: u64,
    ready: VecDeque<Bytes>,
    early: BTreeMap<u64, Bytes>,
    early_bytes: u64,
    end: Option<u64>,
}

impl RecvHalf {
    pub(crate) fn new(limit: u64) -> RecvHalf {
        RecvHalf {
            limit,
            ..RecvHalf::default()
        }
    }

    pub(crate) fn cumulative(&self) -> u64 {
        self.cumulative
    }

    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Bytes accepted beyond the cumulative number.
    pub(crate) fn window(&self) -> u64 {
        self.limit - self.cumulative
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Grants bytes up to `limit`; a grant is never taken back.
    pub(crate) fn grant(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Bytes held, in order or early, handed out or not.
    pub(crate) fn held(&self) -> u64 {
        self.cumulative - self.consumed + self.early_bytes
    }

    /// Whether everything has arrived, the end included.
    pub(crate) fn is_complete(&self) -> bool {
        self.end == Some(self.cumulative)
    }

    /// Whether everything was handed out, the end included.
    pub(crate) fn is_drained(&self) -> bool {
        self.end == Some(self.taken)
    }

    /// Whether everything has left our memory.
    pub(crate) fn is_consumed(&self) -> bool {
        self.end == Some(self.consumed)
    }

    pub(crate) fn is_readable(&self) -> bool {
        !self.ready.is_empty() || self.is_drained()
    }

    /// Learns where the direction ends.
    pub(crate) fn finish(&mut self, end: u64) -> Result<(), FlowReason> {
        let furthest = self
            .early
            .last_key_value()
            .map_or(self.cumulative, |(dsn, bytes)| dsn + bytes.len() as u64);
        if self.end.is_some_and(|known| known != end) || end < furthest {
            return Err(FlowReason::BadEnd);
        }
        self.end = Some(end);
        Ok(())
    }

    /// Takes bytes that arrived; returns whether any were new.
    pub(crate) fn insert(&mut self, dsn: u64, bytes: &[u8]) -> Result<bool, FlowReason> {
        let end = dsn.saturating_add(bytes.len() as u64);
        if end > self.limit {
            return Err(FlowReason::WindowOverrun);
        }
        if self.end.is_some_and(|last| end > last) {
            return Err(FlowReason::BadEnd);
        }
        let new = self.insert_missing(dsn, end, bytes);
        if self.early.len() > FREE_PIECES + (self.early_bytes / BYTES_PER_PIECE) as usize {
            return Err(FlowReason::Crumbs);
        }
        Ok(new > 0)
    }

    /// Stores the parts of `dsn..end` that are missing; returns their length.
    fn insert_missing(&mut self, dsn: u64, end: u64, bytes: &[u8]) -> u64 {
        let mut at = dsn.max(self.cumulative);
        let mut new = 0;
        while at < end {
            let before = self.early.range(..=at).next_back();
            if let Some(known) = before.map(|(start, piece)| start + piece.len() as u64)
                && known > at
            {
                at = known;
                continue;
            }
            let next = self
                .early
                .range(at..)
                .next()
                .map_or(end, |(&start, _)| start);
            let upto = next.min(end);
            let part = &bytes[(at - dsn) as usize..(upto - dsn) as usize];
            self.store(at, Bytes::copy_from_slice(part));
            new += upto - at;
            // What was early may have come in order with it.
            at = upto.max(self.cumulative);
        }
        new
    }

    fn store(&mut self, dsn: u64, bytes: Bytes) {
        if dsn != self.cumulative {
            self.early_bytes += bytes.len() as u64;
            self.early.insert(dsn, bytes);
            return;
        }
        self.cumulative += bytes.len() as u64;
        self.ready.push_back(bytes);
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() != self.cumulative {
                break;
            }
            let bytes = entry.remove();
            self.early_bytes -= bytes.len() as u64;
            self.cumulative += bytes.len() as u64;
            self.ready.push_back(bytes);
        }
    }

    /// The next bytes in order, at most `max`; `None` if none have arrived.
    pub(crate) fn read(&mut self, max: usize) -> Option<Bytes> {
        let front = self.ready.front_mut()?;
        let bytes = if front.len() <= max {
            self.ready.pop_front()?
        } else {
            let part = front.slice(..max);
            front.advance(max);
            part
        };
        self.taken += bytes.len() as u64;
        Some(bytes)
    }

    /// So many of the bytes handed out have left our memory.
    pub(crate) fn consume(&mut self, count: u64) {
        debug_assert!(self.consumed + count <= self.taken);
        self.consumed = (self.consumed + count).min(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offences_have_names() {
        let mut half = RecvHalf::new(10);
        assert_eq!(half.insert(5, b"abcdef"), Err(FlowReason::WindowOverrun));
        assert_eq!(half.insert(u64::MAX, b"a"), Err(FlowReason::WindowOverrun));
        assert_eq!(half.insert(4, b"ab"), Ok(true));
        assert_eq!(half.finish(5), Err(FlowReason::BadEnd));
        assert_eq!(half.finish(8), Ok(()));
        assert_eq!(half.finish(9), Err(FlowReason::BadEnd));
        assert_eq!(half.insert(8, b"a"), Err(FlowReason::BadEnd));
    }

    #[test]
    fn crumbs_are_bounded() {
        let mut half = RecvHalf::new(1 << 20);
        let refused = (1..100_000).find_map(|n| half.insert(n * 2, b"x").err());
        assert_eq!(refused, Some(FlowReason::Crumbs));
        assert!(half.early.len() < 4_200);
    }

    proptest! {
        #[test]
        fn any_order_and_overlap_gives_the_same_bytes(
            pieces in prop::collection::vec((0_u64..200, 1_usize..40), 1..60),
        ) {
            let content: Vec<u8> = (0..=255).collect();
            let mut half = RecvHalf::new(256);
            let mut read = Vec::new();
            for (dsn, length) in pieces.into_iter().chain([(0, 128), (100, 140)]) {
                let from = dsn as usize;
                half.insert(dsn, &content[from..from + length]).unwrap();
                while let Some(bytes) = half.read(7) {
                    read.extend_from_slice(&bytes);
                    half.consume(bytes.len() as u64);
                }
            }
            prop_assert_eq!(&read[..], &content[..240]);
            prop_assert_eq!(half.held(), half.early_bytes);
            prop_assert!(half.early.is_empty());
        }
    }
}
