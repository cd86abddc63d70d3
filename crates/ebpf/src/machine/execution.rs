//! One run: registers, frames, fuel, and the loop over the instructions.

use guywire_sched::{Quirk, Quirks};

use super::alu::{arithmetic, taken};
use super::log::Log;
use super::{CALL_COST, Finished};
use crate::fault::{Access, Fault, FaultKind};
use crate::kernel::Kernel;
use crate::memory::{FRAMES, Memory, frame_top};
use crate::op::{Kind, Op, R10};
use crate::opcode::{ADD, AND, CMPXCHG, FETCH, OR, XOR};
use crate::program::Program;

/// Why the loop ended early. What else there is to know is in the instruction and the registers, so
/// that this fits in one.
pub(super) enum Stop {
    /// An access of the instruction itself.
    Access,
    /// No fuel is left.
    Fuel,
    /// No frame is left.
    Frames,
    /// The call is poisoned.
    Poisoned,
    /// There is no such instruction.
    NoCode,
    /// What a call came to.
    Call(Box<FaultKind>),
}

/// What a function finds again when the one that it called returns.
#[derive(Clone, Copy, Default)]
struct Caller {
    /// The instruction after the call.
    pc: usize,
    /// r6 to r9.
    saved: [u64; 4],
}

/// What people are told of a run, beside what it came to.
pub(super) struct Told<'a> {
    pub(super) log: &'a mut Log,
    pub(super) quirks: &'a mut Quirks,
}

/// One run.
pub(super) struct Execution<'a, K> {
    program: &'a Program,
    pub(super) memory: Memory<'a, K>,
    pub(super) told: Told<'a>,
    /// r0 to r10, the one that is always zero, and what makes the index a mask.
    pub(super) registers: [u64; 16],
    callers: [Caller; FRAMES],
    /// How many functions wait in `callers`.
    depth: usize,
    /// What there was at first.
    budget: u64,
    /// What is left of it, as of `settled`.
    fuel: u64,
    /// The instruction up to which fuel is taken: from there on, all up to `pc` ran in a row.
    settled: usize,
    /// The instruction that runs.
    pc: usize,
}

impl<'a, K: Kernel> Execution<'a, K> {
    pub(super) fn new(
        program: &'a Program,
        memory: Memory<'a, K>,
        told: Told<'a>,
        fuel: u64,
    ) -> Self {
        let mut execution = Self {
            program,
            memory,
            told,
            registers: [0; 16],
            callers: [Caller::default(); FRAMES],
            depth: 0,
            budget: fuel,
            fuel,
            settled: 0,
            pc: 0,
        };
        execution.enter();
        execution
    }

    /// Sets r1 and r2.
    pub(super) fn set_arguments(&mut self, [r1, r2]: [u64; 2]) {
        self.registers[1] = r1;
        self.registers[2] = r2;
    }

    /// Runs from instruction `start` on.
    pub(super) fn run(mut self, start: usize) -> Result<Finished, Box<Fault>> {
        match self.steps(start) {
            Ok(value) => Ok(Finished {
                value,
                fuel: self.budget - self.fuel,
            }),
            Err(stop) => Err(self.fault(stop)),
        }
    }

    /// The loop. `a` and `b` are the operands as [`Op`] has them.
    fn steps(&mut self, start: usize) -> Result<u64, Stop> {
        let ops = self.program.ops.as_slice();
        self.settled = start;
        let mut pc = start;
        loop {
            self.pc = pc;
            let op = ops.get(pc).ok_or(Stop::NoCode)?;
            pc += 1;
            let dst = usize::from(op.dst) % self.registers.len();
            let a = self.registers[dst];
            let b = self.register(op.src).wrapping_add(op.imm);
            match op.kind {
                Kind::Load1 => self.registers[dst] = u8::from_le_bytes(self.load(b)?).into(),
                Kind::Load2 => self.registers[dst] = u16::from_le_bytes(self.load(b)?).into(),
                Kind::Load4 => self.registers[dst] = u32::from_le_bytes(self.load(b)?).into(),
                Kind::Load8 => self.registers[dst] = u64::from_le_bytes(self.load(b)?),
                Kind::LoadSigned1 => {
                    self.registers[dst] = i64::from(i8::from_le_bytes(self.load(b)?)) as u64;
                }
                Kind::LoadSigned2 => {
                    self.registers[dst] = i64::from(i16::from_le_bytes(self.load(b)?)) as u64;
                }
                Kind::LoadSigned4 => {
                    self.registers[dst] = i64::from(i32::from_le_bytes(self.load(b)?)) as u64;
                }
                Kind::Store1 => self.store(op, a, (b as u8).to_le_bytes())?,
                Kind::Store2 => self.store(op, a, (b as u16).to_le_bytes())?,
                Kind::Store4 => self.store(op, a, (b as u32).to_le_bytes())?,
                Kind::Store8 => self.store(op, a, b.to_le_bytes())?,
                Kind::Atomic4 | Kind::Atomic8 => self.atomic(op)?,
                Kind::MovWide => {
                    self.registers[dst] = b;
                    pc += 1;
                }
                Kind::Jump => pc = self.turn(pc, op.target(pc))?,
                Kind::MayGoto => {
                    pc = self.turn(pc, pc)?;
                    if self.fuel < self.budget / 2 {
                        pc = self.turn(pc, op.target(pc))?;
                    }
                }
                Kind::CallLocal => {
                    self.leave_for_callee(pc)?;
                    pc = self.turn(pc, op.target(pc))?;
                }
                Kind::CallHelper | Kind::CallKfunc => {
                    pc = self.turn(pc, pc)?;
                    self.registers[0] = self.call(op)?;
                }
                Kind::Poisoned => return Err(Stop::Poisoned),
                Kind::Exit => match self.return_to_caller() {
                    Some(caller) => pc = self.turn(pc, caller)?,
                    None => {
                        self.turn(pc, pc)?;
                        return Ok(self.registers[0]);
                    }
                },
                Kind::Hole => return Err(Stop::NoCode),
                Kind::Div64 | Kind::Mod64 | Kind::Sdiv64 | Kind::Smod64 if b == 0 => {
                    self.registers[dst] = self.by_zero(op.kind, a);
                }
                Kind::Div32 | Kind::Mod32 | Kind::Sdiv32 | Kind::Smod32 if b as u32 == 0 => {
                    self.registers[dst] = self.by_zero(op.kind, a);
                }
                kind => match arithmetic(kind, a, b) {
                    Some(value) => self.registers[dst] = value,
                    None if taken(kind, a, b) => pc = self.turn(pc, op.target(pc))?,
                    None => {}
                },
            }
        }
    }

    /// What a division by zero gives.
    #[cold]
    fn by_zero(&mut self, kind: Kind, dividend: u64) -> u64 {
        self.told.quirks.add(Quirk::DividedByZero);
        arithmetic(kind, dividend, 0).unwrap_or(0)
    }

    /// Goes on at `target` instead of `next`, and takes the fuel for what ran in a row up to here: a
    /// counter that every instruction touched would take as long as all else that it does.
    #[inline(always)]
    fn turn(&mut self, next: usize, target: usize) -> Result<usize, Stop> {
        self.spend(next.wrapping_sub(self.settled) as u64)?;
        self.settled = target;
        Ok(target)
    }

    #[inline(always)]
    fn register(&self, number: u8) -> u64 {
        self.registers[usize::from(number) % self.registers.len()]
    }

    #[inline(always)]
    fn load<const N: usize>(&self, address: u64) -> Result<[u8; N], Stop> {
        self.memory.read(address).ok_or(Stop::Access)
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, op: &Op, base: u64, bytes: [u8; N]) -> Result<(), Stop> {
        let address = base.wrapping_add_signed(op.off.into());
        let place = self.memory.writable(address, N).ok_or(Stop::Access)?;
        place.copy_from_slice(&bytes);
        Ok(())
    }

    /// Section 5.3. One thread runs a program, so nothing comes between the two accesses.
    fn atomic(&mut self, op: &Op) -> Result<(), Stop> {
        let size = op.kind.access();
        let mask = if size == 4 { u32::MAX.into() } else { u64::MAX };
        let address = self.register(op.dst).wrapping_add_signed(op.off.into());
        let (operand, expected) = (self.register(op.src), self.registers[0] & mask);
        let place = self.memory.writable(address, size).ok_or(Stop::Access)?;
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(place);
        let old = u64::from_le_bytes(bytes);

        let (operation, fetch) = (op.imm as i32 & !FETCH, op.imm as i32 & FETCH != 0);
        let exchange = op.imm == CMPXCHG as u64;
        let new = match operation as u8 {
            ADD => old.wrapping_add(operand),
            OR => old | operand,
            AND => old & operand,
            XOR => old ^ operand,
            _ if exchange && old != expected => old,
            _ => operand,
        };
        place.copy_from_slice(&new.to_le_bytes()[..size]);
        let result = if exchange { 0 } else { usize::from(op.src) };
        if fetch {
            self.registers[result % 16] = old;
        }
        Ok(())
    }

    /// Saves what the caller keeps; the callee goes on with r1 to r5 and a frame of its own.
    fn leave_for_callee(&mut self, pc: usize) -> Result<(), Stop> {
        if self.depth + 1 == FRAMES {
            return Err(Stop::Frames);
        }
        let [.., r6, r7, r8, r9, _] = self.named_registers();
        self.callers[self.depth] = Caller {
            pc,
            saved: [r6, r7, r8, r9],
        };
        self.depth += 1;
        self.enter();
        Ok(())
    }

    /// Gives the function that begins its frame.
    fn enter(&mut self) {
        self.memory.program.frames[self.depth].fill(0);
        self.registers[usize::from(R10)] = frame_top(self.depth);
    }

    /// Where to go on, if a function waits.
    fn return_to_caller(&mut self) -> Option<usize> {
        self.depth = self.depth.checked_sub(1)?;
        let caller = self.callers[self.depth];
        self.registers[6..10].copy_from_slice(&caller.saved);
        self.registers[usize::from(R10)] = frame_top(self.depth);
        Some(caller.pc)
    }

    /// Calls a helper or kfunc; the answer is r0.
    #[inline(never)]
    fn call(&mut self, op: &Op) -> Result<u64, Stop> {
        self.spend(CALL_COST)?;
        if op.kind == Kind::CallHelper {
            return self.helper(op.imm as i32);
        }
        let kfunc = op.imm as usize;
        let Memory { program, kernel } = &mut self.memory;
        let [_, r1, r2, r3, r4, r5, ..] = self.registers;
        let value = kernel.call(kfunc, [r1, r2, r3, r4, r5], program);
        value.map_err(|bad| bad_argument(K::KFUNCS[kfunc].name, bad.argument, bad.problem))
    }

    /// Takes fuel for more than an instruction.
    #[inline(always)]
    pub(super) fn spend(&mut self, fuel: u64) -> Result<(), Stop> {
        self.fuel = self.fuel.checked_sub(fuel).ok_or(Stop::Fuel)?;
        Ok(())
    }

    fn named_registers(&self) -> [u64; 11] {
        let [named @ .., _, _, _, _, _] = self.registers;
        named
    }

    /// All that is to be told.
    #[cold]
    fn fault(&self, stop: Stop) -> Box<Fault> {
        let op = self.program.ops.get(self.pc);
        let kind = match stop {
            Stop::Access => op.map_or(FaultKind::NoCode, |op| self.memory_fault(op)),
            Stop::Fuel => FaultKind::FuelExhausted { fuel: self.budget },
            Stop::Frames => FaultKind::Stack { frames: FRAMES },
            Stop::Poisoned => {
                let reason = op.and_then(|op| self.program.poison.get(op.imm as usize));
                FaultKind::Unresolved {
                    reason: reason.cloned().unwrap_or_default(),
                }
            }
            Stop::NoCode => FaultKind::NoCode,
            Stop::Call(kind) => *kind,
        };
        Box::new(Fault {
            kind,
            place: self.program.place(self.pc),
            pc: self.pc,
            registers: self.named_registers(),
        })
    }

    /// The fault of an instruction that wanted to load or store.
    fn memory_fault(&self, op: &Op) -> FaultKind {
        let size = op.kind.access();
        let (access, address) = if op.kind.stores() {
            let base = self.register(op.dst);
            (Access::Write, base.wrapping_add_signed(op.off.into()))
        } else {
            (Access::Read, self.register(op.src).wrapping_add(op.imm))
        };
        self.bad_access(access, address, size)
    }

    pub(super) fn bad_access(&self, access: Access, address: u64, size: usize) -> FaultKind {
        FaultKind::Memory {
            access,
            address,
            size,
            near: self.memory.near(address, size),
        }
    }
}

/// A helper or kfunc was handed something it does not take.
pub(super) fn bad_argument(function: &str, argument: u8, problem: impl Into<String>) -> Stop {
    Stop::Call(Box::new(FaultKind::BadArgument {
        function: function.to_owned(),
        argument,
        problem: problem.into(),
    }))
}
