//! What is refused before the first run, and what is said about it.

mod support;

use guywire_ebpf::object::{MapKind, MapSpec, Object, POISON};
use guywire_ebpf::opcode::*;
use guywire_ebpf::{Insn, Program};
use support::*;

#[track_caller]
fn raw(code: &[Insn], expected: &str) {
    let answer = match Program::raw(code) {
        Ok(_) => "accepted".to_owned(),
        Err(refusal) => refusal.to_string(),
    };
    assert!(answer.contains(expected), "{answer}");
}

#[track_caller]
fn loaded(object: &Object, expected: &str) {
    let answer = match Program::check::<Toy>(object) {
        Ok(_) => "accepted".to_owned(),
        Err(refusal) => refusal.to_string(),
    };
    assert!(answer.contains(expected), "{answer}");
}

#[test]
fn it_says_where() {
    raw(
        &[ZERO_R0, copy(0, 7), EXIT_NOW],
        "function `main`, instruction 1 (`r0 = r7`): r7 is read before anything is in it",
    );
}

#[test]
fn jumps_stay_in_their_function() {
    let wide = [insn(LDDW, 0, 0, 0, 1), insn(0, 0, 0, 0, 0)];
    let into = [&[branch(1)], &wide[..], &[EXIT_NOW]].concat();
    raw(
        &into,
        "jumps to instruction 2, the middle of a 64-bit immediate",
    );
    raw(
        &[ZERO_R0, branch(1), EXIT_NOW],
        "jumps to instruction 3, outside of its function",
    );
    raw(
        &[ZERO_R0, branch(-3), EXIT_NOW],
        "jumps to instruction -1, outside",
    );
    raw(
        &[ZERO_R0, insn(JMP32 | JA, 0, 0, 0, i32::MAX), EXIT_NOW],
        "outside",
    );
    raw(&[ZERO_R0], "goes on past its last instruction");
    raw(&[ZERO_R0, branch(-2)], "goes on past its last instruction");
    raw(
        &wide[..1],
        "the second slot of a 64-bit immediate is missing",
    );
    raw(
        &[wide[0], EXIT_NOW],
        "the second slot of a 64-bit immediate is missing",
    );
    // Into the function that is called.
    raw(
        &[call(1, 2), branch(2), EXIT_NOW, ZERO_R0, EXIT_NOW],
        "outside of its function",
    );
    raw(&[], "instructions 0 to 0 are not a part of the code");
}

#[test]
fn registers_are_ten_and_a_frame_pointer() {
    raw(
        &[insn(ALU64 | MOV, 11, 0, 0, 0), EXIT_NOW],
        "there is no register r11",
    );
    raw(
        &[insn(ALU64 | ADD | X, 0, 15, 0, 0), EXIT_NOW],
        "there is no register r15",
    );
    for code in [
        insn(ALU64 | ADD, 10, 0, 0, -8),
        insn(ALU | END, 10, 0, 0, 16),
        insn(LDX | MEM | DW, 10, 1, 0, 0),
        insn(STX | ATOMIC | DW, 1, 10, 0, XCHG),
    ] {
        raw(&[code, EXIT_NOW], "the frame pointer r10 cannot be written");
    }
}

#[test]
fn nothing_is_read_before_it_is_written() {
    raw(&[EXIT_NOW], "r0 is read before anything is in it");
    raw(
        &[ZERO_R0, insn(ALU64 | ADD | X, 0, 3, 0, 0), EXIT_NOW],
        "r3 is read",
    );
    raw(&[insn(ALU64 | ADD, 0, 0, 0, 1), EXIT_NOW], "r0 is read");
    raw(
        &[ZERO_R0, insn(STX | MEM | W, 1, 4, 0, 0), EXIT_NOW],
        "r4 is read",
    );
    raw(
        &[insn(STX | ATOMIC | W, 1, 2, 0, CMPXCHG), EXIT_NOW],
        "r0 is read",
    );
    // On one of two ways only.
    let one_way = [ZERO_R0, branch(1), copy(6, 2), copy(0, 6), EXIT_NOW];
    raw(&one_way, "instruction 3 (`r0 = r6`): r6 is read");
    let both = [
        branch(2),
        copy(6, 2),
        insn(JMP | JA, 0, 0, 1, 0),
        copy(6, 1),
        copy(0, 6),
        EXIT_NOW,
    ];
    raw(&both, "accepted");
    // A loop whose second round has less than its first.
    let rounds = [
        ZERO_R0,
        copy(3, 1),
        copy(6, 3),
        call(0, 7),
        branch(-3),
        EXIT_NOW,
    ];
    raw(&rounds, "instruction 4 (`if r1 == 0 goto -3`): r1 is read");
    // Nobody comes here.
    raw(&[ZERO_R0, EXIT_NOW, copy(0, 9), EXIT_NOW], "accepted");
}

#[test]
fn a_call_leaves_r0_only() {
    raw(
        &[call(0, 7), copy(0, 1), EXIT_NOW],
        "a call leaves nothing in r1 to r5",
    );
    raw(
        &[ZERO_R0, copy(6, 1), call(0, 7), copy(0, 6), EXIT_NOW],
        "accepted",
    );
    raw(&[call(0, 1), EXIT_NOW], "accepted");
    raw(&[copy(3, 1), call(0, 2), EXIT_NOW], "r4 is read");
    // What is called reads what its caller did not set.
    raw(
        &[call(1, 1), EXIT_NOW, copy(0, 3), EXIT_NOW],
        "`function_2`, instruction 0 (`r0 = r3`)",
    );
    // It is called twice, once without r3.
    let twice = [
        copy(3, 1),
        call(1, 2),
        call(1, 1),
        EXIT_NOW,
        copy(0, 3),
        EXIT_NOW,
    ];
    raw(&twice, "`function_4`, instruction 0 (`r0 = r3`)");
    // It returns nothing, or only sometimes.
    raw(
        &[call(1, 1), EXIT_NOW, EXIT_NOW],
        "a function without a value does not set it",
    );
    raw(
        &[call(1, 1), EXIT_NOW, branch(1), ZERO_R0, EXIT_NOW],
        "instruction 1 (`exit`): r0",
    );
}

#[test]
fn calls_lead_to_functions_and_end() {
    raw(
        &[call(1, 5), ZERO_R0, EXIT_NOW],
        "calls instruction 6, where no function starts",
    );
    raw(&[call(1, -1), EXIT_NOW], "recursion: main -> main");
    let circle = [
        call(1, 1),
        EXIT_NOW,
        call(1, 1),
        EXIT_NOW,
        call(1, -3),
        EXIT_NOW,
    ];
    raw(
        &circle,
        "recursion: main -> function_2 -> function_4 -> function_2",
    );
    raw(&[call(0, 12), EXIT_NOW], "helper 12 is not modelled");
    raw(&[call(0, -1), EXIT_NOW], "helper -1 is not modelled");
    raw(&[call(0, POISON), EXIT_NOW], "is not modelled");
    raw(&[call(2, 0), EXIT_NOW], "there is no kfunc number 0");
    raw(&[call(3, 0), EXIT_NOW], "unused field src");
}

#[test]
fn the_frame_has_its_bytes() {
    let load = |off| [insn(LDX | MEM | DW, 0, 10, off, 0), EXIT_NOW];
    raw(&load(-512), "accepted");
    raw(&load(-8), "accepted");
    raw(
        &load(-520),
        "accesses 8 bytes at r10-520, outside of the frame of 512 bytes",
    );
    raw(&load(-7), "accesses 8 bytes at r10-7");
    let store = [ZERO_R0, insn(ST | MEM | B, 10, 0, 0, 1), EXIT_NOW];
    raw(&store, "accesses 1 bytes at r10+0");
}

#[test]
fn kfuncs_are_known_with_what_they_read_and_return() {
    let with = |names: &[&str], code: &[Insn]| Object {
        kfuncs: names.iter().map(|&name| name.to_owned()).collect(),
        ..object(code)
    };
    loaded(
        &with(&["ask", "sing"], &[call(2, 1), EXIT_NOW]),
        "instruction 0 (`call kfunc#1`): kfunc `sing` is not modelled",
    );
    let asks = [call(2, 0), EXIT_NOW];
    loaded(&with(&["ask"], &asks), "accepted");
    loaded(
        &with(&["ask"], &[call(2, 1), EXIT_NOW]),
        "there is no kfunc number 1",
    );
    let marks = [copy(2, 1), call(2, 1), EXIT_NOW];
    loaded(
        &with(&["ask", "mark"], &marks),
        "instruction 2 (`exit`): r0 is read",
    );
    loaded(&with(&["mark"], &asks), "r2 is read");
}

#[test]
fn what_is_poisoned_matters_only_when_it_is_reached() {
    let code = [branch(2), call(0, POISON), copy(0, 9), ZERO_R0, EXIT_NOW];
    let poisoned = Object {
        poison: vec!["no field `x`".to_owned()],
        ..object(&code)
    };
    loaded(&poisoned, "accepted");
    let elsewhere = Object {
        code: vec![call(0, POISON + 1), EXIT_NOW],
        functions: vec![function("get_send", 0, 2)],
        ..poisoned
    };
    loaded(&elsewhere, "is not modelled");
}

#[test]
fn only_decisions_return_something() {
    let mut object = object(&[ZERO_R0, EXIT_NOW, EXIT_NOW]);
    object.functions = vec![function("get_send", 0, 2), function("init", 2, 3)];
    object.callbacks.init = Some(1);
    loaded(&object, "accepted");
    object.callbacks.get_retrans = Some(1);
    loaded(
        &object,
        "function `init`, instruction 0 (`exit`): r0 is read",
    );
    object.callbacks.get_retrans = Some(2);
    loaded(&object, "a callback is function number 2");
    object.callbacks.get_retrans = None;
    object.functions[1].start = 1;
    loaded(&object, "function `init`: instructions 1 to 3");
    object.functions[1] = function("init", 2, 4);
    loaded(&object, "instructions 2 to 4");
}

#[test]
fn references_to_maps_are_checked() {
    let with = |src, imm, second, map: &MapSpec| Object {
        maps: vec![map.clone()],
        ..object(&[
            insn(LDDW, 0, src, 0, imm),
            insn(0, 0, 0, 0, second),
            EXIT_NOW,
        ])
    };
    let section = map(MapKind::Array, 4, 8, 1);
    let two = map(MapKind::Array, 4, 8, 2);
    loaded(&with(1, 0, 0, &section), "accepted");
    loaded(&with(1, 1, 0, &section), "there is no map number 1");
    loaded(&with(1, -1, 0, &section), "there is no map number -1");
    loaded(
        &with(1, 0, 1, &section),
        "unused field imm of the second slot",
    );
    loaded(&with(2, 0, 7, &section), "accepted");
    loaded(
        &with(2, 0, 8, &section),
        "has no single value with a byte 8",
    );
    loaded(&with(2, 0, 0, &two), "has no single value");
    loaded(&with(6, 0, 0, &section), "unused field src");
}

#[test]
fn maps_are_bounded() {
    let with = |maps: Vec<MapSpec>| Object {
        maps,
        ..object(&[ZERO_R0, EXIT_NOW])
    };
    let refusals = [
        (
            map(MapKind::Array, 8, 8, 1),
            "map `m`: key_size is 8, an array's is 4",
        ),
        (map(MapKind::Hash, 0, 8, 1), "key_size is 0"),
        (map(MapKind::Hash, 513, 8, 1), "key_size is 513"),
        (map(MapKind::Hash, 4, 0, 1), "value_size is 0"),
        (map(MapKind::LruHash, 4, 4, 0), "max_entries is 0"),
        (map(MapKind::SkStorage, 4, 4, 1), "max_entries is 1"),
        (
            map(MapKind::Array, 4, 1 << 20, 17),
            "take 17825792 bytes when full",
        ),
        (map(MapKind::Hash, 4, 4, u32::MAX), "bytes when full"),
        (
            map(MapKind::Array, 4, u32::MAX, u32::MAX),
            "value_size is 4294967295",
        ),
    ];
    for (spec, text) in refusals {
        loaded(&with(vec![spec]), text);
    }
    let mut filled = map(MapKind::Array, 4, 2, 1);
    filled.initial = vec![0; 3];
    loaded(&with(vec![filled]), "content is 3");
    loaded(
        &with(vec![map(MapKind::Array, 4, 1, 1); 65]),
        "65 maps, at most 64",
    );
    loaded(&with(vec![map(MapKind::SkStorage, 4, 8, 0); 4]), "accepted");
}

#[test]
fn size_is_bounded_and_time_with_it() {
    let long = vec![ZERO_R0; 65_537];
    raw(&long, "65537 instructions, at most 65536");
    // Every instruction jumps back to the first: as many ways as there can be.
    let mut code = vec![ZERO_R0];
    code.extend((1..i16::MAX).map(|at| branch(-at - 1)));
    code.push(EXIT_NOW);
    raw(&code, "accepted");
    let mut calls = vec![call(1, 3); 1_025];
    calls.push(EXIT_NOW);
    calls.resize(40_000, EXIT_NOW);
    raw(&calls, "functions, at most 1024");
}
