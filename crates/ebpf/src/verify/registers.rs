//! No register is read before it is written, on any way through the code.
//!
//! A set of registers is a bit mask. For each instruction the pass keeps the registers that hold
//! something on *every* way there; a call leaves nothing in r1 to r5, and something in r0 only if what
//! it calls returns something.

use super::Unit;
use super::calls::{self, Calls};
use crate::helpers;
use crate::op::{Kind, Op, R10, ZERO};
use crate::opcode::CMPXCHG;
use crate::refusal::{Problem, Refusal};

const R0: u16 = 1;
/// r1 to r5: arguments, gone after a call.
const ARGUMENTS: u16 = 0b11_1110;
const FRAME_POINTER: u16 = 1 << R10;

/// Checks all functions: first with every argument given, to learn which of them return something;
/// then those that are called, with what their callers really pass.
pub(super) fn check(unit: &Unit<'_>, ops: &[Op], calls: &Calls) -> Result<(), Refusal> {
    let count = unit.functions.len();
    let mut walk = Walk {
        unit,
        ops,
        returns: vec![false; count],
        passed: vec![None; count],
        reaching: vec![None; ops.len()],
    };
    for &function in &calls.order {
        walk.returns[function] = walk.function(function, ARGUMENTS)?.is_none();
    }
    walk.passed.fill(None);
    for entry in unit.entries {
        walk.pass(entry.function, entry.registers);
    }
    for &function in calls.order.iter().rev() {
        let Some(registers) = walk.passed[function] else {
            continue;
        };
        let without_value = walk.function(function, registers)?;
        let mut entries = unit.entries.iter();
        let wanted = entries.any(|entry| entry.returns && entry.function == function);
        if let Some(pc) = without_value.filter(|_| wanted) {
            return Err(unit.refuse(pc, Problem::Uninitialised { register: 0 }));
        }
    }
    Ok(())
}

struct Walk<'a> {
    unit: &'a Unit<'a>,
    ops: &'a [Op],
    /// Whether each function sets r0 on every way out.
    returns: Vec<bool>,
    /// What all callers of a function pass to it; nothing if nobody calls it.
    passed: Vec<Option<u16>>,
    /// What holds something before each instruction; nothing where no way leads to.
    reaching: Vec<Option<u16>>,
}

impl Walk<'_> {
    /// `function` is called with something in `registers`.
    fn pass(&mut self, function: usize, registers: u16) {
        let passed = &mut self.passed[function];
        *passed = Some(passed.unwrap_or(ARGUMENTS) & registers);
    }

    /// Walks one function, and tells an exit that leaves r0 without a value, if there is one.
    fn function(&mut self, number: usize, registers: u16) -> Result<Option<usize>, Refusal> {
        let function = &self.unit.functions[number];
        self.reaching[function.start..function.end].fill(None);
        let mut without_value = None;
        let mut pending = Vec::new();
        self.reach(function.start, registers | FRAME_POINTER, &mut pending);
        while let Some(pc) = pending.pop() {
            let before = self.reaching[pc].unwrap_or(0);
            let op = &self.ops[pc];
            let missing = self.reads(op) & !before;
            if missing != 0 {
                let register = missing.trailing_zeros() as u8;
                return Err(self.unit.refuse(pc, Problem::Uninitialised { register }));
            }
            if op.kind == Kind::Exit && before & R0 == 0 {
                without_value = Some(pc);
            }
            let after = self.after(pc, before)?;
            if op.kind.jumps() {
                self.reach(op.target(pc + 1), after, &mut pending);
            }
            if op.kind.falls_through() {
                let width = if op.kind == Kind::MovWide { 2 } else { 1 };
                self.reach(pc + width, after, &mut pending);
            }
        }
        Ok(without_value)
    }

    /// A way leads to `pc` with something in `registers`: it is looked at again if that is news.
    fn reach(&mut self, pc: usize, registers: u16, pending: &mut Vec<usize>) {
        let known = self.reaching[pc];
        let all = known.map_or(registers, |known| known & registers);
        if known != Some(all) {
            self.reaching[pc] = Some(all);
            pending.push(pc);
        }
    }

    /// What an instruction reads.
    fn reads(&self, op: &Op) -> u16 {
        let arguments = |count: u8| ARGUMENTS & ((2 << count) - 1);
        let src = bit(op.src);
        match op.kind {
            Kind::CallHelper => {
                let helper = helpers::by_number(op.imm as i32);
                arguments(helper.map_or(0, |helper| helper.arguments))
            }
            Kind::CallKfunc => arguments(self.unit.known[op.imm as usize].arguments),
            Kind::Atomic4 | Kind::Atomic8 if op.imm == CMPXCHG as u64 => src | bit(op.dst) | R0,
            kind if kind.overwrites() => src,
            _ => src | bit(op.dst),
        }
    }

    /// What holds something after the instruction at `pc`, which is told to the function it calls.
    fn after(&mut self, pc: usize, before: u16) -> Result<u16, Refusal> {
        let op = &self.ops[pc];
        let returned = match op.kind {
            Kind::CallLocal => {
                let callee = calls::callee(self.unit, self.ops, pc)?;
                self.pass(callee, before);
                self.returns[callee]
            }
            Kind::CallKfunc => self.unit.known[op.imm as usize].returns,
            Kind::CallHelper => true,
            kind if kind.writes_dst() => return Ok(before | bit(op.dst)),
            _ => return Ok(before),
        };
        let value = if returned { R0 } else { 0 };
        Ok(before & !ARGUMENTS & !R0 | value)
    }
}

/// The bit of a register, none for the one that is always zero.
fn bit(register: u8) -> u16 {
    if register == ZERO { 0 } else { 1 << register }
}
