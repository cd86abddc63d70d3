//! Objects of every generation and shape load, and what comes out is what the source says.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::{all_good, code_of, is_there, loaded, read, scratch};
use guywire_ebpf::btf::{Btf, Kind};
use guywire_ebpf::embedded::EMBEDDED;
use guywire_ebpf::loader::load;
use guywire_ebpf::model::{self, offset_of};
use guywire_ebpf::object::{Generation, MapKind, MapSpec, POISON};
use guywire_ebpf::{Insn, Object};

/// What an object is to be.
struct Shape {
    object: &'static str,
    name: &'static str,
    generation: Generation,
    /// init, release, get_send or get_subflow, get_retrans.
    callbacks: [&'static str; 4],
    kfuncs: usize,
    maps: &'static [&'static str],
}

const SHAPE: Shape = Shape {
    object: "g1_private_v3",
    name: "g1_private",
    generation: Generation::GetSubflow,
    callbacks: ["g1_init", "", "g1_get_subflow", ""],
    kfuncs: 2,
    maps: &[".rodata"],
};

const G2B: Shape = Shape {
    object: "g2b_kernel",
    name: "g2b_kernel",
    generation: Generation::GetSend,
    callbacks: ["", "", "g2b_get_send", "g2b_get_retrans"],
    kfuncs: 2,
    maps: &[],
};

const G3: Shape = Shape {
    object: "g3_kernel",
    name: "g3_kernel",
    generation: Generation::GetSend,
    callbacks: ["", "", "g3_get_send", "g3_get_retrans"],
    kfuncs: 9,
    maps: &[
        ".bss",
        ".data",
        ".rodata",
        ".rodata.cst16",
        "first_map",
        "second_map",
        "third_map",
    ],
};

const SHAPES: &[Shape] = &[
    Shape {
        object: "g1_private_v1",
        ..SHAPE
    },
    Shape {
        object: "g1_private_v2",
        ..SHAPE
    },
    SHAPE,
    Shape {
        object: "g1_private_v4",
        ..SHAPE
    },
    Shape {
        object: "g2_kernel",
        name: "g2_kernel",
        callbacks: ["", "", "g2_get_subflow", ""],
        kfuncs: 4,
        maps: &[],
        ..SHAPE
    },
    G2B,
    Shape {
        object: "g2b_kernel_dwarf",
        ..G2B
    },
    G3,
    Shape {
        object: "g3_kernel_linked",
        ..G3
    },
];

#[test]
fn every_generation_and_shape_loads() {
    for shape in SHAPES {
        let object = loaded(shape.object);
        let name =
            |number: Option<usize>| number.map_or("", |number| &object.functions[number].name);
        let callbacks = object.callbacks;
        let found = [
            name(callbacks.init),
            name(callbacks.release),
            name(Some(callbacks.get_send)),
            name(callbacks.get_retrans),
        ];
        assert_eq!(object.name, shape.name, "{}", shape.object);
        assert_eq!(object.generation, shape.generation, "{}", shape.object);
        assert_eq!(object.license, "Dual MIT/GPL", "{}", shape.object);
        assert_eq!(found, shape.callbacks, "{}", shape.object);
        assert_eq!(
            object.kfuncs.len(),
            shape.kfuncs,
            "{}: {:?}",
            shape.object,
            object.kfuncs
        );
        let maps: BTreeSet<&str> = object.maps.iter().map(|map| map.name.as_str()).collect();
        assert_eq!(
            maps,
            shape.maps.iter().copied().collect(),
            "{}",
            shape.object
        );
    }
}

#[test]
fn our_schedulers_load_under_their_names() {
    for embedded in EMBEDDED {
        let object = load(embedded.name, embedded.object).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(object.name, embedded.name);
        assert_eq!(object.generation, Generation::GetSend);
        assert!(object.poison.is_empty(), "{:?}", object.poison);
        assert!(embedded.page.starts_with(&format!("# {}\n", embedded.name)));
    }
}

/// Numbers in code are those of things that are there; relative calls lead to functions.
#[test]
fn every_reference_leads_somewhere() {
    for (name, file) in all_good() {
        let object = load(&name, &file).unwrap_or_else(|error| panic!("{error}"));
        let mut slots = object.code.iter().enumerate();
        while let Some((at, insn)) = slots.next() {
            let number = usize::try_from(insn.imm).unwrap_or(usize::MAX);
            match (insn.code, insn.src) {
                (0x18, src) => {
                    let (_, high) = slots.next().expect("a second slot");
                    assert!(
                        src == 0 || number < object.maps.len(),
                        "{name}, {at}: {insn:?}"
                    );
                    let size = object
                        .maps
                        .get(number)
                        .map_or(0, |map| i64::from(map.value_size));
                    assert!(
                        src != 2 || i64::from(high.imm) < size,
                        "{name}, {at}: {high:?}"
                    );
                }
                (0x85, 1) => {
                    let target = (at + 1).checked_add_signed(insn.imm as isize);
                    let mut functions = object.functions.iter();
                    assert!(
                        functions.any(|function| Some(function.start) == target),
                        "{name}, {at}"
                    );
                }
                (0x85, 2) => assert!(number < object.kfuncs.len(), "{name}, {at}: {insn:?}"),
                (0x85, src) => {
                    assert!(src == 0 && insn.imm < POISON + 16, "{name}, {at}: {insn:?}")
                }
                _ => {}
            }
        }
    }
}

#[test]
fn maps_are_as_declared() {
    let object = loaded("g3_kernel");
    let find = |name: &str| object.maps.iter().find(|map| map.name == name).expect(name);
    let declared = MapSpec {
        name: "first_map".to_owned(),
        kind: MapKind::Hash,
        key_size: 4,
        value_size: 8,
        max_entries: 16,
        writable: true,
        settable: true,
        initial: Vec::new(),
    };
    assert_eq!(find("first_map"), &declared);
    let storage = find("second_map");
    assert_eq!(
        (storage.kind, storage.value_size, storage.settable),
        (MapKind::SkStorage, 16, false)
    );
    let lru = find("third_map");
    assert_eq!(
        (lru.kind, lru.key_size, lru.max_entries),
        (MapKind::LruHash, 16, 32)
    );
    let (data, bss, rodata) = (find(".data"), find(".bss"), find(".rodata"));
    assert_eq!(
        data.initial,
        [7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]
    );
    assert_eq!(
        (bss.value_size, bss.initial.len(), bss.writable),
        (8, 0, true)
    );
    assert_eq!(
        (&rodata.initial[..4], rodata.writable),
        (&[9, 0, 0, 0][..], false)
    );
}

/// The loads and stores of a function: size code and offset.
fn accesses(code: &[Insn]) -> BTreeSet<(u8, i64)> {
    let is_access = |insn: &&Insn| matches!(insn.code & 0xe7, 0x61..=0x63);
    let accesses = code
        .iter()
        .filter(is_access)
        .map(|insn| (insn.code & 0x18, i64::from(insn.off)));
    accesses.collect()
}

const WORD: u8 = 0x00;
const HALF: u8 = 0x08;
const BYTE: u8 = 0x10;
const DOUBLE: u8 = 0x18;

#[test]
fn members_are_read_where_the_model_has_them() {
    let object = loaded("g3_kernel");
    let found = accesses(code_of(&object, "g3_get_send"));
    for (size, structure, member) in [
        (WORD, "sock", "sk_wmem_queued"),
        (WORD, "sock_common", "skc_rcv_saddr"),
        (HALF, "sock_common", "skc_dport"),
        (BYTE, "inet_sock", "tos"),
        (DOUBLE, "mptcp_sock", "snd_nxt"),
        (WORD, "mptcp_sock", "snd_burst"),
        (WORD, "mptcp_subflow_context", "backup"),
    ] {
        let wanted = (size, i64::from(offset_of(structure, member)));
        assert!(
            found.contains(&wanted),
            "{structure}.{member}: {wanted:?} is not in {found:?}"
        );
    }
    let found = accesses(code_of(&object, "g3_get_retrans"));
    for member in ["sock.tcp_rtx_queue", "mptcp_sock.first"] {
        let (structure, member) = member.split_once('.').expect("two parts");
        assert!(
            found.contains(&(DOUBLE, i64::from(offset_of(structure, member)))),
            "{member}: {found:?}"
        );
    }
}

/// What each word of `answers` gets, in the straight part of the code.
fn answers(object: &Object) -> [Option<i64>; 16] {
    let mut registers = [None; 16];
    let mut answers = [None; 16];
    let mut slots = code_of(object, "questions_get_send").iter();
    while let Some(insn) = slots.next() {
        let destination = usize::from(insn.dst);
        match insn.code {
            0xb7 | 0xb4 => registers[destination] = Some(i64::from(insn.imm)),
            0x18 => {
                slots.next();
                registers[destination] = Some(i64::from(insn.imm));
            }
            0x7b => answers[insn.off as usize / 8] = registers[usize::from(insn.src)],
            0x16 => break,
            _ => registers[destination] = None,
        }
    }
    answers
}

#[test]
fn every_question_is_answered() {
    let object = loaded("questions");
    let size = |name: &str| model::structure(name).map_or(0, |structure| i64::from(structure.size));
    let found = answers(&object);
    for (index, what, expected) in [
        (
            0,
            "byte offset",
            i64::from(offset_of("mptcp_subflow_context", "stale_count")),
        ),
        (1, "byte size", 8),
        (2, "no such field", 0),
        (3, "such a field", 1),
        (4, "sign", 1),
        (5, "left shift", 64 - 12),
        (6, "right shift", 63),
        (7, "no such type", 0),
        (8, "such a type", 1),
        (9, "type size", size("tcp_sock")),
        (10, "type matches", 1),
        (11, "no such value", 0),
        (
            12,
            "element",
            i64::from(offset_of("mptcp_sched_data", "contexts")) + 24,
        ),
    ] {
        assert_eq!(found[index], Some(expected), "{what}");
    }
    let local = Btf::parse(&section(&read("questions"), ".BTF")).expect("clang's own");
    let sock = local
        .iter()
        .find(|(id, of)| matches!(of.kind, Kind::Struct(_)) && local.name(*id) == "sock");
    assert_eq!(
        found[13],
        sock.map(|(id, _)| i64::from(id.0)),
        "the type's number in the object"
    );

    // A member that is narrower here than it was declared is loaded with its own width.
    let loads = accesses(code_of(&object, "questions_get_send"));
    let narrow = (
        BYTE,
        i64::from(offset_of("mptcp_pm_data", "extra_subflows")),
    );
    assert!(loads.contains(&narrow), "{loads:?}");
    // What is not there must not be reached; the question before it says so.
    assert_eq!(
        object.poison,
        ["struct sock___newer.sk_of_tomorrow is not modelled"]
    );
    assert!(
        object
            .code
            .iter()
            .any(|insn| (insn.code, insn.imm) == (0x85, POISON))
    );
}

#[test]
fn linking_changes_no_code() {
    let (plain, linked) = (loaded("g3_kernel"), loaded("g3_kernel_linked"));
    assert_eq!(plain.functions, linked.functions);
    assert_eq!(plain.maps, linked.maps);
    // Types are renumbered, and with them what is asked by number: nothing else may differ.
    assert_eq!(plain.code, linked.code);
}

/// The content of a section.
fn section(file: &[u8], name: &str) -> Vec<u8> {
    use object::{Object as _, ObjectSection as _};
    let file = object::File::parse(file).expect("an object");
    let section = file.section_by_name(name).expect("it has that section");
    section.data().expect("within the file").to_vec()
}

/// libbpf, by way of bpftool, finds the same members in our model that the loader found.
#[test]
fn libbpf_agrees_about_the_model() {
    let bpftool = ["bpftool", "/usr/sbin/bpftool"]
        .into_iter()
        .find(|program| is_there(program));
    let Some(bpftool) = bpftool else {
        println!("skipped: bpftool is not installed");
        return;
    };
    let folder = scratch("libbpf_agrees");
    let (whole, part, file) = (
        folder.join("model.btf"),
        folder.join("part.btf"),
        folder.join("object.o"),
    );
    std::fs::write(&whole, model::btf().to_bytes()).expect("a file");
    for (name, content) in all_good() {
        std::fs::write(&file, content).expect("a file");
        let arguments = [whole.as_path(), part.as_path(), file.as_path()];
        let output = Command::new(bpftool)
            .args(["gen", "min_core_btf"])
            .args(arguments)
            .output();
        let output = output.expect("bpftool runs");
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let part = Btf::parse(&std::fs::read(&part).expect("its answer")).expect("libbpf's own");
        for (id, of) in part.iter() {
            let (name, Some(found)) = (part.name(id), of.kind.composite()) else {
                continue;
            };
            for member in &found.members {
                let offset = offset_of(name, part.text(member.name));
                assert_eq!(member.bit_offset / 32 * 4, offset / 4 * 4, "{name}");
            }
        }
    }
}
