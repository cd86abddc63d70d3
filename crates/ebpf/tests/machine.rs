//! Runs with a kernel behind them: objects, kfuncs, helpers, maps, faults.

mod support;

use std::sync::Arc;

use guywire_ebpf::fault::FaultKind;
use guywire_ebpf::machine::Finished;
use guywire_ebpf::memory::object_address;
use guywire_ebpf::object::{MapKind, MapSpec, Object, POISON};
use guywire_ebpf::opcode::*;
use guywire_ebpf::{Fault, Insn, Machine, Program};
use support::*;

/// A program with its kernel.
struct Bench {
    machine: Machine,
    toy: Toy,
}

impl Bench {
    #[track_caller]
    fn new(object: &Object) -> Self {
        let program = Program::check::<Toy>(object).unwrap_or_else(|refusal| panic!("{refusal}"));
        Self {
            machine: Machine::new(Arc::new(program)),
            toy: Toy::default(),
        }
    }

    #[track_caller]
    fn of(code: &[Insn], maps: &[MapSpec]) -> Self {
        let maps = maps.to_vec();
        Self::new(&Object {
            maps,
            ..object(code)
        })
    }

    fn call(&mut self, arguments: &[u64], fuel: u64) -> Result<Finished, Box<Fault>> {
        self.machine.call(0, arguments, &mut self.toy, fuel)
    }

    #[track_caller]
    fn value(&mut self, arguments: &[u64]) -> u64 {
        let finished = self.call(arguments, FUEL);
        finished.unwrap_or_else(|fault| panic!("{fault}")).value
    }

    /// What is told of the fault.
    #[track_caller]
    fn fault(&mut self, arguments: &[u64]) -> String {
        match self.call(arguments, FUEL) {
            Ok(finished) => panic!("no fault: {finished:?}"),
            Err(fault) => fault.to_string(),
        }
    }
}

#[track_caller]
fn tells(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

const fn load(size: u8, dst: u8, base: u8, off: i16) -> Insn {
    insn(LDX | MEM | size, dst, base, off, 0)
}

const fn store(size: u8, base: u8, src: u8, off: i16) -> Insn {
    insn(STX | MEM | size, base, src, off, 0)
}

const fn set(size: u8, base: u8, off: i16, imm: i32) -> Insn {
    insn(ST | MEM | size, base, 0, off, imm)
}

#[test]
fn arguments_are_in_an_array_that_is_read_only() {
    let second = [load(DW, 0, 1, 8), EXIT_NOW];
    let mut bench = Bench::of(&second, &[]);
    assert_eq!(bench.value(&[1, 2]), 2);
    tells(
        &bench.fault(&[1]),
        &["reads 8 bytes", "byte 8 of the context, which has 8"],
    );
    let mut writes = Bench::of(&[set(DW, 1, 0, 1), ZERO_R0, EXIT_NOW], &[]);
    let text = writes.fault(&[1]);
    tells(
        &text,
        &["byte 0 of the context, which is not to be written"],
    );
}

#[test]
fn objects_are_read_and_written_where_the_kernel_lets() {
    let code = |access| [load(DW, 6, 1, 0), ZERO_R0, access, EXIT_NOW];
    let thing = object_address(THING);
    let value = Bench::of(&code(load(W, 0, 6, 4)), &[]).value(&[thing]);
    assert_eq!(value, u64::from(u32::from_le_bytes(*b"4567")));
    let mut writes = Bench::of(&code(set(W, 6, 8, 0x4141_4141)), &[]);
    writes.value(&[thing]);
    assert_eq!(&writes.toy.thing, b"01234567AAAAcdef");
    // Half outside of what may be written.
    let text = Bench::of(&code(set(W, 6, 10, 0)), &[]).fault(&[thing]);
    tells(
        &text,
        &[
            "writes 4 bytes",
            "byte 10 of the thing, which is not to be written",
        ],
    );
    // One byte over the end, and before the start.
    let text = Bench::of(&code(load(DW, 0, 6, 9)), &[]).fault(&[thing]);
    tells(&text, &["byte 9 of the thing, which has 16"]);
    let text = Bench::of(&code(load(DW, 0, 6, -1)), &[]).fault(&[thing]);
    tells(&text, &["byte -1 of the thing, which has 16"]);
    let mut null = Bench::of(&code(load(DW, 0, 6, 16)), &[]);
    tells(&null.fault(&[0]), &["0x10: a NULL pointer"]);
    tells(
        &null.fault(&[object_address(77)]),
        &["there is no object near it"],
    );
    tells(
        &null.fault(&[0xffff_8880_0000_0000]),
        &["there is no object near it"],
    );
    tells(&null.fault(&[u64::MAX]), &["a NULL pointer"]);
}

#[test]
fn a_fault_tells_everything() {
    let code = [mov(3, -1), load(DW, 0, 3, -7), EXIT_NOW];
    let fault = Bench::of(&code, &[]).call(&[], FUEL).unwrap_err();
    assert_eq!((fault.pc, fault.registers[3]), (1, u64::MAX));
    tells(
        &fault.to_string(),
        &[
            "function `get_send`, instruction 1 (`r0 = *(u64 *)(r3 -7)`)",
            "memory fault: reads 8 bytes at 0xfffffffffffffff8",
            "r3 0xffffffffffffffff",
            "r10 0x0000000100000200",
        ],
    );
    assert!(matches!(fault.kind, FaultKind::Memory { size: 8, .. }));
}

#[test]
fn fuel_is_counted_in_instructions() {
    let code = [&wide(0, 7)[..], &[mov(1, 1), EXIT_NOW]].concat();
    let mut bench = Bench::of(&code, &[]);
    assert_eq!(bench.call(&[], 4), Ok(Finished { value: 7, fuel: 4 }));
    let fault = bench.call(&[], 3).unwrap_err();
    assert_eq!(
        (fault.kind, fault.pc),
        (FaultKind::FuelExhausted { fuel: 3 }, 3)
    );
    let endless = [insn(JMP | JA, 0, 0, -1, 0)];
    tells(
        &Bench::of(&endless, &[]).fault(&[]),
        &["fuel exhausted: the budget was 10000"],
    );
    // Calls of helpers take more, and what they move.
    let mut asks = Bench::of(&[call(2, ASK), EXIT_NOW], &[]);
    assert_eq!(
        asks.call(&[], FUEL),
        Ok(Finished {
            value: 42,
            fuel: 18
        })
    );
    tells(
        &asks.call(&[], 17).unwrap_err().to_string(),
        &["fuel exhausted"],
    );
}

#[test]
fn an_endless_loop_of_large_copies_ends_soon() {
    let section = MapSpec {
        max_entries: 1,
        ..map(MapKind::Array, 4, 1 << 20, 1)
    };
    let copies = [
        &map_reference(6, 0, Some(0))[..],
        &[
            copy(1, 6),
            mov(2, 1 << 20),
            copy(3, 6),
            call(0, 113),
            insn(JMP | JA, 0, 0, -5, 0),
        ],
    ]
    .concat();
    let mut bench = Bench::of(&copies, &[section]);
    // Two copies of a million bytes are all that it gets.
    let fault = bench.call(&[], 150_000).unwrap_err();
    assert_eq!(fault.kind, FaultKind::FuelExhausted { fuel: 150_000 });
}

#[test]
fn what_is_poisoned_faults_when_it_is_reached() {
    let code = [
        load(DW, 1, 1, 0),
        branch(1),
        call(0, POISON + 1),
        ZERO_R0,
        EXIT_NOW,
    ];
    let mut bench = Bench::new(&Object {
        poison: vec!["a".to_owned(), "no field `x` in sock".to_owned()],
        ..object(&code)
    });
    assert_eq!(bench.value(&[0]), 0);
    tells(
        &bench.fault(&[1]),
        &["unresolved: no field `x` in sock", "instruction 2"],
    );
}

#[test]
fn kfuncs_get_arguments_and_the_stack() {
    let marks = [
        load(DW, 1, 1, 0),
        mov(2, 1),
        call(2, MARK),
        ZERO_R0,
        EXIT_NOW,
    ];
    let mut bench = Bench::of(&marks, &[]);
    bench.value(&[object_address(THING)]);
    assert_eq!(bench.toy.marked, [(object_address(THING), 1)]);
    let text = bench.fault(&[object_address(SOCK)]);
    tells(&text, &["argument 1 of mark is no thing", "`call kfunc#0`"]);

    let step = [copy(1, 10), insn(ALU64 | ADD, 1, 0, 0, -8), call(2, NEXT)];
    let walk = [&step[..], &step, &step, &[EXIT_NOW]].concat();
    let mut bench = Bench::of(&walk, &[]);
    assert_eq!(bench.value(&[]), 3);
    // The stack is zero again.
    assert_eq!(bench.value(&[]), 3);
    // The context is not for writing, for kfuncs neither.
    let text = Bench::of(&[call(2, NEXT), EXIT_NOW], &[]).fault(&[1]);
    tells(&text, &["argument 1 of next is not to be written"]);
}

/// `r1 = map 0; r2 = r10 - 4`, with a key of 4 bytes there.
fn key(value: i32) -> Vec<Insn> {
    let rest = [
        set(W, 10, -4, value),
        copy(2, 10),
        insn(ALU64 | ADD, 2, 0, 0, -4),
    ];
    [&map_reference(1, 0, None)[..], &rest].concat()
}

/// `r3 = r10 - 16`, with a value of 8 bytes there.
fn value(value: i32) -> [Insn; 3] {
    [
        set(DW, 10, -16, value),
        copy(3, 10),
        insn(ALU64 | ADD, 3, 0, 0, -16),
    ]
}

#[test]
fn maps_are_looked_up_updated_and_deleted() {
    let update = |k, v, flags: i32| [&key(k)[..], &value(v), &[mov(4, flags), call(0, 2)]].concat();
    let delete = |k| [key(k), vec![call(0, 3)]].concat();
    let look_up = |k| {
        let rest = [call(0, 1), insn(JMP | JEQ, 0, 0, 1, 0), load(DW, 0, 0, 0)];
        [key(k), rest.to_vec()].concat()
    };
    let errno = |number: i64| -number as u64;
    let hash = map(MapKind::Hash, 4, 8, 2);
    let lru = map(MapKind::LruHash, 4, 8, 2);
    let array = map(MapKind::Array, 4, 8, 2);
    let rows: [(&MapSpec, Vec<Vec<Insn>>, u64); 19] = [
        (&hash, vec![look_up(1)], 0),
        (&hash, vec![update(1, 5, 0)], 0),
        (&hash, vec![update(1, 5, 0), look_up(1)], 5),
        (&hash, vec![update(1, 5, 1), update(1, 6, 1)], errno(17)),
        (&hash, vec![update(1, 5, 2)], errno(2)),
        (&hash, vec![update(1, 5, 0), update(1, 6, 2), look_up(1)], 6),
        (&hash, vec![update(1, 5, 3)], errno(22)),
        (&hash, vec![delete(1)], errno(2)),
        (&hash, vec![update(1, 5, 0), delete(1), look_up(1)], 0),
        (
            &hash,
            vec![update(1, 5, 0), update(2, 5, 0), update(3, 5, 0)],
            errno(7),
        ),
        (
            &hash,
            vec![
                update(1, 5, 0),
                update(2, 6, 0),
                delete(1),
                update(3, 7, 0),
                look_up(2),
            ],
            6,
        ),
        (
            &lru,
            vec![
                update(1, 5, 0),
                update(2, 6, 0),
                update(3, 7, 0),
                look_up(1),
            ],
            0,
        ),
        (
            &lru,
            vec![
                update(1, 5, 0),
                update(2, 6, 0),
                look_up(1),
                update(3, 7, 0),
                look_up(1),
            ],
            5,
        ),
        (
            &lru,
            vec![
                update(1, 5, 0),
                update(2, 6, 0),
                look_up(1),
                update(3, 7, 0),
                look_up(2),
            ],
            0,
        ),
        (&array, vec![look_up(1)], 0),
        (&array, vec![update(1, 5, 0), look_up(1)], 5),
        (&array, vec![update(2, 5, 0)], errno(7)),
        (&array, vec![update(1, 5, 1)], errno(17)),
        (&array, vec![delete(1)], errno(22)),
    ];
    for (number, (spec, steps, expected)) in rows.into_iter().enumerate() {
        let code = [steps.concat(), vec![EXIT_NOW]].concat();
        let mut bench = Bench::of(&code, std::slice::from_ref(spec));
        assert_eq!(bench.value(&[]), expected, "row {number}");
    }
}

#[test]
fn a_value_ends_where_it_ends() {
    let access = |off| [key(0), vec![call(0, 1), load(DW, 0, 0, off), EXIT_NOW]].concat();
    let array = map(MapKind::Array, 4, 12, 3);
    assert_eq!(
        Bench::of(&access(4), std::slice::from_ref(&array)).value(&[]),
        0
    );
    let text = Bench::of(&access(5), std::slice::from_ref(&array)).fault(&[]);
    tells(&text, &["byte 5 of a value of map `m`, which has 12"]);
    let next = Bench::of(&access(16), std::slice::from_ref(&array)).value(&[]);
    // Exactly where the next one is: that is another value, which the program may have as well.
    assert_eq!(next, 0);
    let text = Bench::of(&access(-8), std::slice::from_ref(&array)).fault(&[]);
    tells(&text, &["byte -8 of a value of map `m`"]);
    let itself = [
        &map_reference(1, 0, None)[..],
        &[load(DW, 0, 1, 0), EXIT_NOW],
    ]
    .concat();
    let text = Bench::of(&itself, &[array]).fault(&[]);
    tells(&text, &["byte 0 of map `m` itself, which has 0"]);
}

#[test]
fn sections_hold_what_they_begin_with() {
    let data = MapSpec {
        settable: false,
        initial: vec![1, 2, 3],
        ..map(MapKind::Array, 4, 4, 1)
    };
    let constant = MapSpec {
        writable: false,
        ..data.clone()
    };
    let read = [
        &map_reference(1, 0, Some(1))[..],
        &[load(H, 0, 1, 0), EXIT_NOW],
    ]
    .concat();
    assert_eq!(
        Bench::of(&read, std::slice::from_ref(&constant)).value(&[]),
        0x0302
    );
    let write = [
        &map_reference(1, 0, Some(1))[..],
        &[set(B, 1, 0, 9), load(B, 0, 1, 0), EXIT_NOW],
    ];
    let write = write.concat();
    assert_eq!(Bench::of(&write, &[data]).value(&[]), 9);
    let text = Bench::of(&write, std::slice::from_ref(&constant)).fault(&[]);
    tells(&text, &["writes 1 bytes", "which is not to be written"]);
    let update = [&key(0)[..], &value(1), &[mov(4, 0), call(0, 2), EXIT_NOW]].concat();
    let text = Bench::of(&update, &[constant]).fault(&[]);
    tells(&text, &["argument 1 of map_update_elem is a read-only map"]);
}

#[test]
fn people_set_and_read_values() {
    let look_up = [key(3), vec![call(0, 1), load(DW, 0, 0, 0), EXIT_NOW]].concat();
    let mut bench = Bench::of(&look_up, &[map(MapKind::Hash, 4, 8, 2)]);
    let map = bench.machine.map_mut("m").expect("there is one");
    map.set(&[3, 0, 0, 0], &[8; 8]).expect("there is room");
    assert!(map.set(&[3, 0], &[8; 8]).is_err());
    assert!(map.set(&[3, 0, 0, 0], &[8]).is_err());
    assert_eq!(map.get(&[3, 0, 0, 0]), Some(&[8; 8][..]));
    assert_eq!(map.get(&[4, 0, 0, 0]), None);
    assert_eq!(bench.value(&[]), u64::from_le_bytes([8; 8]));
    assert!(bench.machine.map("n").is_none());
}

#[test]
fn sockets_have_storage() {
    // r0 = storage of the argument, flags in r4; then what is there, plus one, goes back.
    let get = |flags| {
        [
            &[load(DW, 2, 1, 0)],
            &map_reference(1, 0, None)[..],
            &[
                mov(3, 0),
                mov(4, flags),
                call(0, 107),
                insn(JMP | JNE, 0, 0, 1, 0),
                EXIT_NOW,
            ],
            &[
                load(DW, 1, 0, 0),
                insn(ALU64 | ADD, 1, 0, 0, 1),
                store(DW, 0, 1, 0),
                copy(0, 1),
            ],
            &[EXIT_NOW],
        ]
        .concat()
    };
    let storage = map(MapKind::SkStorage, 4, 8, 0);
    let sock = object_address(SOCK);
    assert_eq!(
        Bench::of(&get(0), std::slice::from_ref(&storage)).value(&[sock]),
        0
    );
    let mut bench = Bench::of(&get(1), std::slice::from_ref(&storage));
    assert_eq!([bench.value(&[sock]), bench.value(&[sock])], [1, 2]);
    assert_eq!(bench.value(&[object_address(THING)]), 0);
    assert_eq!(bench.value(&[0]), 0);
    bench.machine.forget_socket(sock);
    assert_eq!(bench.value(&[sock]), 1);

    let delete = [
        &[load(DW, 2, 1, 0)],
        &map_reference(1, 0, None)[..],
        &[call(0, 108), EXIT_NOW],
    ]
    .concat();
    let mut bench = Bench::of(&delete, std::slice::from_ref(&storage));
    assert_eq!(bench.value(&[sock]), -2i64 as u64);
    assert_eq!(bench.value(&[0]), -22i64 as u64);
    let look_up = [key(1), vec![call(0, 1), EXIT_NOW]].concat();
    let text = Bench::of(&look_up, &[storage]).fault(&[]);
    tells(
        &text,
        &["argument 1 of map_lookup_elem is per-socket storage"],
    );
    let hash = map(MapKind::Hash, 4, 8, 2);
    let text = Bench::of(&delete, &[hash]).fault(&[sock]);
    tells(
        &text,
        &["argument 1 of sk_storage_delete is no per-socket storage"],
    );
}

#[test]
fn casts_and_small_helpers() {
    let cast = |number| [load(DW, 1, 1, 0), call(0, number), EXIT_NOW];
    let sock = object_address(SOCK);
    for (helper, address, expected) in [
        (137, sock, sock),
        (137, object_address(THING), 0),
        (137, 0, 0),
        (136, sock, 0),
    ] {
        assert_eq!(
            Bench::of(&cast(helper), &[]).value(&[address]),
            expected,
            "{helper}"
        );
    }
    let mut clock = Bench::of(&[call(0, 5), EXIT_NOW], &[]);
    clock.toy.now_ns = 77;
    assert_eq!(clock.value(&[]), 77);
    assert_eq!(
        Bench::of(&[call(0, 7), EXIT_NOW], &[]).value(&[]),
        0xfeed_beef
    );
    let text = Bench::of(&[mov(1, 5), copy(2, 10), call(0, 1), EXIT_NOW], &[]).fault(&[]);
    tells(&text, &["argument 1 of map_lookup_elem is no map"]);
}

#[test]
fn a_probe_reads_what_it_can() {
    // 8 bytes from the argument to the stack; r0 is the status plus what was read.
    let probe = [
        load(DW, 3, 1, 0),
        set(DW, 10, -8, -1),
        copy(1, 10),
        insn(ALU64 | ADD, 1, 0, 0, -8),
        mov(2, 8),
        call(0, 113),
        load(DW, 1, 10, -8),
        insn(ALU64 | ADD | X, 0, 1, 0, 0),
        EXIT_NOW,
    ];
    let mut bench = Bench::of(&probe, &[]);
    let thing = object_address(THING);
    assert_eq!(bench.value(&[thing + 8]), u64::from_le_bytes(*b"89abcdef"));
    let efault = -14i64 as u64;
    for address in [thing + 9, thing - 1, 0, u64::MAX, 1 << 63] {
        assert_eq!(bench.value(&[address]), efault, "{address:#x}");
    }
    let wild = [mov(1, 8), mov(2, 8), mov(3, 0), call(0, 113), EXIT_NOW];
    tells(
        &Bench::of(&wild, &[]).fault(&[]),
        &["writes 8 bytes at 0x8", "NULL"],
    );
}

#[test]
fn prints_go_to_the_log() {
    let format = MapSpec {
        settable: false,
        initial: b"%d of %x\n\0".to_vec(),
        writable: false,
        ..map(MapKind::Array, 4, 10, 1)
    };
    let print = |size| {
        let rest = [mov(2, size), mov(3, -5), mov(4, 255), call(0, 6), EXIT_NOW];
        [&map_reference(1, 0, Some(0))[..], &rest].concat()
    };
    let mut bench = Bench::of(&print(10), std::slice::from_ref(&format));
    bench.toy.now_ns = 5;
    assert_eq!(bench.value(&[]), 8);
    let lines: Vec<_> = bench.machine.log().lines().collect();
    assert_eq!((lines[0].at_ns, lines[0].text.as_str()), (5, "-5 of ff"));
    for _ in 0..1_000 {
        bench.value(&[]);
    }
    assert_eq!(bench.machine.log().dropped(), 901);
    tells(
        &Bench::of(&print(11), &[format]).fault(&[]),
        &["reads 11 bytes"],
    );
}

#[test]
fn code_is_listed_around_an_instruction() {
    let bench = Bench::of(&[ZERO_R0, mov(1, 2), EXIT_NOW], &[]);
    let listing = bench.machine.program().listing(1..9);
    assert_eq!(listing, ["get_send+1: r1 = 2", "get_send+2: exit"]);
}
