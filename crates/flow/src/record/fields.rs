//! The fields of a record's body.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{CLASSES, Destination, MAX_NAME, RecordError};
use crate::varint;

/// The fields of a body, taken one after the other; what is left behind the known ones is ignored,
/// so that later versions can add fields.
pub(super) struct Fields<'a> {
    pub(super) kind: u8,
    pub(super) rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn bad(&self, field: &'static str) -> RecordError {
        RecordError::BadField {
            kind: self.kind,
            field,
        }
    }

    pub(super) fn varint(&mut self, field: &'static str) -> Result<u64, RecordError> {
        varint::take(&mut self.rest).ok_or_else(|| self.bad(field))
    }

    pub(super) fn byte(&mut self, field: &'static str) -> Result<u8, RecordError> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(|| self.bad(field))?;
        self.rest = rest;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], RecordError> {
        let (&array, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.bad(field))?;
        self.rest = rest;
        Ok(array)
    }

    pub(super) fn destination(&mut self) -> Result<Destination, RecordError> {
        let ip: IpAddr = match self.byte("destination kind")? {
            4 => Ipv4Addr::from(self.array::<4>("address")?).into(),
            6 => Ipv6Addr::from(self.array::<16>("address")?).into(),
            0 => return Ok(Destination::Service(self.name("service")?)),
            _ => return Err(self.bad("destination kind")),
        };
        let port = u16::from_be_bytes(self.array("port")?);
        Ok(Destination::Address(SocketAddr::new(ip, port)))
    }

    /// Bytes with their number in front, at most `max`.
    pub(super) fn bytes(
        &mut self,
        max: usize,
        field: &'static str,
    ) -> Result<&'a [u8], RecordError> {
        let length = usize::try_from(self.varint(field)?).unwrap_or(usize::MAX);
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .filter(|_| length <= max)
            .ok_or_else(|| self.bad(field))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self, max: usize, field: &'static str) -> Result<String, RecordError> {
        let text = std::str::from_utf8(self.bytes(max, field)?).map_err(|_| self.bad(field))?;
        Ok(text.to_owned())
    }

    pub(super) fn name(&mut self, field: &'static str) -> Result<String, RecordError> {
        self.text(MAX_NAME, field)
    }

    pub(super) fn class(&mut self) -> Result<u8, RecordError> {
        let class = self.byte("class")?;
        (class < CLASSES)
            .then_some(class)
            .ok_or_else(|| self.bad("class"))
    }

    pub(super) fn dscp(&mut self) -> Result<u8, RecordError> {
        let dscp = self.byte("DSCP")?;
        (dscp < 64).then_some(dscp).ok_or_else(|| self.bad("DSCP"))
    }
}
