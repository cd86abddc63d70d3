//! BTF, the type information that objects and kernels carry (Documentation/bpf/btf.rst).
//!
//! | module | what it does |
//! |---|---|
//! | `read` | decodes a `.BTF` section that a stranger wrote |
//! | `write` | encodes types of ours |
//!
//! It knows nothing of programs: what relocations do with types is the loader's business.

mod read;
mod write;

use thiserror::Error;

/// Most bytes of a name (the kernel's `KSYM_NAME_LEN`).
pub const MAX_NAME: usize = 512;
/// Most types of one BTF; a whole kernel has some 150,000, an object built against it 1,500.
pub const MAX_TYPES: usize = 262_144;
/// Most members of one structure, values of one enumeration, parameters of one function.
pub const MAX_VLEN: usize = 4_096;
/// Longest chain of typedefs, qualifiers and arrays (the kernel's `MAX_RESOLVE_DEPTH`).
const MAX_DEPTH: usize = 32;

/// The version of BTF that exists.
const VERSION: u8 = 1;
/// First two bytes of every BTF, as a number.
const MAGIC: u16 = 0xeb9f;
/// Bytes of its header.
const HEADER: usize = 24;

/// Number of a type; 0 is `void`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`, and the type of what is unknown.
    pub const VOID: Self = Self(0);
}

/// A name: where it starts among the strings. 0 is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name(u32);

impl Name {
    /// No name.
    pub const NONE: Self = Self(0);
}

/// A set of types that refer to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Btf {
    /// By number; the first is `void`.
    types: Vec<Type>,
    /// Every name, each with a NUL behind it; the first is empty.
    strings: Vec<u8>,
}

/// One type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// Its name; many have none.
    pub name: Name,
    /// What it is.
    pub kind: Kind,
}

/// What a type is (include/uapi/linux/btf.h, `BTF_KIND_*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// No type.
    Void,
    /// An integer, `char` and `bool` too.
    Int(Int),
    /// A pointer.
    Ptr(TypeId),
    /// An array.
    Array {
        /// Type of its elements.
        element: TypeId,
        /// Type of the index.
        index: TypeId,
        /// How many elements; 0 for a flexible one.
        len: u32,
    },
    /// A structure.
    Struct(Composite),
    /// A union.
    Union(Composite),
    /// An enumeration, of 64 bits too.
    Enum {
        /// Bytes.
        size: u32,
        /// Whether its values have a sign.
        signed: bool,
        /// Whether it is of the kind that holds values of 64 bits.
        wide: bool,
        /// Names and values.
        values: Vec<(Name, i64)>,
    },
    /// A structure or union that is declared only.
    Fwd {
        /// Whether it is a union.
        union: bool,
    },
    /// Another name for a type.
    Typedef(TypeId),
    /// `volatile`.
    Volatile(TypeId),
    /// `const`.
    Const(TypeId),
    /// `restrict`.
    Restrict(TypeId),
    /// A function.
    Func {
        /// Its [`Kind::FuncProto`].
        proto: TypeId,
        /// 0 static, 1 global, 2 extern.
        linkage: u16,
    },
    /// What a function takes and gives.
    FuncProto {
        /// Type of the result.
        result: TypeId,
        /// Names and types of the parameters.
        params: Vec<(Name, TypeId)>,
    },
    /// A variable.
    Var {
        /// Its type.
        of: TypeId,
        /// 0 static, 1 global, 2 extern.
        linkage: u32,
    },
    /// A section with variables.
    Datasec {
        /// Bytes; clang leaves it 0.
        size: u32,
        /// What is in it.
        vars: Vec<SectionVar>,
    },
    /// A floating-point number.
    Float {
        /// Bytes.
        size: u32,
    },
    /// A remark on a type, member or parameter.
    DeclTag {
        /// What it is about.
        of: TypeId,
        /// Which member or parameter; -1: the type itself.
        component: i32,
    },
    /// A remark on what a pointer points to.
    TypeTag(TypeId),
}

/// An integer's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int {
    /// Bytes.
    pub size: u32,
    /// Whether it has a sign.
    pub signed: bool,
    /// Whether it is a `bool`.
    pub boolean: bool,
    /// First bit of what counts (0 in all that compilers still emit).
    pub offset: u8,
    /// Bits that count.
    pub bits: u8,
}

/// A structure or union.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composite {
    /// Bytes.
    pub size: u32,
    /// Its members.
    pub members: Vec<Member>,
}

/// A member of a structure or union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its name; an anonymous structure or union has none.
    pub name: Name,
    /// Its type.
    pub of: TypeId,
    /// Where it starts.
    pub bit_offset: u32,
    /// Bits of a bit field; 0: it is none.
    pub bit_size: u8,
}

/// A variable's place in its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionVar {
    /// A [`Kind::Var`], or a [`Kind::Func`] in `.ksyms`.
    pub of: TypeId,
    /// Where it starts; clang leaves it 0.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// What is wrong with a BTF.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BtfError {
    /// It ends within something.
    #[error("it ends within {what}, at byte {at}")]
    Truncated {
        /// Within what.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// It is no BTF, or one of another machine.
    #[error(
        "it is no little-endian BTF of version {VERSION} (magic {magic:#06x}, version {version})"
    )]
    Header {
        /// First two bytes.
        magic: u16,
        /// Third byte.
        version: u8,
    },
    /// More of something than is read.
    #[error("it has {count} {what}, more than the {limit} that are read")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it has.
        count: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A name that is none.
    #[error("type {id}: the name at {offset} is not within the strings, too long or not UTF-8")]
    BadName {
        /// The type.
        id: u32,
        /// Where the name would start.
        offset: u32,
    },
    /// A kind that nobody has told us of.
    #[error("type {id} is of the unknown kind {kind}")]
    UnknownKind {
        /// The type.
        id: u32,
        /// Its kind.
        kind: u32,
    },
    /// A type that refers to one that is not there.
    #[error("type {id} refers to type {to}, and there are only {count}")]
    NoSuchType {
        /// The type.
        id: u32,
        /// What it refers to.
        to: u32,
        /// How many types there are.
        count: usize,
    },
}

impl Default for Btf {
    fn default() -> Self {
        Self {
            types: vec![Type {
                name: Name::NONE,
                kind: Kind::Void,
            }],
            strings: vec![0],
        }
    }
}

impl Btf {
    /// The type of that number; `void` where there is none.
    pub fn get(&self, id: TypeId) -> &Type {
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        self.types.get(index).unwrap_or(&self.types[0])
    }

    /// What the type of that number is.
    pub fn kind(&self, id: TypeId) -> &Kind {
        &self.get(id).kind
    }

    /// The text of a name.
    pub fn text(&self, name: Name) -> &str {
        text_at(&self.strings, name.0).unwrap_or_default()
    }

    /// The name of the type of that number; empty where it has none.
    pub fn name(&self, id: TypeId) -> &str {
        self.text(self.get(id).name)
    }

    /// The string that starts at `offset`, where it is one.
    pub fn string_at(&self, offset: u32) -> Option<&str> {
        text_at(&self.strings, offset)
    }

    /// All types but `void`, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        (0u32..).map(TypeId).zip(&self.types).skip(1)
    }

    /// What is behind typedefs and qualifiers; `None` where they never end.
    pub fn resolve(&self, mut id: TypeId) -> Option<TypeId> {
        for _ in 0..MAX_DEPTH {
            id = match self.kind(id) {
                Kind::Typedef(to)
                | Kind::Volatile(to)
                | Kind::Const(to)
                | Kind::Restrict(to)
                | Kind::TypeTag(to) => *to,
                _ => return Some(id),
            };
        }
        None
    }

    /// Bytes of a value of that type; `None` where it has none, or too many to count.
    pub fn size(&self, mut id: TypeId) -> Option<u32> {
        let mut count = 1u32;
        for _ in 0..MAX_DEPTH {
            id = self.resolve(id)?;
            let size = match self.kind(id) {
                Kind::Int(int) => int.size,
                Kind::Ptr(_) => 8,
                Kind::Struct(composite) | Kind::Union(composite) => composite.size,
                Kind::Enum { size, .. } | Kind::Float { size } | Kind::Datasec { size, .. } => {
                    *size
                }
                Kind::Var { of, .. } => {
                    id = *of;
                    continue;
                }
                Kind::Array { element, len, .. } => {
                    count = count.checked_mul(*len)?;
                    id = *element;
                    continue;
                }
                _ => return None,
            };
            return count.checked_mul(size);
        }
        None
    }

    /// The variables of a section, with their names.
    pub fn section_vars(&self, section: &str) -> impl Iterator<Item = (&str, &SectionVar)> {
        let vars = self.iter().find_map(|(_, of)| match &of.kind {
            Kind::Datasec { vars, .. } if self.text(of.name) == section => Some(vars.as_slice()),
            _ => None,
        });
        vars.unwrap_or_default()
            .iter()
            .map(|var| (self.name(var.of), var))
    }
}

impl Kind {
    /// Structure or union.
    pub fn composite(&self) -> Option<&Composite> {
        match self {
            Self::Struct(composite) | Self::Union(composite) => Some(composite),
            _ => None,
        }
    }

    /// What it is, in C's words.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Void => "void",
            Self::Int(_) => "integer",
            Self::Ptr(_) => "pointer",
            Self::Array { .. } => "array",
            Self::Struct(_) | Self::Fwd { union: false } => "struct",
            Self::Union(_) | Self::Fwd { union: true } => "union",
            Self::Enum { .. } => "enum",
            Self::Typedef(_) => "typedef",
            Self::Volatile(_) => "volatile",
            Self::Const(_) => "const",
            Self::Restrict(_) => "restrict",
            Self::Func { .. } => "function",
            Self::FuncProto { .. } => "function type",
            Self::Var { .. } => "variable",
            Self::Datasec { .. } => "section",
            Self::Float { .. } => "floating-point number",
            Self::DeclTag { .. } | Self::TypeTag(_) => "tag",
        }
    }
}

/// The string that starts at `offset` of `strings`: ended by a NUL, not too long, UTF-8.
fn text_at(strings: &[u8], offset: u32) -> Option<&str> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let end = rest.iter().take(MAX_NAME + 1).position(|&byte| byte == 0)?;
    std::str::from_utf8(&rest[..end]).ok()
}
