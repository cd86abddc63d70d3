//! What a subflow is given to send: records whose bytes are shared with their flows, not copied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Records to be sent, in order. As a [`Buf`] it shows the signals by themselves first: in a TLS record of their own
/// they need not wait until 16 kB of chunks have arrived, too.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Records that carry no data of a flow.
    signals: VecDeque<u8>,
    /// Headers and bodies of chunks.
    chunks: VecDeque<Bytes>,
    chunk_bytes: usize,
}

impl Outgoing {
    /// Adds signals; they precede every chunk that is not sent yet.
    pub(crate) fn add_signals(&mut self, records: &[u8]) {
        self.signals.extend(records);
    }

    /// Adds the header of a chunk, or a piece of its body.
    pub(crate) fn add_chunk(&mut self, part: Bytes) {
        self.chunk_bytes += part.len();
        self.chunks.push_back(part);
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.signals.len() + self.chunk_bytes
    }

    fn chunk(&self) -> &[u8] {
        match self.signals.is_empty() {
            true => self.chunks.front().map_or(&[], |part| &part[..]),
            false => self.signals.chunk(),
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        if !self.signals.is_empty() {
            return self.signals.chunks_vectored(into);
        }
        let mut count = 0;
        for (slice, part) in into.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(part);
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
            if left < part.len() {
                part.advance(left);
                return;
            }
            left -= part.len();
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
        outgoing.add_chunk(Bytes::from_static(b"head"));
        outgoing.add_chunk(Bytes::from_static(b"body"));
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
