//! The scheduler: a variable of `struct mptcp_sched_ops`, read member by member, by name.
//!
//! (libbpf.c, `bpf_map__init_kern_struct_ops`; net/mptcp/sched.c, `mptcp_validate_scheduler`)

use super::LoadFault;
use super::code::Code;
use super::core_relo::essential_name;
use super::elf::{self, Elf, Relocation, Section};
use crate::btf::{Btf, Kind, TypeId};
use crate::object::{Callbacks, Generation};

/// Sections of such variables; a `?` says that libbpf need not load them.
const SECTIONS: [&str; 4] = [
    ".struct_ops",
    ".struct_ops.link",
    "?.struct_ops",
    "?.struct_ops.link",
];
/// The structure.
const OPS: &str = "mptcp_sched_ops";
/// Longest name of a scheduler (`MPTCP_SCHED_NAME_MAX` with its NUL).
const NAME: usize = 15;

/// Whether a section holds such variables.
pub(super) fn is_section(name: &str) -> bool {
    SECTIONS.contains(&name)
}

/// What the variable says.
pub(super) struct Scheduler {
    pub(super) name: String,
    pub(super) generation: Generation,
    pub(super) callbacks: Callbacks,
}

/// Finds the one scheduler of the object.
pub(super) fn find(elf: &Elf<'_>, btf: &Btf, code: &Code) -> Result<Scheduler, LoadFault> {
    let mut found: Option<Variable<'_>> = None;
    for section in SECTIONS {
        for (name, var) in btf.section_vars(section) {
            let variable = Variable::locate(elf, btf, section, name, var.of)?;
            if let Some(other) = found.replace(variable) {
                return Err(LoadFault::SeveralSchedulers {
                    one: other.name.to_owned(),
                    other: name.to_owned(),
                });
            }
        }
    }
    let variable = found.ok_or(LoadFault::NoScheduler)?;
    Reader {
        elf,
        btf,
        code,
        variable,
        members: Members::default(),
    }
    .read()
}

/// The variable, and where it is.
struct Variable<'a> {
    name: &'a str,
    of: TypeId,
    section: &'a Section<'a>,
    /// First byte in its section.
    start: u64,
    data: &'a [u8],
}

impl<'a> Variable<'a> {
    fn locate(
        elf: &'a Elf<'a>,
        btf: &'a Btf,
        section: &str,
        name: &'a str,
        var: TypeId,
    ) -> Result<Self, LoadFault> {
        let of = match btf.kind(var) {
            Kind::Var { of, .. } => btf.resolve(*of).unwrap_or(TypeId::VOID),
            _ => TypeId::VOID,
        };
        let structure = btf.name(of);
        if essential_name(structure) != OPS {
            return Err(LoadFault::OtherStructOps {
                variable: name.to_owned(),
                structure: structure.to_owned(),
            });
        }
        let find = || {
            let number = elf.sections.iter().position(|it| it.name == section)?;
            let symbol = elf
                .symbols
                .iter()
                .find(|it| it.section == Some(number) && it.name == name)?;
            let section = &elf.sections[number];
            let start = usize::try_from(symbol.value).ok()?;
            let size = usize::try_from(btf.size(of)?).ok()?;
            let data = section.data.get(start..start.checked_add(size)?)?;
            Some(Self {
                name,
                of,
                section,
                start: symbol.value,
                data,
            })
        };
        find().ok_or_else(|| LoadFault::BadVariable {
            variable: name.to_owned(),
            section: section.to_owned(),
        })
    }
}

/// What members have been found.
#[derive(Default)]
struct Members {
    name: String,
    init: Option<usize>,
    release: Option<usize>,
    get_subflow: Option<usize>,
    get_send: Option<usize>,
    get_retrans: Option<usize>,
}

impl Members {
    /// Where the callback of that name is noted.
    fn callback(&mut self, member: &str) -> Option<&mut Option<usize>> {
        match member {
            "init" => Some(&mut self.init),
            "release" => Some(&mut self.release),
            "get_subflow" => Some(&mut self.get_subflow),
            "get_send" => Some(&mut self.get_send),
            "get_retrans" => Some(&mut self.get_retrans),
            _ => None,
        }
    }
}

struct Reader<'a> {
    elf: &'a Elf<'a>,
    btf: &'a Btf,
    code: &'a Code,
    variable: Variable<'a>,
    members: Members,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Scheduler, LoadFault> {
        let composite = self.btf.kind(self.variable.of).composite();
        for member in composite
            .map(|it| it.members.as_slice())
            .unwrap_or_default()
        {
            self.read_member(self.btf.text(member.name), member.of, member.bit_offset / 8)?;
        }
        let name = self.variable.name.to_owned();
        let Members {
            init,
            release,
            get_subflow,
            get_send,
            get_retrans,
            ..
        } = self.members;
        let (generation, get_send) = match (get_subflow, get_send) {
            (Some(_), Some(_)) => return Err(LoadFault::MixedGenerations { variable: name }),
            (Some(_), None) if get_retrans.is_some() => {
                return Err(LoadFault::MixedGenerations { variable: name });
            }
            (Some(callback), None) => (Generation::GetSubflow, callback),
            (None, Some(callback)) => (Generation::GetSend, callback),
            (None, None) => return Err(LoadFault::NoCallback { variable: name }),
        };
        check_name(&name, &self.members.name)?;
        Ok(Scheduler {
            name: self.members.name,
            generation,
            callbacks: Callbacks {
                init,
                release,
                get_send,
                get_retrans,
            },
        })
    }

    fn read_member(&mut self, member: &str, of: TypeId, offset: u32) -> Result<(), LoadFault> {
        let bytes = self.bytes(of, offset);
        let relocation = self.relocation(bytes.len(), offset).copied();
        let is_set = relocation.is_some() || bytes.iter().any(|&byte| byte != 0);
        if member == "name" {
            let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
            self.members.name = String::from_utf8_lossy(text).into_owned();
            return Ok(());
        }
        if !is_set {
            return Ok(());
        }
        match member {
            "data_init" => {
                return Err(LoadFault::Generation0 {
                    what: "it sets `data_init`",
                });
            }
            "push" => return Err(LoadFault::Push),
            "get_subflow" => self.refuse_generation_0(of)?,
            _ => {}
        }
        let variable = self.variable.name.to_owned();
        let callback = relocation.and_then(|relocation| self.callback(&relocation, offset));
        let member = member.to_owned();
        match (self.members.callback(&member), callback) {
            (None, _) => Err(LoadFault::UnknownMember { variable, member }),
            (Some(_), None) => Err(LoadFault::BadCallback { variable, member }),
            (Some(place), callback) => {
                *place = callback;
                Ok(())
            }
        }
    }

    /// The member's content; nothing where it is not within the variable.
    fn bytes(&self, of: TypeId, offset: u32) -> &[u8] {
        let range = || {
            let start = usize::try_from(offset).ok()?;
            let size = usize::try_from(self.btf.size(of)?).ok()?;
            self.variable.data.get(start..start.checked_add(size)?)
        };
        range().unwrap_or_default()
    }

    /// The first relocation within the member.
    fn relocation(&self, size: usize, offset: u32) -> Option<&Relocation> {
        let start = self.variable.start.checked_add(u64::from(offset))?;
        let end = start.checked_add(u64::try_from(size).ok()?)?;
        let relocations = &self.variable.section.relocations;
        relocations
            .iter()
            .find(|relocation| (start..end).contains(&relocation.offset))
    }

    /// The function that a member points to.
    fn callback(&self, relocation: &Relocation, offset: u32) -> Option<usize> {
        let start = usize::try_from(offset).ok()?;
        if relocation.kind != elf::POINTER
            || relocation.offset != self.variable.start + u64::from(offset)
        {
            return None;
        }
        let addend = self.variable.data.get(start..start + 8)?;
        let addend = u64::from_le_bytes(addend.try_into().ok()?);
        let symbol = self.elf.symbol(relocation.symbol).ok()?;
        let number = symbol.section?;
        let section = self.elf.sections.get(number)?;
        let index = self
            .code
            .index_at(number, section.name, symbol.value.checked_add(addend)?);
        let is_callback = section
            .name
            .trim_start_matches('?')
            .starts_with("struct_ops");
        self.code.function_at(index.ok()?).filter(|_| is_callback)
    }

    /// `get_subflow` wrote its answer into its data before it took `data` alone and returned a value.
    fn refuse_generation_0(&self, of: TypeId) -> Result<(), LoadFault> {
        let pointed = match self.btf.resolve(of).map(|of| self.btf.kind(of)) {
            Some(Kind::Ptr(to)) => self.btf.resolve(*to),
            _ => None,
        };
        let what = match pointed.map(|to| self.btf.kind(to)) {
            Some(Kind::FuncProto { params, .. }) if params.len() == 3 => {
                "its `get_subflow` takes `reinject`"
            }
            Some(Kind::FuncProto { result, .. })
                if self.btf.resolve(*result) == Some(TypeId::VOID) =>
            {
                "its `get_subflow` returns nothing"
            }
            _ => return Ok(()),
        };
        Err(LoadFault::Generation0 { what })
    }
}

fn check_name(variable: &str, name: &str) -> Result<(), LoadFault> {
    let is_fit = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_' || letter == b'.';
    if name.is_empty() || name.len() > NAME || !name.bytes().all(is_fit) {
        return Err(LoadFault::BadName {
            variable: variable.to_owned(),
            name: name.chars().take(2 * NAME).collect(),
        });
    }
    Ok(())
}
