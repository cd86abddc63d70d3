//! From [`Insn`] to [`Op`]: knows every instruction of RFC 9669 but packet access, and refuses what is
//! unknown or sets a field that its instruction does not use.

use crate::Insn;
use crate::helpers;
use crate::kernel::Kfunc;
use crate::memory;
use crate::object::{MapKind, MapSpec, POISON};
use crate::op::{Kind, Op, R10, ZERO};
use crate::opcode::*;
use crate::refusal::Problem;

/// What the references of the code point to.
pub(crate) struct References<'a> {
    /// The object's maps.
    pub(crate) maps: &'a [MapSpec],
    /// Names of the object's kfuncs.
    pub(crate) kfuncs: &'a [String],
    /// The kernel's kfuncs.
    pub(crate) known: &'a [Kfunc],
    /// How many reasons for poison there are.
    pub(crate) poison: usize,
}

/// Decodes `code[at]`. The second slot of a wide instruction is the caller's to skip.
pub(crate) fn decode(code: &[Insn], at: usize, refs: &References<'_>) -> Result<Op, Problem> {
    let insn = &code[at];
    // One register is no operand of any instruction.
    if let Some(register) = [insn.dst, insn.src].into_iter().find(|&r| r > R10) {
        return Err(Problem::BadRegister { register });
    }
    let op = match insn.code & CLASS {
        ALU | ALU64 if insn.code & OPERATION == END => swap(insn),
        ALU | ALU64 => arithmetic(insn),
        JMP | JMP32 => jump(insn, refs),
        LDX => load(insn),
        ST | STX => store(insn),
        _ => wide(insn, code.get(at + 1), refs),
    }?;
    let writes_src = matches!(op.kind, Kind::Atomic4 | Kind::Atomic8) && op.imm & FETCH as u64 != 0;
    if op.kind.writes_dst() && op.dst == R10 || writes_src && op.src == R10 {
        return Err(Problem::FramePointerWritten);
    }
    Ok(op)
}

/// Refuses values in fields that the instruction does not use (section 3.1: they must be zero).
fn unused<const N: usize>(fields: [(&'static str, i32); N]) -> Result<(), Problem> {
    match fields.into_iter().find(|(_, value)| *value != 0) {
        Some((field, value)) => Err(Problem::UnusedField { field, value }),
        None => Ok(()),
    }
}

fn unknown(insn: &Insn) -> Problem {
    Problem::UnknownInstruction { code: insn.code }
}

/// The second operand as register and immediate; the half that is not used must be zero.
fn operand(insn: &Insn) -> Result<(u8, u64), Problem> {
    if insn.code & X != 0 {
        unused([("imm", insn.imm)])?;
        Ok((insn.src, 0))
    } else {
        unused([("src", insn.src.into())])?;
        Ok((ZERO, extend(insn.imm)))
    }
}

fn extend(imm: i32) -> u64 {
    i64::from(imm) as u64
}

/// Section 4.1.
fn arithmetic(insn: &Insn) -> Result<Op, Problem> {
    let register = insn.code & X != 0;
    let (wide, narrow) = match (insn.code & OPERATION, insn.off) {
        (ADD, 0) => (Kind::Add64, Kind::Add32),
        (SUB, 0) => (Kind::Sub64, Kind::Sub32),
        (MUL, 0) => (Kind::Mul64, Kind::Mul32),
        (DIV, 0) => (Kind::Div64, Kind::Div32),
        (DIV, 1) => (Kind::Sdiv64, Kind::Sdiv32),
        (MOD, 0) => (Kind::Mod64, Kind::Mod32),
        (MOD, 1) => (Kind::Smod64, Kind::Smod32),
        (OR, 0) => (Kind::Or64, Kind::Or32),
        (AND, 0) => (Kind::And64, Kind::And32),
        (XOR, 0) => (Kind::Xor64, Kind::Xor32),
        (LSH, 0) => (Kind::Lsh64, Kind::Lsh32),
        (RSH, 0) => (Kind::Rsh64, Kind::Rsh32),
        (ARSH, 0) => (Kind::Arsh64, Kind::Arsh32),
        (MOV, 0) => (Kind::Mov64, Kind::Mov32),
        (MOV, 8) if register => (Kind::MovSigned8To64, Kind::MovSigned8To32),
        (MOV, 16) if register => (Kind::MovSigned16To64, Kind::MovSigned16To32),
        (MOV, 32) if register && insn.code & CLASS == ALU64 => {
            (Kind::MovSigned32To64, Kind::MovSigned32To64)
        }
        (NEG, 0) if !register => {
            unused([("imm", insn.imm)])?;
            (Kind::Neg64, Kind::Neg32)
        }
        (ADD..=MOV | ARSH, off) if off != 0 => {
            return Err(Problem::UnusedField {
                field: "offset",
                value: off.into(),
            });
        }
        _ => return Err(unknown(insn)),
    };
    let (src, imm) = operand(insn)?;
    Ok(Op {
        kind: if insn.code & CLASS == ALU64 {
            wide
        } else {
            narrow
        },
        dst: insn.dst,
        src,
        off: 0,
        imm,
    })
}

/// Section 4.2. The machine is little-endian: *to little-endian* only cuts, the two others swap.
fn swap(insn: &Insn) -> Result<Op, Problem> {
    unused([("src", insn.src.into()), ("offset", insn.off.into())])?;
    let cuts = insn.code == ALU | END;
    let (kind, imm) = match (insn.imm, cuts) {
        (16, true) => (Kind::And64, u64::from(u16::MAX)),
        (32, true) => (Kind::And64, u64::from(u32::MAX)),
        (64, true) => (Kind::And64, u64::MAX),
        (16, false) => (Kind::Swap16, 0),
        (32, false) => (Kind::Swap32, 0),
        (64, false) => (Kind::Swap64, 0),
        _ => return Err(Problem::SwapWidth { bits: insn.imm }),
    };
    if insn.code == ALU64 | END | X {
        return Err(unknown(insn));
    }
    Ok(Op {
        kind,
        dst: insn.dst,
        src: ZERO,
        off: 0,
        imm,
    })
}

/// Section 4.3.
fn jump(insn: &Insn, refs: &References<'_>) -> Result<Op, Problem> {
    let narrow = insn.code & CLASS == JMP32;
    let (kind64, kind32) = match insn.code & OPERATION {
        JEQ => (Kind::Jeq64, Kind::Jeq32),
        JNE => (Kind::Jne64, Kind::Jne32),
        JGT => (Kind::Jgt64, Kind::Jgt32),
        JGE => (Kind::Jge64, Kind::Jge32),
        JLT => (Kind::Jlt64, Kind::Jlt32),
        JLE => (Kind::Jle64, Kind::Jle32),
        JSET => (Kind::Jset64, Kind::Jset32),
        JSGT => (Kind::Jsgt64, Kind::Jsgt32),
        JSGE => (Kind::Jsge64, Kind::Jsge32),
        JSLT => (Kind::Jslt64, Kind::Jslt32),
        JSLE => (Kind::Jsle64, Kind::Jsle32),
        _ => return special(insn, refs),
    };
    let (src, imm) = operand(insn)?;
    Ok(Op {
        kind: if narrow { kind32 } else { kind64 },
        dst: insn.dst,
        src,
        off: insn.off.into(),
        imm,
    })
}

/// Jumps without a condition, calls, the end.
fn special(insn: &Insn, refs: &References<'_>) -> Result<Op, Problem> {
    const GOTO: u8 = JMP | JA;
    const GOTO_LONG: u8 = JMP32 | JA;
    const MAY_GOTO: u8 = JMP | JCOND;
    const CALLS: u8 = JMP | CALL;
    const ENDS: u8 = JMP | EXIT;
    let (src, dst) = (("src", insn.src.into()), ("dst", insn.dst.into()));
    let (offset, imm) = (("offset", insn.off.into()), ("imm", insn.imm));
    let (kind, off) = match insn.code {
        GOTO => {
            unused([src, dst, imm])?;
            (Kind::Jump, insn.off.into())
        }
        GOTO_LONG => {
            unused([src, dst, offset])?;
            (Kind::Jump, insn.imm)
        }
        MAY_GOTO => {
            unused([src, dst, imm])?;
            (Kind::MayGoto, insn.off.into())
        }
        ENDS => {
            unused([src, dst, offset, imm])?;
            (Kind::Exit, 0)
        }
        CALLS => {
            unused([dst, offset])?;
            return call(insn, refs);
        }
        _ => return Err(unknown(insn)),
    };
    Ok(Op {
        kind,
        dst: ZERO,
        src: ZERO,
        off,
        imm: 0,
    })
}

/// Calls, as [`crate::object`] has them.
fn call(insn: &Insn, refs: &References<'_>) -> Result<Op, Problem> {
    let number = insn.imm;
    let (kind, off, imm) = match insn.src {
        0 if number >= POISON => {
            let reason = (number - POISON) as usize;
            if reason >= refs.poison {
                return Err(Problem::UnknownHelper { number });
            }
            (Kind::Poisoned, 0, reason as u64)
        }
        0 => {
            helpers::by_number(number).ok_or(Problem::UnknownHelper { number })?;
            (Kind::CallHelper, 0, extend(number))
        }
        1 => (Kind::CallLocal, number, 0),
        2 => {
            let name = usize::try_from(number).ok();
            let name = name.and_then(|number| refs.kfuncs.get(number));
            let name = name.ok_or(Problem::NoSuchKfunc { number })?;
            let kfunc = refs.known.iter().position(|kfunc| kfunc.name == name);
            let kfunc = kfunc.ok_or_else(|| Problem::UnknownKfunc { name: name.clone() })?;
            (Kind::CallKfunc, 0, kfunc as u64)
        }
        _ => {
            return Err(Problem::UnusedField {
                field: "src",
                value: insn.src.into(),
            });
        }
    };
    Ok(Op {
        kind,
        dst: ZERO,
        src: ZERO,
        off,
        imm,
    })
}

/// Sections 5.1 and 5.2.
fn load(insn: &Insn) -> Result<Op, Problem> {
    let kind = match (insn.code & MODE, insn.code & SIZE) {
        (MEM, B) => Kind::Load1,
        (MEM, H) => Kind::Load2,
        (MEM, W) => Kind::Load4,
        (MEM, DW) => Kind::Load8,
        (MEMSX, B) => Kind::LoadSigned1,
        (MEMSX, H) => Kind::LoadSigned2,
        (MEMSX, W) => Kind::LoadSigned4,
        _ => return Err(unknown(insn)),
    };
    unused([("imm", insn.imm)])?;
    Ok(Op {
        kind,
        dst: insn.dst,
        src: insn.src,
        off: 0,
        imm: extend(insn.off.into()),
    })
}

/// Sections 5.1 and 5.3.
fn store(insn: &Insn) -> Result<Op, Problem> {
    let register = insn.code & CLASS == STX;
    let kind = match (insn.code & MODE, insn.code & SIZE) {
        (MEM, B) => Kind::Store1,
        (MEM, H) => Kind::Store2,
        (MEM, W) => Kind::Store4,
        (MEM, DW) => Kind::Store8,
        (ATOMIC, W) if register => Kind::Atomic4,
        (ATOMIC, DW) if register => Kind::Atomic8,
        _ => return Err(unknown(insn)),
    };
    let (src, imm) = match kind {
        Kind::Atomic4 | Kind::Atomic8 => (insn.src, atomic_operation(insn.imm)?),
        _ if register => {
            unused([("imm", insn.imm)])?;
            (insn.src, 0)
        }
        _ => {
            unused([("src", insn.src.into())])?;
            (ZERO, extend(insn.imm))
        }
    };
    Ok(Op {
        kind,
        dst: insn.dst,
        src,
        off: insn.off.into(),
        imm,
    })
}

fn atomic_operation(imm: i32) -> Result<u64, Problem> {
    let simple = [ADD, OR, AND, XOR].map(i32::from);
    if simple.contains(&(imm & !FETCH)) || imm == XCHG || imm == CMPXCHG {
        Ok(extend(imm))
    } else {
        Err(Problem::UnknownAtomic { imm })
    }
}

/// Section 5.4: the only instruction of its class outside packet access, which RFC 9669 deprecates.
fn wide(insn: &Insn, second: Option<&Insn>, refs: &References<'_>) -> Result<Op, Problem> {
    if insn.code != LDDW {
        return Err(unknown(insn));
    }
    let second = second.ok_or(Problem::WideCut)?;
    if (second.code, second.dst, second.src, second.off) != (0, 0, 0, 0) {
        return Err(Problem::WideCut);
    }
    unused([("offset", insn.off.into())])?;
    let map = || {
        let number = usize::try_from(insn.imm).ok();
        let number = number.filter(|&number| number < refs.maps.len());
        number.ok_or(Problem::NoSuchMap { number: insn.imm })
    };
    let imm = match insn.src {
        0 => u64::from(insn.imm as u32) | u64::from(second.imm as u32) << 32,
        1 => {
            unused([("imm of the second slot", second.imm)])?;
            memory::map_address(map()?)
        }
        2 => {
            let (number, offset) = (map()?, second.imm as u32);
            let spec = &refs.maps[number];
            if spec.kind != MapKind::Array || spec.max_entries != 1 || offset >= spec.value_size {
                return Err(Problem::NoSuchMapByte {
                    map: spec.name.clone(),
                    offset,
                });
            }
            memory::value_address(number, offset)
        }
        kind => {
            return Err(Problem::UnusedField {
                field: "src",
                value: kind.into(),
            });
        }
    };
    Ok(Op {
        kind: Kind::MovWide,
        dst: insn.dst,
        src: ZERO,
        off: 0,
        imm,
    })
}
