//! All code of an object, section after section, and its functions.

use super::elf::{Elf, Section};
use super::{LoadFault, Place, limits};
use crate::Insn;
use crate::object::{Function, POISON};

/// Bytes of an instruction.
const INSN: usize = 8;
/// `call`.
pub(super) const CALL: u8 = 0x85;
/// `lddw`, which has two slots.
pub(super) const LDDW: u8 = 0x18;

/// The code, with what is known about it.
pub(super) struct Code {
    /// Sections of code, in the order of the file.
    sections: Vec<Base>,
    pub(super) insns: Vec<Insn>,
    /// In the order of the code, apart from each other.
    pub(super) functions: Vec<Function>,
    /// Why instructions must not be reached.
    pub(super) poison: Vec<String>,
}

/// A section of code: which, and where it starts.
struct Base {
    number: usize,
    name: String,
    start: usize,
    end: usize,
}

impl Code {
    pub(super) fn collect(elf: &Elf<'_>) -> Result<Self, LoadFault> {
        let mut code = Self {
            sections: Vec::new(),
            insns: Vec::new(),
            functions: Vec::new(),
            poison: Vec::new(),
        };
        for (number, section) in elf.sections.iter().enumerate() {
            if section.is_code && section.size > 0 {
                code.add_section(number, section)?;
                code.add_functions(elf, number, section)?;
            }
        }
        code.refuse_numbers()?;
        Ok(code)
    }

    /// Objects refer to maps and kernel functions by symbols; a number would be anybody's.
    fn refuse_numbers(&self) -> Result<(), LoadFault> {
        let mut index = 0;
        while let Some(insn) = self.insns.get(index) {
            let is_number = match insn.code {
                CALL => insn.src > 1 || insn.src == 0 && insn.imm >= POISON,
                LDDW => insn.src != 0,
                _ => false,
            };
            if is_number {
                return Err(LoadFault::Numbered {
                    at: self.place(index),
                });
            }
            index += if insn.code == LDDW { 2 } else { 1 };
        }
        Ok(())
    }

    fn add_section(&mut self, number: usize, section: &Section<'_>) -> Result<(), LoadFault> {
        if !is_scheduler_code(section.name) {
            return Err(LoadFault::ForeignProgram {
                section: section.name.to_owned(),
            });
        }
        let start = self.insns.len();
        limits::check(
            "instructions",
            start + section.data.len() / INSN,
            limits::INSTRUCTIONS,
        )?;
        let (insns, rest) = section.data.as_chunks::<INSN>();
        if !rest.is_empty() || insns.is_empty() {
            return Err(LoadFault::OddCode {
                section: section.name.to_owned(),
                size: section.size,
            });
        }
        self.insns
            .extend(insns.iter().map(|bytes| Insn::from_le_bytes(*bytes)));
        self.sections.push(Base {
            number,
            name: section.name.to_owned(),
            start,
            end: self.insns.len(),
        });
        Ok(())
    }

    fn add_functions(
        &mut self,
        elf: &Elf<'_>,
        number: usize,
        section: &Section<'_>,
    ) -> Result<(), LoadFault> {
        let base = self.sections.last().map_or(0, |base| base.start);
        let mut found = Vec::new();
        for symbol in elf
            .symbols
            .iter()
            .filter(|it| it.is_function && it.section == Some(number))
        {
            let bad = || LoadFault::BadFunction {
                function: symbol.name.to_owned(),
                section: section.name.to_owned(),
            };
            let is_aligned = symbol.value % 8 == 0 && symbol.size % 8 == 0 && symbol.size > 0;
            let end = symbol.value.checked_add(symbol.size).ok_or_else(bad)?;
            if !is_aligned || end > section.size {
                return Err(bad());
            }
            let index = |byte: u64| Some(base + usize::try_from(byte).ok()? / INSN);
            found.push(Function {
                name: symbol.name.to_owned(),
                section: section.name.to_owned(),
                start: index(symbol.value).ok_or_else(bad)?,
                end: index(end).ok_or_else(bad)?,
            });
        }
        found.sort_by_key(|function| (function.start, function.end));
        // Another name for the same function.
        found.dedup_by_key(|function| (function.start, function.end));
        if let Some(pair) = found.windows(2).find(|pair| pair[1].start < pair[0].end) {
            return Err(LoadFault::BadFunction {
                function: pair[1].name.clone(),
                section: section.name.to_owned(),
            });
        }
        self.functions.extend(found);
        Ok(())
    }

    /// The instruction at a byte of the section of that name.
    pub(super) fn index(&self, section: &str, offset: u32) -> Result<usize, LoadFault> {
        let base = self.sections.iter().find(|base| base.name == section);
        self.index_in(base, section, u64::from(offset))
    }

    /// The instruction at a byte of the section of that number.
    pub(super) fn index_at(
        &self,
        number: usize,
        section: &str,
        offset: u64,
    ) -> Result<usize, LoadFault> {
        let base = self.sections.iter().find(|base| base.number == number);
        self.index_in(base, section, offset)
    }

    fn index_in(
        &self,
        base: Option<&Base>,
        section: &str,
        offset: u64,
    ) -> Result<usize, LoadFault> {
        let index = || {
            let base = base?;
            let insn = usize::try_from(offset)
                .ok()
                .filter(|offset| offset % INSN == 0)?
                / INSN;
            let index = base.start.checked_add(insn)?;
            (index < base.end).then_some(index)
        };
        index().ok_or_else(|| LoadFault::NoInstruction {
            section: section.to_owned(),
            offset,
        })
    }

    /// Where an instruction is, for people.
    pub(super) fn place(&self, index: usize) -> Place {
        let base = self
            .sections
            .iter()
            .find(|base| (base.start..base.end).contains(&index));
        let function = self
            .functions
            .iter()
            .find(|it| (it.start..it.end).contains(&index));
        Place {
            section: base.map(|base| base.name.clone()).unwrap_or_default(),
            function: function
                .map(|function| function.name.clone())
                .unwrap_or_default(),
            insn: index - base.map_or(0, |base| base.start),
        }
    }

    /// The function that starts at an instruction.
    pub(super) fn function_at(&self, index: usize) -> Option<usize> {
        self.functions
            .binary_search_by_key(&index, |function| function.start)
            .ok()
    }

    /// Makes an instruction one that must not be reached; both slots of one that has two.
    pub(super) fn poison(&mut self, index: usize, why: String) {
        let number = i32::try_from(self.poison.len()).expect("fewer than the instructions");
        self.poison.push(why);
        let slots = if self.insns[index].code == LDDW { 2 } else { 1 };
        for insn in self.insns.iter_mut().skip(index).take(slots) {
            *insn = Insn {
                code: CALL,
                imm: POISON + number,
                ..Insn::default()
            };
        }
    }
}

/// Sections that hold callbacks and what they call. A `?` says that libbpf need not load it.
fn is_scheduler_code(name: &str) -> bool {
    let name = name.strip_prefix('?').unwrap_or(name);
    let (kind, _) = name.split_once('/').unwrap_or((name, ""));
    matches!(kind, "struct_ops" | "struct_ops.s" | ".text")
}
