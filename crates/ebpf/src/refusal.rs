//! Why a program is refused before its first run.

use std::fmt;

use thiserror::Error;

/// A program was refused, where and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {problem}")]
pub struct Refusal {
    /// Where it was found.
    pub place: Place,
    /// What is wrong there.
    pub problem: Problem,
}

/// Where something is in a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The program as a whole.
    Program,
    /// One of its maps.
    Map(String),
    /// One of its functions.
    Function(String),
    /// One instruction.
    Instruction {
        /// Its function.
        function: String,
        /// Its number in the function, from 0, as disassemblers count.
        number: usize,
        /// The instruction, disassembled.
        text: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program => f.write_str("program"),
            Self::Map(name) => write!(f, "map `{name}`"),
            Self::Function(name) => write!(f, "function `{name}`"),
            Self::Instruction {
                function,
                number,
                text,
            } => write!(f, "function `{function}`, instruction {number} (`{text}`)"),
        }
    }
}

/// What the static pass finds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// More code than is looked at.
    #[error("{count} instructions, at most {most} are allowed")]
    TooLong {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// More functions than are looked at.
    #[error("{count} functions, at most {most} are allowed")]
    TooManyFunctions {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Functions do not follow each other within the code.
    #[error("instructions {start} to {end} are not a part of the code of their own")]
    FunctionBounds {
        /// First instruction.
        start: usize,
        /// One past the last.
        end: usize,
    },
    /// A callback is no function.
    #[error("a callback is function number {number}, which there is not")]
    NoSuchFunction {
        /// The number.
        number: usize,
    },
    /// More maps than are held.
    #[error("{count} maps, at most {most} are allowed")]
    TooManyMaps {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A map's sizes make no sense.
    #[error("{field} is {value}, {bounds}")]
    MapSize {
        /// What is wrong.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        bounds: &'static str,
    },
    /// The maps together are too large.
    #[error("the maps up to this one take {bytes} bytes when full, at most {most} are allowed")]
    MapMemory {
        /// What they take.
        bytes: u64,
        /// What they may take.
        most: u64,
    },
    /// No instruction of the machine.
    #[error(
        "instruction code {code:#04x} is unknown; the groups base, divmul and atomic of RFC 9669 are known"
    )]
    UnknownInstruction {
        /// The code.
        code: u8,
    },
    /// No atomic operation.
    #[error("there is no atomic operation {imm:#x}")]
    UnknownAtomic {
        /// The immediate that names it.
        imm: i32,
    },
    /// A byte swap of a width that there is not.
    #[error("bytes are swapped in 16, 32 or 64 bits, not in {bits}")]
    SwapWidth {
        /// The width.
        bits: i32,
    },
    /// A field that the instruction does not use has a value.
    #[error("its unused field {field} is {value}, which has no meaning")]
    UnusedField {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i32,
    },
    /// A register that there is not.
    #[error("there is no register r{register}")]
    BadRegister {
        /// Its number.
        register: u8,
    },
    /// r10 is read-only.
    #[error("the frame pointer r10 cannot be written")]
    FramePointerWritten,
    /// A 64-bit immediate whose second half is missing or is something else.
    #[error("the second slot of a 64-bit immediate is missing or malformed")]
    WideCut,
    /// A reference to no map.
    #[error("there is no map number {number}")]
    NoSuchMap {
        /// The number.
        number: i32,
    },
    /// A reference into a map that does not allow it.
    #[error("map `{map}` has no single value with a byte {offset}")]
    NoSuchMapByte {
        /// The map.
        map: String,
        /// The byte.
        offset: u32,
    },
    /// A helper that is not modelled.
    #[error(
        "helper {number} is not modelled; there are {}",
        crate::helpers::names()
    )]
    UnknownHelper {
        /// Its number.
        number: i32,
    },
    /// A reference to no kfunc of the object.
    #[error("there is no kfunc number {number}")]
    NoSuchKfunc {
        /// The number.
        number: i32,
    },
    /// A kfunc that is not modelled.
    #[error("kfunc `{name}` is not modelled; build the scheduler without it")]
    UnknownKfunc {
        /// Its name.
        name: String,
    },
    /// A jump out of the function.
    #[error("jumps to instruction {target}, outside of its function")]
    JumpOut {
        /// Where to, counted from the function's start.
        target: i64,
    },
    /// A jump into the second slot of a 64-bit immediate.
    #[error("jumps to instruction {target}, the middle of a 64-bit immediate")]
    JumpIntoWide {
        /// Where to, counted from the function's start.
        target: i64,
    },
    /// The function goes on where it has no code.
    #[error("the function goes on past its last instruction; it needs an exit or a jump there")]
    FallsOff,
    /// A call to the middle of something.
    #[error("calls instruction {target}, where no function starts")]
    CallOut {
        /// Where to, counted from the code's start.
        target: i64,
    },
    /// A cycle of calls.
    #[error("recursion: {chain}")]
    Recursion {
        /// The functions in the order of their calls.
        chain: String,
    },
    /// Calls nest deeper than there are stack frames.
    #[error("calls nest {depth} functions deep, at most {most} are allowed: {chain}")]
    TooDeep {
        /// How deep, at least.
        depth: usize,
        /// How deep they may.
        most: usize,
        /// The functions in the order of their calls.
        chain: String,
    },
    /// A register is read before it is written.
    #[error("r{register} is read before anything is in it{}", after_call(*.register))]
    Uninitialised {
        /// The register.
        register: u8,
    },
    /// An access beside the stack frame.
    #[error("accesses {size} bytes at r10{offset:+}, outside of the frame of {frame} bytes")]
    OutsideFrame {
        /// Where, from the frame's upper end.
        offset: i64,
        /// How many bytes.
        size: usize,
        /// Bytes of a frame.
        frame: usize,
    },
}

fn after_call(register: u8) -> &'static str {
    match register {
        0 => " (a function without a value does not set it)",
        1..=5 => " (a call leaves nothing in r1 to r5)",
        _ => "",
    }
}
