//! Builds and encodes BTF of our own.

use super::{Btf, HEADER, Int, Kind, MAGIC, Member, Name, Type, TypeId, VERSION};

impl Btf {
    /// Adds a type; an empty name is none.
    pub fn add(&mut self, name: &str, kind: Kind) -> TypeId {
        let id = TypeId(number(self.types.len()));
        let name = self.add_name(name);
        self.types.push(Type { name, kind });
        id
    }

    /// Gives a type that was added before another form: how types get to refer to later ones.
    ///
    /// # Panics
    /// There is no such type.
    pub fn redefine(&mut self, id: TypeId, kind: Kind) {
        self.types[id.0 as usize].kind = kind;
    }

    /// Adds a name, for members, parameters and values.
    pub fn add_name(&mut self, name: &str) -> Name {
        if name.is_empty() {
            return Name::NONE;
        }
        let start = number(self.strings.len());
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        Name(start)
    }

    /// Adds an unsigned or signed integer of `size` bytes.
    pub fn add_int(&mut self, name: &str, size: u8, signed: bool) -> TypeId {
        let int = Int {
            size: u32::from(size),
            signed,
            boolean: name == "bool" || name == "_Bool",
            offset: 0,
            bits: size * 8,
        };
        self.add(name, Kind::Int(int))
    }

    /// Encodes it as the content of a `.BTF` section.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut types = Vec::new();
        for (_, of) in self.iter() {
            put_type(&mut types, of);
        }
        let mut out = Vec::with_capacity(HEADER + types.len() + self.strings.len());
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&[VERSION, 0]);
        let types_len = number(types.len());
        put(
            &mut out,
            &[
                number(HEADER),
                0,
                types_len,
                types_len,
                number(self.strings.len()),
            ],
        );
        out.extend_from_slice(&types);
        out.extend_from_slice(&self.strings);
        out
    }
}

/// Sizes here are those of types of ours, or of some that have been read.
fn number(size: usize) -> u32 {
    u32::try_from(size).expect("BTF stays below 4 GB")
}

fn put(out: &mut Vec<u8>, words: &[u32]) {
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

fn put_type(out: &mut Vec<u8>, of: &Type) {
    let (kind, flag, vlen, size) = head(&of.kind);
    put(
        out,
        &[
            of.name.0,
            u32::from(flag) << 31 | kind << 24 | number(vlen),
            size,
        ],
    );
    put_rest(out, &of.kind, flag);
}

/// Kind, flag, count, and size or type.
fn head(kind: &Kind) -> (u32, bool, usize, u32) {
    match kind {
        Kind::Void => (0, false, 0, 0),
        Kind::Int(int) => (1, false, 0, int.size),
        Kind::Ptr(to) => (2, false, 0, to.0),
        Kind::Array { .. } => (3, false, 0, 0),
        Kind::Struct(it) => (4, has_bit_fields(&it.members), it.members.len(), it.size),
        Kind::Union(it) => (5, has_bit_fields(&it.members), it.members.len(), it.size),
        Kind::Enum {
            size,
            signed,
            wide,
            values,
        } => (if *wide { 19 } else { 6 }, *signed, values.len(), *size),
        Kind::Fwd { union } => (7, *union, 0, 0),
        Kind::Typedef(to) => (8, false, 0, to.0),
        Kind::Volatile(to) => (9, false, 0, to.0),
        Kind::Const(to) => (10, false, 0, to.0),
        Kind::Restrict(to) => (11, false, 0, to.0),
        Kind::Func { proto, linkage } => (12, false, usize::from(*linkage), proto.0),
        Kind::FuncProto { result, params } => (13, false, params.len(), result.0),
        Kind::Var { of, .. } => (14, false, 0, of.0),
        Kind::Datasec { size, vars } => (15, false, vars.len(), *size),
        Kind::Float { size } => (16, false, 0, *size),
        Kind::DeclTag { of, .. } => (17, false, 0, of.0),
        Kind::TypeTag(to) => (18, false, 0, to.0),
    }
}

fn has_bit_fields(members: &[Member]) -> bool {
    members.iter().any(|member| member.bit_size > 0)
}

/// What follows the head.
fn put_rest(out: &mut Vec<u8>, kind: &Kind, flag: bool) {
    match kind {
        Kind::Int(int) => {
            let encoding = u8::from(int.signed) | u8::from(int.boolean) << 2;
            out.extend_from_slice(&[int.bits, 0, int.offset, encoding]);
        }
        Kind::Array {
            element,
            index,
            len,
        } => put(out, &[element.0, index.0, *len]),
        Kind::Struct(it) | Kind::Union(it) => {
            for member in &it.members {
                let size = if flag {
                    u32::from(member.bit_size) << 24
                } else {
                    0
                };
                put(out, &[member.name.0, member.of.0, member.bit_offset | size]);
            }
        }
        Kind::Enum { wide, values, .. } => {
            for (name, value) in values {
                let value = value.cast_unsigned();
                let (low, high) = (value as u32, (value >> 32) as u32);
                put(out, &[name.0, low]);
                if *wide {
                    put(out, &[high]);
                }
            }
        }
        Kind::FuncProto { params, .. } => {
            for (name, of) in params {
                put(out, &[name.0, of.0]);
            }
        }
        Kind::Var { linkage, .. } => put(out, &[*linkage]),
        Kind::Datasec { vars, .. } => {
            for var in vars {
                put(out, &[var.of.0, var.offset, var.size]);
            }
        }
        Kind::DeclTag { component, .. } => put(out, &[component.cast_unsigned()]),
        _ => {}
    }
}
