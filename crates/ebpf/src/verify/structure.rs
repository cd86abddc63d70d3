//! Every instruction is one, and every function keeps to itself.

use super::Unit;
use crate::decode::decode as decode_one;
use crate::memory::FRAME;
use crate::object::Function;
use crate::op::{Kind, Op, R10, ZERO};
use crate::refusal::{Problem, Refusal};

/// What is in the second slot of a wide instruction, and between functions.
const HOLE: Op = Op {
    kind: Kind::Hole,
    dst: ZERO,
    src: ZERO,
    off: 0,
    imm: 0,
};

/// Decodes all functions; each instruction keeps its number.
pub(super) fn decode(unit: &Unit<'_>) -> Result<Vec<Op>, Refusal> {
    let mut ops = vec![HOLE; unit.code.len()];
    for function in unit.functions {
        let last = decode_function(unit, function, &mut ops)?;
        if ops[last].kind.falls_through() {
            return Err(unit.refuse(last, Problem::FallsOff));
        }
        for pc in function.start..function.end {
            check_jump(function, &ops, pc)
                .and_then(|()| check_frame(&ops[pc]))
                .map_err(|problem| unit.refuse(pc, problem))?;
        }
    }
    Ok(ops)
}

/// Decodes one function, and tells its last instruction.
fn decode_function(unit: &Unit<'_>, function: &Function, ops: &mut [Op]) -> Result<usize, Refusal> {
    let code = &unit.code[..function.end];
    let references = unit.references();
    let mut last = function.start;
    let mut pc = function.start;
    while pc < function.end {
        let op = decode_one(code, pc, &references).map_err(|problem| unit.refuse(pc, problem))?;
        ops[pc] = op;
        last = pc;
        pc += if op.kind == Kind::MovWide { 2 } else { 1 };
    }
    Ok(last)
}

/// A jump leads to an instruction of its function.
fn check_jump(function: &Function, ops: &[Op], pc: usize) -> Result<(), Problem> {
    let op = &ops[pc];
    if !op.kind.jumps() {
        return Ok(());
    }
    let target = pc as i64 + 1 + i64::from(op.off);
    let from_start = target - function.start as i64;
    let inside = function.start as i64 <= target && target < function.end as i64;
    if !inside {
        return Err(Problem::JumpOut { target: from_start });
    }
    match ops[target as usize].kind {
        Kind::Hole => Err(Problem::JumpIntoWide { target: from_start }),
        _ => Ok(()),
    }
}

/// What r10 itself is the base of is within the frame.
fn check_frame(op: &Op) -> Result<(), Problem> {
    let size = op.kind.access();
    let (base, offset) = if op.kind.stores() {
        (op.dst, op.off.into())
    } else {
        (op.src, op.imm as i64)
    };
    let outside = offset < -(FRAME as i64) || offset + size as i64 > 0;
    if size != 0 && base == R10 && outside {
        return Err(Problem::OutsideFrame {
            offset,
            size,
            frame: FRAME,
        });
    }
    Ok(())
}
