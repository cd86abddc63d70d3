//! Whatever is done to an object, loading it ends soon, with an object or an error.

use std::sync::LazyLock;

use guywire_ebpf::btf::Btf;
use guywire_ebpf::loader::load;
use guywire_ebpf::model;
use proptest::prelude::*;

static OBJECTS: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(crate::support::all_good);

/// A change to a file; places and lengths count modulo the file's size.
#[derive(Debug, Clone)]
enum Change {
    Byte(usize, u8),
    Word(usize, u32),
    Copy(usize, usize, usize),
    Cut(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let edge = prop_oneof![
        Just(0u32),
        Just(1),
        Just(u32::MAX),
        Just(0x7fff_ffff),
        0u32..256,
        any::<u32>()
    ];
    prop_oneof![
        4 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        4 => (any::<usize>(), edge).prop_map(|(at, word)| Change::Word(at, word)),
        1 => (any::<usize>(), any::<usize>(), 1usize..256).prop_map(|(from, to, len)| Change::Copy(from, to, len)),
        1 => any::<usize>().prop_map(Change::Cut),
    ]
}

fn changed(file: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut file = file.to_vec();
    for change in changes {
        let size = file.len().max(1);
        match *change {
            Change::Byte(at, byte) => put(&mut file, at % size, &[byte]),
            Change::Word(at, word) => put(&mut file, at % size / 4 * 4, &word.to_le_bytes()),
            Change::Copy(from, to, len) => {
                let from = from % size;
                let piece = file[from..file.len().min(from + len)].to_vec();
                put(&mut file, to % size, &piece);
            }
            Change::Cut(at) => file.truncate(at % size),
        }
    }
    file
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in file.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn changed_objects_do_no_harm(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..12),
    ) {
        let (name, file) = which.get(&OBJECTS);
        // Either is right; a panic or a stall is not.
        let _ = load(name, &changed(file, &changes));
    }

    #[test]
    fn changed_types_are_written_as_they_are_read(changes in prop::collection::vec(change(), 0..6)) {
        let file = changed(&model::btf().to_bytes(), &changes);
        if let Ok(btf) = Btf::parse(&file) {
            prop_assert_eq!(Btf::parse(&btf.to_bytes()), Ok(btf));
        }
    }
}
