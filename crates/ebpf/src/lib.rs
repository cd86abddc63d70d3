//! Packet schedulers as eBPF objects: a loader and a metered machine.
//!
//! An object built for the kernel's `mptcp_sched_ops` goes through the loader, which answers with an
//! [`Object`]: code whose every reference is resolved, in the kernel's own encoding. The machine runs
//! that code, instruction by instruction, and checks each of its accesses.
//!
//! | module | what it holds |
//! |---|---|
//! | [`loader`] | from an object file to an [`Object`] |
//! | [`embedded`] | the schedulers that are built in |
//! | [`btf`] | type information: what objects bring, and what the model is |
//! | [`model`] | the kernel's structures and functions that schedulers may use |
//! | [`insn`] | one instruction of RFC 9669 |
//! | [`object`] | [`Object`]: what the loader hands to the machine |

#![forbid(unsafe_code)]

pub mod btf;
mod bytes;
pub mod embedded;
pub mod insn;
pub mod loader;
pub mod model;
pub mod object;

pub use insn::Insn;
pub use loader::{LoadError, LoadFault};
pub use object::Object;
