//! The machine against rbpf's interpreter: the same programs, in turn, in one run.
//!
//! The last line of the output is JSON; `cargo xtask show machine` reads it. An argument `quick` takes
//! fewer rounds.

use std::sync::Arc;
use std::time::Duration;

use guywire_ebpf::kernel::Bare;
use guywire_ebpf::opcode::*;
use guywire_ebpf::{Insn, Machine, Program};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

/// What no program here takes.
const FUEL: u64 = 1 << 40;
/// How long one machine runs before the other has its turn.
const TURN: Duration = Duration::from_millis(20);

/// A program that both run.
struct Subject {
    name: &'static str,
    code: Vec<Insn>,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "quick");
    let rounds = if quick { 5 } else { 51 };
    let programs: Vec<_> = subjects()
        .iter()
        .map(|subject| compare(subject, rounds))
        .collect();
    println!("{}", json!({ "rounds": rounds, "programs": programs }));
}

/// Runs both in turn, and tells the median of each and of their ratio.
fn compare(subject: &Subject, rounds: usize) -> serde_json::Value {
    let mut memory = [5; 1_024];
    let program = Program::raw(&subject.code).unwrap_or_else(|refusal| panic!("{refusal}"));
    let mut machine = Machine::new(Arc::new(program));
    let mut ours = |memory: &mut [u8]| {
        let finished = machine.run_raw(memory, &mut Bare, FUEL);
        finished.unwrap_or_else(|fault| panic!("{fault}"))
    };
    let bytes: Vec<u8> = subject.code.iter().flat_map(|i| i.to_le_bytes()).collect();
    let vm = rbpf::EbpfVmRaw::new(Some(&bytes)).expect("rbpf takes it");
    let theirs = |memory: &mut [u8]| vm.execute_program(memory).expect("rbpf runs it");

    let first = ours(&mut memory);
    let instructions = first.fuel;
    assert_eq!(first.value, theirs(&mut memory), "{}", subject.name);
    let (mut own, mut rival, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let a = turn(|| ours(&mut memory).value);
        let b = turn(|| theirs(&mut memory));
        own.push(a);
        rival.push(b);
        ratios.push(a / b);
    }
    let (own, rival) = (median(own), median(rival));
    json!({
        "name": subject.name,
        "instructions": instructions,
        "ns_per_run": own,
        "rbpf_ns_per_run": rival,
        "ratio": median(ratios),
    })
}

/// Nanoseconds of this thread's time that one run takes.
fn turn(mut run: impl FnMut() -> u64) -> f64 {
    let start = running_time();
    let mut runs = 0u32;
    loop {
        for _ in 0..64 {
            std::hint::black_box(run());
        }
        runs += 64;
        let taken = running_time() - start;
        if taken > TURN {
            return taken.as_nanos() as f64 / f64::from(runs);
        }
    }
}

/// What this thread has run so far: others on the machine do not count.
fn running_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Programs for what machines spend their time on, and one as long as a scheduler's decision.
fn subjects() -> Vec<Subject> {
    let subject = |name, code: Vec<Insn>| Subject { name, code };
    vec![
        subject("arithmetic", arithmetic()),
        subject("branches", primes()),
        subject("memory", sum_of_memory()),
        subject("stack", stack()),
        subject("calls", calls()),
        subject("decision", decision()),
    ]
}

const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn {
        code,
        dst,
        src,
        off,
        imm,
    }
}

const fn by(operation: u8, dst: u8, imm: i32) -> Insn {
    insn(ALU64 | operation, dst, 0, 0, imm)
}

const fn with(operation: u8, dst: u8, src: u8) -> Insn {
    insn(ALU64 | operation | X, dst, src, 0, 0)
}

const fn unless(operation: u8, dst: u8, imm: i32, off: i16) -> Insn {
    insn(JMP | operation, dst, 0, off, imm)
}

const fn load(size: u8, dst: u8, src: u8, off: i16) -> Insn {
    insn(LDX | MEM | size, dst, src, off, 0)
}

const fn store(size: u8, dst: u8, src: u8, off: i16) -> Insn {
    insn(STX | MEM | size, dst, src, off, 0)
}

const EXIT_NOW: Insn = insn(JMP | EXIT, 0, 0, 0, 0);

/// Xorshift, 200 rounds.
fn arithmetic() -> Vec<Insn> {
    vec![
        by(MOV, 0, 88_172_645),
        by(MOV, 1, 200),
        with(MOV, 2, 0),
        by(LSH, 2, 13),
        with(XOR, 0, 2),
        with(MOV, 2, 0),
        by(RSH, 2, 7),
        with(XOR, 0, 2),
        with(MOV, 2, 0),
        by(LSH, 2, 17),
        with(XOR, 0, 2),
        by(SUB, 1, 1),
        unless(JNE, 1, 0, -11),
        EXIT_NOW,
    ]
}

/// Counts the primes below 60 by trial division.
fn primes() -> Vec<Insn> {
    vec![
        by(MOV, 0, 0),
        by(MOV, 1, 2),
        // For each candidate r1, divisors r2 from 2 on.
        by(MOV, 2, 2),
        insn(JMP | JGE | X, 2, 1, 5, 0),
        with(MOV, 3, 1),
        with(MOD, 3, 2),
        unless(JEQ, 3, 0, 3),
        by(ADD, 2, 1),
        insn(JMP | JA, 0, 0, -6, 0),
        by(ADD, 0, 1),
        by(ADD, 1, 1),
        unless(JLT, 1, 60, -10),
        EXIT_NOW,
    ]
}

/// Adds up a kilobyte, eight bytes and one byte at a time.
fn sum_of_memory() -> Vec<Insn> {
    vec![
        by(MOV, 0, 0),
        by(MOV, 2, 128),
        load(DW, 3, 1, 0),
        with(ADD, 0, 3),
        load(B, 3, 1, 7),
        with(ADD, 0, 3),
        by(ADD, 1, 8),
        by(SUB, 2, 1),
        unless(JNE, 2, 0, -7),
        EXIT_NOW,
    ]
}

/// Moves values through the stack.
fn stack() -> Vec<Insn> {
    vec![
        by(MOV, 0, 1),
        store(DW, 10, 0, -8),
        store(DW, 10, 0, -16),
        by(MOV, 1, 100),
        load(DW, 2, 10, -8),
        load(DW, 3, 10, -16),
        with(ADD, 2, 3),
        store(DW, 10, 3, -8),
        store(DW, 10, 2, -16),
        by(SUB, 1, 1),
        unless(JNE, 1, 0, -7),
        load(DW, 0, 10, -16),
        EXIT_NOW,
    ]
}

/// Calls a small function a hundred times.
fn calls() -> Vec<Insn> {
    vec![
        by(MOV, 6, 100),
        by(MOV, 7, 0),
        with(MOV, 1, 7),
        insn(JMP | CALL, 0, 1, 0, 5),
        with(MOV, 7, 0),
        by(SUB, 6, 1),
        unless(JNE, 6, 0, -5),
        with(MOV, 0, 7),
        EXIT_NOW,
        with(MOV, 0, 1),
        by(ADD, 0, 3),
        EXIT_NOW,
    ]
}

/// Picks the smallest of four subflows' expected times, as `bpf_burst` does, straight through.
fn decision() -> Vec<Insn> {
    let mut code = vec![
        by(MOV, 0, -1),
        by(MOV, 6, -1),
        with(MOV, 7, 1),
        store(DW, 10, 1, -8),
    ];
    for subflow in 0..4 {
        let at = subflow * 64;
        code.extend([
            load(DW, 1, 10, -8),
            load(W, 2, 1, at),
            insn(ALU64 | AND, 2, 0, 0, 0x800),
            unless(JNE, 2, 0, 8),
            load(W, 3, 1, at + 8),
            by(LSH, 3, 32),
            load(W, 4, 7, at + 16),
            unless(JEQ, 4, 0, 4),
            with(DIV, 3, 4),
            insn(JMP | JGE | X, 3, 6, 2, 0),
            with(MOV, 6, 3),
            by(MOV, 0, subflow.into()),
        ]);
    }
    code.push(EXIT_NOW);
    code
}
