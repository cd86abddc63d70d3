//! Loads a scheduler from an object file that clang or `bpftool gen object` wrote.
//!
//! It does what libbpf and the kernel do between them (tools/lib/bpf/libbpf.c, `bpf_object__load`), for
//! one kind of program, and trusts nothing that it reads: whatever the file says, the answer comes in
//! bounded time and memory ([`limits`]), and is an [`Object`] or a [`LoadError`] that names what is
//! wrong. [`load`] is the list of steps:
//!
//! | module | step |
//! |---|---|
//! | `elf` | sections, symbols and relocations of the file |
//! | `btf_ext` | which instructions ask about kernel types |
//! | `maps` | maps, and data sections as maps |
//! | `code` | all functions, one after the other |
//! | [`core_relo`] | the answers about kernel types, from [`crate::model`] |
//! | `link` | calls, maps and kernel functions by number |
//! | `struct_ops` | the scheduler: name, generation, callbacks |

mod btf_ext;
mod code;
pub mod core_relo;
mod elf;
mod error;
pub mod limits;
mod link;
mod maps;
mod struct_ops;

use sha2::{Digest, Sha256};

use crate::btf::Btf;
use crate::model;
use crate::object::Object;
use btf_ext::Record;
use code::Code;
use core_relo::{Patched, Relocation};
use elf::Elf;
pub use error::{LoadError, LoadFault, Place};
use link::Linker;
use maps::Maps;

/// Loads the scheduler from `file`; errors call it `name`.
///
/// # Errors
/// It is malformed, too large, or wants what is not modelled.
pub fn load(name: &str, file: &[u8]) -> Result<Object, LoadError> {
    load_file(file).map_err(|fault| LoadError {
        object: name.to_owned(),
        fault,
    })
}

fn load_file(file: &[u8]) -> Result<Object, LoadFault> {
    limits::check("bytes", file.len(), limits::FILE)?;
    let elf = Elf::parse(file)?;
    let section = elf.section(".BTF").ok_or(LoadFault::NoBtf)?;
    let btf = Btf::parse(section.data)?;
    let maps = Maps::collect(&elf, &btf)?;
    let mut code = Code::collect(&elf)?;
    // First of all what form of the interface it is written for: that explains whatever else is missing.
    let scheduler = struct_ops::find(&elf, &btf, &code)?;
    if let Some(section) = elf.section(".BTF.ext") {
        for record in btf_ext::parse(section.data, &btf)? {
            relocate(&mut code, &btf, &record)?;
        }
    }
    let kfuncs = Linker::new(&elf, &btf, &maps).link(&mut code)?;
    Ok(Object {
        name: scheduler.name,
        generation: scheduler.generation,
        license: license(&elf),
        hash: Sha256::digest(file).into(),
        code: code.insns,
        functions: code.functions,
        callbacks: scheduler.callbacks,
        maps: maps.specs,
        kfuncs,
        poison: code.poison,
    })
}

/// Answers one question about kernel types.
fn relocate(code: &mut Code, btf: &Btf, record: &Record<'_>) -> Result<(), LoadFault> {
    let index = code.index(record.section, record.offset)?;
    let relocation = Relocation {
        root: record.root,
        access: record.access,
        question: record.question,
    };
    let answer = core_relo::resolve(btf, model::btf(), &relocation).map_err(|source| {
        LoadFault::CoreQuestion {
            at: code.place(index),
            source: Box::new(source),
        }
    })?;
    let patched = core_relo::patch(&mut code.insns[index..], &answer).map_err(|source| {
        LoadFault::CoreInstruction {
            at: code.place(index),
            source,
        }
    })?;
    if let Patched::Poison(what) = patched {
        code.poison(index, format!("{what} is not modelled"));
    }
    Ok(())
}

/// The licence it declares; nothing where it declares none.
fn license(elf: &Elf<'_>) -> String {
    let data = elf
        .section("license")
        .map_or(&[][..], |section| section.data);
    let text = data.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = &text[..text.len().min(limits::LICENSE)];
    String::from_utf8_lossy(text).into_owned()
}
