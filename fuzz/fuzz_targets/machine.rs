//! The machine: whatever a program is, it is refused or runs, without a panic and within its fuel, and
//! twice the same.
//!
//! The input is a program in a small grammar: instructions that exist, with fields that often make
//! sense, after a prologue that sets every register; and once in a while bytes as they are.
#![no_main]

use std::sync::Arc;

use guywire_ebpf::kernel::{BadArgument, Kernel, Kfunc, Socket};
use guywire_ebpf::memory::{ProgramMemory, object_address, object_at};
use guywire_ebpf::object::{Callbacks, Function, Generation, MapKind, MapSpec, Object, POISON};
use guywire_ebpf::opcode::*;
use guywire_ebpf::{Insn, Machine, Program};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const FUEL: u64 = 20_000;
/// Most instructions of a program here.
const LONGEST: usize = 400;

fuzz_target!(|input: Input| {
    let object = input.object();
    let Ok(program) = Program::check::<Objects>(&object) else {
        return;
    };
    let program = Arc::new(program);
    let run = || {
        let mut machine = Machine::new(Arc::clone(&program));
        let arguments = [object_address(0), object_address(1)];
        let mut kernel = Objects::default();
        let first = machine.call(0, &arguments, &mut kernel, FUEL);
        // The second call finds maps and storage as the first one left them.
        (first, machine.call(0, &arguments, &mut kernel, FUEL))
    };
    let (once, again) = (run(), run());
    assert_eq!(once, again);
    match once.0 {
        Ok(finished) => assert!(finished.fuel <= FUEL),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
});

#[derive(Arbitrary, Debug)]
struct Input {
    maps: Vec<Map>,
    steps: Vec<Step>,
    /// Where functions end.
    cuts: Vec<u16>,
}

#[derive(Arbitrary, Debug)]
struct Map {
    kind: u8,
    key_size: u8,
    value_size: u8,
    entries: u8,
    writable: bool,
    initial: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Arithmetic {
        operation: u8,
        wide: bool,
        signed: bool,
        dst: u8,
        second: Second,
    },
    Jump {
        operation: u8,
        wide: bool,
        dst: u8,
        second: Second,
        off: i8,
    },
    Load {
        size: u8,
        signed: bool,
        dst: u8,
        base: u8,
        off: i16,
    },
    Store {
        size: u8,
        base: u8,
        off: i16,
        second: Second,
    },
    Atomic {
        wide: bool,
        operation: i32,
        base: u8,
        src: u8,
        off: i16,
    },
    Wide {
        dst: u8,
        value: u64,
    },
    MapReference {
        dst: u8,
        map: u8,
        byte: Option<u8>,
    },
    Helper(u8),
    Kfunc(u8),
    Local(i8),
    Poison(u8),
    Goto(i8),
    MayGoto(i8),
    Exit,
    Raw([u8; 8]),
}

#[derive(Arbitrary, Debug)]
enum Second {
    Register(u8),
    Small(i8),
    Any(i32),
}

impl Input {
    fn object(&self) -> Object {
        let mut code = prologue(!self.maps.is_empty());
        for step in self.steps.iter().take(LONGEST) {
            step.write(&mut code);
        }
        code.push(insn(JMP | EXIT, 0, 0, 0, 0));
        let mut ends: Vec<usize> = self.cuts.iter().map(|&cut| usize::from(cut)).collect();
        ends.retain(|&end| end > 0 && end < code.len());
        ends.push(code.len());
        ends.sort_unstable();
        ends.dedup();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let functions = starts.zip(&ends).map(|(start, &end)| Function {
            name: format!("f{start}"),
            section: String::new(),
            start,
            end,
        });
        Object {
            name: "fuzz".to_owned(),
            generation: Generation::GetSend,
            license: "GPL".to_owned(),
            hash: [0; 32],
            functions: functions.collect(),
            callbacks: Callbacks {
                init: None,
                release: None,
                get_send: 0,
                get_retrans: None,
            },
            code,
            maps: self.maps.iter().take(4).map(Map::spec).collect(),
            kfuncs: Objects::KFUNCS
                .iter()
                .map(|kfunc| kfunc.name.to_owned())
                .collect(),
            poison: vec!["poisoned".to_owned()],
        }
    }
}

impl Map {
    fn spec(&self) -> MapSpec {
        let kind = match self.kind % 4 {
            0 => MapKind::Array,
            1 => MapKind::Hash,
            2 => MapKind::LruHash,
            _ => MapKind::SkStorage,
        };
        let own_key = matches!(kind, MapKind::Hash | MapKind::LruHash);
        MapSpec {
            name: "m".to_owned(),
            kind,
            key_size: if own_key { self.key_size.into() } else { 4 },
            value_size: self.value_size.into(),
            max_entries: if kind == MapKind::SkStorage {
                0
            } else {
                self.entries.into()
            },
            writable: self.writable,
            settable: false,
            initial: if kind == MapKind::Array {
                self.initial.clone()
            } else {
                Vec::new()
            },
        }
    }
}

/// r6 and r7 are the objects, r8 is the stack, r1 to r3 are a map with key and value, if there is a map;
/// the rest are numbers.
fn prologue(map: bool) -> Vec<Insn> {
    let mut code = vec![
        insn(LDX | MEM | DW, 6, 1, 0, 0),
        insn(LDX | MEM | DW, 7, 1, 8, 0),
        insn(ALU64 | MOV | X, 8, 10, 0, 0),
        insn(ALU64 | MOV | X, 2, 10, 0, 0),
        insn(ALU64 | ADD, 2, 0, 0, -16),
        insn(ALU64 | MOV | X, 3, 2, 0, 0),
        insn(ALU64 | MOV, 4, 0, 0, 1),
        insn(ALU64 | MOV, 5, 0, 0, 8),
        insn(ALU64 | MOV, 0, 0, 0, 0),
    ];
    if map {
        code.extend([insn(LDDW, 1, 1, 0, 0), insn(0, 0, 0, 0, 0)]);
    }
    code.push(insn(ALU64 | MOV | X, 9, 1, 0, 0));
    code
}

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn {
        code,
        dst,
        src,
        off,
        imm,
    }
}

impl Second {
    /// An instruction with this as its second operand.
    fn with(&self, code: u8, dst: u8, off: i16) -> Insn {
        match *self {
            Self::Register(register) => insn(code | X, dst, register % 11, off, 0),
            Self::Small(imm) => insn(code, dst, 0, off, imm.into()),
            Self::Any(imm) => insn(code, dst, 0, off, imm),
        }
    }
}

fn arithmetic(operation: u8, wide: bool, signed: bool, dst: u8, second: &Second) -> Insn {
    let class = if wide { ALU64 } else { ALU };
    let operation = (operation % 14) << 4;
    let off = match operation {
        DIV | MOD => signed.into(),
        MOV if signed => 8 << (dst % 3),
        _ => 0,
    };
    let mut made = second.with(class | operation, dst % 10, off);
    match operation {
        END => (made.src, made.imm) = (0, 16 << (dst % 3)),
        NEG => made = insn(class | NEG, dst % 10, 0, 0, 0),
        _ => {}
    }
    made
}

impl Step {
    fn write(&self, code: &mut Vec<Insn>) {
        let size = |size: u8| size << 3 & SIZE;
        match *self {
            Self::Arithmetic {
                operation,
                wide,
                signed,
                dst,
                ref second,
            } => {
                code.push(arithmetic(operation, wide, signed, dst, second));
            }
            Self::Jump {
                operation,
                wide,
                dst,
                ref second,
                off,
            } => {
                let class = if wide { JMP } else { JMP32 };
                code.push(second.with(class | (operation % 14) << 4, dst % 11, off.into()));
            }
            Self::Load {
                size: bits,
                signed,
                dst,
                base,
                off,
            } => {
                let mode = if signed { MEMSX } else { MEM };
                code.push(insn(LDX | mode | size(bits), dst % 10, base % 11, off, 0));
            }
            Self::Store {
                size: bits,
                base,
                off,
                ref second,
            } => code.push(match *second {
                Second::Register(src) => insn(STX | MEM | size(bits), base % 11, src % 11, off, 0),
                Second::Small(imm) => insn(ST | MEM | size(bits), base % 11, 0, off, imm.into()),
                Second::Any(imm) => insn(ST | MEM | size(bits), base % 11, 0, off, imm),
            }),
            Self::Atomic {
                wide,
                operation,
                base,
                src,
                off,
            } => {
                let size = if wide { DW } else { W };
                let imm = operation & 0xf1;
                code.push(insn(STX | ATOMIC | size, base % 11, src % 10, off, imm));
            }
            Self::Wide { dst, value } => {
                code.push(insn(LDDW, dst % 10, 0, 0, value as i32));
                code.push(insn(0, 0, 0, 0, (value >> 32) as i32));
            }
            Self::MapReference { dst, map, byte } => {
                let source = if byte.is_some() { 2 } else { 1 };
                code.push(insn(LDDW, dst % 10, source, 0, (map % 4).into()));
                code.push(insn(0, 0, 0, 0, byte.unwrap_or(0).into()));
            }
            Self::Helper(number) => {
                let helpers = guywire_ebpf::helpers::HELPERS;
                let helper = helpers[usize::from(number) % helpers.len()];
                code.push(insn(JMP | CALL, 0, 0, 0, helper.number));
            }
            Self::Kfunc(number) => code.push(insn(JMP | CALL, 0, 2, 0, (number % 3).into())),
            Self::Local(offset) => code.push(insn(JMP | CALL, 0, 1, 0, offset.into())),
            Self::Poison(reason) => {
                code.push(insn(JMP | CALL, 0, 0, 0, POISON + i32::from(reason % 2)));
            }
            Self::Goto(off) => code.push(insn(JMP32 | JA, 0, 0, 0, off.into())),
            Self::MayGoto(off) => code.push(insn(JMP | JCOND, 0, 0, off.into(), 0)),
            Self::Exit => code.push(insn(JMP | EXIT, 0, 0, 0, 0)),
            Self::Raw(bytes) => code.push(Insn::from_le_bytes(bytes)),
        }
    }
}

/// Two objects, of which the first can be written and the second is a socket.
#[derive(Default)]
struct Objects {
    bytes: [[u8; 32]; 2],
    clock: u64,
}

impl Kernel for Objects {
    const KFUNCS: &'static [Kfunc] = &[
        Kfunc {
            name: "store",
            arguments: 2,
            returns: false,
        },
        Kfunc {
            name: "load",
            arguments: 1,
            returns: true,
        },
        Kfunc {
            name: "which",
            arguments: 1,
            returns: true,
        },
    ];

    fn object(&self, number: u32) -> Option<&[u8]> {
        self.bytes.get(number as usize).map(|bytes| &bytes[..])
    }

    fn writable(&mut self, number: u32, offset: usize, length: usize) -> Option<&mut [u8]> {
        let bytes = self
            .bytes
            .get_mut(number as usize)
            .filter(|_| number == 0)?;
        bytes.get_mut(offset..)?.get_mut(..length)
    }

    fn name(&self, number: u32) -> Option<String> {
        (number < 2).then(|| format!("object {number}"))
    }

    fn socket(&self, address: u64) -> Option<Socket> {
        (address == object_address(1)).then_some(Socket {
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
        let bad = || BadArgument {
            argument: 1,
            problem: "is no memory".to_owned(),
        };
        match kfunc {
            0 => memory
                .write(r1, &r2.to_le_bytes())
                .map(|()| 0)
                .ok_or_else(bad),
            1 => memory.read(r1).map(u64::from_le_bytes).ok_or_else(bad),
            _ => Ok(object_at(r1).map_or(0, |(number, _)| number.into())),
        }
    }

    fn now_ns(&self) -> u64 {
        self.clock
    }

    fn random(&mut self) -> u32 {
        self.clock += 1_000_000;
        self.clock as u32
    }
}
