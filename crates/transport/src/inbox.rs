//! What a subflow has received: whole records, and the beginning of the next.

use bytes::Bytes;
use guywire_flow::record::{self, Record, RecordError};

use crate::pool::Pooled;

/// So many bytes are gathered before they are handed on.
const BATCH: usize = 256 * 1024;

/// Records that have arrived.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    received: Received,
    /// What is no whole record yet; less than the longest one.
    partial: Vec<u8>,
}

/// What was gathered: at most [`BATCH`] bytes and a TLS record.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// In order.
    pub(crate) records: Vec<Record>,
    /// Their bytes, and those of what is not whole yet.
    pub(crate) bytes: usize,
    /// What followed them was no record.
    pub(crate) malformed: Option<RecordError>,
}

impl Inbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.received.bytes == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.received.bytes >= BATCH || self.received.malformed.is_some()
    }

    /// Takes the content of the next TLS record. A large chunk that is all of it stays where it is.
    pub(crate) fn take(&mut self, content: Pooled) {
        if !self.partial.is_empty() || !content.is_worth_its_memory() {
            return self.gather(&content);
        }
        let content = Bytes::from(content);
        match record::whole_data(&content) {
            Some(record) => {
                self.received.bytes += content.len();
                self.received.records.push(record);
            }
            None => self.gather(&content),
        }
    }

    /// Takes what may be any part of the stream of records.
    pub(crate) fn gather(&mut self, bytes: &[u8]) {
        self.received.bytes += bytes.len();
        if self.partial.is_empty() {
            let rest = self.received.take(bytes);
            self.partial.extend_from_slice(rest);
            return;
        }
        let mut gathered = std::mem::take(&mut self.partial);
        gathered.extend_from_slice(bytes);
        let left = self.received.take(&gathered).len();
        gathered.drain(..gathered.len() - left);
        if left > 0 {
            self.partial = gathered;
        }
    }

    /// Hands out what was gathered.
    pub(crate) fn empty(&mut self) -> Received {
        std::mem::take(&mut self.received)
    }
}

impl Received {
    /// Takes all whole records; returns what is left.
    fn take<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        loop {
            match record::take(&mut bytes) {
                Ok(Some(record)) => self.records.push(record),
                Ok(None) => return bytes,
                Err(error) => {
                    self.malformed = Some(error);
                    return bytes;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use guywire_flow::record::MAX_BODY;

    use super::*;
    use crate::pool::Pool;

    fn wire() -> Vec<u8> {
        let mut wire = Vec::new();
        for number in 0..40_u64 {
            record::put_ping(&mut wire, number);
            wire.extend_from_slice(&record::data_header(2, number * 100, 100));
            wire.extend_from_slice(&[number as u8; 100]);
            let long = record::MAX_CHUNK - 500 * number as usize % 9_000;
            wire.extend_from_slice(&record::data_header(4, number << 20, long));
            wire.extend((0..long).map(|at| at as u8));
        }
        wire
    }

    /// What a TLS record had in it.
    fn content(bytes: &[u8]) -> Pooled {
        static CONTENTS: Pool = Pool::new(MAX_BODY, 4);
        let mut content = CONTENTS.take();
        content.extend_from_slice(bytes);
        content
    }

    #[test]
    fn any_cut_gives_the_same_records() {
        let wire = wire();
        let mut whole = Inbox::default();
        whole.gather(&wire);
        let expected = whole.empty().records;
        assert_eq!(expected.len(), 120);
        for step in [1, 7, 105, 111, 1_000, 16_371, 16_384, 100_000] {
            let mut inbox = Inbox::default();
            let mut records = Vec::new();
            for piece in wire.chunks(step) {
                match piece.len() > MAX_BODY {
                    true => inbox.gather(piece),
                    false => inbox.take(content(piece)),
                }
                assert!(!inbox.is_empty(), "what was gathered waits to be handed on");
                let received = inbox.empty();
                assert_eq!((received.bytes, received.malformed), (piece.len(), None));
                records.extend(received.records);
            }
            assert!(records == expected, "steps of {step}");
            assert!(inbox.is_empty() && inbox.partial.capacity() == 0);
        }
    }

    #[test]
    fn a_large_chunk_by_itself_is_not_copied() {
        for length in [100, record::MAX_CHUNK] {
            let mut wire = record::data_header(4, 0, length).to_vec();
            wire.resize(wire.len() + length, 7);
            let content = content(&wire);
            let there = content.as_ptr_range();
            let mut inbox = Inbox::default();
            inbox.take(content);
            let received = inbox.empty();
            let [Record::Data { bytes, .. }] = &received.records[..] else {
                panic!("{received:?}");
            };
            assert_eq!(bytes[..], vec![7; length]);
            let stayed = there.contains(&bytes.as_ptr());
            assert_eq!(stayed, length > MAX_BODY / 2, "{length} bytes");
        }
    }

    #[test]
    fn what_precedes_a_malformed_record_is_handed_out() {
        let mut wire = wire();
        wire.extend_from_slice(&[0x3f, record::CRITICAL, 0, 0, 1, 2, 3]);
        let mut inbox = Inbox::default();
        inbox.gather(&wire);
        assert!(inbox.is_full());
        let received = inbox.empty();
        assert_eq!(received.records.len(), 120);
        assert_eq!(
            received.malformed,
            Some(RecordError::Unknown { kind: 0x3f })
        );
    }
}
