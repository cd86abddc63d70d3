//! Why a run was ended, with all that a person needs to find out more.

use std::fmt;

use thiserror::Error;

use crate::memory::Near;
use crate::refusal::Place;

/// A run that was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub kind: FaultKind,
    /// The instruction at fault.
    pub place: Place,
    /// Its number in the whole code.
    pub pc: usize,
    /// r0 to r10 before it.
    pub registers: [u64; 11],
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.kind)?;
        for (number, value) in self.registers.iter().enumerate() {
            let separator = if number % 4 == 0 { "\n " } else { "" };
            write!(f, "{separator} r{number} {value:#018x}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// The reasons for which the machine ends a run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// It ran longer than it may.
    #[error("fuel exhausted: the budget was {fuel} instructions")]
    FuelExhausted {
        /// The budget of the call.
        fuel: u64,
    },
    /// It touched what it was not handed.
    #[error("memory fault: {access} {size} bytes at {address:#x}: {near}")]
    Memory {
        /// What it wanted.
        access: Access,
        /// Where.
        address: u64,
        /// How many bytes.
        size: usize,
        /// What is there.
        near: Near,
    },
    /// It called deeper than there are stack frames.
    #[error("stack exhausted: calls nest deeper than {frames} functions")]
    Stack {
        /// How many frames there are.
        frames: usize,
    },
    /// It reached what the loader could not resolve.
    #[error("unresolved: {reason}")]
    Unresolved {
        /// What it is.
        reason: String,
    },
    /// It handed a helper or a kfunc something that the kernel would have refused.
    #[error("bad argument: argument {argument} of {function} {problem}")]
    BadArgument {
        /// The helper or kfunc.
        function: String,
        /// Which argument, from 1 (in r1).
        argument: u8,
        /// What is wrong with it.
        problem: String,
    },
    /// It ran where it has no code. The static pass rules this out.
    #[error("no code there")]
    NoCode,
}

/// What a program wanted of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read.
    Read,
    /// To write.
    Write,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "reads",
            Self::Write => "writes",
        })
    }
}
