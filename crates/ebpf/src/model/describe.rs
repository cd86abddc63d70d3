//! The model's tables as BTF.

use std::collections::HashMap;

use super::kfuncs::KFUNCS;
use super::{STRUCTS, Struct, Type};
use crate::btf::{self, Btf, Composite, Kind, TypeId};

/// Linkage of a function that others may call.
const GLOBAL: u16 = 1;

/// Every structure, and every function with its type.
pub(super) fn describe() -> Btf {
    let mut describer = Describer::default();
    for structure in STRUCTS {
        describer.define(structure);
    }
    for kfunc in KFUNCS {
        let params = kfunc
            .params
            .iter()
            .map(|of| (btf::Name::NONE, describer.id(*of)));
        let params = params.collect();
        let result = describer.id(kfunc.result);
        let proto = describer.btf.add("", Kind::FuncProto { result, params });
        describer.btf.add(
            kfunc.name,
            Kind::Func {
                proto,
                linkage: GLOBAL,
            },
        );
    }
    describer.btf
}

#[derive(Default)]
struct Describer {
    btf: Btf,
    /// What has been described; a structure as soon as somebody refers to it.
    known: HashMap<Type, TypeId>,
}

impl Describer {
    fn define(&mut self, structure: &Struct) {
        let id = self.id(Type::Struct(structure.name));
        let members = structure.members.iter().map(|member| {
            let (bit, bit_size) = match member.of {
                Type::Bit(bit) => (u32::from(bit), 1),
                _ => (0, 0),
            };
            btf::Member {
                name: self.btf.add_name(member.name),
                of: self.id(member.of),
                bit_offset: member.offset * 8 + bit,
                bit_size,
            }
        });
        let members = members.collect();
        let size = structure.size;
        self.btf
            .redefine(id, Kind::Struct(Composite { size, members }));
    }

    fn id(&mut self, of: Type) -> TypeId {
        if let Some(id) = self.known.get(&of) {
            return *id;
        }
        let id = self.add(of);
        self.known.insert(of, id);
        id
    }

    fn add(&mut self, of: Type) -> TypeId {
        match of {
            Type::Void => TypeId::VOID,
            Type::Bool => self.btf.add_int("_Bool", 1, false),
            Type::Char => self.btf.add_int("char", 1, true),
            Type::U8 => self.btf.add_int("unsigned char", 1, false),
            Type::U16 => self.btf.add_int("unsigned short", 2, false),
            Type::U32 => self.btf.add_int("unsigned int", 4, false),
            Type::U64 => self.btf.add_int("unsigned long long", 8, false),
            Type::Int => self.btf.add_int("int", 4, true),
            Type::ULong => self.btf.add_int("unsigned long", 8, false),
            Type::Bit(_) => self.id(Type::U32),
            Type::Ptr(to) => {
                let to = self.id(*to);
                self.btf.add("", Kind::Ptr(to))
            }
            // A mere declaration, until it is defined.
            Type::Struct(name) => self.btf.add(name, Kind::Fwd { union: false }),
            Type::Array(element, len) => {
                let kind = Kind::Array {
                    element: self.id(*element),
                    index: self.id(Type::U32),
                    len,
                };
                self.btf.add("", kind)
            }
            Type::Callback(count) => self.callback(count),
        }
    }

    fn callback(&mut self, count: u8) -> TypeId {
        let pointer = self.id(Type::Ptr(&Type::Void));
        let kind = Kind::FuncProto {
            result: self.id(Type::Int),
            params: (0..count).map(|_| (btf::Name::NONE, pointer)).collect(),
        };
        let proto = self.btf.add("", kind);
        self.btf.add("", Kind::Ptr(proto))
    }
}
