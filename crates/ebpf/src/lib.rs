//! Packet schedulers as eBPF objects: a loader and a metered machine.
//!
//! An object built for the kernel's `mptcp_sched_ops` goes through the loader, which answers with an
//! [`Object`]: code whose every reference is resolved, in the kernel's own encoding. The machine runs
//! that code, instruction by instruction, and checks each of its accesses.
//!
//! | module | what it holds |
//! |---|---|
//! | [`insn`] | one instruction of RFC 9669 |
//! | [`object`] | [`Object`]: what the loader hands to the machine |

#![forbid(unsafe_code)]

pub mod insn;
pub mod object;

pub use insn::Insn;
pub use object::Object;
