//! Sections, symbols and relocations of an ELF file, as far as a load needs them.

use object::elf::{EM_BPF, ET_REL, SHF_ALLOC, SHF_EXECINSTR, STT_FUNC, STT_SECTION};
use object::read::elf::{ElfFile64, ElfSection64, FileHeader};
use object::{
    LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget,
    SectionFlags, SectionIndex, SymbolFlags,
};

use super::{LoadFault, limits};

/// Relocation of a `lddw`: the address of a map, or of data (`R_BPF_64_64`).
pub(super) const ADDRESS: u32 = 1;
/// Relocation of a pointer in data (`R_BPF_64_ABS64`).
pub(super) const POINTER: u32 = 2;
/// Relocation of a call (`R_BPF_64_32`).
pub(super) const CALL: u32 = 10;

/// What was read of a file.
pub(super) struct Elf<'a> {
    /// By their number in the file.
    pub(super) sections: Vec<Section<'a>>,
    /// By their number in the file.
    pub(super) symbols: Vec<Symbol<'a>>,
}

/// A section; what is not part of the program (debug information, say) has no relocations here.
#[derive(Default)]
pub(super) struct Section<'a> {
    pub(super) name: &'a str,
    /// Its content; empty where the file has none for it.
    pub(super) data: &'a [u8],
    /// Bytes in memory.
    pub(super) size: u64,
    /// Whether it is code.
    pub(super) is_code: bool,
    /// Whether it is part of the program.
    pub(super) is_loaded: bool,
    pub(super) relocations: Vec<Relocation>,
}

/// A symbol.
#[derive(Default)]
pub(super) struct Symbol<'a> {
    pub(super) name: &'a str,
    pub(super) value: u64,
    pub(super) size: u64,
    /// Number of the section that it is in; none: it is wanted from elsewhere.
    pub(super) section: Option<usize>,
    pub(super) is_function: bool,
    /// Whether it stands for its whole section.
    pub(super) is_section: bool,
    /// Whether the program can do without it.
    pub(super) is_weak: bool,
}

/// A place that depends on a symbol.
#[derive(Clone, Copy)]
pub(super) struct Relocation {
    /// Where in its section.
    pub(super) offset: u64,
    /// [`ADDRESS`], [`POINTER`], [`CALL`] or what is not known here.
    pub(super) kind: u32,
    /// Number of the symbol.
    pub(super) symbol: usize,
}

impl<'a> Elf<'a> {
    pub(super) fn parse(file: &'a [u8]) -> Result<Self, LoadFault> {
        let parsed = ElfFile64::<LittleEndian>::parse(file)?;
        let header = parsed.elf_header();
        let machine = header.e_machine(LittleEndian);
        if machine != EM_BPF || header.e_type(LittleEndian) != ET_REL {
            return Err(LoadFault::NotBpf { machine });
        }
        Ok(Self {
            sections: sections(&parsed)?,
            symbols: symbols(&parsed)?,
        })
    }

    /// The first section of that name.
    pub(super) fn section(&self, name: &str) -> Option<&Section<'a>> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The symbol of a relocation.
    pub(super) fn symbol(&self, number: usize) -> Result<&Symbol<'a>, LoadFault> {
        self.symbols
            .get(number)
            .ok_or(LoadFault::NoSuchSymbol { number })
    }

    /// The name of the symbol, or of the section that it stands for.
    pub(super) fn name_of(&self, symbol: &Symbol<'a>) -> &'a str {
        match symbol.section.and_then(|number| self.sections.get(number)) {
            Some(section) if symbol.is_section => section.name,
            _ => symbol.name,
        }
    }
}

type File<'a> = ElfFile64<'a, LittleEndian>;

fn sections<'a>(file: &File<'a>) -> Result<Vec<Section<'a>>, LoadFault> {
    let mut sections = Vec::new();
    let mut relocations = 0;
    for found in file.sections() {
        let index = found.index().0;
        limits::check("sections", index, limits::SECTIONS)?;
        let SectionFlags::Elf { sh_flags } = found.flags() else {
            continue;
        };
        let is_loaded = sh_flags & u64::from(SHF_ALLOC) != 0;
        let section = Section {
            name: bounded(found.name()?)?,
            data: found.data()?,
            size: found.size(),
            is_code: sh_flags & u64::from(SHF_EXECINSTR) != 0,
            is_loaded,
            relocations: if is_loaded {
                relocations_of(&found)?
            } else {
                Vec::new()
            },
        };
        relocations += section.relocations.len();
        limits::check("relocations", relocations, limits::RELOCATIONS)?;
        put(&mut sections, index, section);
    }
    Ok(sections)
}

fn relocations_of(
    section: &ElfSection64<'_, '_, LittleEndian>,
) -> Result<Vec<Relocation>, LoadFault> {
    let mut relocations = Vec::new();
    for (offset, relocation) in section.relocations() {
        limits::check("relocations", relocations.len(), limits::RELOCATIONS)?;
        let RelocationFlags::Elf { r_type } = relocation.flags() else {
            continue;
        };
        let symbol = match relocation.target() {
            RelocationTarget::Symbol(index) => index.0,
            _ => 0,
        };
        relocations.push(Relocation {
            offset,
            kind: r_type,
            symbol,
        });
    }
    Ok(relocations)
}

fn symbols<'a>(file: &File<'a>) -> Result<Vec<Symbol<'a>>, LoadFault> {
    let mut symbols = Vec::new();
    for found in file.symbols() {
        let index = found.index().0;
        limits::check("symbols", index, limits::SYMBOLS)?;
        let SymbolFlags::Elf { st_info, .. } = found.flags() else {
            continue;
        };
        let symbol = Symbol {
            name: bounded(found.name()?)?,
            value: found.address(),
            size: found.size(),
            section: found.section_index().map(|SectionIndex(number)| number),
            is_function: st_info & 0x0f == STT_FUNC,
            is_section: st_info & 0x0f == STT_SECTION,
            is_weak: found.is_weak(),
        };
        put(&mut symbols, index, symbol);
    }
    Ok(symbols)
}

/// A name that is no longer than names are; it may come to be copied often.
fn bounded(name: &str) -> Result<&str, LoadFault> {
    limits::check("bytes in a name", name.len(), limits::NAME)?;
    Ok(name)
}

/// Puts `item` at `index`, behind defaults where the file leaves numbers out.
fn put<T: Default>(items: &mut Vec<T>, index: usize, item: T) {
    items.resize_with(items.len().max(index + 1), T::default);
    items[index] = item;
}
