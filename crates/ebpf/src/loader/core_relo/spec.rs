//! The way from a type to one of its members, in the object's types and in the target's.

use super::compatible::{are_compatible, fields_are_compatible, match_types, same_name};
use super::{CoreError, Question, Relocation, Subject, describe_type};
use crate::btf::{Btf, Kind, Member, Name, TypeId};

/// Longest way that is followed (libbpf's `BPF_CORE_SPEC_MAX_LEN`).
const MAX_STEPS: usize = 64;

/// After so many bytes a description of a way ends.
const MAX_DESCRIPTION: usize = 256;

/// A type, and the way to one of its members.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    root: TypeId,
    /// The first is an index into an array of the root type: 0 unless the source had `p[n]`.
    steps: Vec<Step>,
    /// Where the member starts.
    pub(super) bit_offset: u64,
}

/// One step of the way; anonymous members are passed without one.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// The structure, enumeration or element type.
    of: TypeId,
    /// Which of its members or values, or of the elements of that type.
    index: u32,
    /// The member's or value's name; an element has none.
    name: Option<Name>,
}

/// What a question's answer is on one side.
pub(super) struct Finding {
    pub(super) value: u64,
    /// Whether compilers always put the same there.
    pub(super) certain: bool,
    /// Type and size of the member, where the width of an access follows them.
    pub(super) field: Option<(TypeId, u32)>,
}

impl Finding {
    fn certain(value: u64) -> Self {
        Self {
            value,
            certain: true,
            field: None,
        }
    }
}

/// Where a member lies, as a load of a power of two of bytes sees it.
struct Place {
    byte_offset: u64,
    byte_size: u32,
    bit_offset: u64,
    bit_size: u64,
    is_bit_field: bool,
    of: TypeId,
}

impl Spec {
    /// The way as the compiler recorded it.
    pub(super) fn parse(btf: &Btf, relocation: &Relocation<'_>) -> Result<Self, CoreError> {
        let bad = || CoreError::BadAccess {
            access: relocation.access.chars().take(80).collect(),
            root: describe_type(btf, relocation.root),
        };
        let way = numbers(relocation.access).ok_or_else(bad)?;
        let (&first, rest) = way.split_first().ok_or_else(bad)?;
        let spec = Self {
            root: relocation.root,
            steps: Vec::new(),
            bit_offset: 0,
        };
        match relocation.question.subject() {
            Subject::Type => (first == 0 && rest.is_empty()).then_some(spec),
            Subject::Value => rest
                .is_empty()
                .then_some(spec)
                .and_then(|spec| spec.value(btf, first)),
            Subject::Field => spec.follow(btf, first, rest),
        }
        .ok_or_else(bad)
    }

    /// The value of that number of an enumeration.
    fn value(mut self, btf: &Btf, index: u32) -> Option<Self> {
        let of = btf.resolve(self.root)?;
        let Kind::Enum { values, .. } = btf.kind(of) else {
            return None;
        };
        let (name, _) = values.get(usize::try_from(index).ok()?)?;
        self.steps.push(Step {
            of,
            index,
            name: Some(*name),
        });
        Some(self)
    }

    fn follow(mut self, btf: &Btf, first: u32, rest: &[u32]) -> Option<Self> {
        self.push_element(btf, self.root, first)?;
        let mut id = self.root;
        for &index in rest {
            id = btf.resolve(id)?;
            id = match btf.kind(id) {
                Kind::Struct(composite) | Kind::Union(composite) => {
                    let member = composite.members.get(usize::try_from(index).ok()?)?;
                    self.push_member(btf, id, index, member)?;
                    member.of
                }
                Kind::Array { element, len, .. } => {
                    if index >= *len && !self.is_flexible(btf, *len) {
                        return None;
                    }
                    let element = btf.resolve(*element)?;
                    self.push_element(btf, element, index)?;
                    element
                }
                _ => return None,
            };
        }
        Some(self)
    }

    fn push_member(&mut self, btf: &Btf, of: TypeId, index: u32, member: &Member) -> Option<()> {
        self.bit_offset = self.bit_offset.checked_add(u64::from(member.bit_offset))?;
        if !btf.text(member.name).is_empty() {
            self.steps.push(Step {
                of,
                index,
                name: Some(member.name),
            });
        }
        Some(())
    }

    fn push_element(&mut self, btf: &Btf, of: TypeId, index: u32) -> Option<()> {
        let bytes = u64::from(index).checked_mul(u64::from(btf.size(of)?))?;
        self.bit_offset = self.bit_offset.checked_add(bytes.checked_mul(8)?)?;
        self.steps.push(Step {
            of,
            index,
            name: None,
        });
        Some(())
    }

    /// Whether the array that the last step led to has no end: the last member, of no length.
    fn is_flexible(&self, btf: &Btf, len: u32) -> bool {
        let Some(Step {
            of,
            index,
            name: Some(_),
        }) = self.steps.last()
        else {
            return false;
        };
        let members = btf.kind(*of).composite().map_or(0, |it| it.members.len());
        len == 0 && usize::try_from(*index).is_ok_and(|index| index + 1 == members)
    }

    /// The same way in the target, from `root` on.
    pub(super) fn find_in(
        &self,
        local: &Btf,
        target: &Btf,
        root: TypeId,
        question: Question,
    ) -> Option<Self> {
        let mut found = Self {
            root,
            steps: Vec::new(),
            bit_offset: 0,
        };
        match question.subject() {
            Subject::Type if question == Question::TypeMatches => {
                match_types(local, self.root, target, root).then_some(found)
            }
            Subject::Type => are_compatible(local, self.root, target, root).then_some(found),
            Subject::Value => {
                let name = local.text(self.steps.first()?.name?);
                let Kind::Enum { values, .. } = target.kind(target.resolve(root)?) else {
                    return None;
                };
                let index = values
                    .iter()
                    .position(|(other, _)| same_name(name, target.text(*other)))?;
                found.value(target, u32::try_from(index).ok()?)
            }
            Subject::Field => {
                let mut id = root;
                for (number, step) in self.steps.iter().enumerate() {
                    id = match step.name {
                        Some(name) => found.find_member(local, step, name, target, id)?,
                        None => found.find_element(target, id, step.index, number == 0)?,
                    };
                }
                Some(found)
            }
        }
    }

    /// Finds the member by its name, through anonymous members too; its type.
    fn find_member(
        &mut self,
        local: &Btf,
        step: &Step,
        name: Name,
        target: &Btf,
        id: TypeId,
    ) -> Option<TypeId> {
        let id = target.resolve(id)?;
        let composite = target.kind(id).composite()?;
        for (index, member) in (0u32..).zip(&composite.members) {
            let (before, steps) = (self.bit_offset, self.steps.len());
            self.push_member(target, id, index, member)?;
            let other = target.text(member.name);
            let found = if other.is_empty() {
                self.find_member(local, step, name, target, member.of)
            } else if other == local.text(name) {
                let local_member = member_of(local, step)?;
                let fits = fields_are_compatible(local, local_member.of, target, member.of);
                return fits.then_some(member.of);
            } else {
                None
            };
            if found.is_some() {
                return found;
            }
            self.bit_offset = before;
            self.steps.truncate(steps);
        }
        None
    }

    fn find_element(
        &mut self,
        target: &Btf,
        id: TypeId,
        index: u32,
        is_first: bool,
    ) -> Option<TypeId> {
        let mut element = id;
        if !is_first {
            let Kind::Array {
                element: of, len, ..
            } = target.kind(target.resolve(id)?)
            else {
                return None;
            };
            if index >= *len && !self.is_flexible(target, *len) {
                return None;
            }
            element = target.resolve(*of)?;
        }
        self.push_element(target, element, index)?;
        Some(element)
    }

    /// Answers for this side.
    pub(super) fn ask(&self, btf: &Btf, question: Question) -> Result<Finding, CoreError> {
        let number = |value: u32| Finding::certain(u64::from(value));
        Ok(match question {
            Question::FieldExists
            | Question::TypeExists
            | Question::TypeMatches
            | Question::ValueExists => number(1),
            Question::LocalTypeId | Question::TargetTypeId => Finding {
                // Linking renumbers types, and does not touch the code.
                certain: false,
                ..number(self.root.0)
            },
            Question::TypeSize => number(btf.size(self.root).unwrap_or(0)),
            Question::Value => Finding::certain(self.enumerator(btf).unwrap_or(0).cast_unsigned()),
            _ => self.ask_field(btf, question)?,
        })
    }

    fn enumerator(&self, btf: &Btf) -> Option<i64> {
        let step = self.steps.first()?;
        let Kind::Enum { values, .. } = btf.kind(step.of) else {
            return None;
        };
        values
            .get(usize::try_from(step.index).ok()?)
            .map(|(_, value)| *value)
    }

    fn ask_field(&self, btf: &Btf, question: Question) -> Result<Finding, CoreError> {
        let place = self.place(btf)?;
        // Compilers may load a bit field by other words than libbpf does: only its sign and its size
        // are certain.
        let certain = !place.is_bit_field;
        Ok(match question {
            Question::ByteSize => Finding {
                certain,
                ..Finding::certain(u64::from(place.byte_size))
            },
            Question::Signed => Finding::certain(u64::from(is_signed(btf.kind(place.of)))),
            Question::LeftShift => {
                let end = place.bit_offset + place.bit_size - place.byte_offset * 8;
                Finding {
                    certain,
                    ..Finding::certain(64u64.wrapping_sub(end))
                }
            }
            Question::RightShift => Finding::certain(64u64.wrapping_sub(place.bit_size)),
            _ => Finding {
                value: place.byte_offset,
                certain,
                field: (!place.is_bit_field).then_some((place.of, place.byte_size)),
            },
        })
    }

    fn place(&self, btf: &Btf) -> Result<Place, CoreError> {
        let bad = || CoreError::BadAccess {
            access: self.describe(btf),
            root: describe_type(btf, self.root),
        };
        let step = self.steps.last().ok_or_else(bad)?;
        let (of, bit_size) = match step.name {
            Some(_) => member_of(btf, step).map(|member| (member.of, member.bit_size)),
            None => Some((step.of, 0)),
        }
        .ok_or_else(bad)?;
        let of = btf.resolve(of).ok_or_else(bad)?;
        let byte_size = btf.size(of).ok_or_else(bad)?;
        if bit_size > 0 {
            return self.place_of_bits(of, byte_size, u64::from(bit_size));
        }
        Ok(Place {
            byte_offset: self.bit_offset / 8,
            byte_size,
            bit_offset: self.bit_offset / 8 * 8,
            bit_size: u64::from(byte_size) * 8,
            is_bit_field: false,
            of,
        })
    }

    /// The smallest aligned word, of the type's size at least, that has all of the bits.
    fn place_of_bits(&self, of: TypeId, size: u32, bit_size: u64) -> Result<Place, CoreError> {
        let mut byte_size = size;
        loop {
            if !matches!(byte_size, 1 | 2 | 4 | 8) {
                return Err(CoreError::WideBitField);
            }
            let word = u64::from(byte_size);
            let byte_offset = self.bit_offset / 8 / word * word;
            if self.bit_offset + bit_size <= (byte_offset + word) * 8 {
                return Ok(Place {
                    byte_offset,
                    byte_size,
                    bit_offset: self.bit_offset,
                    bit_size,
                    is_bit_field: true,
                    of,
                });
            }
            byte_size *= 2;
        }
    }

    /// The type and the member, for people: `struct mptcp_sock.pm.subflows`.
    pub(super) fn describe(&self, btf: &Btf) -> String {
        let mut text = describe_type(btf, self.root);
        // The first element is the root itself.
        for step in self.steps.iter().skip_while(|step| step.name.is_none()) {
            if text.len() > MAX_DESCRIPTION {
                text.push_str("...");
                break;
            }
            match step.name {
                Some(name) => {
                    text.push('.');
                    text.push_str(btf.text(name));
                }
                None => text.push_str(&format!("[{}]", step.index)),
            }
        }
        text
    }
}

fn member_of<'a>(btf: &'a Btf, step: &Step) -> Option<&'a Member> {
    let composite = btf.kind(step.of).composite()?;
    composite.members.get(usize::try_from(step.index).ok()?)
}

fn is_signed(kind: &Kind) -> bool {
    match kind {
        Kind::Int(int) => int.signed,
        Kind::Enum { signed, .. } => *signed,
        _ => false,
    }
}

fn numbers(access: &str) -> Option<Vec<u32>> {
    let numbers = access
        .split(':')
        .take(MAX_STEPS + 1)
        .map(|number| number.parse().ok());
    let numbers: Vec<u32> = numbers.collect::<Option<_>>()?;
    (numbers.len() <= MAX_STEPS).then_some(numbers)
}
