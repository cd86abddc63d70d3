//! Resolves what code refers to: other functions, kernel functions, maps and data.

use std::collections::{BTreeMap, HashMap};

use super::code::{CALL, Code, LDDW};
use super::core_relo::are_compatible;
use super::elf::{self, Elf, Relocation, Symbol};
use super::maps::Maps;
use super::{LoadFault, Place};
use crate::btf::{Btf, Kind, TypeId};
use crate::model;
use crate::model::kfuncs::KFUNCS;

/// `src` of a call to a function of the object.
const LOCAL: u8 = 1;
/// `src` of a call to a kernel function.
const KFUNC: u8 = 2;
/// `src` of a `lddw` of a map.
const MAP: u8 = 1;
/// `src` of a `lddw` of an address in a map's value.
const MAP_VALUE: u8 = 2;
/// Linkage of what is declared only.
const EXTERN: u16 = 2;

/// Looks up what relocations want.
pub(super) struct Linker<'a> {
    elf: &'a Elf<'a>,
    btf: &'a Btf,
    maps: &'a Maps,
    /// Functions that the object wants from the kernel: name and [`Kind::Func`].
    declared: HashMap<&'a str, TypeId>,
    /// Those that it calls, in the order of their numbers.
    kfuncs: Vec<String>,
}

/// What is at an instruction before it is linked.
struct Site<'a> {
    index: usize,
    /// What its immediates add to the symbol.
    addend: i64,
    symbol: &'a Symbol<'a>,
    /// The symbol's name.
    name: &'a str,
}

impl<'a> Linker<'a> {
    pub(super) fn new(elf: &'a Elf<'a>, btf: &'a Btf, maps: &'a Maps) -> Self {
        let externs = btf.iter().filter_map(|(id, of)| match of.kind {
            Kind::Func {
                linkage: EXTERN, ..
            } => Some((btf.text(of.name), id)),
            _ => None,
        });
        Self {
            elf,
            btf,
            maps,
            declared: externs.collect(),
            kfuncs: Vec::new(),
        }
    }

    /// Links all code; the names of the kernel functions that it calls.
    pub(super) fn link(mut self, code: &mut Code) -> Result<Vec<String>, LoadFault> {
        self.refuse_pointers_in_data()?;
        let mut relocations = self.relocations(code)?;
        let mut index = 0;
        while index < code.insns.len() {
            let insn = code.insns[index];
            match (insn.code, relocations.remove(&index)) {
                (_, Some(relocation)) => self.apply(code, index, &relocation)?,
                (CALL, None) if insn.src == LOCAL => check_call(code, index)?,
                _ => {}
            }
            index += if insn.code == LDDW { 2 } else { 1 };
        }
        match relocations.pop_first() {
            Some((index, relocation)) => Err(LoadFault::BadReference {
                at: code.place(index),
                symbol: self.elf.symbol(relocation.symbol)?.name.to_owned(),
            }),
            None => Ok(self.kfuncs),
        }
    }

    fn relocations(&self, code: &Code) -> Result<BTreeMap<usize, Relocation>, LoadFault> {
        let mut relocations = BTreeMap::new();
        for (number, section) in self.elf.sections.iter().enumerate() {
            for relocation in section.relocations.iter().filter(|_| section.is_code) {
                let index = code.index_at(number, section.name, relocation.offset)?;
                let second = relocations.insert(index, *relocation);
                let is_known = matches!(relocation.kind, elf::ADDRESS | elf::CALL);
                if !is_known || second.is_some() {
                    return Err(LoadFault::UnknownRelocation {
                        section: section.name.to_owned(),
                        kind: relocation.kind,
                        offset: relocation.offset,
                    });
                }
            }
        }
        Ok(relocations)
    }

    /// A scheduler's variable has pointers to its functions; other data has none.
    fn refuse_pointers_in_data(&self) -> Result<(), LoadFault> {
        for section in &self.elf.sections {
            if section.is_code || super::struct_ops::is_section(section.name) {
                continue;
            }
            if let Some(relocation) = section.relocations.first() {
                let symbol = self.elf.symbol(relocation.symbol)?;
                return Err(LoadFault::PointerInData {
                    section: section.name.to_owned(),
                    symbol: self.elf.name_of(symbol).to_owned(),
                });
            }
        }
        Ok(())
    }

    fn apply(
        &mut self,
        code: &mut Code,
        index: usize,
        relocation: &Relocation,
    ) -> Result<(), LoadFault> {
        let insn = code.insns[index];
        let symbol = self.elf.symbol(relocation.symbol)?;
        let site = Site {
            index,
            addend: i64::from(insn.imm),
            symbol,
            name: self.elf.name_of(symbol),
        };
        match (relocation.kind, insn.code, symbol.section) {
            (elf::CALL, CALL, None) => self.kfunc(code, &site),
            (elf::CALL, CALL, Some(section)) => self.call(code, &site, section),
            (elf::ADDRESS, LDDW, None) => self.symbol_address(code, &site),
            (elf::ADDRESS, LDDW, Some(section)) => self.address(code, &site, section),
            _ => Err(site.bad_reference(code)),
        }
    }

    /// A call of a function in the kernel; a weak one that is not there must not be reached.
    fn kfunc(&mut self, code: &mut Code, site: &Site<'_>) -> Result<(), LoadFault> {
        let place = |code: &Code| code.place(site.index);
        if !is_modelled(site.name) {
            if !site.symbol.is_weak {
                return Err(unknown_kfunc(place(code), site.name));
            }
            code.poison(
                site.index,
                format!("the kernel function {} is not modelled", site.name),
            );
            return Ok(());
        }
        if !self.is_declared_well(site.name) {
            return Err(LoadFault::KfuncTypes {
                at: place(code),
                function: site.name.to_owned(),
            });
        }
        let number = self.number_of(site.name);
        let insn = &mut code.insns[site.index];
        (insn.src, insn.imm) = (KFUNC, number);
        Ok(())
    }

    fn number_of(&mut self, name: &str) -> i32 {
        let known = self.kfuncs.iter().position(|known| known == name);
        let number = known.unwrap_or_else(|| {
            self.kfuncs.push(name.to_owned());
            self.kfuncs.len() - 1
        });
        i32::try_from(number).expect("no more than the model has")
    }

    /// Whether the object's declaration has the kinds of types that the model's has.
    fn is_declared_well(&self, name: &str) -> bool {
        let model = model::btf();
        let ours = model.iter().find_map(|(id, of)| match of.kind {
            Kind::Func { proto, .. } if model.name(id) == name => Some(proto),
            _ => None,
        });
        let theirs = self.declared.get(name).map(|id| self.btf.kind(*id));
        match (theirs, ours) {
            (Some(Kind::Func { proto, .. }), Some(ours)) => {
                are_compatible(self.btf, *proto, model, ours)
            }
            _ => false,
        }
    }

    /// A call of another function of the object, in any section.
    fn call(&self, code: &mut Code, site: &Site<'_>, section: usize) -> Result<(), LoadFault> {
        let bad = |code: &Code| LoadFault::BadCall {
            at: code.place(site.index),
            symbol: site.name.to_owned(),
        };
        // The immediate counts from behind the call, as if the symbol stood there.
        let offset = site.symbol.value.checked_add_signed((site.addend + 1) * 8);
        let name = self
            .elf
            .sections
            .get(section)
            .map_or("", |section| section.name);
        let target = offset.and_then(|offset| code.index_at(section, name, offset).ok());
        let target = target.filter(|target| code.function_at(*target).is_some());
        let target = target.ok_or_else(|| bad(code))?;
        let distance = target.cast_signed() - site.index.cast_signed() - 1;
        let insn = &mut code.insns[site.index];
        (insn.src, insn.imm) = (LOCAL, i32::try_from(distance).expect("within the code"));
        Ok(())
    }

    /// The address of something in the kernel: only whether it is there can be asked.
    fn symbol_address(&self, code: &mut Code, site: &Site<'_>) -> Result<(), LoadFault> {
        let is_there = is_modelled(site.name);
        if !is_there && !site.symbol.is_weak {
            return Err(LoadFault::KernelVariable {
                at: code.place(site.index),
                symbol: site.name.to_owned(),
            });
        }
        self.put_address(code, site, 0, i32::from(is_there), 0)
    }

    /// The address of a map, or of something in a data section.
    fn address(&self, code: &mut Code, site: &Site<'_>, section: usize) -> Result<(), LoadFault> {
        let offset = site.symbol.value.checked_add_signed(site.addend);
        let offset = offset.ok_or_else(|| site.bad_reference(code))?;
        if let Some(map) = self.maps.declared_at(section, offset) {
            return self.put_address(code, site, MAP, map, 0);
        }
        if let Some(map) = self.maps.of_section(section) {
            let offset = i32::try_from(offset).map_err(|_| site.bad_reference(code))?;
            return self.put_address(code, site, MAP_VALUE, map, offset);
        }
        if self
            .elf
            .sections
            .get(section)
            .is_some_and(|section| section.is_code)
        {
            return Err(LoadFault::FunctionAddress {
                at: code.place(site.index),
                symbol: site.name.to_owned(),
            });
        }
        Err(site.bad_reference(code))
    }

    fn put_address(
        &self,
        code: &mut Code,
        site: &Site<'_>,
        src: u8,
        first: i32,
        second: i32,
    ) -> Result<(), LoadFault> {
        match code.insns.get_mut(site.index..site.index + 2) {
            Some([low, high]) => {
                (low.src, low.imm, high.imm) = (src, first, second);
                Ok(())
            }
            _ => Err(site.bad_reference(code)),
        }
    }
}

impl Site<'_> {
    fn bad_reference(&self, code: &Code) -> LoadFault {
        LoadFault::BadReference {
            at: code.place(self.index),
            symbol: self.name.to_owned(),
        }
    }
}

/// A call that the compiler resolved itself, within its section.
fn check_call(code: &Code, index: usize) -> Result<(), LoadFault> {
    let distance = isize::try_from(code.insns[index].imm).unwrap_or(isize::MAX);
    let target = (index + 1).checked_add_signed(distance);
    match target.filter(|target| code.function_at(*target).is_some()) {
        Some(_) => Ok(()),
        None => Err(LoadFault::BadCall {
            at: code.place(index),
            symbol: format!("instruction {distance} from the next"),
        }),
    }
}

fn is_modelled(name: &str) -> bool {
    KFUNCS.iter().any(|kfunc| kfunc.name == name)
}

fn unknown_kfunc(at: Place, name: &str) -> LoadFault {
    // How the functions of 2022 were called.
    if name == "mptcp_subflow_ctx_by_pos" {
        return LoadFault::Generation0 {
            what: "it calls `mptcp_subflow_ctx_by_pos`",
        };
    }
    LoadFault::UnknownKfunc {
        at,
        function: name.to_owned(),
        advice: "do without, or declare it `__weak` and ask `bpf_ksym_exists` first",
    }
}
