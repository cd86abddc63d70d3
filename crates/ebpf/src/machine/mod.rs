//! The machine: a metered interpreter that checks every access.
//!
//! # What it runs
//!
//! The conformance groups base32, base64, divmul32, divmul64, atomic32 and atomic64 of RFC 9669, with
//! calls between functions, and helpers and kfuncs. Its answers where the RFC leaves a choice or the
//! kernel differs:
//!
//! - Memory is little-endian, and an access need not be aligned.
//! - Shift amounts are masked, immediate ones too (the kernel's verifier refuses those).
//! - Every function has a zeroed frame of [`FRAME`] bytes, and calls nest [`FRAMES`] deep; the kernel
//!   lets all frames share that many bytes.
//!
//! # An extension: `may_goto`
//!
//! `may_goto` (`0xe5`, kernel 6.9) jumps when a loop has to end. The kernel lets a loop go round eight
//! million times. Here it jumps once half of the call's fuel is used up: such a loop always ends, and
//! leaves as much for what follows as it took.
//!
//! # Metering
//!
//! Fuel is counted in instructions, a 64-bit immediate as the two slots that it takes. It is settled
//! wherever a run does not simply go on with the next instruction: at jumps that are taken, calls and
//! exits; so a run ends there, and between two of them no more than the program is long can pass. A
//! call of a helper or kfunc takes [`CALL_COST`] more, and a unit for each [`BYTES_PER_UNIT`] bytes that
//! it moves, so that the time a budget buys is bounded whatever it is spent on.

mod alu;
mod execution;
mod helpers;
mod log;
mod print;

use std::sync::Arc;

use guywire_sched::Quirks;

use crate::fault::Fault;
use crate::kernel::Kernel;
use crate::maps::{Map, Maps};
use crate::memory::{CONTEXT_ADDRESS, FRAME, FRAMES, Frames, Memory, ProgramMemory};
use crate::program::Program;
use execution::{Execution, Told};
pub use log::{Line, Log};

/// Fuel that a call of a helper or kfunc takes beside its instruction.
pub const CALL_COST: u64 = 16;
/// Bytes that a helper moves for one unit of fuel.
pub const BYTES_PER_UNIT: u64 = 16;
/// Most arguments of a callback.
const ARGUMENTS: usize = 5;

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// r0. What a callback returns is an `i32`: its lower half.
    pub value: u64,
    /// Fuel that was used.
    pub fuel: u64,
}

/// A program with its maps, its stack and its log: what one thread runs.
#[derive(Debug)]
pub struct Machine {
    program: Arc<Program>,
    maps: Maps,
    log: Log,
    quirks: Quirks,
    frames: Box<Frames>,
}

impl Machine {
    /// One whose maps are as the object declares them.
    pub fn new(program: Arc<Program>) -> Self {
        Self {
            maps: program.maps.iter().map(Map::new).collect(),
            program,
            log: Log::default(),
            quirks: Quirks::default(),
            frames: Box::new([[0; FRAME]; FRAMES]),
        }
    }

    /// What it runs.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// What the program printed.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What the program did that harms nobody.
    pub fn quirks(&self) -> Quirks {
        self.quirks
    }

    /// The map of this name.
    pub fn map(&self, name: &str) -> Option<&Map> {
        self.maps.iter().find(|map| map.spec().name == name)
    }

    /// The same, to set its values.
    pub fn map_mut(&mut self, name: &str) -> Option<&mut Map> {
        self.maps.iter_mut().find(|map| map.spec().name == name)
    }

    /// Drops what the program keeps for a socket that is gone (the kernel's `bpf_sk_storage_free`).
    pub fn forget_socket(&mut self, address: u64) {
        for map in &mut self.maps {
            map.forget_socket(address);
        }
    }

    /// Calls a function of the program as the kernel calls a `struct_ops` member: r1 leads to an
    /// array of the arguments, of which there are five at most.
    ///
    /// # Panics
    /// Where there is no such function, or there are more arguments. The program must have been
    /// checked against `K`.
    pub fn call<K: Kernel>(
        &mut self,
        function: usize,
        arguments: &[u64],
        kernel: &mut K,
        fuel: u64,
    ) -> Result<Finished, Box<Fault>> {
        let mut context = [0; 8 * ARGUMENTS];
        let context = &mut context[..8 * arguments.len()];
        for (bytes, argument) in context.chunks_exact_mut(8).zip(arguments) {
            bytes.copy_from_slice(&argument.to_le_bytes());
        }
        self.execute(function, context, false, kernel, fuel)
    }

    /// Runs a raw program ([`Program::raw`]) on memory that it may write to.
    pub fn run_raw<K: Kernel>(
        &mut self,
        memory: &mut [u8],
        kernel: &mut K,
        fuel: u64,
    ) -> Result<Finished, Box<Fault>> {
        self.execute(0, memory, true, kernel, fuel)
    }

    fn execute<K: Kernel>(
        &mut self,
        function: usize,
        context: &mut [u8],
        context_writable: bool,
        kernel: &mut K,
        fuel: u64,
    ) -> Result<Finished, Box<Fault>> {
        let start = self.program.functions()[function].start;
        let length = context.len() as u64;
        let memory = Memory {
            program: ProgramMemory {
                frames: &mut self.frames,
                context,
                context_writable,
                maps: &mut self.maps,
            },
            kernel,
        };
        let told = Told {
            log: &mut self.log,
            quirks: &mut self.quirks,
        };
        let mut execution = Execution::new(&self.program, memory, told, fuel);
        execution.set_arguments([CONTEXT_ADDRESS, length]);
        execution.run(start)
    }
}
