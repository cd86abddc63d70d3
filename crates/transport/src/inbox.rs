//! What a subflow has received: whole records, and the beginning of the next.

use guywire_flow::record::{self, Begun, Record, RecordError};

/// So many bytes are gathered before they are handed on.
const BATCH: usize = 256 * 1024;

/// Records that have arrived, parsed from where TLS decrypted them.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    received: Received,
    /// A large record that is not whole yet.
    begun: Option<Begun>,
    /// Other bytes that are no whole record yet; less than the longest record.
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

    /// Takes what arrived next.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        self.received.bytes += bytes.len();
        if let Some(begun) = self.begun.take() {
            match begun.complete(&mut bytes) {
                Ok(record) => self.received.records.push(record),
                Err(begun) => return self.begun = Some(begun),
            }
        }
        if self.partial.is_empty() {
            let rest = self.received.take(bytes);
            self.keep(rest);
        } else {
            let mut gathered = std::mem::take(&mut self.partial);
            gathered.extend_from_slice(bytes);
            let rest = self.received.take(&gathered);
            self.keep(rest);
        }
    }

    fn keep(&mut self, mut rest: &[u8]) {
        self.begun = Begun::take(&mut rest);
        self.partial.extend_from_slice(rest);
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
    use super::*;

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

    #[test]
    fn any_cut_gives_the_same_records() {
        let wire = wire();
        let mut whole = Inbox::default();
        whole.take(&wire);
        let expected = whole.empty().records;
        assert_eq!(expected.len(), 120);
        for step in [1, 7, 105, 111, 1_000, 16_371, 16_384, 100_000] {
            let mut inbox = Inbox::default();
            let mut records = Vec::new();
            for piece in wire.chunks(step) {
                inbox.take(piece);
                let received = inbox.empty();
                assert_eq!((received.bytes, received.malformed), (piece.len(), None));
                records.extend(received.records);
            }
            assert!(records == expected, "steps of {step}");
            assert!(inbox.is_empty() && inbox.partial.is_empty() && inbox.begun.is_none());
        }
    }

    #[test]
    fn what_precedes_a_malformed_record_is_handed_out() {
        let mut wire = wire();
        wire.extend_from_slice(&[0x3f, record::CRITICAL, 0, 0, 1, 2, 3]);
        let mut inbox = Inbox::default();
        inbox.take(&wire);
        assert!(inbox.is_full());
        let received = inbox.empty();
        assert_eq!(received.records.len(), 120);
        assert_eq!(
            received.malformed,
            Some(RecordError::Unknown { kind: 0x3f })
        );
    }
}
