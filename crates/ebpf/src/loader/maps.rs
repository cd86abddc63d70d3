//! Maps as section `.maps` declares them by types, and data sections as maps of one value.
//!
//! (libbpf.c, `parse_btf_map_def` and `bpf_object__init_global_data_maps`)

use std::collections::HashMap;

use super::elf::{Elf, Section};
use super::{LoadFault, limits};
use crate::btf::{Btf, Kind, TypeId};
use crate::object::{MapKind, MapSpec};

/// Section of declarations.
const DECLARATIONS: &str = ".maps";

/// Flags that change nothing here: memory is taken as needed, and on whichever node there is
/// (`BPF_F_NO_PREALLOC`, `_NO_COMMON_LRU`, `_NUMA_NODE`, `_RDONLY`, `_WRONLY`, `_ZERO_SEED`, `_MMAPABLE`).
const HARMLESS_FLAGS: u32 = 0x0001 | 0x0002 | 0x0004 | 0x0008 | 0x0010 | 0x0040 | 0x0400;
/// `BPF_F_RDONLY_PROG`: the program only reads.
const READ_ONLY: u32 = 0x0080;
/// `LIBBPF_PIN_BY_NAME`.
const PIN_BY_NAME: u32 = 1;

/// All maps, and where code refers to them.
#[derive(Default)]
pub(super) struct Maps {
    pub(super) specs: Vec<MapSpec>,
    /// By section number and byte.
    declared: HashMap<(usize, u64), usize>,
    /// By section number.
    sections: HashMap<usize, usize>,
}

impl Maps {
    pub(super) fn collect(elf: &Elf<'_>, btf: &Btf) -> Result<Self, LoadFault> {
        let mut maps = Self::default();
        for (number, section) in elf.sections.iter().enumerate() {
            if section.name == "maps" {
                return Err(LoadFault::OldMaps);
            } else if section.name == DECLARATIONS {
                maps.add_declared(elf, btf, number)?;
            } else if section.is_loaded && section.size > 0 && is_data(section.name) {
                maps.sections.insert(number, maps.specs.len());
                maps.add(section_map(section)?)?;
            }
        }
        Ok(maps)
    }

    /// The number of the map that is declared at a byte of a section.
    pub(super) fn declared_at(&self, section: usize, offset: u64) -> Option<i32> {
        number(self.declared.get(&(section, offset)))
    }

    /// The number of the map that a data section is.
    pub(super) fn of_section(&self, section: usize) -> Option<i32> {
        number(self.sections.get(&section))
    }

    fn add_declared(&mut self, elf: &Elf<'_>, btf: &Btf, section: usize) -> Result<(), LoadFault> {
        for (name, var) in btf.section_vars(DECLARATIONS) {
            // Where it is, only the symbol knows: clang leaves the offset in BTF at 0.
            let symbol = elf
                .symbols
                .iter()
                .find(|it| it.section == Some(section) && it.name == name);
            let symbol = symbol.ok_or_else(|| LoadFault::BadVariable {
                variable: name.to_owned(),
                section: DECLARATIONS.to_owned(),
            })?;
            self.declared
                .insert((section, symbol.value), self.specs.len());
            self.add(Declaration::read(btf, name, var.of)?.spec()?)?;
        }
        Ok(())
    }

    fn add(&mut self, spec: MapSpec) -> Result<(), LoadFault> {
        limits::check("maps", self.specs.len() + 1, limits::MAPS)?;
        let map = spec.name.clone();
        self.specs.push(spec);
        let bytes = self.specs.iter().map(bytes_of).fold(0, u64::saturating_add);
        if bytes > limits::MAP_BYTES {
            return Err(LoadFault::MapMemory {
                map,
                bytes,
                limit: limits::MAP_BYTES,
            });
        }
        Ok(())
    }
}

fn number(index: Option<&usize>) -> Option<i32> {
    i32::try_from(*index?).ok()
}

/// What a map may come to hold.
fn bytes_of(spec: &MapSpec) -> u64 {
    let entry = u64::from(spec.key_size) + u64::from(spec.value_size);
    entry.saturating_mul(u64::from(spec.max_entries))
}

/// `.data`, `.bss`, `.rodata`, and what the compiler splits off from them (`.rodata.str1.1`).
fn is_data(name: &str) -> bool {
    [".data", ".bss", ".rodata"].iter().any(|kind| {
        name.strip_prefix(kind)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// A data section: an array of one value.
fn section_map(section: &Section<'_>) -> Result<MapSpec, LoadFault> {
    let value_size = u32::try_from(section.size)
        .ok()
        .filter(|size| u64::from(*size) <= limits::MAP_BYTES);
    Ok(MapSpec {
        name: section.name.to_owned(),
        kind: MapKind::Array,
        key_size: 4,
        value_size: value_size.ok_or_else(|| LoadFault::MapMemory {
            map: section.name.to_owned(),
            bytes: section.size,
            limit: limits::MAP_BYTES,
        })?,
        max_entries: 1,
        writable: !section.name.starts_with(".rodata"),
        settable: false,
        initial: section.data.to_vec(),
    })
}

/// A declaration: a structure whose members say, by their types, what the map is to be.
#[derive(Default)]
struct Declaration<'a> {
    name: &'a str,
    kind: u32,
    key_size: Option<u32>,
    value_size: Option<u32>,
    max_entries: u32,
    flags: u32,
    pinning: u32,
}

impl<'a> Declaration<'a> {
    fn read(btf: &Btf, name: &'a str, var: TypeId) -> Result<Self, LoadFault> {
        let mut declaration = Self {
            name,
            ..Self::default()
        };
        let of = match btf.kind(var) {
            Kind::Var { of, .. } => btf.resolve(*of),
            _ => None,
        };
        let Some(Kind::Struct(composite)) = of.map(|of| btf.kind(of)) else {
            return Err(declaration
                .bad("it is no structure: declare it as libbpf's `__uint` and `__type` do"));
        };
        for member in &composite.members {
            declaration.set(btf, btf.text(member.name), member.of)?;
        }
        Ok(declaration)
    }

    fn set(&mut self, btf: &Btf, member: &str, of: TypeId) -> Result<(), LoadFault> {
        let pointed = match btf.resolve(of).map(|of| btf.kind(of)) {
            Some(Kind::Ptr(to)) => *to,
            _ => {
                return Err(self
                    .bad("a member is neither `__uint` nor `__type`: declare it as libbpf does"));
            }
        };
        // Numbers are lengths of arrays.
        let number = || match btf.resolve(pointed).map(|to| btf.kind(to)) {
            Some(Kind::Array { len, .. }) => Ok(*len),
            _ => Err(self.bad("a number is not declared with `__uint`: declare it as libbpf does")),
        };
        let size = || {
            btf.size(pointed)
                .ok_or_else(|| self.bad("a key or value has no size: complete its type"))
        };
        match member {
            "type" => self.kind = number()?,
            "key_size" => self.key_size = Some(number()?),
            "value_size" => self.value_size = Some(number()?),
            "key" => self.key_size = Some(size()?),
            "value" => self.value_size = Some(size()?),
            "max_entries" => self.max_entries = number()?,
            "map_flags" => self.flags = number()?,
            "pinning" => self.pinning = number()?,
            "numa_node" | "map_extra" => {}
            _ => return Err(self.bad("a member is not known, maps in maps included: leave it out")),
        }
        Ok(())
    }

    fn bad(&self, why: &'static str) -> LoadFault {
        LoadFault::BadMap {
            map: self.name.to_owned(),
            why,
        }
    }

    /// The map, where the kernel would make it too.
    fn spec(self) -> Result<MapSpec, LoadFault> {
        let kind = match self.kind {
            1 => MapKind::Hash,
            2 => MapKind::Array,
            9 => MapKind::LruHash,
            24 => MapKind::SkStorage,
            kind => {
                return Err(LoadFault::MapType {
                    map: self.name.to_owned(),
                    kind,
                });
            }
        };
        let unknown = self.flags & !(HARMLESS_FLAGS | READ_ONLY);
        if unknown != 0 {
            return Err(LoadFault::MapFlags {
                map: self.name.to_owned(),
                flags: unknown,
            });
        }
        let (key_size, value_size) = (self.key_size.unwrap_or(0), self.value_size.unwrap_or(0));
        self.check_sizes(kind, key_size, value_size)?;
        Ok(MapSpec {
            name: self.name.to_owned(),
            kind,
            key_size,
            value_size,
            max_entries: self.max_entries,
            writable: self.flags & READ_ONLY == 0,
            settable: self.pinning == PIN_BY_NAME,
            initial: Vec::new(),
        })
    }

    fn check_sizes(&self, kind: MapKind, key_size: u32, value_size: u32) -> Result<(), LoadFault> {
        let is_storage = kind == MapKind::SkStorage;
        let needs_word = is_storage || kind == MapKind::Array;
        if key_size == 0 || key_size > limits::KEY || needs_word && key_size != 4 {
            return Err(self.bad("its key must have 4 bytes, in hashes 1 to 512: change its type"));
        }
        if value_size == 0 || is_storage && value_size > limits::STORAGE_VALUE {
            return Err(self.bad(
                "its value must have a size, in socket storage at most 4096 bytes: change its type",
            ));
        }
        if is_storage != (self.max_entries == 0) {
            return Err(self
                .bad("it must have `max_entries`, or none if it is socket storage: change that"));
        }
        if is_storage && self.flags & 1 == 0 {
            return Err(self.bad("socket storage must have the flag BPF_F_NO_PREALLOC: set it"));
        }
        Ok(())
    }
}
