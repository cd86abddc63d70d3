//! Puts the answer to a CO-RE question into its instruction.

use thiserror::Error;

use super::{Answer, Value, Width};
use crate::Insn;

/// `lddw`: a 64-bit immediate in two slots.
const LDDW: u8 = 0x18;

/// What became of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patched {
    /// It holds the value.
    Done,
    /// It must not be reached, because of this; its slots are still as they were.
    Poison(String),
}

/// Why an instruction cannot take its value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatchError {
    /// Neither an immediate, nor an access to memory, nor a 64-bit immediate.
    #[error("instruction {code:#04x} has no place for it")]
    WrongInstruction {
        /// The operation.
        code: u8,
    },
    /// It does not hold what the compiler should have put there.
    #[error("the instruction holds {found}, not {expected} as recorded")]
    Unexpected {
        /// What it holds.
        found: u64,
        /// What the types say.
        expected: u64,
    },
    /// The value does not fit.
    #[error("{value} does not fit into the instruction")]
    TooLarge {
        /// The value.
        value: u64,
    },
    /// A member of a size that no load has.
    #[error("there is no access of {size} bytes where the instruction reads {found}")]
    Width {
        /// The size.
        size: u32,
        /// What the instruction reads or writes.
        found: u32,
    },
}

/// Puts `answer` into the first instruction of `slots` (a 64-bit immediate has two).
///
/// # Errors
/// The instruction cannot take it.
pub fn patch(slots: &mut [Insn], answer: &Answer) -> Result<Patched, PatchError> {
    let value = match answer {
        Answer::Missing(what) => return Ok(Patched::Poison(what.clone())),
        Answer::Value(value) => value,
    };
    let (insn, rest) = slots
        .split_first_mut()
        .ok_or(PatchError::WrongInstruction { code: 0 })?;
    match insn.code & 0x07 {
        // ALU and ALU64, with an immediate.
        4 | 7 if insn.code & 0x08 == 0 => {
            expect(
                value.old,
                i64::from(insn.imm).cast_unsigned(),
                u64::from(u32::MAX),
            )?;
            insn.imm = low_half(value.new);
        }
        // LDX, ST, STX.
        1..=3 => return patch_access(insn, value),
        0 if insn.code == LDDW && insn.src == 0 && !rest.is_empty() => {
            let low = u64::from(insn.imm.cast_unsigned());
            let high = u64::from(rest[0].imm.cast_unsigned());
            expect(value.old, high << 32 | low, u64::MAX)?;
            insn.imm = low_half(value.new);
            rest[0].imm = low_half(value.new >> 32);
        }
        _ => return Err(PatchError::WrongInstruction { code: insn.code }),
    }
    Ok(Patched::Done)
}

fn patch_access(insn: &mut Insn, value: &Value) -> Result<Patched, PatchError> {
    let found = i64::from(insn.off).cast_unsigned();
    expect(value.old, found, u64::MAX)?;
    if let Some(width) = value.width.filter(|width| width.old != width.new) {
        if !width.safe {
            let Width { old, new, .. } = width;
            return Ok(Patched::Poison(format!(
                "a number of {old} bytes that has {new} in the kernel, and a sign"
            )));
        }
        insn.code = insn.code & !0x18 | resized(insn.code, width)?;
    }
    insn.off = i16::try_from(value.new).map_err(|_| PatchError::TooLarge { value: value.new })?;
    Ok(Patched::Done)
}

/// The size bits of an access that reads `width.new` bytes in place of `width.old`.
fn resized(code: u8, width: Width) -> Result<u8, PatchError> {
    const SIZES: [(u8, u32); 4] = [(0x00, 4), (0x08, 2), (0x10, 1), (0x18, 8)];
    let found = SIZES
        .iter()
        .find(|(bits, _)| *bits == code & 0x18)
        .map_or(0, |(_, size)| *size);
    let wanted = SIZES.iter().find(|(_, size)| *size == width.new);
    match wanted {
        Some((bits, _)) if found == width.old => Ok(*bits),
        _ => Err(PatchError::Width {
            size: width.new,
            found,
        }),
    }
}

fn expect(old: Option<u64>, found: u64, mask: u64) -> Result<(), PatchError> {
    match old {
        Some(expected) if expected & mask != found & mask => {
            Err(PatchError::Unexpected { found, expected })
        }
        _ => Ok(()),
    }
}

/// The lower 32 bits.
fn low_half(value: u64) -> i32 {
    (value as u32).cast_signed()
}
