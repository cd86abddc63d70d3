//! CO-RE: "compile once, run everywhere" (libbpf's relo_core.c, Linux's tools/lib/bpf/relo_core.c).
//!
//! The compiler records for each access to a kernel type what was meant: which type, which member, and
//! what about it (its offset, say). [`resolve`] finds the same in another set of types and answers with
//! the value to put into the instruction; [`patch`] puts it there. What the other set does not have
//! *poisons* the instruction: it fails if it is ever reached, so that a program can ask first whether a
//! member exists.

mod compatible;
mod patch;
mod spec;

use thiserror::Error;

use crate::btf::{Btf, Kind, TypeId};
pub(super) use compatible::{are_compatible, essential_name};
pub use patch::{PatchError, Patched, patch};
use spec::Spec;

/// What about a type, member or value is wanted (include/uapi/linux/bpf.h, `enum bpf_core_relo_kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Where the member starts, in bytes.
    ByteOffset,
    /// Its size.
    ByteSize,
    /// Whether it is there.
    FieldExists,
    /// Whether it has a sign.
    Signed,
    /// How far to shift its load to the left, to lose what is above it.
    LeftShift,
    /// How far to shift that to the right.
    RightShift,
    /// The type's number in the object.
    LocalTypeId,
    /// The type's number in the target.
    TargetTypeId,
    /// Whether the type is there.
    TypeExists,
    /// Its size.
    TypeSize,
    /// Whether an enumeration has that value.
    ValueExists,
    /// That value.
    Value,
    /// Whether the target's type has all that the object's has.
    TypeMatches,
}

impl Question {
    /// The question of that number.
    pub fn from_number(number: u32) -> Option<Self> {
        const ALL: [Question; 13] = [
            Question::ByteOffset,
            Question::ByteSize,
            Question::FieldExists,
            Question::Signed,
            Question::LeftShift,
            Question::RightShift,
            Question::LocalTypeId,
            Question::TargetTypeId,
            Question::TypeExists,
            Question::TypeSize,
            Question::ValueExists,
            Question::Value,
            Question::TypeMatches,
        ];
        ALL.get(usize::try_from(number).ok()?).copied()
    }

    fn subject(self) -> Subject {
        match self {
            Self::LocalTypeId
            | Self::TargetTypeId
            | Self::TypeExists
            | Self::TypeSize
            | Self::TypeMatches => Subject::Type,
            Self::ValueExists | Self::Value => Subject::Value,
            _ => Subject::Field,
        }
    }
}

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Field,
    Type,
    Value,
}

/// One question that the compiler recorded.
#[derive(Debug, Clone, Copy)]
pub struct Relocation<'a> {
    /// About what type of the object.
    pub root: TypeId,
    /// The way to the member: numbers with colons between.
    pub access: &'a str,
    /// What is wanted of it.
    pub question: Question,
}

/// What an instruction gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// What the compiler put there, where that is certain.
    pub old: Option<u64>,
    /// What belongs there.
    pub new: u64,
    /// Bytes that the access reads or writes, before and after, where they matter.
    pub width: Option<Width>,
}

/// Bytes of a member in the object and in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Width {
    /// In the object.
    pub old: u32,
    /// In the target.
    pub new: u32,
    /// Whether a load of the new width means the same (no sign is lost).
    pub safe: bool,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Put this into the instruction.
    Value(Value),
    /// Poison it: the target does not have that. What is missing, in words.
    Missing(String),
}

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CoreError {
    /// The recorded way leads nowhere.
    #[error("the recorded access `{access}` does not fit `{root}`")]
    BadAccess {
        /// The recorded way.
        access: String,
        /// The type it starts from.
        root: String,
    },
    /// A bit field that no load of 8 bytes reads.
    #[error("the bit field is spread over more than 8 bytes")]
    WideBitField,
    /// Several types of the target answer, differently.
    #[error("several types of the name `{root}` answer differently")]
    Ambiguous {
        /// The type.
        root: String,
    },
}

/// Answers a question of `local` by the types of `target`.
///
/// # Errors
/// The question makes no sense, or has several answers.
pub fn resolve(
    local: &Btf,
    target: &Btf,
    relocation: &Relocation<'_>,
) -> Result<Answer, CoreError> {
    let question = relocation.question;
    let local_spec = Spec::parse(local, relocation)?;
    if question == Question::LocalTypeId {
        return Ok(Answer::Value(Value {
            old: None,
            new: u64::from(relocation.root.0),
            width: None,
        }));
    }
    let mut found: Option<(Spec, Value)> = None;
    for candidate in candidates(local, target, relocation.root) {
        let Some(target_spec) = local_spec.find_in(local, target, candidate, question) else {
            continue;
        };
        let value = value(local, target, &local_spec, &target_spec, question)?;
        match &found {
            Some((spec, known)) if spec.bit_offset != target_spec.bit_offset || *known != value => {
                return Err(CoreError::Ambiguous {
                    root: describe_type(local, relocation.root),
                });
            }
            Some(_) => {}
            None => found = Some((target_spec, value)),
        }
    }
    match found {
        Some((_, value)) => Ok(Answer::Value(value)),
        None => absent(local, &local_spec, question),
    }
}

/// Types of the target of the same kind and name; flavours (`name___flavour`) are the same name.
fn candidates(local: &Btf, target: &Btf, root: TypeId) -> impl Iterator<Item = TypeId> {
    let name = essential_name(local.name(root));
    let kind = local.kind(root);
    target
        .iter()
        .filter(move |(id, of)| {
            !name.is_empty()
                && same_kind(kind, &of.kind)
                && essential_name(target.name(*id)) == name
        })
        .map(|(id, _)| id)
}

/// Same kind; the two kinds of enumerations are one.
fn same_kind(one: &Kind, other: &Kind) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// The value for what was found.
fn value(
    local: &Btf,
    target: &Btf,
    local_spec: &Spec,
    target_spec: &Spec,
    question: Question,
) -> Result<Value, CoreError> {
    let old = local_spec.ask(local, question)?;
    let new = target_spec.ask(target, question)?;
    let width = match (old.field, new.field) {
        (Some((old_type, old)), Some((new_type, new))) => Some(Width {
            old,
            new,
            safe: old == new || reads_alike(local.kind(old_type), target.kind(new_type)),
        }),
        _ => None,
    };
    Ok(Value {
        old: old.certain.then_some(old.value),
        new: new.value,
        width,
    })
}

/// The answer where nothing was found: no, or poison.
fn absent(local: &Btf, local_spec: &Spec, question: Question) -> Result<Answer, CoreError> {
    Ok(match question {
        Question::FieldExists
        | Question::TypeExists
        | Question::TypeMatches
        | Question::ValueExists
        | Question::TypeSize
        | Question::TargetTypeId => {
            let old = local_spec.ask(local, question)?;
            Answer::Value(Value {
                old: old.certain.then_some(old.value),
                new: 0,
                width: None,
            })
        }
        _ => Answer::Missing(local_spec.describe(local)),
    })
}

/// Whether a load of another width gives the same value: no sign to extend.
fn reads_alike(one: &Kind, other: &Kind) -> bool {
    match (one, other) {
        (Kind::Ptr(_), Kind::Ptr(_)) => true,
        (Kind::Int(one), Kind::Int(other)) => !one.signed && !other.signed,
        _ => false,
    }
}

/// A type in C's words.
fn describe_type(btf: &Btf, id: TypeId) -> String {
    format!("{} {}", btf.kind(id).word(), btf.name(id))
}

#[cfg(test)]
mod tests;
