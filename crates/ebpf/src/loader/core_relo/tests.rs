//! Every question, of types that are built here, in the object and in the target.

use super::*;
use crate::Insn;
use crate::btf::{Composite, Member};

/// A structure's member as tests write it: name, type, first bit, size of a bit field.
type Row<'a> = (&'a str, TypeId, u32, u8);

fn composite(btf: &mut Btf, size: u32, rows: &[Row<'_>]) -> Composite {
    let members = rows.iter().map(|&(name, of, bit_offset, bit_size)| Member {
        name: btf.add_name(name),
        of,
        bit_offset,
        bit_size,
    });
    Composite {
        size,
        members: members.collect(),
    }
}

fn structure(btf: &mut Btf, name: &str, size: u32, rows: &[Row<'_>]) -> TypeId {
    let composite = composite(btf, size, rows);
    btf.add(name, Kind::Struct(composite))
}

fn enumeration(btf: &mut Btf, name: &str, values: &[(&str, i64)]) -> TypeId {
    let values = values
        .iter()
        .map(|(name, value)| (btf.add_name(name), *value));
    let values = values.collect();
    btf.add(
        name,
        Kind::Enum {
            size: 4,
            signed: false,
            wide: false,
            values,
        },
    )
}

/// What an object declares, by name in [`Local::id`].
struct Local(Btf);

impl Local {
    fn new() -> Self {
        let mut btf = Btf::default();
        let u32_ = btf.add_int("unsigned int", 4, false);
        let int = btf.add_int("int", 4, true);
        let u64_ = btf.add_int("unsigned long long", 8, false);
        let u8_ = btf.add_int("unsigned char", 1, false);
        let array = btf.add(
            "",
            Kind::Array {
                element: u32_,
                index: u32_,
                len: 4,
            },
        );
        let inner = structure(
            &mut btf,
            "inner",
            8,
            &[("x", u32_, 0, 0), ("y", u32_, 32, 0)],
        );
        structure(
            &mut btf,
            "outer___ours",
            64,
            &[
                ("a", u32_, 0, 0),
                ("inner", inner, 32, 0),
                ("bits", u32_, 96, 3),
                ("flag", u32_, 107, 1),
                ("numbers", array, 128, 0),
                ("grows", u32_, 256, 0),
                ("signed", int, 288, 0),
                ("gone", u64_, 320, 0),
                ("hidden", u8_, 384, 0),
            ],
        );
        structure(&mut btf, "absent", 4, &[("a", u32_, 0, 0)]);
        enumeration(
            &mut btf,
            "colour",
            &[("RED", 1), ("GREEN___x", 2), ("PINK", 3)],
        );
        Self(btf)
    }

    fn id(&self, name: &str) -> TypeId {
        let found = self.0.iter().find(|(id, _)| self.0.name(*id) == name);
        found.expect("declared above").0
    }

    fn ask(&self, root: &str, access: &str, question: Question) -> Result<Answer, CoreError> {
        let relocation = Relocation {
            root: self.id(root),
            access,
            question,
        };
        resolve(&self.0, &target(), &relocation)
    }

    /// The value that goes into the instruction.
    #[track_caller]
    fn value(&self, root: &str, access: &str, question: Question) -> u64 {
        match self.ask(root, access, question) {
            Ok(Answer::Value(value)) => value.new,
            other => panic!("{root} {access} {question:?}: {other:?}"),
        }
    }
}

/// The kernel: other offsets, other widths, anonymous members, and something missing.
fn target() -> Btf {
    let mut btf = Btf::default();
    let u64_ = btf.add_int("unsigned long long", 8, false);
    let u32_ = btf.add_int("unsigned int", 4, false);
    let long = btf.add_int("long", 8, true);
    let u8_ = btf.add_int("unsigned char", 1, false);
    let array = btf.add(
        "",
        Kind::Array {
            element: u32_,
            index: u32_,
            len: 6,
        },
    );
    let inner = structure(
        &mut btf,
        "inner",
        16,
        &[("y", u32_, 0, 0), ("x", u32_, 64, 0)],
    );
    let group = composite(&mut btf, 4, &[("hidden", u8_, 8, 0)]);
    let group = btf.add("", Kind::Struct(group));
    let either = composite(&mut btf, 4, &[("", group, 0, 0)]);
    let either = btf.add("", Kind::Union(either));
    structure(
        &mut btf,
        "outer",
        128,
        &[
            ("inner", inner, 64, 0),
            ("a", u32_, 192, 0),
            ("", either, 224, 0),
            ("bits", u32_, 256, 3),
            ("flag", u32_, 267, 1),
            ("numbers", array, 320, 0),
            ("grows", u64_, 512, 0),
            ("signed", long, 576, 0),
        ],
    );
    enumeration(&mut btf, "colour", &[("GREEN", 20), ("RED", 10)]);
    btf
}

#[test]
fn values_are_the_targets() {
    let local = Local::new();
    let outer = "outer___ours";
    let rows = [
        (outer, "0:0", Question::ByteOffset, 24),
        (outer, "0:1:0", Question::ByteOffset, 16),
        (outer, "0:1:1", Question::ByteOffset, 8),
        (outer, "0:4:2", Question::ByteOffset, 48),
        (outer, "0:8", Question::ByteOffset, 29),
        (outer, "1:0", Question::ByteOffset, 128 + 24),
        (outer, "0:0", Question::ByteSize, 4),
        (outer, "0:5", Question::ByteSize, 8),
        (outer, "0:0", Question::FieldExists, 1),
        (outer, "0:7", Question::FieldExists, 0),
        (outer, "0:0", Question::Signed, 0),
        (outer, "0:6", Question::Signed, 1),
        (outer, "0:2", Question::ByteOffset, 32),
        (outer, "0:3", Question::ByteOffset, 32),
        (outer, "0:3", Question::ByteSize, 4),
        (outer, "0:3", Question::LeftShift, 64 - 12),
        (outer, "0:3", Question::RightShift, 63),
        (outer, "0:2", Question::LeftShift, 61),
        (outer, "0:2", Question::RightShift, 61),
        (outer, "0:0", Question::LeftShift, 32),
        (outer, "0", Question::TypeExists, 1),
        (outer, "0", Question::TypeSize, 128),
        (outer, "0", Question::TypeMatches, 0),
        ("inner", "0", Question::TypeMatches, 1),
        (
            "inner",
            "0",
            Question::LocalTypeId,
            u64::from(local.id("inner").0),
        ),
        ("inner", "0", Question::TargetTypeId, 6),
        ("absent", "0", Question::TypeExists, 0),
        ("absent", "0", Question::TypeSize, 0),
        ("absent", "0:0", Question::FieldExists, 0),
        ("colour", "0", Question::Value, 10),
        ("colour", "1", Question::Value, 20),
        ("colour", "0", Question::ValueExists, 1),
        ("colour", "2", Question::ValueExists, 0),
    ];
    for (root, access, question, expected) in rows {
        let found = local.value(root, access, question);
        assert_eq!(found, expected, "{root} {access} {question:?}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let local = Local::new();
    let rows = [
        (
            "outer___ours",
            "0:7",
            Question::ByteOffset,
            "struct outer___ours.gone",
        ),
        ("absent", "0:0", Question::ByteOffset, "struct absent.a"),
        ("absent", "0:0", Question::ByteSize, "struct absent.a"),
        ("colour", "2", Question::Value, "enum colour.PINK"),
    ];
    for (root, access, question, expected) in rows {
        let found = local.ask(root, access, question);
        assert_eq!(found, Ok(Answer::Missing(expected.to_owned())));
    }
}

#[test]
fn accesses_that_fit_nothing_are_refused() {
    let local = Local::new();
    let rows = [
        ("outer___ours", "", Question::ByteOffset),
        ("outer___ours", "0:99", Question::ByteOffset),
        ("outer___ours", "0:0:0", Question::ByteOffset),
        ("outer___ours", "0:4:4", Question::ByteOffset),
        ("outer___ours", "0:-1", Question::ByteOffset),
        ("outer___ours", "4294967295:0", Question::ByteOffset),
        ("outer___ours", "1", Question::TypeExists),
        ("colour", "3", Question::Value),
        ("inner", "0", Question::Value),
    ];
    for (root, access, question) in rows {
        let found = local.ask(root, access, question);
        if access.starts_with('4') {
            assert!(
                matches!(found, Ok(Answer::Value(_))),
                "far, and no overflow: {found:?}"
            );
        } else {
            assert!(
                matches!(found, Err(CoreError::BadAccess { .. })),
                "{access}: {found:?}"
            );
        }
    }
    let endless = vec!["0"; 65].join(":");
    assert!(
        local
            .ask("outer___ours", &endless, Question::ByteOffset)
            .is_err()
    );
}

#[test]
fn two_targets_that_differ_are_ambiguous() {
    let local = Local::new();
    let mut target = target();
    let u32_ = target.add_int("unsigned int", 4, false);
    structure(&mut target, "outer___other", 8, &[("a", u32_, 32, 0)]);
    let relocation = Relocation {
        root: local.id("outer___ours"),
        access: "0:0",
        question: Question::ByteOffset,
    };
    let found = resolve(&local.0, &target, &relocation);
    assert!(
        matches!(found, Err(CoreError::Ambiguous { .. })),
        "{found:?}"
    );
}

#[test]
fn flavours_are_stripped() {
    for (name, essential) in [
        ("sock___old", "sock"),
        ("sock", "sock"),
        ("a___b___c", "a___b"),
        ("___x", "___x"),
        ("x____y", "x____y"),
        ("x___", "x___"),
        ("", ""),
    ] {
        assert_eq!(essential_name(name), essential);
    }
}

/// A load or store of `size` bits (0x00 word, 0x08 half, 0x10 byte, 0x18 double word).
fn access(class: u8, size: u8, off: i16) -> Insn {
    Insn {
        code: 0x60 | size | class,
        off,
        ..Insn::default()
    }
}

#[test]
fn instructions_take_their_values() {
    let local = Local::new();
    let outer = "outer___ours";
    let patched = |mut slots: Vec<Insn>, access: &str, question| {
        let answer = local.ask(outer, access, question).expect("an answer");
        let done = patch(&mut slots, &answer)?;
        Ok::<_, PatchError>((done, slots))
    };

    // The offset of a load, and its width: 4 bytes here, 8 there, both without a sign.
    let found = patched(vec![access(1, 0x00, 32)], "0:5", Question::ByteOffset);
    assert_eq!(found, Ok((Patched::Done, vec![access(1, 0x18, 64)])));
    // A sign would be lost: must not be reached.
    let found = patched(vec![access(1, 0x00, 36)], "0:6", Question::ByteOffset);
    assert!(matches!(found, Ok((Patched::Poison(_), _))), "{found:?}");
    // A bit field's mask is in the code, so its width stays.
    let found = patched(vec![access(1, 0x10, 13)], "0:3", Question::ByteOffset);
    assert_eq!(found, Ok((Patched::Done, vec![access(1, 0x10, 32)])));
    // Not what was recorded.
    let found = patched(vec![access(1, 0x00, 1)], "0:0", Question::ByteOffset);
    assert!(
        matches!(found, Err(PatchError::Unexpected { .. })),
        "{found:?}"
    );
    // `mov` with an immediate, and a 64-bit immediate.
    let mov = |imm| Insn {
        code: 0xb7,
        imm,
        ..Insn::default()
    };
    let found = patched(vec![mov(0)], "0:0", Question::ByteOffset);
    assert_eq!(found, Ok((Patched::Done, vec![mov(24)])));
    let lddw = |imm| {
        vec![
            Insn {
                code: 0x18,
                imm,
                ..Insn::default()
            },
            Insn::default(),
        ]
    };
    let found = patched(lddw(0), "0:0", Question::ByteOffset);
    assert_eq!(found, Ok((Patched::Done, lddw(24))));
    // Nothing to put it into.
    for code in [0x95, 0x85, 0x0f, 0x18] {
        let found = patched(
            vec![Insn {
                code,
                ..Insn::default()
            }],
            "0:0",
            Question::ByteOffset,
        );
        assert_eq!(found, Err(PatchError::WrongInstruction { code }));
    }
}
