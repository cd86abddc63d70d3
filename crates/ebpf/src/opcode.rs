//! Numbers of the instruction set's fields (RFC 9669, sections 3 to 5).
//!
//! `code` is `operation | source | class` for arithmetic and jumps, `mode | size | class` for loads and
//! stores.

#![allow(missing_docs, reason = "the names are the RFC's own")]

/// The class: low three bits (section 3.1).
pub const CLASS: u8 = 0x07;
pub const LD: u8 = 0x00;
pub const LDX: u8 = 0x01;
pub const ST: u8 = 0x02;
pub const STX: u8 = 0x03;
pub const ALU: u8 = 0x04;
pub const JMP: u8 = 0x05;
pub const JMP32: u8 = 0x06;
pub const ALU64: u8 = 0x07;

/// The second operand is a register rather than the immediate (section 3.1.1).
pub const X: u8 = 0x08;

/// The operation: high four bits.
pub const OPERATION: u8 = 0xf0;
// Arithmetic (section 4.1).
pub const ADD: u8 = 0x00;
pub const SUB: u8 = 0x10;
pub const MUL: u8 = 0x20;
pub const DIV: u8 = 0x30;
pub const OR: u8 = 0x40;
pub const AND: u8 = 0x50;
pub const LSH: u8 = 0x60;
pub const RSH: u8 = 0x70;
pub const NEG: u8 = 0x80;
pub const MOD: u8 = 0x90;
pub const XOR: u8 = 0xa0;
pub const MOV: u8 = 0xb0;
pub const ARSH: u8 = 0xc0;
pub const END: u8 = 0xd0;
// Jumps (section 4.3).
pub const JA: u8 = 0x00;
pub const JEQ: u8 = 0x10;
pub const JGT: u8 = 0x20;
pub const JGE: u8 = 0x30;
pub const JSET: u8 = 0x40;
pub const JNE: u8 = 0x50;
pub const JSGT: u8 = 0x60;
pub const JSGE: u8 = 0x70;
pub const CALL: u8 = 0x80;
pub const EXIT: u8 = 0x90;
pub const JLT: u8 = 0xa0;
pub const JLE: u8 = 0xb0;
pub const JSLT: u8 = 0xc0;
pub const JSLE: u8 = 0xd0;
/// `may_goto`: not in the RFC (include/uapi/linux/bpf.h, `BPF_JCOND`).
pub const JCOND: u8 = 0xe0;

/// The size of an access (section 5).
pub const SIZE: u8 = 0x18;
pub const W: u8 = 0x00;
pub const H: u8 = 0x08;
pub const B: u8 = 0x10;
pub const DW: u8 = 0x18;

/// The mode of an access: high three bits (section 5).
pub const MODE: u8 = 0xe0;
pub const IMM: u8 = 0x00;
pub const MEM: u8 = 0x60;
pub const MEMSX: u8 = 0x80;
pub const ATOMIC: u8 = 0xc0;

/// The 64-bit immediate load, which takes two slots.
pub const LDDW: u8 = IMM | DW | LD;

/// In the immediate of an atomic operation: the old value comes back (section 5.3).
pub const FETCH: i32 = 0x01;
pub const XCHG: i32 = 0xe0 | FETCH;
pub const CMPXCHG: i32 = 0xf0 | FETCH;
