//! Records by which a router chooses what schedules the flows of a class at the server.

use guywire_sched::{MapValue, Reason};

use super::{Fields, RecordError, put_bytes, put_name};
use crate::varint;

/// Classes of flows, with 0 for what belongs to no other.
pub const CLASSES: u8 = 16;
/// The largest scheduler object that may be sent, in bytes.
pub const MAX_OBJECT: usize = 1 << 20;
/// So many bytes of an object go into one record; the last has the rest.
pub const OBJECT_PIECE: usize = 8_192;
/// Values for maps that one choice may bring.
pub const MAX_MAP_VALUES: usize = 64;
/// The longest key or value for a map, in bytes.
pub const MAX_MAP_BYTES: usize = 64;
/// The longest explanation, in bytes; what is longer is cut.
pub const MAX_TEXT: usize = 1_024;

/// Options of SCHEDULER: a hash follows the name; several that are marked take turns.
const WITH_HASH: u8 = 1;
const IN_TURN: u8 = 2;

/// What a router wants of the flows of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The class, below [`CLASSES`].
    pub class: u8,
    /// Greater than that of any earlier choice for the class: they may overtake each other.
    pub serial: u64,
    /// Name of the scheduler, at most [`MAX_NAME`](super::MAX_NAME) bytes; empty: as the flows of class 0.
    pub name: String,
    /// SHA-256 of its object; none for a native one.
    pub hash: Option<[u8; 32]>,
    /// Of several that are marked each takes the next chunk, as in the kernel, instead of a copy.
    pub in_turn: bool,
    /// What its maps hold at first.
    pub maps: Vec<MapValue>,
}

/// A piece of a scheduler's object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// SHA-256 of the object.
    pub hash: [u8; 32],
    /// Size of the object, at most [`MAX_OBJECT`].
    pub size: u32,
    /// Which piece, from 0; each has [`OBJECT_PIECE`] bytes, but for the last.
    pub number: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What a server says of a [`Choice`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceResult {
    /// The class.
    pub class: u8,
    /// Serial number of the choice.
    pub serial: u64,
    /// What became of it.
    pub fate: Fate,
    /// The same for people, at most [`MAX_TEXT`] bytes.
    pub text: String,
}

/// What became of a [`Choice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The flows of the class are scheduled with it.
    InUse,
    /// The server does not have the object and may take it.
    Wanted,
    /// It is not used, but `default`.
    Refused,
    /// It was in use, misbehaved, and `default` is in its place.
    Ejected(Reason),
}

pub(super) fn take(fields: &mut Fields<'_>) -> Result<Choice, RecordError> {
    let class = fields.class()?;
    let serial = fields.varint("serial")?;
    let options = fields.byte("options")?;
    let name = fields.name("name")?;
    let hash = match options & WITH_HASH {
        0 => None,
        _ => Some(fields.array("hash")?),
    };
    let mut maps = Vec::new();
    for _ in 0..count(fields, MAX_MAP_VALUES, "maps")? {
        maps.push(MapValue {
            map: fields.name("map")?,
            key: fields.bytes(MAX_MAP_BYTES, "key")?.to_vec(),
            value: fields.bytes(MAX_MAP_BYTES, "value")?.to_vec(),
        });
    }
    Ok(Choice {
        class,
        serial,
        name,
        hash,
        in_turn: options & IN_TURN != 0,
        maps,
    })
}

fn count(fields: &mut Fields<'_>, max: usize, field: &'static str) -> Result<usize, RecordError> {
    let count = usize::from(fields.byte(field)?);
    (count <= max)
        .then_some(count)
        .ok_or_else(|| fields.bad(field))
}

pub(super) fn take_piece(fields: &mut Fields<'_>) -> Result<Piece, RecordError> {
    let hash = fields.array("hash")?;
    let mut number = |field| {
        let number = u32::try_from(fields.varint(field)?).ok();
        let fits = |&number: &u32| number as usize <= MAX_OBJECT;
        number.filter(fits).ok_or_else(|| fields.bad(field))
    };
    let (size, number) = (number("size")?, number("number")?);
    let start = number as usize * OBJECT_PIECE;
    let length = (size as usize).saturating_sub(start).min(OBJECT_PIECE);
    if length == 0 || fields.rest.len() != length {
        return Err(fields.bad("bytes"));
    }
    Ok(Piece {
        hash,
        size,
        number,
        bytes: fields.rest.to_vec(),
    })
}

pub(super) fn take_result(fields: &mut Fields<'_>) -> Result<ChoiceResult, RecordError> {
    let class = fields.class()?;
    let serial = fields.varint("serial")?;
    let fate = match fields.byte("fate")? {
        0 => Fate::InUse,
        1 => Fate::Wanted,
        2 => Fate::Refused,
        3 => {
            let reason = Reason::by_code(fields.byte("reason")?);
            Fate::Ejected(reason.ok_or_else(|| fields.bad("reason"))?)
        }
        _ => return Err(fields.bad("fate")),
    };
    let text = fields.text(MAX_TEXT, "text")?;
    Ok(ChoiceResult {
        class,
        serial,
        fate,
        text,
    })
}

pub(super) fn put(body: &mut Vec<u8>, choice: &Choice) {
    debug_assert!(choice.maps.len() <= MAX_MAP_VALUES);
    body.push(choice.class);
    varint::put(body, choice.serial);
    let with_hash = if choice.hash.is_some() { WITH_HASH } else { 0 };
    let in_turn = if choice.in_turn { IN_TURN } else { 0 };
    body.push(with_hash | in_turn);
    put_name(body, &choice.name);
    body.extend_from_slice(choice.hash.as_ref().map_or(&[], <[u8; 32]>::as_slice));
    body.push(choice.maps.len() as u8);
    for MapValue { map, key, value } in &choice.maps {
        put_name(body, map);
        put_bytes(body, key);
        put_bytes(body, value);
    }
}

pub(super) fn put_result(body: &mut Vec<u8>, result: &ChoiceResult) {
    body.push(result.class);
    varint::put(body, result.serial);
    match result.fate {
        Fate::InUse => body.push(0),
        Fate::Wanted => body.push(1),
        Fate::Refused => body.push(2),
        Fate::Ejected(reason) => body.extend_from_slice(&[3, reason.code()]),
    }
    let text = &result.text;
    let fits = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(fits).unwrap_or(0);
    put_bytes(body, &text.as_bytes()[..end]);
}

pub(super) fn put_piece(body: &mut Vec<u8>, piece: &Piece) {
    body.extend_from_slice(&piece.hash);
    varint::put(body, piece.size.into());
    varint::put(body, piece.number.into());
    body.extend_from_slice(&piece.bytes);
}
