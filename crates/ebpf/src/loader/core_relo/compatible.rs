//! When a type of the object and one of the target are taken for the same.

use super::same_kind;
use crate::btf::{Btf, Composite, Kind, Name, TypeId};

/// Deepest nesting of types that is compared (libbpf's own bound).
const MAX_DEPTH: usize = 32;

/// A name without its flavour: `name___anything` is `name`.
pub(crate) fn essential_name(name: &str) -> &str {
    let bytes = name.as_bytes();
    let is_separator = |at: &usize| {
        bytes[*at] != b'_' && bytes[*at + 1..*at + 4] == *b"___" && bytes[*at + 4] != b'_'
    };
    match (0..bytes.len().saturating_sub(4)).rev().find(is_separator) {
        Some(at) => name.get(..=at).unwrap_or(name),
        None => name,
    }
}

/// Same name, flavours apart.
pub(super) fn same_name(one: &str, other: &str) -> bool {
    essential_name(one) == essential_name(other)
}

/// Whether a member of one type can be read as one of the other (`bpf_core_fields_are_compat`).
pub(super) fn fields_are_compatible(
    local: &Btf,
    mut local_id: TypeId,
    target: &Btf,
    mut target_id: TypeId,
) -> bool {
    for _ in 0..MAX_DEPTH {
        let (Some(one), Some(other)) = (local.resolve(local_id), target.resolve(target_id)) else {
            return false;
        };
        let (kind, other_kind) = (local.kind(one), target.kind(other));
        if kind.composite().is_some() && other_kind.composite().is_some() {
            return true;
        }
        match (kind, other_kind) {
            (Kind::Ptr(_), Kind::Ptr(_)) | (Kind::Float { .. }, Kind::Float { .. }) => return true,
            (Kind::Int(one), Kind::Int(other)) => return one.offset == 0 && other.offset == 0,
            (Kind::Enum { .. }, Kind::Enum { .. }) | (Kind::Fwd { .. }, Kind::Fwd { .. }) => {
                let (one, other) = (local.name(one), target.name(other));
                return one.is_empty() || other.is_empty() || same_name(one, other);
            }
            (Kind::Array { element, .. }, Kind::Array { element: other, .. }) => {
                (local_id, target_id) = (*element, *other);
            }
            _ => return false,
        }
    }
    false
}

/// Whether both are of the same kinds, through and through; of structures only the kind counts
/// (`bpf_core_types_are_compat`).
pub(crate) fn are_compatible(
    local: &Btf,
    local_id: TypeId,
    target: &Btf,
    target_id: TypeId,
) -> bool {
    same_kind(local.kind(local_id), target.kind(target_id))
        && compatible_at(local, local_id, target, target_id, MAX_DEPTH)
}

fn compatible_at(
    local: &Btf,
    local_id: TypeId,
    target: &Btf,
    target_id: TypeId,
    depth: usize,
) -> bool {
    let (Some(one), Some(other)) = (local.resolve(local_id), target.resolve(target_id)) else {
        return false;
    };
    let (kind, other_kind) = (local.kind(one), target.kind(other));
    if depth == 0 || !same_kind(kind, other_kind) {
        return false;
    }
    let deeper = |one: TypeId, other: TypeId| compatible_at(local, one, target, other, depth - 1);
    match (kind, other_kind) {
        (
            Kind::Void | Kind::Struct(_) | Kind::Union(_) | Kind::Enum { .. } | Kind::Fwd { .. },
            _,
        ) => true,
        (Kind::Int(one), Kind::Int(other)) => one.offset == 0 && other.offset == 0,
        (Kind::Ptr(one), Kind::Ptr(other)) => deeper(*one, *other),
        (Kind::Array { element, .. }, Kind::Array { element: other, .. }) => {
            deeper(*element, *other)
        }
        (
            Kind::FuncProto { result, params },
            Kind::FuncProto {
                result: other_result,
                params: others,
            },
        ) => {
            params.len() == others.len()
                && params
                    .iter()
                    .zip(others)
                    .all(|((_, one), (_, other))| deeper(*one, *other))
                && deeper(*result, *other_result)
        }
        _ => false,
    }
}

/// Whether the target's type has all that the object's has (`bpf_core_types_match`).
pub(super) fn match_types(local: &Btf, local_id: TypeId, target: &Btf, target_id: TypeId) -> bool {
    let matching = Matching { local, target };
    matching.types(local_id, target_id, false, MAX_DEPTH)
}

struct Matching<'a> {
    local: &'a Btf,
    target: &'a Btf,
}

impl Matching<'_> {
    fn types(
        &self,
        local_id: TypeId,
        target_id: TypeId,
        behind_pointer: bool,
        depth: usize,
    ) -> bool {
        let (Some(one), Some(other)) =
            (self.local.resolve(local_id), self.target.resolve(target_id))
        else {
            return false;
        };
        if depth == 0 || !same_name(self.local.name(one), self.target.name(other)) {
            return false;
        }
        let deeper = |one: TypeId, other: TypeId, behind| self.types(one, other, behind, depth - 1);
        match (self.local.kind(one), self.target.kind(other)) {
            (Kind::Void, Kind::Void) => true,
            (one @ (Kind::Struct(_) | Kind::Union(_) | Kind::Fwd { .. }), other)
                if behind_pointer =>
            {
                // Behind a pointer, a declaration is as good as a definition.
                one.word() == other.word()
            }
            (Kind::Fwd { union }, Kind::Fwd { union: other }) => union == other,
            (Kind::Struct(one), Kind::Struct(other)) | (Kind::Union(one), Kind::Union(other)) => {
                self.composites(one, other, depth)
            }
            (
                Kind::Enum { size, values, .. },
                Kind::Enum {
                    size: other_size,
                    values: others,
                    ..
                },
            ) => size == other_size && self.enumerations(values, others),
            (Kind::Int(one), Kind::Int(other)) => {
                one.size == other.size && one.signed == other.signed
            }
            (Kind::Ptr(one), Kind::Ptr(other)) => deeper(*one, *other, true),
            (
                Kind::Array { element, len, .. },
                Kind::Array {
                    element: other,
                    len: other_len,
                    ..
                },
            ) => len == other_len && deeper(*element, *other, behind_pointer),
            (
                Kind::FuncProto { result, params },
                Kind::FuncProto {
                    result: other_result,
                    params: others,
                },
            ) => {
                let params_match = || {
                    let mut pairs = params.iter().zip(others);
                    pairs.all(|((_, one), (_, other))| deeper(*one, *other, behind_pointer))
                };
                params.len() == others.len()
                    && params_match()
                    && deeper(*result, *other_result, behind_pointer)
            }
            _ => false,
        }
    }

    /// Every member has one of its name and a matching type.
    fn composites(&self, one: &Composite, other: &Composite, depth: usize) -> bool {
        one.members.len() <= other.members.len()
            && one.members.iter().all(|member| {
                other.members.iter().any(|candidate| {
                    same_name(
                        self.local.text(member.name),
                        self.target.text(candidate.name),
                    ) && self.types(member.of, candidate.of, false, depth - 1)
                })
            })
    }

    /// Every value has one of its name.
    fn enumerations(&self, one: &[(Name, i64)], other: &[(Name, i64)]) -> bool {
        one.len() <= other.len()
            && one.iter().all(|(name, _)| {
                other.iter().any(|(candidate, _)| {
                    same_name(self.local.text(*name), self.target.text(*candidate))
                })
            })
    }
}
