//! HELLO as bytes: one record each way, encoded and decoded without I/O.
//!
//! ```text
//! record  = type u8 (0x01), flags u8 (bit 0: CRITICAL), flow id varint (0), length varint, body
//! server  = least version u8, greatest version u8, endpoint, max flows u32, session credit u64,
//!           families u8 (bit 0: IPv4, bit 1: IPv6)
//! router  = version u8, endpoint, path id u8, link flags u8 (bit 0: backup, bit 1: metered),
//!           cost u32, name length u8, name (UTF-8)
//! endpoint = instance [u8; 16], generation u32, oldest living generation u32
//! ```
//!
//! Numbers are big-endian, varints as in RFC 9000 section 16. A body may be longer than what is
//! named here: **a decoder ignores what follows**, so later versions append fields. Flag bits
//! without a meaning are sent as zero and ignored. CRITICAL means that a receiver which does not
//! know the record's type closes the connection instead of skipping the record.

use guywire_flow::varint;

use super::{
    DecodeError, Endpoint, Families, Instance, LinkAttributes, LinkName, RouterHello, ServerHello,
    VersionRange,
};

/// Type of the HELLO record.
pub const HELLO_TYPE: u8 = 0x01;

/// Record flag: whoever does not know this record's type closes the connection.
pub const CRITICAL: u8 = 0x01;

/// Longest HELLO body that is read, bytes. Ours have at most 64; the rest is room for later fields.
pub const MAX_BODY: usize = 1024;

/// Longest record header: type, flags and two varints of 8 bytes.
pub(super) const MAX_HEADER: usize = 18;

const FAMILY_V4: u8 = 0x01;
const FAMILY_V6: u8 = 0x02;
const LINK_BACKUP: u8 = 0x01;
const LINK_METERED: u8 = 0x02;

/// Reads a HELLO's header from the start of `bytes`: lengths of header and body, or `None` if
/// more bytes are needed.
pub(super) fn decode_header(bytes: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    match bytes.first() {
        None => return Ok(None),
        Some(&HELLO_TYPE) => {}
        Some(&other) => return Err(DecodeError::NotHello { got: other }),
    }
    let mut rest = bytes.get(2..).unwrap_or_default();
    let Some(flow) = varint::take(&mut rest) else {
        return Ok(None);
    };
    if flow != 0 {
        return Err(DecodeError::OfFlow { flow });
    }
    let Some(length) = varint::take(&mut rest) else {
        return Ok(None);
    };
    match usize::try_from(length) {
        Ok(body) if body <= MAX_BODY => Ok(Some((bytes.len() - rest.len(), body))),
        _ => Err(DecodeError::TooLong { length }),
    }
}

/// One whole record: the body, and how many bytes the record has.
fn decode_record(bytes: &[u8]) -> Result<(&[u8], usize), DecodeError> {
    let (header, body) = decode_header(bytes)?.ok_or(DecodeError::Short {
        field: "record header",
    })?;
    let end = header + body;
    let body = bytes
        .get(header..end)
        .ok_or(DecodeError::Short { field: "body" })?;
    Ok((body, end))
}

fn encode_record(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + MAX_HEADER);
    out.extend_from_slice(&[HELLO_TYPE, CRITICAL]);
    varint::put(&mut out, 0);
    varint::put(&mut out, body.len() as u64);
    out.extend_from_slice(body);
    out
}

impl ServerHello {
    /// The record, header and body.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = vec![self.versions.least, self.versions.greatest];
        put_endpoint(&mut body, &self.endpoint);
        body.extend_from_slice(&self.max_flows.to_be_bytes());
        body.extend_from_slice(&self.session_credit.to_be_bytes());
        let v4 = if self.families.v4 { FAMILY_V4 } else { 0 };
        let v6 = if self.families.v6 { FAMILY_V6 } else { 0 };
        body.push(v4 | v6);
        encode_record(&body)
    }

    /// Reads a record; also how many bytes it has. What follows it is left alone.
    ///
    /// # Errors
    /// Names the field that is missing or out of bounds.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), DecodeError> {
        let (body, length) = decode_record(bytes)?;
        Ok((Self::decode_body(body)?, length))
    }

    pub(super) fn decode_body(body: &[u8]) -> Result<Self, DecodeError> {
        let mut body = Reader(body);
        let versions = VersionRange {
            least: body.u8("least version")?,
            greatest: body.u8("greatest version")?,
        };
        if versions.least > versions.greatest {
            return Err(DecodeError::VersionOrder(versions));
        }
        let endpoint = body.endpoint()?;
        let max_flows = body.u32("max flows")?;
        let session_credit = u64::from_be_bytes(body.array("session credit")?);
        let families = body.u8("families")?;
        Ok(Self {
            versions,
            endpoint,
            max_flows,
            session_credit,
            families: Families {
                v4: families & FAMILY_V4 != 0,
                v6: families & FAMILY_V6 != 0,
            },
        })
    }
}

impl RouterHello {
    /// The record, header and body.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = vec![self.version];
        put_endpoint(&mut body, &self.endpoint);
        body.push(self.path);
        let backup = if self.link.backup { LINK_BACKUP } else { 0 };
        let metered = if self.link.metered { LINK_METERED } else { 0 };
        body.push(backup | metered);
        body.extend_from_slice(&self.link.cost.to_be_bytes());
        let name = self.link.name.as_str();
        // A link name has at most 32 bytes.
        body.push(name.len() as u8);
        body.extend_from_slice(name.as_bytes());
        encode_record(&body)
    }

    /// Reads a record; also how many bytes it has. What follows it is left alone.
    ///
    /// # Errors
    /// Names the field that is missing or out of bounds.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), DecodeError> {
        let (body, length) = decode_record(bytes)?;
        Ok((Self::decode_body(body)?, length))
    }

    pub(super) fn decode_body(body: &[u8]) -> Result<Self, DecodeError> {
        let mut body = Reader(body);
        let version = body.u8("version")?;
        let endpoint = body.endpoint()?;
        let path = body.u8("path id")?;
        let flags = body.u8("link flags")?;
        let cost = body.u32("cost")?;
        let name_bytes = usize::from(body.u8("length of the link name")?);
        let name = body.take(name_bytes, "link name")?;
        let name = std::str::from_utf8(name).map_err(|_| DecodeError::NameNotUtf8)?;
        Ok(Self {
            version,
            endpoint,
            path,
            link: LinkAttributes {
                name: LinkName::new(name)?,
                backup: flags & LINK_BACKUP != 0,
                metered: flags & LINK_METERED != 0,
                cost,
            },
        })
    }
}

fn put_endpoint(out: &mut Vec<u8>, endpoint: &Endpoint) {
    out.extend_from_slice(&endpoint.instance.0);
    out.extend_from_slice(&endpoint.generation.to_be_bytes());
    out.extend_from_slice(&endpoint.oldest.to_be_bytes());
}

/// The rest of a body; each read names its field in case the body ends too early.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or(DecodeError::Short { field })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or(DecodeError::Short { field })?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    fn endpoint(&mut self) -> Result<Endpoint, DecodeError> {
        let endpoint = Endpoint {
            instance: Instance(self.array("instance")?),
            generation: self.u32("generation")?,
            oldest: self.u32("oldest generation")?,
        };
        if endpoint.oldest > endpoint.generation || endpoint.oldest == 0 {
            return Err(DecodeError::GenerationOrder {
                generation: endpoint.generation,
                oldest: endpoint.oldest,
            });
        }
        Ok(endpoint)
    }
}
