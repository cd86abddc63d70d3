//! The committed objects are what their sources give.

use std::path::Path;
use std::process::Command;

use crate::support::{bpf, is_there, objects, scratch};
use guywire_ebpf::Object;
use guywire_ebpf::loader::{LoadError, load};

/// Runs a build script, and compares every object that it makes with the committed one.
fn compare(name: &str, script: &Path, committed: impl Fn(&str) -> std::path::PathBuf) {
    if !is_there("clang-19") || !is_there("llvm-strip-19") {
        println!("skipped: clang-19 and llvm-19 are not installed");
        return;
    }
    let out = scratch(name);
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let built = Command::new(script)
        .env("OUT", &out)
        .env("PATH", path)
        .output()
        .expect("it runs");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let mut count = 0;
    for entry in std::fs::read_dir(&out).expect("its folder") {
        let entry = entry.expect("a file");
        let name = entry.file_name().to_string_lossy().into_owned();
        let read =
            |path: &Path| std::fs::read(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let new = load(&name, &read(&entry.path()));
        let old = load(&name, &read(&committed(&name)));
        assert_eq!(
            code(&new),
            code(&old),
            "{name} is not what its source gives: run {}",
            script.display()
        );
        count += 1;
    }
    assert!(count > 0, "{} built nothing", script.display());
}

/// What must be equal: code, functions, maps, or the reason why there is none.
fn code(loaded: &Result<Object, LoadError>) -> String {
    match loaded {
        Ok(object) => format!("{:?} {:?} {:?}", object.code, object.functions, object.maps),
        Err(error) => error.to_string(),
    }
}

#[test]
fn schedulers_and_zoo_are_what_their_sources_give() {
    compare("bpf", &bpf().join("build.sh"), |name| {
        let stem = name.strip_suffix(".bpf.o").unwrap_or(name);
        let folder = if stem.starts_with("z_") { "zoo" } else { stem };
        bpf().join(folder).join(name)
    });
}

#[test]
fn test_objects_are_what_their_sources_give() {
    if !is_there("bpftool") && !is_there("/usr/sbin/bpftool") {
        println!("skipped: bpftool is not installed");
        return;
    }
    compare("objects", &objects().join("build.sh"), |name| {
        let folder = if name.starts_with("twin") {
            "twins"
        } else {
            ""
        };
        objects().join(folder).join(name)
    });
}
