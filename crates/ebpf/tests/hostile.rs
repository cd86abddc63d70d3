//! Whatever the instructions are: no panic, bounded time and memory, and an answer that is the same
//! again.

mod support;

use std::sync::Arc;

use guywire_ebpf::memory::object_address;
use guywire_ebpf::object::{Function, MapKind, MapSpec, Object};
use guywire_ebpf::opcode::*;
use guywire_ebpf::{Insn, Machine, Program};
use proptest::collection::vec;
use proptest::prelude::*;
use support::*;

/// Loads and, where it is not refused, runs an object twice.
fn survive(object: &Object) {
    if let Ok(program) = Program::check::<Toy>(object) {
        let program = Arc::new(program);
        let run = || {
            let mut toy = Toy::default();
            let mut machine = Machine::new(Arc::clone(&program));
            let arguments = [object_address(THING), object_address(SOCK)];
            machine.call(0, &arguments, &mut toy, 20_000)
        };
        let (first, second) = (run(), run());
        assert_eq!(first, second);
        match first {
            Ok(finished) => assert!(finished.fuel <= 20_000),
            Err(fault) => assert!(!fault.to_string().is_empty()),
        }
    }
}

fn any_insn() -> impl Strategy<Value = Insn> {
    any::<[u8; 8]>().prop_map(Insn::from_le_bytes)
}

/// Codes that exist, with fields that often make sense.
fn likely_insn() -> impl Strategy<Value = Insn> {
    let code = prop_oneof![
        4 => any::<u8>().prop_map(|code| code & !CLASS | ALU64),
        2 => any::<u8>().prop_map(|code| code & !CLASS | ALU),
        3 => any::<u8>().prop_map(|code| code & !CLASS | JMP),
        1 => any::<u8>().prop_map(|code| code & !CLASS | JMP32),
        3 => any::<u8>().prop_map(|code| code & SIZE | MEM | LDX),
        3 => any::<u8>().prop_map(|code| code & SIZE | MEM | STX),
        1 => any::<u8>().prop_map(|code| code & SIZE | MEM | ST),
        1 => Just(STX | ATOMIC | DW),
        1 => Just(JMP | CALL),
        1 => Just(JMP | EXIT),
    ];
    let imm = prop_oneof![-16..16i32, any::<i32>(), Just(107), Just(113)];
    (code, 0..=10u8, 0..=10u8, -8..24i16, imm).prop_map(|(code, dst, src, off, imm)| {
        let register = code & X != 0 && matches!(code & CLASS, ALU | ALU64 | JMP | JMP32);
        let load = matches!(code & CLASS, LDX | STX) && code & MODE == MEM;
        let arithmetic = matches!(code & CLASS, ALU | ALU64);
        match code {
            _ if code == JMP | CALL => insn(code, 0, src % 3, 0, imm),
            _ if code == JMP | EXIT => EXIT_NOW,
            _ if code == STX | ATOMIC | DW => insn(code, dst, src, off, imm & 0xf1),
            _ if register => insn(code, dst, src, if arithmetic { 0 } else { off }, 0),
            _ if load => insn(code, dst, src, off, 0),
            _ if arithmetic => insn(code, dst, 0, 0, imm),
            _ => insn(code, dst, 0, off, imm),
        }
    })
}

/// Sets every register, so that what follows may read them.
fn prologue() -> Vec<Insn> {
    let mut code = vec![
        insn(LDX | MEM | DW, 6, 1, 0, 0),
        insn(LDX | MEM | DW, 7, 1, 8, 0),
        copy(8, 10),
    ];
    code.extend(map_reference(9, 0, None));
    code.extend((2..=5).map(|register| copy(register, register + 4)));
    code.push(copy(0, 6));
    code
}

fn maps() -> impl Strategy<Value = Vec<MapSpec>> {
    let kind = prop_oneof![
        Just(MapKind::Array),
        Just(MapKind::Hash),
        Just(MapKind::LruHash),
        Just(MapKind::SkStorage),
    ];
    let spec =
        (kind, 0..9u32, 0..40u32, any::<bool>()).prop_map(|(kind, value, entries, writable)| {
            let entries = if kind == MapKind::SkStorage {
                0
            } else {
                entries
            };
            MapSpec {
                writable,
                ..map(kind, 4, value, entries)
            }
        });
    vec(spec, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_bytes(code in vec(any_insn(), 0..40)) {
        survive(&object(&code));
    }

    #[test]
    fn likely_instructions(code in vec(likely_insn(), 0..60), maps in maps()) {
        let code = [prologue(), code, vec![EXIT_NOW]].concat();
        survive(&Object { maps, ..object(&code) });
    }

    #[test]
    fn several_functions(
        code in vec(likely_insn(), 1..60),
        cuts in vec(0..70usize, 0..6),
    ) {
        let functions: Vec<Function> = cuts
            .windows(2)
            .map(|cut| function("f", cut[0], cut[1]))
            .collect();
        survive(&Object { functions, ..object(&code) });
    }
}

/// The largest programs that there can be, each with all ways that there can be.
#[test]
fn the_static_pass_is_quick_with_large_programs() {
    const MOST: i32 = 65_536;
    let long_jump = |off| insn(JMP32 | JA, 0, 0, 0, off);
    // Every second instruction branches over one that sets another register.
    let ladder = (1..MOST - 1).map(|at| match at % 2 {
        0 => mov((at / 2 % 9) as u8, 0),
        _ => branch(1),
    });
    let ladder: Vec<Insn> = [mov(0, 0)]
        .into_iter()
        .chain(ladder)
        .chain([EXIT_NOW])
        .collect();
    // Backwards through all of it.
    let zigzag = (0..MOST - 2).map(|at| match at % 2 {
        0 => branch(0),
        _ => long_jump(if at > 4 { -4 } else { 0 }),
    });
    let zigzag: Vec<Insn> = zigzag.chain([mov(0, 0), EXIT_NOW]).collect();
    for code in [ladder, zigzag] {
        // Refused or not: what took a time that grows with the ways would never end.
        let _ = Program::raw(&code);
    }
}
