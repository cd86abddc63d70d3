//! Why an object cannot be loaded.

use std::fmt;

use thiserror::Error;

use super::core_relo::{CoreError, PatchError};
use crate::btf::BtfError;

/// A load that failed: which object's, and why.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{object}: {fault}")]
pub struct LoadError {
    /// What the caller called it.
    pub object: String,
    /// Why.
    pub fault: LoadFault,
}

/// An instruction, as people find it in `llvm-objdump -d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its section.
    pub section: String,
    /// Its function; empty where it is in none.
    pub function: String,
    /// Its number in the section.
    pub insn: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            section,
            function,
            insn,
        } = self;
        write!(f, "section {section}, instruction {insn} ({function})")
    }
}

/// Why an object cannot be loaded, and what to do about it.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum LoadFault {
    /// More of something than [`super::limits`] allow.
    #[error("it has {count} {what}, and at most {limit} are loaded: make it smaller")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Not an ELF file, or a broken one.
    #[error(
        "it is no whole 64-bit little-endian ELF file ({0}): build it with `clang -target bpfel -O2 \
         -g -c`"
    )]
    Elf(#[from] object::Error),
    /// An ELF file of something else.
    #[error(
        "it is no BPF object (machine {machine}, not 247): build it with `clang -target bpfel -O2 -g \
         -c`"
    )]
    NotBpf {
        /// What it is for.
        machine: u16,
    },
    /// No type information.
    #[error("it has no section .BTF: build it with -g, and strip it with `llvm-strip -g` at most")]
    NoBtf,
    /// Bad type information.
    #[error("section .BTF: {0}: build it anew")]
    Btf(#[from] BtfError),
    /// Bad type information about instructions.
    #[error("section .BTF.ext: {why}, at byte {at}: build it anew")]
    BtfExt {
        /// What is wrong.
        why: &'static str,
        /// Where.
        at: usize,
    },
    /// A relocation of a symbol that is not there.
    #[error("a relocation wants symbol {number}, which is not there: build it anew")]
    NoSuchSymbol {
        /// The symbol's number.
        number: usize,
    },
    /// Programs that are no schedulers.
    #[error(
        "section {section} holds a program that is no part of a scheduler: leave it out of this object"
    )]
    ForeignProgram {
        /// Where it is.
        section: String,
    },
    /// A section of code that is no row of instructions.
    #[error(
        "section {section} has {size} bytes, which is no number of instructions: build it anew"
    )]
    OddCode {
        /// The section.
        section: String,
        /// Its size.
        size: u64,
    },
    /// A function that is not within its section, or within another.
    #[error(
        "function {function} is not within section {section}, or in another's place: build it anew"
    )]
    BadFunction {
        /// The function.
        function: String,
        /// The section.
        section: String,
    },
    /// A place in the code that is not there.
    #[error("section {section} has no instruction at byte {offset}: build the object anew")]
    NoInstruction {
        /// The section.
        section: String,
        /// The place.
        offset: u64,
    },
    /// A map or function by a number that only a load can give.
    #[error(
        "{at}: refers to a map or kernel function by number, and numbers are given here: keep its \
         relocations"
    )]
    Numbered {
        /// Which instruction.
        at: Place,
    },
    /// A question about kernel types that has no answer.
    #[error("{at}: {source}: build the object anew")]
    CoreQuestion {
        /// Which instruction asks.
        at: Place,
        /// Why there is none.
        source: Box<CoreError>,
    },
    /// An instruction that cannot take an answer about kernel types.
    #[error("{at}: {source}: build the object anew")]
    CoreInstruction {
        /// Which instruction.
        at: Place,
        /// Why it cannot.
        source: PatchError,
    },
    /// A kernel function that is not modelled.
    #[error("{at}: calls the kernel function {function}, which is not modelled: {advice}")]
    UnknownKfunc {
        /// Which instruction.
        at: Place,
        /// The function.
        function: String,
        /// What to do.
        advice: &'static str,
    },
    /// A kernel function that is declared otherwise than it is.
    #[error(
        "{at}: declares the kernel function {function} with other types than it has: declare it as \
         the kernel does"
    )]
    KfuncTypes {
        /// Which instruction.
        at: Place,
        /// The function.
        function: String,
    },
    /// A variable of the kernel or of its configuration.
    #[error(
        "{at}: wants the kernel's variable {symbol}, and none is modelled: do without, or declare it \
         `__weak`"
    )]
    KernelVariable {
        /// Which instruction.
        at: Place,
        /// The variable.
        symbol: String,
    },
    /// A reference to something that cannot be referred to.
    #[error(
        "{at}: refers to {symbol}, which is neither a map nor data nor a function: build the object \
         anew"
    )]
    BadReference {
        /// Which instruction.
        at: Place,
        /// To what.
        symbol: String,
    },
    /// The address of a function in a register.
    #[error(
        "{at}: takes the address of the function {symbol}, and callbacks are not modelled: call it \
         directly"
    )]
    FunctionAddress {
        /// Which instruction.
        at: Place,
        /// The function.
        symbol: String,
    },
    /// A call that leads to no function.
    #[error("{at}: calls {symbol}, but no function starts there: build the object anew")]
    BadCall {
        /// Which instruction.
        at: Place,
        /// Where it leads.
        symbol: String,
    },
    /// A kind of relocation that is not known.
    #[error(
        "section {section}: relocation {kind} at byte {offset} is not known: build it with clang for \
         BPF"
    )]
    UnknownRelocation {
        /// The section.
        section: String,
        /// Its kind.
        kind: u32,
        /// Where.
        offset: u64,
    },
    /// Pointers in data.
    #[error(
        "section {section} holds pointers to {symbol}, and data cannot hold any: use an index, or a \
         `switch`"
    )]
    PointerInData {
        /// The section.
        section: String,
        /// To what.
        symbol: String,
    },
    /// Maps as they were declared before 2020.
    #[error(
        "section maps declares maps the old way: declare them in section .maps, with their types"
    )]
    OldMaps,
    /// A map that is declared in a way that is not understood.
    #[error("map {map}: {why}")]
    BadMap {
        /// The map.
        map: String,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// A kind of map that is not modelled.
    #[error(
        "map {map} is of type {kind}: hash (1), array (2), LRU hash (9) and socket storage (24) are \
         modelled"
    )]
    MapType {
        /// The map.
        map: String,
        /// Its type.
        kind: u32,
    },
    /// Flags of a map that are not modelled.
    #[error("map {map} has the flags {flags:#x}, which are not modelled: leave them out")]
    MapFlags {
        /// The map.
        map: String,
        /// Those that are not modelled.
        flags: u32,
    },
    /// Maps that hold too much.
    #[error(
        "its maps may come to hold {bytes} bytes with {map}, and at most {limit} are given: make \
         them smaller"
    )]
    MapMemory {
        /// The map that was too much.
        map: String,
        /// All of them.
        bytes: u64,
        /// How many are given.
        limit: u64,
    },
    /// No scheduler in it.
    #[error(
        "it has no scheduler: no variable of `struct mptcp_sched_ops` in section .struct_ops or \
         .struct_ops.link"
    )]
    NoScheduler,
    /// Several schedulers in it.
    #[error("it has several schedulers, {one} and {other}: build an object for each")]
    SeveralSchedulers {
        /// One variable.
        one: String,
        /// Another.
        other: String,
    },
    /// Something that is plugged into the kernel elsewhere.
    #[error(
        "{variable} is a `struct {structure}`: only schedulers, `struct mptcp_sched_ops`, can be used"
    )]
    OtherStructOps {
        /// The variable.
        variable: String,
        /// Its type.
        structure: String,
    },
    /// A form of the interface that the kernel has left behind.
    #[error(
        "it is built for the interface of 2022 ({what}), which no kernel has any more: port it to \
         `get_send(msk)`"
    )]
    Generation0 {
        /// What shows it.
        what: &'static str,
    },
    /// The callback of a branch that was never merged.
    #[error(
        "it sets the callback `push`, which only one branch of the kernel had: use `get_send` and \
         mark several subflows"
    )]
    Push,
    /// A member that nobody reads.
    #[error("{variable} sets the member `{member}`, which is not modelled: leave it out")]
    UnknownMember {
        /// The scheduler's variable.
        variable: String,
        /// The member.
        member: String,
    },
    /// A callback that leads to no function.
    #[error(
        "{variable}.{member} does not lead to a function of section struct_ops: declare that with \
         `SEC(\"struct_ops\")`"
    )]
    BadCallback {
        /// The scheduler's variable.
        variable: String,
        /// The member.
        member: String,
    },
    /// Callbacks of two forms of the interface.
    #[error(
        "{variable} sets callbacks of two forms of the interface: `get_subflow` goes with neither \
         `get_send` nor `get_retrans`"
    )]
    MixedGenerations {
        /// The scheduler's variable.
        variable: String,
    },
    /// Nothing to ask for subflows.
    #[error("{variable} has neither `get_send` nor `get_subflow`: set one of them")]
    NoCallback {
        /// The scheduler's variable.
        variable: String,
    },
    /// A name that the kernel refuses too.
    #[error("{variable}.name is {name:?}: it must have 1 to 15 characters, of `A-Z a-z 0-9 _ .`")]
    BadName {
        /// The scheduler's variable.
        variable: String,
        /// The name.
        name: String,
    },
    /// A variable that is not where its section is.
    #[error("{variable} is not within section {section}: build the object anew")]
    BadVariable {
        /// The variable.
        variable: String,
        /// The section.
        section: String,
    },
}
