//! Short programs, written down instruction by instruction, and a small kernel for them.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;

use guywire_ebpf::kernel::{BadArgument, Bare, Kernel, Kfunc, Socket};
use guywire_ebpf::memory::{self, ProgramMemory, object_address};
use guywire_ebpf::object::{Callbacks, Function, Generation, MapKind, MapSpec, Object};
use guywire_ebpf::opcode::*;
use guywire_ebpf::{FaultKind, Insn, Machine, Program};

/// What every program here gets by on.
pub(crate) const FUEL: u64 = 10_000;

pub(crate) const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn {
        code,
        dst,
        src,
        off,
        imm,
    }
}

/// `dst = imm`, sign-extended.
pub(crate) const fn mov(dst: u8, imm: i32) -> Insn {
    insn(ALU64 | MOV, dst, 0, 0, imm)
}

/// `dst = src`.
pub(crate) const fn copy(dst: u8, src: u8) -> Insn {
    insn(ALU64 | MOV | X, dst, src, 0, 0)
}

/// `dst = value`, in two slots.
pub(crate) const fn wide(dst: u8, value: u64) -> [Insn; 2] {
    [
        insn(LDDW, dst, 0, 0, value as i32),
        insn(0, 0, 0, 0, (value >> 32) as i32),
    ]
}

pub(crate) const EXIT_NOW: Insn = insn(JMP | EXIT, 0, 0, 0, 0);

/// `r0 = 0`.
pub(crate) const ZERO_R0: Insn = mov(0, 0);

/// A call: of a helper (0), a local function (1), a kfunc (2).
pub(crate) const fn call(src: u8, imm: i32) -> Insn {
    insn(JMP | CALL, 0, src, 0, imm)
}

/// `if r1 == 0 goto +off`.
pub(crate) const fn branch(off: i16) -> Insn {
    insn(JMP | JEQ, 1, 0, off, 0)
}

/// A reference to a map, or to a byte of its only value.
pub(crate) const fn map_reference(dst: u8, number: i32, byte: Option<i32>) -> [Insn; 2] {
    match byte {
        None => [insn(LDDW, dst, 1, 0, number), insn(0, 0, 0, 0, 0)],
        Some(byte) => [insn(LDDW, dst, 2, 0, number), insn(0, 0, 0, 0, byte)],
    }
}

/// Call of the function that is `offset` instructions after the next.
pub(crate) const fn call_local(offset: i32) -> Insn {
    call(1, offset)
}

/// Runs a raw program and tells r0.
pub(crate) fn run_on(code: &[Insn], memory: &mut [u8]) -> Result<u64, FaultKind> {
    let program = Program::raw(code).unwrap_or_else(|refusal| panic!("{refusal}"));
    let mut machine = Machine::new(Arc::new(program));
    let finished = machine.run_raw(memory, &mut Bare, FUEL);
    finished.map(|done| done.value).map_err(|fault| fault.kind)
}

/// The same, without memory, where it must come to an end.
#[track_caller]
pub(crate) fn run(code: &[Insn]) -> u64 {
    run_on(code, &mut []).unwrap_or_else(|fault| panic!("{fault}"))
}

/// Why a raw program is refused.
#[track_caller]
pub(crate) fn refused(code: &[Insn]) -> String {
    match Program::raw(code) {
        Ok(_) => panic!("it was not refused"),
        Err(refusal) => refusal.to_string(),
    }
}

/// An object with one callback.
pub(crate) fn object(code: &[Insn]) -> Object {
    Object {
        name: "test".to_owned(),
        generation: Generation::GetSend,
        license: "GPL".to_owned(),
        hash: [0; 32],
        code: code.to_vec(),
        functions: vec![function("get_send", 0, code.len())],
        callbacks: Callbacks {
            init: None,
            release: None,
            get_send: 0,
            get_retrans: None,
        },
        maps: Vec::new(),
        kfuncs: Toy::KFUNCS
            .iter()
            .map(|kfunc| kfunc.name.to_owned())
            .collect(),
        poison: Vec::new(),
    }
}

pub(crate) fn function(name: &str, start: usize, end: usize) -> Function {
    Function {
        name: name.to_owned(),
        section: "struct_ops".to_owned(),
        start,
        end,
    }
}

pub(crate) fn map(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec {
    MapSpec {
        name: "m".to_owned(),
        kind,
        key_size,
        value_size,
        max_entries,
        writable: true,
        settable: false,
        initial: Vec::new(),
    }
}

/// Number of the object that is no socket: 16 bytes, of which 8 to 12 may be written.
pub(crate) const THING: u32 = 5;
/// Number of the one that is a socket, of 24 bytes.
pub(crate) const SOCK: u32 = 9;

/// A kernel with a thing, a TCP socket over IPv4, and three kfuncs.
#[derive(Debug)]
pub(crate) struct Toy {
    pub(crate) thing: [u8; 16],
    pub(crate) sock: [u8; 24],
    pub(crate) marked: Vec<(u64, u64)>,
    pub(crate) now_ns: u64,
}

impl Default for Toy {
    fn default() -> Self {
        let thing = *b"0123456789abcdef";
        Self {
            thing,
            sock: [7; 24],
            marked: Vec::new(),
            now_ns: 0,
        }
    }
}

pub(crate) const MARK: i32 = 0;
pub(crate) const ASK: i32 = 1;
pub(crate) const NEXT: i32 = 2;

impl Kernel for Toy {
    const KFUNCS: &'static [Kfunc] = &[
        Kfunc {
            name: "mark",
            arguments: 2,
            returns: false,
        },
        Kfunc {
            name: "ask",
            arguments: 0,
            returns: true,
        },
        // Counts in the 8 bytes that its argument points to, as iterators do.
        Kfunc {
            name: "next",
            arguments: 1,
            returns: true,
        },
    ];

    fn object(&self, number: u32) -> Option<&[u8]> {
        match number {
            THING => Some(&self.thing),
            SOCK => Some(&self.sock),
            _ => None,
        }
    }

    fn writable(&mut self, number: u32, offset: usize, length: usize) -> Option<&mut [u8]> {
        let inside = number == THING && offset >= 8 && offset + length <= 12;
        inside.then(|| &mut self.thing[offset..offset + length])
    }

    fn name(&self, number: u32) -> Option<String> {
        match number {
            THING => Some("the thing".to_owned()),
            SOCK => Some("the socket".to_owned()),
            _ => None,
        }
    }

    fn socket(&self, address: u64) -> Option<Socket> {
        (address == object_address(SOCK)).then_some(Socket {
            tcp: true,
            ipv6: false,
        })
    }

    fn call(
        &mut self,
        kfunc: usize,
        [r1, r2, ..]: [u64; 5],
        memory: &mut ProgramMemory<'_>,
    ) -> Result<u64, BadArgument> {
        let bad = |problem: &str| BadArgument {
            argument: 1,
            problem: problem.to_owned(),
        };
        match kfunc as i32 {
            MARK => {
                if memory::object_at(r1) != Some((THING, 0)) {
                    return Err(bad("is no thing"));
                }
                self.marked.push((r1, r2));
                Ok(0)
            }
            ASK => Ok(42),
            _ => {
                let bytes = memory.read(r1).ok_or_else(|| bad("is no memory"))?;
                let next = u64::from_le_bytes(bytes) + 1;
                let written = memory.write(r1, &next.to_le_bytes());
                written.ok_or_else(|| bad("is not to be written"))?;
                Ok(next)
            }
        }
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn random(&mut self) -> u32 {
        0xfeed_beef
    }
}
