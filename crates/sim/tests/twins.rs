//! Objects in every shape that compilers and linkers give them, each beside a native scheduler.

use std::collections::BTreeSet;
use std::path::Path;

use guywire_ebpf::scheduler::Bpf;
use guywire_sim::twins::compare_object;

/// Sources in `crates/ebpf/tests/objects/twins`, and what each picks like.
const TWINS: [(&str, &str); 4] = [
    ("twin1", "minrtt"),
    ("twin2", "backup"),
    ("twin2b", "redundant"),
    ("twin3", "burst"),
];
/// What is built of each: versions of the instruction set, stripped; with debug information; linked.
const SHAPES: [&str; 6] = ["v1", "v2", "v3", "v4", "dwarf", "linked"];

#[test]
fn every_shape_of_every_generation_picks_what_its_native_twin_picks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ebpf/tests/objects/twins");
    let mut played = BTreeSet::new();
    for (source, native) in TWINS {
        for shape in SHAPES {
            let name = format!("{source}_{shape}.o");
            let file =
                std::fs::read(folder.join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let bpf = Bpf::load(&name, &file).unwrap_or_else(|error| panic!("{error}"));
            assert!(
                bpf.object().poison.is_empty(),
                "{name}: {:?}",
                bpf.object().poison
            );
            compare_object(&bpf, native, 2_000, 7).unwrap_or_else(|what| panic!("{name}: {what}"));
            played.insert(name);
        }
    }
    let there = std::fs::read_dir(&folder).expect("the folder is there");
    let objects = there
        .map(|entry| {
            entry
                .expect("it can be read")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name.ends_with(".o"));
    assert_eq!(played, objects.collect(), "an object that nobody plays");
}
