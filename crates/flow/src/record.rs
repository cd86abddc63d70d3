//! Records: how everything travels on a subflow. The truth of `docs/protocol.md`.
//!
//! ```text
//! record  = type (1 byte) flags (1 byte) flow (varint) length (varint) body (length bytes)
//! flags   = bit 0 CRITICAL: who does not know the type ends the session; else the record is skipped
//!           bit 1 NUMBERED: the body begins with a control number (varint)
//! ```
//!
//! The parser is given what has arrived and takes whole records from its front; it keeps nothing.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes};
use guywire_sched::Traffic;
use thiserror::Error;

use crate::reason::{FlowReason, SessionReason};
use crate::varint;

mod choice;
mod fields;

pub use choice::{
    CLASSES, Choice, ChoiceResult, Fate, MAX_MAP_BYTES, MAX_MAP_VALUES, MAX_OBJECT, MAX_TEXT,
    OBJECT_PIECE, Piece,
};
use fields::Fields;

/// Bit 0 of the flags: a type that is not known ends the session.
pub const CRITICAL: u8 = 1;
/// Bit 1 of the flags: the body begins with a control number.
pub const NUMBERED: u8 = 2;
/// The longest body of a record: a DATA record, header included, has about the length of a TLS record.
pub const MAX_BODY: usize = 16_384;
/// The longest header: type, flags, flow, length, and the data sequence number of DATA.
pub const MAX_HEADER: usize = 1 + 1 + 8 + 4 + 8;
/// The most data of a flow that one record carries.
pub const MAX_CHUNK: usize = MAX_BODY - MAX_HEADER;
/// The longest name of a service, scheduler or map, in bytes.
pub const MAX_NAME: usize = 32;

/// Type numbers. 0x01 is HELLO, which precedes the session (`guywire-transport`).
mod kind {
    pub(super) const PATH_STATUS: u8 = 0x02;
    pub(super) const SCHEDULER: u8 = 0x03;
    pub(super) const SCHEDULER_OBJECT: u8 = 0x04;
    pub(super) const SCHEDULER_RESULT: u8 = 0x05;
    pub(super) const PING: u8 = 0x06;
    pub(super) const PONG: u8 = 0x07;
    pub(super) const GOAWAY: u8 = 0x08;
    pub(super) const CONTROL_ACK: u8 = 0x0a;
    pub(super) const OPEN: u8 = 0x10;
    pub(super) const OPENED: u8 = 0x11;
    pub(super) const REFUSED: u8 = 0x12;
    pub(super) const DATA: u8 = 0x13;
    pub(super) const ACK: u8 = 0x14;
    pub(super) const FIN: u8 = 0x15;
    pub(super) const RESET: u8 = 0x16;
    pub(super) const DONE: u8 = 0x17;
}

/// Where a flow leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// An address on the internet.
    Address(SocketAddr),
    /// A service of the server itself, by name: at most [`MAX_NAME`] bytes of UTF-8.
    Service(String),
}

/// What a router knows of a flow that it opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowKind {
    /// The class that it belongs to, below [`CLASSES`]; 0 is none.
    pub class: u8,
    /// DSCP of the packet that opened it, 0 to 63; 0 if unknown.
    pub dscp: u8,
}

impl Destination {
    /// A flow there, as schedulers see it.
    pub(crate) fn traffic(&self, dscp: u8) -> Traffic {
        let destination = match self {
            Destination::Address(address) => Some(*address),
            Destination::Service(_) => None,
        };
        Traffic { destination, dscp }
    }
}

/// What an end says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathNotice {
    /// It carries data.
    Up,
    /// Data on it is overdue.
    Stale,
    /// The router withdraws it.
    Withdrawn,
}

/// A record of control: it has a number, is acknowledged, and is sent again if it may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// What the sender knows of a path.
    PathStatus {
        /// The path.
        path: u8,
        /// Its state as the sender sees it.
        notice: PathNotice,
        /// To be used only when nothing else is left.
        backup: bool,
    },
    /// The scheduler that the router wants for what the server sends.
    Scheduler(Choice),
    /// A piece of an object that the server said it wants.
    SchedulerObject(Piece),
    /// The server's answer, and later what became of it.
    SchedulerResult(ChoiceResult),
    /// The session ends.
    GoAway(SessionReason),
    /// A new flow.
    Open {
        /// Its id.
        flow: u64,
        /// Where it leads.
        to: Destination,
        /// Bytes the opener accepts in the other direction.
        window: u64,
        /// What the router knows of it.
        kind: FlowKind,
    },
    /// The destination accepted.
    Opened {
        /// The flow.
        flow: u64,
        /// Bytes accepted from the opener.
        window: u64,
    },
    /// The destination did not accept.
    Refused {
        /// The flow.
        flow: u64,
        /// Why.
        reason: FlowReason,
    },
    /// The sender's direction ends at this data sequence number.
    Fin {
        /// The flow.
        flow: u64,
        /// The number of bytes the direction carries in all.
        end: u64,
    },
    /// The flow is broken.
    Reset {
        /// The flow.
        flow: u64,
        /// Why.
        reason: FlowReason,
    },
    /// Everything up to the end of the other direction has arrived.
    Done {
        /// The flow.
        flow: u64,
    },
}

/// One record as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A record of control with its number.
    Control(u64, Control),
    /// A numbered record of a type that is not known and may be skipped.
    Skipped(u64),
    /// Every control number below this one has arrived.
    ControlAck(u64),
    /// Asks for a PONG on the same subflow.
    Ping {
        /// Given back unchanged.
        stamp: u64,
    },
    /// Answers a PING.
    Pong {
        /// The PING's stamp.
        stamp: u64,
    },
    /// A piece of a flow.
    Data {
        /// The flow.
        flow: u64,
        /// Data sequence number of the first byte.
        dsn: u64,
        /// The bytes; never empty.
        bytes: Bytes,
    },
    /// What has arrived of a flow.
    Ack {
        /// The flow.
        flow: u64,
        /// Every byte below this number has arrived.
        cumulative: u64,
        /// Bytes accepted beyond it.
        window: u64,
    },
}

/// Why bytes are no record of this protocol. Every one ends the session's trust in the subflow.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The length field exceeds the bound.
    #[error(
        "record type {kind:#04x} announces a body of {length} bytes, at most {MAX_BODY} are allowed"
    )]
    TooLong {
        /// Type of the record.
        kind: u8,
        /// Announced length.
        length: u64,
    },
    /// A field is missing, cut short, or has no meaning.
    #[error("record type {kind:#04x}: bad field `{field}`")]
    BadField {
        /// Type of the record.
        kind: u8,
        /// Name of the field.
        field: &'static str,
    },
    /// A type that must be understood is not.
    #[error("record type {kind:#04x} must be understood and is unknown")]
    Unknown {
        /// Type of the record.
        kind: u8,
    },
}

impl RecordError {
    /// The reason given to the other end.
    pub fn reason(&self) -> SessionReason {
        match self {
            RecordError::Unknown { .. } => SessionReason::UnknownRecord,
            RecordError::TooLong { .. } | RecordError::BadField { .. } => SessionReason::Malformed,
        }
    }
}

/// Takes the first record from the front of `input`. `Ok(None)` when it has not arrived whole; types
/// that may be skipped and carry no number are passed over.
pub fn take(input: &mut &[u8]) -> Result<Option<Record>, RecordError> {
    loop {
        let Some((kind, flags, flow, body)) = take_frame(input)? else {
            return Ok(None);
        };
        if let Some(record) = parse(kind, flags, flow, body)? {
            return Ok(Some(record));
        }
    }
}

/// Type, flags, flow, and the length of the body that follows.
type Header = (u8, u8, u64, usize);

fn take_header(input: &mut &[u8]) -> Result<Option<Header>, RecordError> {
    let &[kind, flags, ref rest @ ..] = *input else {
        return Ok(None);
    };
    let mut rest = rest;
    let (Some(flow), Some(length)) = (varint::take(&mut rest), varint::take(&mut rest)) else {
        return Ok(None);
    };
    let Some(size) = usize::try_from(length).ok().filter(|&l| l <= MAX_BODY) else {
        return Err(RecordError::TooLong { kind, length });
    };
    *input = rest;
    Ok(Some((kind, flags, flow, size)))
}

type Frame<'a> = (u8, u8, u64, &'a [u8]);

fn take_frame<'a>(input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, RecordError> {
    let mut rest = *input;
    let Some((kind, flags, flow, size)) = take_header(&mut rest)? else {
        return Ok(None);
    };
    let Some((body, rest)) = rest.split_at_checked(size) else {
        return Ok(None);
    };
    *input = rest;
    Ok(Some((kind, flags, flow, body)))
}

/// Whether `bytes` are one DATA record and no more: then its body, which shares their memory.
pub fn whole_data(bytes: &Bytes) -> Option<Record> {
    let mut rest = &bytes[..];
    // What is malformed is found out by `take`.
    let (kind, flags, flow, size) = take_header(&mut rest).ok()??;
    if kind != kind::DATA || flags & NUMBERED != 0 || size != rest.len() {
        return None;
    }
    let dsn = varint::take(&mut rest).filter(|_| !rest.is_empty())?;
    let bytes = bytes.slice_ref(rest);
    Some(Record::Data { flow, dsn, bytes })
}

fn parse(kind: u8, flags: u8, flow: u64, body: &[u8]) -> Result<Option<Record>, RecordError> {
    let mut fields = Fields { kind, rest: body };
    if flags & NUMBERED != 0 {
        let number = fields.varint("control number")?;
        return match parse_control(kind, flow, &mut fields)? {
            Some(control) => Ok(Some(Record::Control(number, control))),
            None if flags & CRITICAL != 0 => Err(RecordError::Unknown { kind }),
            None => Ok(Some(Record::Skipped(number))),
        };
    }
    let record = match kind {
        kind::DATA => Record::Data {
            flow,
            dsn: fields.varint("data sequence number")?,
            bytes: match fields.rest {
                [] => return Err(fields.bad("bytes")),
                bytes => Bytes::copy_from_slice(bytes),
            },
        },
        kind::ACK => Record::Ack {
            flow,
            cumulative: fields.varint("cumulative")?,
            window: fields.varint("window")?,
        },
        kind::CONTROL_ACK => Record::ControlAck(fields.varint("number")?),
        kind::PING => Record::Ping {
            stamp: fields.varint("stamp")?,
        },
        kind::PONG => Record::Pong {
            stamp: fields.varint("stamp")?,
        },
        _ if flags & CRITICAL != 0 => return Err(RecordError::Unknown { kind }),
        _ => return Ok(None),
    };
    Ok(Some(record))
}

fn parse_control(
    kind: u8,
    flow: u64,
    fields: &mut Fields<'_>,
) -> Result<Option<Control>, RecordError> {
    let control = match kind {
        kind::PATH_STATUS => Control::PathStatus {
            path: fields.byte("path")?,
            notice: match fields.byte("state")? {
                0 => PathNotice::Up,
                1 => PathNotice::Stale,
                2 => PathNotice::Withdrawn,
                _ => return Err(fields.bad("state")),
            },
            backup: fields.byte("backup")? != 0,
        },
        kind::SCHEDULER => Control::Scheduler(choice::take(fields)?),
        kind::SCHEDULER_OBJECT => Control::SchedulerObject(choice::take_piece(fields)?),
        kind::SCHEDULER_RESULT => Control::SchedulerResult(choice::take_result(fields)?),
        kind::GOAWAY => Control::GoAway(SessionReason::from_code(fields.byte("reason")?)),
        kind::OPEN => Control::Open {
            flow,
            window: fields.varint("window")?,
            to: fields.destination()?,
            kind: FlowKind {
                class: fields.class()?,
                dscp: fields.dscp()?,
            },
        },
        kind::OPENED => Control::Opened {
            flow,
            window: fields.varint("window")?,
        },
        kind::REFUSED => Control::Refused {
            flow,
            reason: FlowReason::from_code(fields.byte("reason")?),
        },
        kind::FIN => Control::Fin {
            flow,
            end: fields.varint("end")?,
        },
        kind::RESET => Control::Reset {
            flow,
            reason: FlowReason::from_code(fields.byte("reason")?),
        },
        kind::DONE => Control::Done { flow },
        _ => return Ok(None),
    };
    Ok(Some(control))
}

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, flow: u64, body: &[u8]) {
    out.extend_from_slice(&[kind, flags]);
    varint::put(out, flow);
    varint::put(out, body.len() as u64);
    out.extend_from_slice(body);
}

/// Appends a control record with its number.
pub fn put_control(out: &mut Vec<u8>, number: u64, control: &Control) {
    let mut body = Vec::with_capacity(64);
    varint::put(&mut body, number);
    let (kind, flow) = put_control_body(&mut body, control);
    put_frame(out, kind, CRITICAL | NUMBERED, flow, &body);
}

fn put_control_body(body: &mut Vec<u8>, control: &Control) -> (u8, u64) {
    match control {
        Control::PathStatus {
            path,
            notice,
            backup,
        } => {
            let state = match notice {
                PathNotice::Up => 0,
                PathNotice::Stale => 1,
                PathNotice::Withdrawn => 2,
            };
            body.extend_from_slice(&[*path, state, u8::from(*backup)]);
            (kind::PATH_STATUS, 0)
        }
        Control::Scheduler(choice) => {
            choice::put(body, choice);
            (kind::SCHEDULER, 0)
        }
        Control::SchedulerObject(piece) => {
            choice::put_piece(body, piece);
            (kind::SCHEDULER_OBJECT, 0)
        }
        Control::SchedulerResult(result) => {
            choice::put_result(body, result);
            (kind::SCHEDULER_RESULT, 0)
        }
        Control::GoAway(reason) => {
            body.push(reason.code());
            (kind::GOAWAY, 0)
        }
        Control::Open {
            flow,
            to,
            window,
            kind,
        } => {
            varint::put(body, *window);
            put_destination(body, to);
            body.extend([kind.class, kind.dscp]);
            (kind::OPEN, *flow)
        }
        Control::Opened { flow, window } => {
            varint::put(body, *window);
            (kind::OPENED, *flow)
        }
        Control::Refused { flow, reason } => {
            body.push(reason.code());
            (kind::REFUSED, *flow)
        }
        Control::Fin { flow, end } => {
            varint::put(body, *end);
            (kind::FIN, *flow)
        }
        Control::Reset { flow, reason } => {
            body.push(reason.code());
            (kind::RESET, *flow)
        }
        Control::Done { flow } => (kind::DONE, *flow),
    }
}

fn put_destination(body: &mut Vec<u8>, to: &Destination) {
    match to {
        Destination::Address(address) => {
            match address.ip() {
                IpAddr::V4(ip) => {
                    body.push(4);
                    body.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    body.push(6);
                    body.extend_from_slice(&ip.octets());
                }
            }
            body.put_u16(address.port());
        }
        Destination::Service(name) => {
            body.push(0);
            put_name(body, name);
        }
    }
}

fn put_name(body: &mut Vec<u8>, name: &str) {
    debug_assert!(name.len() <= MAX_NAME);
    put_bytes(body, name.as_bytes());
}

fn put_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    varint::put(body, bytes.len() as u64);
    body.extend_from_slice(bytes);
}

/// The header of a DATA record for `length` bytes (at least 1, at most [`MAX_BODY`] less the sequence
/// number); the bytes themselves follow.
pub fn data_header(flow: u64, dsn: u64, length: usize) -> Bytes {
    let mut header = [0; MAX_HEADER];
    let mut rest = &mut header[..];
    rest.put_slice(&[kind::DATA, CRITICAL]);
    varint::put(&mut rest, flow);
    varint::put(&mut rest, (varint::length(dsn) + length) as u64);
    varint::put(&mut rest, dsn);
    let left = rest.len();
    Bytes::copy_from_slice(&header[..MAX_HEADER - left])
}

/// Appends an ACK.
pub fn put_ack(out: &mut Vec<u8>, flow: u64, cumulative: u64, window: u64) {
    let mut body = Vec::with_capacity(16);
    varint::put(&mut body, cumulative);
    varint::put(&mut body, window);
    put_frame(out, kind::ACK, CRITICAL, flow, &body);
}

/// Appends a CONTROL_ACK.
pub fn put_control_ack(out: &mut Vec<u8>, number: u64) {
    put_session(out, kind::CONTROL_ACK, number);
}

/// Appends a PING.
pub fn put_ping(out: &mut Vec<u8>, stamp: u64) {
    put_session(out, kind::PING, stamp);
}

/// Appends a PONG.
pub fn put_pong(out: &mut Vec<u8>, stamp: u64) {
    put_session(out, kind::PONG, stamp);
}

fn put_session(out: &mut Vec<u8>, kind: u8, value: u64) {
    let mut body = Vec::with_capacity(8);
    varint::put(&mut body, value);
    put_frame(out, kind, CRITICAL, 0, &body);
}

#[cfg(test)]
mod tests;
