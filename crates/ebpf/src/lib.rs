//! Packet schedulers as eBPF objects: a loader and a metered machine.
//!
//! An object built for the kernel's `mptcp_sched_ops` goes through the loader, which answers with an
//! [`Object`]: code whose every reference is resolved, in the kernel's own encoding. The static pass
//! makes a [`Program`] of it, or refuses it; the [`Machine`] runs that, instruction by instruction, and
//! checks each of its accesses.
//!
//! | module | what it holds |
//! |---|---|
//! | [`loader`] | from an object file to an [`Object`] |
//! | [`embedded`] | the schedulers that are built in |
//! | [`btf`] | type information: what objects bring, and what the model is |
//! | [`model`] | the kernel's structures and functions that schedulers may use |
//! | [`insn`], [`opcode`] | one instruction of RFC 9669, and the numbers in it |
//! | [`object`] | [`Object`]: what the loader hands to the machine |
//! | [`disasm`] | instructions as text |
//! | [`program`], [`refusal`] | [`Program`]: what passed the static pass; [`Refusal`]: what did not, and why |
//! | [`machine`], [`fault`] | [`Machine`]: runs programs; [`Fault`]: why it ended a run |
//! | [`memory`], [`maps`] | what programs can address |
//! | [`scheduler`] | [`Bpf`](scheduler::Bpf): an object as a scheduler of flows |
//! | [`helpers`], [`kernel`] | what programs can call; [`Kernel`]: what stands behind it |

#![forbid(unsafe_code)]

pub mod btf;
mod bytes;
mod decode;
pub mod disasm;
pub mod embedded;
pub mod fault;
pub mod helpers;
pub mod insn;
pub mod kernel;
pub mod loader;
pub mod machine;
pub mod maps;
pub mod memory;
pub mod model;
pub mod object;
mod op;
pub mod opcode;
pub mod program;
pub mod refusal;
pub mod scheduler;
mod verify;

pub use fault::{Fault, FaultKind};
pub use insn::Insn;
pub use kernel::Kernel;
pub use loader::{LoadError, LoadFault};
pub use machine::Machine;
pub use object::Object;
pub use program::Program;
pub use refusal::Refusal;
