//! The receiving half of a flow: reassembly by data sequence number.
//!
//! What may arrive is bounded by the limit that was granted; what arrives beyond it, beyond the end,
//! in crumbs that cost more than they carry, or with other content than what is held of the same
//! bytes, is an offence with a reason. What was handed out already cannot be compared.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};

use bytes::{Buf, Bytes};

use crate::reason::FlowReason;

/// So many pieces may wait out of order whatever the window; beyond, one for each
/// [`WINDOW_PER_PIECE`] bytes of it. A piece costs about 100 bytes of its own, so what is held never
/// costs twice the window and 26 kB.
const FREE_PIECES: usize = 256;
/// See [`FREE_PIECES`].
const WINDOW_PER_PIECE: u64 = 128;
/// Neighbours are joined up to this size, in bytes: a stream of crumbs costs what it carries.
const JOINED: usize = 4_096;
/// Pieces below this are joined with those before them when they are in order.
const SMALL: usize = 1_024;

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
    /// In order and not handed out: pieces with the number of their first byte.
    ready: VecDeque<(u64, Bytes)>,
    /// The youngest bytes in order, while they come in small pieces.
    tail: Vec<u8>,
    early: BTreeMap<u64, Vec<u8>>,
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
        self.taken < self.cumulative || self.is_drained()
    }

    /// Learns where the direction ends.
    pub(crate) fn finish(&mut self, end: u64) -> Result<(), FlowReason> {
        let furthest = self
            .early
            .last_key_value()
            .map_or(self.cumulative, |(dsn, bytes)| dsn + bytes.len() as u64);
        let twice = planted!(FinTwice) && self.end.is_some();
        if twice || self.end.is_some_and(|known| known != end) || end < furthest {
            return Err(FlowReason::BadEnd);
        }
        self.end = Some(end);
        Ok(())
    }

    /// Takes bytes that arrived; returns whether any were new.
    pub(crate) fn insert(&mut self, dsn: u64, bytes: Bytes) -> Result<bool, FlowReason> {
        let end = dsn.saturating_add(bytes.len() as u64);
        if end > self.limit {
            return Err(FlowReason::WindowOverrun);
        }
        if self.end.is_some_and(|last| end > last) {
            return Err(FlowReason::BadEnd);
        }
        if !self.agrees(dsn, &bytes) {
            return Err(FlowReason::Conflict);
        }
        let new = match self.is_apart(dsn, end) {
            true => self.store(dsn, bytes),
            false => self.insert_missing(dsn, end, &bytes),
        };
        let window = self.limit - self.consumed;
        if self.early.len() > FREE_PIECES + (window / WINDOW_PER_PIECE) as usize {
            return Err(FlowReason::Crumbs);
        }
        Ok(new > 0)
    }

    /// Whether the bytes are the same as those that are held of them.
    fn agrees(&self, dsn: u64, bytes: &[u8]) -> bool {
        let end = dsn + bytes.len() as u64;
        let ends = |start: u64, held: &[u8]| start + held.len() as u64;
        let first = self
            .ready
            .partition_point(|(start, piece)| ends(*start, piece) <= dsn);
        let in_order = self
            .ready
            .range(first..)
            .map(|(start, held)| (*start, &held[..]));
        let tail = (self.cumulative - self.tail.len() as u64, &self.tail[..]);
        let before = self.early.range(..=dsn).next_back();
        let behind = self.early.range(dsn..end);
        let early = before
            .into_iter()
            .chain(behind)
            .map(|(start, held)| (*start, &held[..]));
        in_order
            .take_while(|(start, _)| *start < end)
            .chain([tail])
            .chain(early)
            .all(|(start, held)| {
                let (from, upto) = (start.max(dsn), ends(start, held).min(end));
                from >= upto
                    || held[(from - start) as usize..(upto - start) as usize]
                        == bytes[(from - dsn) as usize..(upto - dsn) as usize]
            })
    }

    /// Whether nothing of `dsn..end` has arrived.
    fn is_apart(&self, dsn: u64, end: u64) -> bool {
        let before = self.early.range(..end).next_back();
        let known = before.map_or(0, |(start, held)| start + held.len() as u64);
        dsn >= known.max(self.cumulative)
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
            // A part must not hold the memory of the whole.
            let part = &bytes[(at - dsn) as usize..(upto - dsn) as usize];
            new += self.store(at, Bytes::copy_from_slice(part));
            // What was early may have come in order with it.
            at = upto.max(self.cumulative);
        }
        new
    }

    /// Stores what is missing; returns its length.
    fn store(&mut self, dsn: u64, bytes: Bytes) -> u64 {
        let length = bytes.len() as u64;
        if dsn != self.cumulative {
            self.early_bytes += length;
            self.store_early(dsn, bytes);
            return length;
        }
        match bytes.len() < SMALL {
            true => self.append_small(&bytes),
            false => self.append(bytes),
        }
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() != self.cumulative {
                break;
            }
            let bytes = entry.remove();
            self.early_bytes -= bytes.len() as u64;
            match bytes.len() < SMALL {
                true => self.append_small(&bytes),
                false => self.append(bytes.into()),
            }
        }
        length
    }

    /// Joins small pieces with their neighbours.
    fn store_early(&mut self, dsn: u64, bytes: Bytes) {
        let behind = dsn + bytes.len() as u64;
        let before = self.early.range_mut(..dsn).next_back();
        let joins = |(start, held): &(&u64, &mut Vec<u8>)| {
            **start + held.len() as u64 == dsn && held.len() + bytes.len() <= JOINED
        };
        let start = match before.filter(joins) {
            Some((&start, held)) => {
                held.extend_from_slice(&bytes);
                start
            }
            None => {
                self.early.insert(dsn, bytes.into());
                dsn
            }
        };
        let length = (behind - start) as usize;
        if let Entry::Occupied(next) = self.early.entry(behind)
            && length + next.get().len() <= JOINED
        {
            let next = next.remove();
            if let Some(held) = self.early.get_mut(&start) {
                held.extend_from_slice(&next);
            }
        }
    }

    fn append_small(&mut self, bytes: &[u8]) {
        if self.tail.len() + bytes.len() > JOINED {
            self.end_tail();
        }
        self.tail.extend_from_slice(bytes);
        self.cumulative += bytes.len() as u64;
    }

    fn append(&mut self, bytes: Bytes) {
        self.end_tail();
        let length = bytes.len() as u64;
        self.ready.push_back((self.cumulative, bytes));
        self.cumulative += length;
    }

    /// What was gathered becomes a piece like any other.
    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = Bytes::from(std::mem::take(&mut self.tail));
            let start = self.cumulative - tail.len() as u64;
            self.ready.push_back((start, tail));
        }
    }

    /// The next bytes in order, at most `max`; `None` if none have arrived.
    pub(crate) fn read(&mut self, max: usize) -> Option<Bytes> {
        if self.ready.is_empty() {
            self.end_tail();
        }
        let (start, front) = self.ready.front_mut()?;
        let bytes = if front.len() <= max {
            self.ready.pop_front()?.1
        } else {
            let part = front.slice(..max);
            front.advance(max);
            *start += max as u64;
            part
        };
        self.taken += bytes.len() as u64;
        Some(bytes)
    }

    /// So many of the bytes handed out have left our memory.
    pub(crate) fn consume(&mut self, count: u64) {
        debug_assert!(self.consumed + count <= self.taken);
        self.consumed = (self.consumed + count).min(self.taken);
        if self.consumed == self.cumulative {
            // Idle flows take no memory for what is empty.
            self.ready = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl RecvHalf {
        fn put(&mut self, dsn: u64, bytes: &[u8]) -> Result<bool, FlowReason> {
            self.insert(dsn, Bytes::copy_from_slice(bytes))
        }
    }

    #[test]
    fn offences_have_names() {
        let mut half = RecvHalf::new(10);
        assert_eq!(half.put(5, b"abcdef"), Err(FlowReason::WindowOverrun));
        assert_eq!(half.put(u64::MAX, b"a"), Err(FlowReason::WindowOverrun));
        assert_eq!(half.put(4, b"ab"), Ok(true));
        assert_eq!(half.finish(5), Err(FlowReason::BadEnd));
        assert_eq!(half.finish(8), Ok(()));
        assert_eq!(half.finish(9), Err(FlowReason::BadEnd));
        assert_eq!(half.put(8, b"a"), Err(FlowReason::BadEnd));
    }

    #[test]
    fn crumbs_are_bounded() {
        let mut half = RecvHalf::new(1 << 20);
        let refused = (1..100_000).find_map(|n| half.put(n * 2, b"x").err());
        assert_eq!(refused, Some(FlowReason::Crumbs));
        assert!(half.early.len() < 8_500);
    }

    #[test]
    fn crumbs_side_by_side_cost_what_they_carry() {
        const COUNT: u64 = 100_000;
        let mut half = RecvHalf::new(1 << 20);
        // Early ones forwards, then backwards, then those in order.
        for dsn in (COUNT..2 * COUNT).chain((COUNT / 2..COUNT).rev()) {
            assert_eq!(half.put(dsn, b"x"), Ok(true));
        }
        assert!(half.early.len() < 100, "{}", half.early.len());
        for dsn in 0..COUNT / 2 {
            assert_eq!(half.put(dsn, b"x"), Ok(true));
        }
        assert_eq!(half.cumulative(), 2 * COUNT);
        assert!(half.ready.len() < 100, "{}", half.ready.len());
    }

    #[test]
    fn other_content_is_noticed_while_the_bytes_are_held() {
        let mut half = RecvHalf::new(1 << 20);
        let big = vec![b'b'; 2 * SMALL];
        half.put(0, b"small").unwrap();
        half.put(5, &big).unwrap();
        half.put(5_000, b"early").unwrap();
        // Where, what is said there now, and what is thought of it.
        let table: [(u64, &[u8], Result<bool, FlowReason>); 8] = [
            (0, b"small", Ok(false)),
            (3, b"llbb", Ok(false)),
            (4, b"x", Err(FlowReason::Conflict)),
            (6, b"bbxb", Err(FlowReason::Conflict)),
            (2_052, b"bnew", Ok(true)),
            (2_054, b"old", Err(FlowReason::Conflict)),
            (4_999, b"+early+", Ok(true)),
            (4_998, b"++late", Err(FlowReason::Conflict)),
        ];
        for (dsn, bytes, expected) in table {
            assert_eq!(half.put(dsn, bytes), expected, "{dsn}");
        }
        while half.read(10).is_some() {}
        assert_eq!(half.put(0, b"other"), Ok(false), "it was handed out");
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
                half.put(dsn, &content[from..from + length]).unwrap();
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
