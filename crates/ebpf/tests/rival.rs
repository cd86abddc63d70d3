//! Random programs give the same answer as in rbpf, another interpreter of the instruction set.
//!
//! Left out is where rbpf 0.4 does not follow RFC 9669, or has nothing: atomic operations; signed
//! division and what extends the sign; the 32-bit remainder by zero (it keeps the upper half); 64-bit unsigned comparisons with negative immediates (it does not extend them); 64-bit
//! negation (it overflows).

mod support;

use guywire_ebpf::Insn;
use guywire_ebpf::opcode::*;
use proptest::collection::vec;
use proptest::prelude::*;
use support::*;

/// Bytes of the memory that programs work on.
const MEMORY: usize = 64;

fn register() -> std::ops::Range<u8> {
    2..10
}

fn number() -> impl Strategy<Value = i32> {
    prop_oneof![any::<i32>(), -3..66i32, Just(i32::MIN), Just(i32::MAX)]
}

fn arithmetic() -> impl Strategy<Value = Insn> {
    let operation = prop::sample::select(vec![
        ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, MOD, XOR, MOV, ARSH,
    ]);
    let class = prop::sample::select(vec![ALU, ALU64]);
    let operands = (register(), register(), number(), any::<bool>());
    (operation, class, operands).prop_map(|(operation, class, (dst, src, imm, by_register))| {
        if class | operation == ALU | MOD {
            insn(class | operation, dst, 0, 0, imm | 1)
        } else if by_register {
            insn(class | operation | X, dst, src, 0, 0)
        } else {
            insn(class | operation, dst, 0, 0, imm)
        }
    })
}

fn special() -> impl Strategy<Value = Insn> {
    let code = prop::sample::select(vec![ALU | NEG, ALU | END, ALU | END | X]);
    let bits = prop::sample::select(vec![16, 32, 64]);
    (code, register(), bits).prop_map(|(code, dst, bits)| {
        let swaps = code & OPERATION == END;
        insn(code, dst, 0, 0, if swaps { bits } else { 0 })
    })
}

/// Within memory, of which r1 has the address.
fn access() -> impl Strategy<Value = Insn> {
    let code = prop::sample::select(vec![LDX | MEM, STX | MEM, ST | MEM]);
    let size = prop::sample::select(vec![B, H, W, DW]);
    let off = 0..(MEMORY as i16 - 7);
    (code, size, register(), off, number()).prop_map(|(code, size, register, off, imm)| {
        match code & CLASS {
            LDX => insn(code | size, register, 1, off, 0),
            STX => insn(code | size, 1, register, off, 0),
            _ => insn(code | size, 1, 0, off, imm),
        }
    })
}

/// Forwards, over at most two instructions.
fn jump() -> impl Strategy<Value = Insn> {
    const UNSIGNED: [u8; 6] = [JEQ, JNE, JGT, JGE, JLT, JLE];
    let others = [JSET, JSGT, JSGE, JSLT, JSLE];
    let operation = prop::sample::select([&UNSIGNED[..], &others].concat());
    let class = prop::sample::select(vec![JMP, JMP32]);
    let operands = (register(), register(), number(), any::<bool>());
    let jump = (operation, class, operands, 0..3i16);
    jump.prop_map(|(operation, class, (dst, src, imm, by_register), off)| {
        let extended = class == JMP && UNSIGNED.contains(&operation);
        if by_register {
            insn(class | operation | X, dst, src, off, 0)
        } else if extended {
            insn(class | operation, dst, 0, off, imm & i32::MAX)
        } else {
            insn(class | operation, dst, 0, off, imm)
        }
    })
}

/// A program that sets its registers, works on them, and adds them all up.
fn program() -> impl Strategy<Value = Vec<Insn>> {
    let step = prop_oneof![4 => arithmetic(), 1 => special(), 2 => access(), 2 => jump()];
    (vec(any::<u64>(), 8), vec(step, 0..50)).prop_map(|(values, steps)| {
        let set = register()
            .zip(values)
            .flat_map(|(number, value)| wide(number, value));
        let start = [mov(0, 0)].into_iter().chain(set);
        // So that the last jumps have where to go.
        let rest = [mov(0, 1), mov(0, 2)];
        let sum = register().flat_map(|number| {
            let rotate = insn(ALU64 | MUL, 0, 0, 0, 31);
            [rotate, insn(ALU64 | ADD | X, 0, number, 0, 0)]
        });
        start
            .chain(steps)
            .chain(rest)
            .chain(sum)
            .chain([EXIT_NOW])
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn gives_the_same_answer(code in program(), memory in vec(any::<u8>(), MEMORY)) {
        let mut ours = memory.clone();
        let found = run_on(&code, &mut ours);

        let bytes: Vec<u8> = code.iter().flat_map(|insn| insn.to_le_bytes()).collect();
        let vm = rbpf::EbpfVmRaw::new(Some(&bytes)).expect("rbpf takes it");
        let mut theirs = memory;
        let expected = vm.execute_program(&mut theirs).expect("rbpf runs it");
        prop_assert_eq!(found, Ok(expected));
        prop_assert_eq!(ours, theirs);
    }
}
