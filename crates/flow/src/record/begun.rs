//! A large record that arrives in pieces: TLS cuts what is sent where it likes.

use super::{BODIES, NUMBERED, Record, kind, take_header};
use crate::pool::Pooled;
use crate::varint;

/// DATA that has begun to arrive, gathered where it will stay, so that its bytes are copied once.
#[derive(Debug)]
pub struct Begun {
    flow: u64,
    dsn: u64,
    /// How many bytes it carries.
    length: usize,
    body: Pooled,
}

impl Begun {
    /// Takes all of `input` where that is the beginning of DATA with a large body; what is small may wait and be
    /// copied twice.
    pub fn take(input: &mut &[u8]) -> Option<Begun> {
        let mut rest = *input;
        // What is malformed is found out when it is whole.
        let (kind, flags, flow, size) = take_header(&mut rest).ok()??;
        let before = rest.len();
        let dsn = varint::take(&mut rest)?;
        let length = size.checked_sub(before - rest.len())?;
        let is_data = kind == kind::DATA && flags & NUMBERED == 0;
        if !is_data || !BODIES.fits(length) || rest.len() >= length {
            return None;
        }
        let mut body = BODIES.take();
        body.extend_from_slice(rest);
        *input = &[];
        Some(Begun {
            flow,
            dsn,
            length,
            body,
        })
    }

    /// Takes what is missing from the front of `input`; the record once it is whole.
    ///
    /// # Errors
    /// Itself, as long as more is missing.
    pub fn complete(mut self, input: &mut &[u8]) -> Result<Record, Begun> {
        let missing = self.length - self.body.len();
        let (more, rest) = input.split_at(missing.min(input.len()));
        self.body.extend_from_slice(more);
        *input = rest;
        match self.body.len() < self.length {
            true => Err(self),
            false => Ok(Record::Data {
                flow: self.flow,
                dsn: self.dsn,
                bytes: self.body.into(),
            }),
        }
    }
}
