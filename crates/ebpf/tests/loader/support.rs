//! What the tests share: where objects are, and how to build them again.

use std::path::{Path, PathBuf};
use std::process::Command;

use guywire_ebpf::loader::{LoadError, load};
use guywire_ebpf::{Insn, Object};

/// The folder with our schedulers.
pub(crate) fn bpf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bpf")
}

/// The folder with the test objects.
pub(crate) fn objects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects")
}

/// The file of a test object.
pub(crate) fn read(name: &str) -> Vec<u8> {
    let path = objects().join(name).with_extension("o");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A member of the zoo, loaded.
pub(crate) fn load_from_zoo(name: &str) -> Result<Object, LoadError> {
    let path = bpf().join("zoo").join(format!("{name}.bpf.o"));
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    load(name, &file)
}

/// A test object, loaded.
#[track_caller]
pub(crate) fn loaded(name: &str) -> Object {
    load(name, &read(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// Every object there is that loads: test objects and our schedulers, by name.
pub(crate) fn all_good() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(objects()).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_some_and(|extension| extension == "o") {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            all.push((name, std::fs::read(&path).expect("it can be read")));
        }
    }
    for embedded in guywire_ebpf::embedded::EMBEDDED {
        all.push((embedded.name.to_owned(), embedded.object.to_vec()));
    }
    all.sort();
    all
}

/// The instructions of a function.
#[track_caller]
pub(crate) fn code_of<'a>(object: &'a Object, function: &str) -> &'a [Insn] {
    let found = object.functions.iter().find(|it| it.name == function);
    let found = found.unwrap_or_else(|| panic!("no function {function}"));
    &object.code[found.start..found.end]
}

/// Whether a program can be run, by its name or path.
pub(crate) fn is_there(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// A folder for the files of one test, empty.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("cargo's folder can be written");
    path
}
