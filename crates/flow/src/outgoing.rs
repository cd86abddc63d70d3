//! What a subflow is given to send: records whose bytes are shared with their flows, not copied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::record::MAX_BODY;

/// Records to be sent, in order. As a [`Buf`] it shows together what makes a TLS record: signals by themselves first, so
/// that they need not wait until 16 kB of chunks have arrived, too; then chunks that are whole in it, so that the
/// receiver need not put them together.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Records that carry no data of a flow.
    signals: VecDeque<u8>,
    /// Headers and bodies of chunks.
    chunks: VecDeque<Part>,
    chunk_bytes: usize,
}

/// The header of a chunk, or a piece of its body.
#[derive(Debug)]
struct Part {
    bytes: Bytes,
    /// The length of the record that begins here; 0: it has begun before.
    begins: usize,
}

impl Outgoing {
    /// Adds signals; they precede every chunk that is not sent yet.
    pub(crate) fn add_signals(&mut self, records: &[u8]) {
        self.signals.extend(records);
    }

    /// Adds the header of a chunk with `length` bytes.
    pub(crate) fn add_header(&mut self, header: Bytes, length: usize) {
        let begins = header.len() + length;
        self.add(header, begins);
    }

    /// Adds a piece of the body of the last chunk.
    pub(crate) fn add_body(&mut self, piece: Bytes) {
        self.add(piece, 0);
    }

    fn add(&mut self, bytes: Bytes, begins: usize) {
        self.chunk_bytes += bytes.len();
        self.chunks.push_back(Part { bytes, begins });
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.signals.len() + self.chunk_bytes
    }

    fn chunk(&self) -> &[u8] {
        match self.signals.is_empty() {
            true => self.chunks.front().map_or(&[], |part| &part.bytes[..]),
            false => self.signals.chunk(),
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        if !self.signals.is_empty() {
            return self.signals.chunks_vectored(into);
        }
        let (mut count, mut room) = (0, MAX_BODY);
        for (slice, part) in into.iter_mut().zip(&self.chunks) {
            if count > 0 && part.begins > room {
                break;
            }
            *slice = IoSlice::new(&part.bytes);
            room = room.saturating_sub(part.bytes.len());
            count += 1;
        }
        count
    }

    fn advance(&mut self, count: usize) {
        let signals = count.min(self.signals.len());
        self.signals.advance(signals);
        let mut left = count - signals;
        self.chunk_bytes -= left;
        while let Some(part) = self.chunks.front_mut() {
            if left < part.bytes.len() {
                part.bytes.advance(left);
                return;
            }
            left -= part.bytes.len();
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn outgoing() -> Outgoing {
        let mut outgoing = Outgoing::default();
        outgoing.add_header(Bytes::from_static(b"head"), 4);
        outgoing.add_body(Bytes::from_static(b"body"));
        outgoing.add_signals(b"signal");
        outgoing
    }

    #[test]
    fn signals_go_first_and_by_themselves() {
        let mut outgoing = outgoing();
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(outgoing.chunks_vectored(&mut slices), 1);
        assert_eq!(&*slices[0], b"signal");
        outgoing.advance(6);
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(outgoing.chunks_vectored(&mut slices), 2);
        assert_eq!((&*slices[0], &*slices[1]), (&b"head"[..], &b"body"[..]));
    }

    #[test]
    fn chunks_that_are_shown_together_are_whole() {
        let mut outgoing = Outgoing::default();
        for length in [6_000, 6_000, 6_000, 16_000] {
            outgoing.add_header(Bytes::from_static(b"head"), length);
            let (one, other) = (length / 3, length - length / 3);
            outgoing.add_body(Bytes::from(vec![1; one]));
            outgoing.add_body(Bytes::from(vec![2; other]));
        }
        for expected in [12_008, 6_004, 16_004] {
            let mut slices = [IoSlice::new(&[]); 32];
            let count = outgoing.chunks_vectored(&mut slices);
            let shown: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            assert_eq!(shown, expected);
            outgoing.advance(shown);
        }
        assert!(!outgoing.has_remaining());
    }

    #[test]
    fn any_steps_give_the_same_bytes() {
        for step in 1..20 {
            let (mut outgoing, mut out) = (outgoing(), Vec::new());
            while outgoing.has_remaining() {
                let count = step.min(outgoing.remaining());
                out.put((&mut outgoing).take(count));
            }
            assert_eq!(out, b"signalheadbody", "steps of {step}");
        }
    }
}
