//! What RFC 9669 says of every instruction, as tables.

mod support;

use guywire_ebpf::opcode::*;
use guywire_ebpf::{FaultKind, Insn};
use support::*;

const MIN64: u64 = i64::MIN as u64;
const MIN32: u64 = 0x8000_0000;
const MINUS: u64 = u64::MAX;
/// -1 in 32 bits.
const MINUS32: u64 = u32::MAX as u64;
/// Bits that a 32-bit operation must not look at.
const GARBAGE: u64 = 0xdead_beef_0000_0000;

/// `r1 = a; r2 = b;` and then the instructions.
fn with(a: u64, b: u64, rest: &[Insn]) -> Vec<Insn> {
    [&wide(1, a), &wide(2, b), rest].concat()
}

/// `b` as an immediate, where it is the sign extension of one.
fn immediate(b: u64) -> Option<i32> {
    let imm = b as i32;
    (i64::from(imm) as u64 == b).then_some(imm)
}

/// `r1 OP= b` for both forms of `b`.
#[track_caller]
fn computes(class: u8, (operation, off): (u8, i16), a: u64, b: u64, expected: u64) {
    let finish = [copy(0, 1), EXIT_NOW];
    let register = insn(class | operation | X, 1, 2, off, 0);
    let code = with(a, b, &[&[register], &finish[..]].concat());
    let found = run(&code);
    assert_eq!(
        found, expected,
        "{a:#x} {operation:#x} {b:#x} by register: {found:#x}"
    );
    if let Some(imm) = immediate(b) {
        let constant = insn(class | operation, 1, 0, off, imm);
        let found = run(&with(a, 0, &[&[constant], &finish[..]].concat()));
        assert_eq!(
            found, expected,
            "{a:#x} {operation:#x} {b:#x} by immediate: {found:#x}"
        );
    }
}

const SDIV: (u8, i16) = (DIV, 1);
const SMOD: (u8, i16) = (MOD, 1);

#[test]
#[rustfmt::skip]
fn arithmetic_of_64_bits() {
    for (operation, a, b, expected) in [
        ((ADD, 0), 2, 3, 5),
        ((ADD, 0), MINUS, 1, 0),
        ((ADD, 0), MINUS32, 1, 1 << 32),
        ((ADD, 0), 5, -3i64 as u64, 2),
        ((SUB, 0), 3, 5, -2i64 as u64),
        ((SUB, 0), MIN64, 1, i64::MAX as u64),
        ((MUL, 0), 1 << 33, 1 << 31, 0),
        ((MUL, 0), -3i64 as u64, 7, -21i64 as u64),
        ((MUL, 0), MIN64, MINUS, MIN64),
        ((DIV, 0), 7, 2, 3),
        ((DIV, 0), MINUS, 2, i64::MAX as u64),
        // The immediate is sign-extended, and then unsigned.
        ((DIV, 0), MINUS, -2i64 as u64, 1),
        ((DIV, 0), 7, 0, 0),
        (SDIV, -7i64 as u64, 2, -3i64 as u64),
        (SDIV, 7, -2i64 as u64, -3i64 as u64),
        (SDIV, MIN64, MINUS, MIN64),
        (SDIV, -7i64 as u64, 0, 0),
        ((MOD, 0), 7, 4, 3),
        ((MOD, 0), MINUS, 10, 5),
        ((MOD, 0), 0x1_2345_6789, 0, 0x1_2345_6789),
        (SMOD, -13i64 as u64, 3, -1i64 as u64),
        (SMOD, 13, -3i64 as u64, 1),
        (SMOD, -13i64 as u64, -3i64 as u64, -1i64 as u64),
        (SMOD, MIN64, MINUS, 0),
        (SMOD, -7i64 as u64, 0, -7i64 as u64),
        ((OR, 0), 0xf0, 0x0f, 0xff),
        ((OR, 0), 1, MIN32 | !MINUS32, MIN32 | !MINUS32 | 1),
        ((AND, 0), 0xff0f, 0x0ff0, 0x0f00),
        ((AND, 0), MINUS, -16i64 as u64, -16i64 as u64),
        ((XOR, 0), 0xff, 0x0f, 0xf0),
        ((XOR, 0), MINUS, MINUS, 0),
        ((LSH, 0), 1, 4, 16),
        ((LSH, 0), 1, 63, MIN64),
        ((LSH, 0), 1, 64, 1),
        ((LSH, 0), 1, 65, 2),
        ((LSH, 0), 1, MINUS, MIN64),
        ((LSH, 0), 3, 1 << 32 | 1, 6),
        ((RSH, 0), MIN64, 63, 1),
        ((RSH, 0), 16, 64 + 4, 1),
        ((RSH, 0), MIN64, MINUS, 1),
        ((ARSH, 0), MIN64, 63, MINUS),
        ((ARSH, 0), -16i64 as u64, 2, -4i64 as u64),
        ((ARSH, 0), -16i64 as u64, 64 + 2, -4i64 as u64),
        ((ARSH, 0), i64::MAX as u64, MINUS, 0),
        ((MOV, 0), 1, 2, 2),
        ((MOV, 0), 1, -2i64 as u64, -2i64 as u64),
    ] {
        computes(ALU64, operation, a, b, expected);
    }
}

#[test]
#[rustfmt::skip]
fn arithmetic_of_32_bits() {
    for (operation, a, b, expected) in [
        ((ADD, 0), MINUS32, 1, 0),
        ((ADD, 0), 5, -3i64 as u64, 2),
        ((SUB, 0), 3, 5, MINUS32 - 1),
        ((MUL, 0), 1 << 17, 1 << 16, 0),
        ((MUL, 0), MIN32, MINUS, MIN32),
        ((DIV, 0), MINUS32, 2, 0x7fff_ffff),
        ((DIV, 0), MINUS32, -2i64 as u64, 1),
        ((DIV, 0), 7, 0, 0),
        (SDIV, -7i64 as u64, 2, -3i32 as u32 as u64),
        (SDIV, MIN32, MINUS, MIN32),
        (SDIV, 7, 0, 0),
        ((MOD, 0), MINUS32, 10, 5),
        ((MOD, 0), 7, 0, 7),
        (SMOD, -13i64 as u64, 3, MINUS32),
        (SMOD, 13, -3i64 as u64, 1),
        (SMOD, MIN32, MINUS, 0),
        (SMOD, -7i64 as u64, 0, -7i32 as u32 as u64),
        ((OR, 0), 0xf0, MINUS, MINUS32),
        ((AND, 0), MINUS, -16i64 as u64, 0xffff_fff0),
        ((XOR, 0), 0, MINUS, MINUS32),
        ((LSH, 0), 1, 31, MIN32),
        ((LSH, 0), 1, 32, 1),
        ((LSH, 0), 3, 33, 6),
        ((LSH, 0), 1, MINUS, MIN32),
        ((RSH, 0), MIN32, 31, 1),
        ((RSH, 0), 16, 32 + 4, 1),
        ((ARSH, 0), MIN32, 31, MINUS32),
        ((ARSH, 0), MIN32, 32 + 1, 0xc000_0000),
        ((ARSH, 0), 0x4000_0000, 30, 1),
        ((MOV, 0), 1, -2i64 as u64, 0xffff_fffe),
    ] {
        computes(ALU, operation, a, b, expected);
        computes(ALU, operation, a ^ GARBAGE, b, expected);
        computes(ALU, operation, a, b ^ GARBAGE, expected);
    }
}

#[test]
#[rustfmt::skip]
fn moves_that_extend_the_sign() {
    for (class, bits, from, expected) in [
        (ALU64, 8, 0x17f, 0x7f),
        (ALU64, 8, 0x180, -128i64 as u64),
        (ALU64, 16, 0x1_7fff, 0x7fff),
        (ALU64, 16, 0x1_8000, -32768i64 as u64),
        (ALU64, 32, 0x1_7fff_ffff, 0x7fff_ffff),
        (ALU64, 32, 0x1_8000_0000, i64::from(i32::MIN) as u64),
        (ALU, 8, 0x17f, 0x7f),
        (ALU, 8, 0x180, 0xffff_ff80),
        (ALU, 16, 0x1_7fff, 0x7fff),
        (ALU, 16, 0x1_8000, 0xffff_8000),
    ] {
        let code = with(from, MINUS, &[insn(class | MOV | X, 0, 1, bits, 0), EXIT_NOW]);
        assert_eq!(run(&code), expected, "{bits} bits of {from:#x}");
    }
}

#[test]
fn negation() {
    for (class, a, expected) in [
        (ALU64, 5, -5i64 as u64),
        (ALU64, 0, 0),
        (ALU64, MIN64, MIN64),
        (ALU, 5, 0xffff_fffb),
        (ALU, 5 | GARBAGE, 0xffff_fffb),
        (ALU, MIN32, MIN32),
    ] {
        let code = with(a, 0, &[insn(class | NEG, 1, 0, 0, 0), copy(0, 1), EXIT_NOW]);
        assert_eq!(run(&code), expected, "{a:#x}");
    }
}

#[test]
fn byte_swaps() {
    const VALUE: u64 = 0x0102_0304_0506_0708;
    const TO_LE: u8 = ALU | END;
    const TO_BE: u8 = ALU | END | X;
    const SWAP: u8 = ALU64 | END;
    for (code, bits, expected) in [
        (TO_LE, 16, 0x0708),
        (TO_LE, 32, 0x0506_0708),
        (TO_LE, 64, VALUE),
        (TO_BE, 16, 0x0807),
        (TO_BE, 32, 0x0807_0605),
        (TO_BE, 64, 0x0807_0605_0403_0201),
        (SWAP, 16, 0x0807),
        (SWAP, 32, 0x0807_0605),
        (SWAP, 64, 0x0807_0605_0403_0201),
    ] {
        let program = with(VALUE, 0, &[insn(code, 1, 0, 0, bits), copy(0, 1), EXIT_NOW]);
        assert_eq!(run(&program), expected, "{code:#x} {bits}");
    }
}

/// Whether `if r1 OP b` jumps, in both forms of `b`.
#[track_caller]
fn jumps(class: u8, operation: u8, a: u64, b: u64, expected: bool) {
    let rest = |jump| [mov(0, 1), jump, mov(0, 0), EXIT_NOW];
    let register = rest(insn(class | operation | X, 1, 2, 1, 0));
    let found = run(&with(a, b, &register)) == 1;
    assert_eq!(found, expected, "{a:#x} {operation:#x} {b:#x} by register");
    if let Some(imm) = immediate(b) {
        let constant = rest(insn(class | operation, 1, 0, 1, imm));
        let found = run(&with(a, 0, &constant)) == 1;
        assert_eq!(found, expected, "{a:#x} {operation:#x} {b:#x} by immediate");
    }
}

#[test]
fn conditional_jumps() {
    // Taken for a < b, a == b, a > b; first the unsigned ones, then the signed.
    let unsigned = [
        (JEQ, [false, true, false]),
        (JNE, [true, false, true]),
        (JGT, [false, false, true]),
        (JGE, [false, true, true]),
        (JLT, [true, false, false]),
        (JLE, [true, true, false]),
    ];
    let signed = [
        (JSGT, [false, false, true]),
        (JSGE, [false, true, true]),
        (JSLT, [true, false, false]),
        (JSLE, [true, true, false]),
    ];
    let minus_two = -2i64 as u64;
    for (operation, expected) in unsigned {
        for (a, b, expected) in [
            (1, 2, expected[0]),
            (2, 2, expected[1]),
            (3, 2, expected[2]),
            (1, minus_two, expected[0]),
            (minus_two, minus_two, expected[1]),
            (minus_two, 1, expected[2]),
        ] {
            jumps(JMP, operation, a, b, expected);
            jumps(JMP32, operation, a, b, expected);
            jumps(JMP32, operation, a ^ GARBAGE, b, expected);
            jumps(JMP32, operation, a, b ^ GARBAGE, expected);
        }
    }
    for (operation, expected) in signed {
        for (a, b, expected) in [
            (minus_two, 1, expected[0]),
            (minus_two, minus_two, expected[1]),
            (1, minus_two, expected[2]),
            (-3i64 as u64, minus_two, expected[0]),
        ] {
            jumps(JMP, operation, a, b, expected);
            jumps(JMP32, operation, a, b, expected);
            jumps(JMP32, operation, a ^ GARBAGE, b, expected);
        }
    }
    // What is small in 32 bits is large in 64.
    jumps(JMP, JGT, 1 << 32, 1, true);
    jumps(JMP32, JGT, 1 << 32, 1, false);
    jumps(JMP, JSLT, MIN32, 0, false);
    jumps(JMP32, JSLT, MIN32, 0, true);
    for (class, a, b, expected) in [
        (JMP, 6, 2, true),
        (JMP, 4, 2, false),
        (JMP, MIN64, -1i64 as u64, true),
        (JMP, 1 << 32, 1 << 32, true),
        (JMP32, 1 << 32, 1 << 32, false),
        (JMP32, 6, 2, true),
    ] {
        jumps(class, JSET, a, b, expected);
    }
}

#[test]
fn jumps_without_condition() {
    for jump in [insn(JMP | JA, 0, 0, 1, 0), insn(JMP32 | JA, 0, 0, 0, 1)] {
        assert_eq!(run(&[mov(0, 1), jump, mov(0, 2), EXIT_NOW]), 1);
    }
    // Backwards, over an exit.
    let back = insn(JMP32 | JA, 0, 0, 0, -3);
    let forth = insn(JMP | JA, 0, 0, 2, 0);
    assert_eq!(run(&[forth, mov(0, 7), EXIT_NOW, back]), 7);
}

#[test]
fn may_goto_ends_a_loop_with_fuel_to_spare() {
    // r0 += 1 until `may_goto` jumps out.
    let code = [
        mov(0, 0),
        insn(JMP | JCOND, 0, 0, 2, 0),
        insn(ALU64 | ADD, 0, 0, 0, 1),
        insn(JMP | JA, 0, 0, -3, 0),
        EXIT_NOW,
    ];
    let rounds = run(&code);
    assert!((FUEL / 6 - 1..=FUEL / 6 + 1).contains(&rounds), "{rounds}");
}

#[test]
fn loads_and_stores() {
    let mut memory = [0x11, 0x82, 0x93, 0xf4, 0x05, 0x06, 0x07, 0x88, 0xff];
    for (code, expected) in [
        (LDX | MEM | B, 0x82),
        (LDX | MEM | H, 0x9382),
        (LDX | MEM | W, 0x05f4_9382),
        (LDX | MEM | DW, 0xff88_0706_05f4_9382),
        (LDX | MEMSX | B, 0x82u8 as i8 as u64),
        (LDX | MEMSX | H, 0x9382u16 as i16 as u64),
        (LDX | MEMSX | W, 0x05f4_9382),
    ] {
        // Unaligned on purpose.
        let code = [insn(code, 0, 1, 1, 0), EXIT_NOW];
        assert_eq!(run_on(&code, &mut memory), Ok(expected));
    }
    let negative = [insn(LDX | MEMSX | W, 0, 1, 0, 0), EXIT_NOW];
    assert_eq!(run_on(&negative, &mut memory), Ok(0xffff_ffff_f493_8211));

    for (size, bytes) in [(B, 1), (H, 2), (W, 4), (DW, 8)] {
        let value = 0xf1e2_d3c4_b5a6_9788u64;
        let by_register = with(0, value, &[]);
        let by_register = [
            &[copy(6, 1)],
            &by_register[..],
            &[insn(STX | MEM | size, 6, 2, 1, 0), mov(0, 0), EXIT_NOW],
        ]
        .concat();
        let by_immediate = [insn(ST | MEM | size, 1, 0, 1, -3), mov(0, 0), EXIT_NOW];
        for (code, value) in [(&by_register[..], value), (&by_immediate, -3i64 as u64)] {
            let mut memory = [0; 10];
            let mut expected = memory;
            expected[1..][..bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
            assert_eq!(run_on(code, &mut memory), Ok(0));
            assert_eq!(memory, expected, "{bytes} bytes");
        }
    }
}

#[test]
fn accesses_end_where_memory_does() {
    for (size, bytes) in [(B, 1), (H, 2), (W, 4), (DW, 8)] {
        for (offset, good) in [
            (8 - bytes, true),
            (9 - bytes, false),
            (-1, false),
            (8, false),
        ] {
            let load = [insn(LDX | MEM | size, 0, 1, offset, 0), EXIT_NOW];
            let store = [insn(ST | MEM | size, 1, 0, offset, 0), mov(0, 0), EXIT_NOW];
            for code in [&load[..], &store] {
                let found = run_on(code, &mut [0; 8]);
                assert_eq!(found.is_ok(), good, "{bytes} bytes at {offset}: {found:?}");
                if let Err(kind) = found {
                    assert!(matches!(kind, FaultKind::Memory { .. }), "{kind:?}");
                }
            }
        }
    }
}

#[test]
fn a_wide_immediate() {
    let code = [&wide(0, 0x8765_4321_89ab_cdef)[..], &[EXIT_NOW]].concat();
    assert_eq!(run(&code), 0x8765_4321_89ab_cdef);
}

/// What an atomic operation leaves in memory, r2 and r0.
fn atomic(size: u8, operation: i32, memory: u64, r0: u64, r2: u64) -> [u64; 3] {
    let mut bytes = memory.to_le_bytes();
    // r2 and r0 come back over memory behind the operand's.
    let code = [
        &[copy(6, 1)],
        &wide(2, r2)[..],
        &wide(0, r0),
        &[
            insn(STX | ATOMIC | size, 6, 2, 0, operation),
            insn(STX | MEM | DW, 6, 2, 8, 0),
            EXIT_NOW,
        ],
    ]
    .concat();
    let mut space = [bytes, [0; 8]].concat();
    let r0 = run_on(&code, &mut space).expect("it is within memory");
    bytes.copy_from_slice(&space[..8]);
    let r2 = u64::from_le_bytes(space[8..].try_into().expect("these are 8"));
    [u64::from_le_bytes(bytes), r2, r0]
}

#[test]
#[rustfmt::skip]
fn atomic_operations() {
    const OLD: u64 = 0x1111_2222_ffff_fff0;
    const ARG: u64 = 0x0101_0101_0000_0033;
    const UPPER: u64 = 0x1111_2222_0000_0000;
    type Compute = fn(u64, u64) -> u64;
    let simple: [(u8, Compute); 4] = [
        (ADD, u64::wrapping_add),
        (OR, |a, b| a | b),
        (AND, |a, b| a & b),
        (XOR, |a, b| a ^ b),
    ];
    for (operation, compute) in simple {
        let operation = i32::from(operation);
        let new = compute(OLD, ARG);
        let new32 = UPPER | compute(OLD, ARG) & MINUS32;
        assert_eq!(atomic(DW, operation, OLD, 9, ARG), [new, ARG, 9]);
        assert_eq!(atomic(DW, operation | FETCH, OLD, 9, ARG), [new, OLD, 9]);
        // 32 bits: the upper half of memory stays, that of the result is zero.
        assert_eq!(atomic(W, operation, OLD, 9, ARG), [new32, ARG, 9]);
        assert_eq!(atomic(W, operation | FETCH, OLD, 9, ARG), [new32, OLD & MINUS32, 9]);
    }
    assert_eq!(atomic(DW, XCHG, OLD, 9, ARG), [ARG, OLD, 9]);
    assert_eq!(atomic(W, XCHG, OLD, 9, ARG), [UPPER | 0x33, OLD & MINUS32, 9]);
    // Compare and exchange: r0 is what was there, either way.
    assert_eq!(atomic(DW, CMPXCHG, OLD, OLD, ARG), [ARG, ARG, OLD]);
    assert_eq!(atomic(DW, CMPXCHG, OLD, OLD - 1, ARG), [OLD, ARG, OLD]);
    assert_eq!(atomic(W, CMPXCHG, OLD, OLD ^ GARBAGE, ARG), [UPPER | 0x33, ARG, OLD & MINUS32]);
    assert_eq!(atomic(W, CMPXCHG, OLD, 1, ARG), [OLD, ARG, OLD & MINUS32]);
}

#[test]
fn calls_pass_arguments_and_keep_the_rest() {
    let add = |src| insn(ALU64 | ADD | X, 0, src, 0, 0);
    let main = [
        mov(1, 1),
        mov(2, 2),
        mov(3, 4),
        mov(4, 8),
        mov(5, 16),
        mov(6, 32),
        mov(7, 64),
        mov(8, 128),
        mov(9, 256),
        call_local(5),
        add(6),
        add(7),
        add(8),
        add(9),
        EXIT_NOW,
    ];
    let callee = [
        mov(0, 0),
        add(1),
        add(2),
        add(3),
        add(4),
        add(5),
        mov(6, 0),
        mov(7, 0),
        mov(8, 0),
        mov(9, 0),
        EXIT_NOW,
    ];
    assert_eq!(run(&[&main[..], &callee].concat()), 511);
}

#[test]
fn frames_are_apart_and_pointers_into_them_work() {
    let store = |base, off, imm| insn(ST | MEM | DW, base, 0, off, imm);
    let load = |dst, base, off| insn(LDX | MEM | DW, dst, base, off, 0);
    let main = [
        store(10, -8, 5),
        copy(1, 10),
        call_local(4),
        load(1, 10, -8),
        load(2, 10, -16),
        insn(ALU64 | ADD | X, 0, 1, 0, 0),
        EXIT_NOW,
    ];
    // Its own frame is zero; it adds 70 to its caller's, and returns what was in its own.
    let callee = [
        load(0, 10, -8),
        store(10, -8, 9),
        load(3, 1, -8),
        insn(ALU64 | ADD, 3, 0, 0, 70),
        insn(STX | MEM | DW, 1, 3, -8, 0),
        EXIT_NOW,
    ];
    assert_eq!(run(&[&main[..], &callee].concat()), 75);
}

/// A function that calls the next, `depth` in all; the last returns 1, each adds 1.
fn nested(depth: usize) -> Vec<Insn> {
    let link = [call_local(2), insn(ALU64 | ADD, 0, 0, 0, 1), EXIT_NOW];
    let mut code = link.repeat(depth - 1);
    code.extend([mov(0, 1), EXIT_NOW]);
    code
}

#[test]
fn calls_nest_eight_deep() {
    assert_eq!(run(&nested(8)), 8);
    let text = refused(&nested(9));
    assert!(
        text.contains("calls nest 9 functions deep, at most 8"),
        "{text}"
    );
}

#[test]
fn exactly_the_instructions_of_the_rfc_exist() {
    let alu = [ADD, SUB, MUL, OR, AND, LSH, RSH, XOR, ARSH, MOV, DIV, MOD];
    let jmp = [JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE, JLT, JLE, JSLT, JSLE];
    let mut known = vec![
        ALU | NEG,
        ALU64 | NEG,
        ALU | END,
        ALU | END | X,
        ALU64 | END,
        JMP | JA,
        JMP32 | JA,
        JMP | CALL,
        JMP | EXIT,
        JMP | JCOND,
        STX | ATOMIC | W,
        STX | ATOMIC | DW,
        LDDW,
        LDX | MEMSX | B,
        LDX | MEMSX | H,
        LDX | MEMSX | W,
    ];
    for class in [ALU, ALU64] {
        known.extend(alu.iter().flat_map(|op| [class | op, class | op | X]));
    }
    for class in [JMP, JMP32] {
        known.extend(jmp.iter().flat_map(|op| [class | op, class | op | X]));
    }
    for size in [B, H, W, DW] {
        known.extend([LDX, ST, STX].map(|class| class | MEM | size));
    }
    for code in 0..=u8::MAX {
        let imm = match code {
            _ if [ALU | END, ALU | END | X, ALU64 | END].contains(&code) => 16,
            _ if code == JMP | CALL => 7,
            _ => 0,
        };
        let mut program = vec![mov(0, 0), insn(code, 0, 0, 0, imm)];
        if code == LDDW {
            program.push(insn(0, 0, 0, 0, 0));
        }
        program.push(EXIT_NOW);
        let answer = guywire_ebpf::Program::raw(&program);
        assert_eq!(
            answer.is_ok(),
            known.contains(&code),
            "{code:#x}: {answer:?}"
        );
    }
}

#[test]
fn unused_fields_must_be_zero() {
    let good = [
        (insn(ALU64 | ADD, 0, 0, 0, 1), "src offset"),
        (insn(ALU64 | ADD | X, 0, 1, 0, 0), "imm offset"),
        (insn(ALU | MOV, 0, 0, 0, 1), "src offset"),
        (insn(ALU | NEG, 0, 0, 0, 0), "src offset imm"),
        (insn(ALU | END, 0, 0, 0, 16), "src offset"),
        (insn(JMP | JA, 0, 0, 0, 0), "src dst imm"),
        (insn(JMP32 | JA, 0, 0, 0, 0), "src dst offset"),
        (insn(JMP | JCOND, 0, 0, 0, 0), "src dst imm"),
        (insn(JMP | JEQ, 0, 0, 0, 0), "src"),
        (insn(JMP | JEQ | X, 0, 1, 0, 0), "imm"),
        (insn(JMP | EXIT, 0, 0, 0, 0), "src dst offset imm"),
        (insn(JMP | CALL, 0, 0, 0, 7), "dst offset"),
        (insn(LDX | MEM | W, 0, 1, 0, 0), "imm"),
        (insn(ST | MEM | W, 1, 0, 0, 0), "src"),
        (insn(STX | MEM | W, 1, 1, 0, 0), "imm"),
    ];
    for (instruction, fields) in good {
        let program = |changed| {
            let rest = [mov(0, 0), EXIT_NOW];
            [&[mov(0, 0), mov(3, 0), changed], &rest[..]].concat()
        };
        let answer = guywire_ebpf::Program::raw(&program(instruction));
        assert!(answer.is_ok(), "{answer:?}");
        for field in fields.split(' ') {
            let mut changed = instruction;
            match field {
                "src" => changed.src = 3,
                "dst" => changed.dst = 3,
                "offset" => changed.off = 3,
                _ => changed.imm = 3,
            }
            let text = refused(&program(changed));
            assert!(text.contains(&format!("unused field {field}")), "{text}");
        }
    }
}
