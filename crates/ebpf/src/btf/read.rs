//! Decodes a `.BTF` section (kernel/bpf/btf.c, libbpf's btf.c).
//!
//! What comes out is safe to walk: every name is one, and every number is that of a type.

use super::{
    Btf, BtfError, Composite, HEADER, Int, Kind, MAGIC, MAX_TYPES, MAX_VLEN, Member, Name,
    SectionVar, Type, TypeId, VERSION, text_at,
};
use crate::bytes::Bytes;

/// Bits of `info` that hold the count.
const VLEN_MASK: u32 = 0xffff;

impl Btf {
    /// Decodes the content of a `.BTF` section.
    ///
    /// # Errors
    /// It is malformed, or has more than is read.
    pub fn parse(data: &[u8]) -> Result<Self, BtfError> {
        let header = Header::parse(data)?;
        let strings = part(data, "the strings", header.strings)?;
        let mut bytes = Bytes::new(part(data, "the types", header.types)?);
        let mut btf = Self {
            strings: strings.to_vec(),
            ..Self::default()
        };
        if btf.strings.first() != Some(&0) {
            return Err(BtfError::BadName { id: 0, offset: 0 });
        }
        while !bytes.is_empty() {
            if btf.types.len() > MAX_TYPES {
                return Err(BtfError::TooMany {
                    what: "types",
                    count: btf.types.len(),
                    limit: MAX_TYPES,
                });
            }
            let id = u32::try_from(btf.types.len()).expect("fewer than MAX_TYPES");
            let of = Decoder { id, strings }.take_type(&mut bytes)?;
            btf.types.push(of);
        }
        btf.check_references()?;
        Ok(btf)
    }

    fn check_references(&self) -> Result<(), BtfError> {
        let count = self.types.len();
        for (id, of) in self.iter() {
            let missing = |to: &TypeId| usize::try_from(to.0).is_ok_and(|to| to >= count);
            if let Some(to) = of.kind.references().find(missing) {
                return Err(BtfError::NoSuchType {
                    id: id.0,
                    to: to.0,
                    count,
                });
            }
        }
        Ok(())
    }
}

impl Kind {
    /// Every type that it refers to.
    fn references(&self) -> Box<dyn Iterator<Item = TypeId> + '_> {
        match self {
            Self::Void
            | Self::Int(_)
            | Self::Enum { .. }
            | Self::Fwd { .. }
            | Self::Float { .. } => Box::new(std::iter::empty()),
            Self::Ptr(to)
            | Self::Typedef(to)
            | Self::Volatile(to)
            | Self::Const(to)
            | Self::Restrict(to)
            | Self::TypeTag(to)
            | Self::Func { proto: to, .. }
            | Self::Var { of: to, .. }
            | Self::DeclTag { of: to, .. } => Box::new(std::iter::once(*to)),
            Self::Array { element, index, .. } => Box::new([*element, *index].into_iter()),
            Self::Struct(composite) | Self::Union(composite) => {
                Box::new(composite.members.iter().map(|member| member.of))
            }
            Self::FuncProto { result, params } => {
                Box::new(std::iter::once(*result).chain(params.iter().map(|(_, of)| *of)))
            }
            Self::Datasec { vars, .. } => Box::new(vars.iter().map(|var| var.of)),
        }
    }
}

/// Where types and strings are: start and length, within the section.
struct Header {
    types: (usize, u32),
    strings: (usize, u32),
}

impl Header {
    fn parse(data: &[u8]) -> Result<Self, BtfError> {
        let mut bytes = Bytes::new(data);
        let truncated = BtfError::Truncated {
            what: "the header",
            at: data.len(),
        };
        let mut next = || bytes.u32().ok_or_else(|| truncated.clone());
        let [magic0, magic1, version, _flags] = next()?.to_le_bytes();
        let magic = u16::from_le_bytes([magic0, magic1]);
        if magic != MAGIC || version != VERSION {
            return Err(BtfError::Header { magic, version });
        }
        let length = usize::try_from(next()?).unwrap_or(usize::MAX).max(HEADER);
        let mut part = || -> Result<(usize, u32), BtfError> {
            let start = usize::try_from(next()?).unwrap_or(usize::MAX);
            Ok((length.saturating_add(start), next()?))
        };
        Ok(Self {
            types: part()?,
            strings: part()?,
        })
    }
}

fn part<'a>(
    data: &'a [u8],
    what: &'static str,
    (start, len): (usize, u32),
) -> Result<&'a [u8], BtfError> {
    let end = start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
    data.get(start..end).ok_or(BtfError::Truncated {
        what,
        at: data.len(),
    })
}

/// Decodes one type.
struct Decoder<'a> {
    id: u32,
    strings: &'a [u8],
}

impl Decoder<'_> {
    fn take_type(&self, bytes: &mut Bytes<'_>) -> Result<Type, BtfError> {
        let name = self.name(self.u32(bytes)?)?;
        let info = self.u32(bytes)?;
        let size = self.u32(bytes)?;
        let vlen = usize::try_from(info & VLEN_MASK).unwrap_or(usize::MAX);
        let kind = info >> 24 & 0x1f;
        let flag = info >> 31 == 1;
        if vlen > MAX_VLEN && !matches!(kind, 12 | 15) {
            return Err(BtfError::TooMany {
                what: "members of one type",
                count: vlen,
                limit: MAX_VLEN,
            });
        }
        let to = TypeId(size);
        let kind = match kind {
            1 => self.int(bytes, size)?,
            2 => Kind::Ptr(to),
            3 => Kind::Array {
                element: TypeId(self.u32(bytes)?),
                index: TypeId(self.u32(bytes)?),
                len: self.u32(bytes)?,
            },
            4 => Kind::Struct(self.composite(bytes, size, vlen, flag)?),
            5 => Kind::Union(self.composite(bytes, size, vlen, flag)?),
            6 => self.enumeration(bytes, size, vlen, flag)?,
            7 => Kind::Fwd { union: flag },
            8 => Kind::Typedef(to),
            9 => Kind::Volatile(to),
            10 => Kind::Const(to),
            11 => Kind::Restrict(to),
            12 => Kind::Func {
                proto: to,
                linkage: u16::try_from(info & VLEN_MASK).expect("masked to 16 bits"),
            },
            13 => self.prototype(bytes, to, vlen)?,
            14 => Kind::Var {
                of: to,
                linkage: self.u32(bytes)?,
            },
            15 => self.section(bytes, size, vlen)?,
            16 => Kind::Float { size },
            17 => Kind::DeclTag {
                of: to,
                component: self.u32(bytes)?.cast_signed(),
            },
            18 => Kind::TypeTag(to),
            19 => self.wide_enumeration(bytes, size, vlen, flag)?,
            kind => return Err(BtfError::UnknownKind { id: self.id, kind }),
        };
        Ok(Type { name, kind })
    }

    fn u32(&self, bytes: &mut Bytes<'_>) -> Result<u32, BtfError> {
        let at = bytes.position();
        bytes.u32().ok_or(BtfError::Truncated {
            what: "the types",
            at,
        })
    }

    fn name(&self, offset: u32) -> Result<Name, BtfError> {
        let bad = BtfError::BadName {
            id: self.id,
            offset,
        };
        text_at(self.strings, offset).ok_or(bad)?;
        Ok(Name(offset))
    }

    fn int(&self, bytes: &mut Bytes<'_>, size: u32) -> Result<Kind, BtfError> {
        let [bits, _, offset, encoding] = self.u32(bytes)?.to_le_bytes();
        Ok(Kind::Int(Int {
            size,
            signed: encoding & 1 != 0,
            boolean: encoding & 4 != 0,
            offset,
            bits,
        }))
    }

    /// With `flag`, a member's offset has the size of its bit field in the upper 8 bits.
    fn composite(
        &self,
        bytes: &mut Bytes<'_>,
        size: u32,
        vlen: usize,
        flag: bool,
    ) -> Result<Composite, BtfError> {
        let member = || {
            let name = self.name(self.u32(bytes)?)?;
            let of = TypeId(self.u32(bytes)?);
            let [low0, low1, low2, high] = self.u32(bytes)?.to_le_bytes();
            let (top, bit_size) = if flag { (0, high) } else { (high, 0) };
            Ok(Member {
                name,
                of,
                bit_offset: u32::from_le_bytes([low0, low1, low2, top]),
                bit_size,
            })
        };
        Ok(Composite {
            size,
            members: times(vlen, member)?,
        })
    }

    fn enumeration(
        &self,
        bytes: &mut Bytes<'_>,
        size: u32,
        vlen: usize,
        signed: bool,
    ) -> Result<Kind, BtfError> {
        let value = || {
            let name = self.name(self.u32(bytes)?)?;
            let value = self.u32(bytes)?;
            let signed_value = i64::from(value.cast_signed());
            Ok((
                name,
                if signed {
                    signed_value
                } else {
                    i64::from(value)
                },
            ))
        };
        Ok(Kind::Enum {
            size,
            signed,
            wide: false,
            values: times(vlen, value)?,
        })
    }

    fn wide_enumeration(
        &self,
        bytes: &mut Bytes<'_>,
        size: u32,
        vlen: usize,
        signed: bool,
    ) -> Result<Kind, BtfError> {
        let value = || {
            let name = self.name(self.u32(bytes)?)?;
            let low = u64::from(self.u32(bytes)?);
            let high = u64::from(self.u32(bytes)?);
            Ok((name, (high << 32 | low).cast_signed()))
        };
        Ok(Kind::Enum {
            size,
            signed,
            wide: true,
            values: times(vlen, value)?,
        })
    }

    fn prototype(
        &self,
        bytes: &mut Bytes<'_>,
        result: TypeId,
        vlen: usize,
    ) -> Result<Kind, BtfError> {
        let param = || Ok((self.name(self.u32(bytes)?)?, TypeId(self.u32(bytes)?)));
        Ok(Kind::FuncProto {
            result,
            params: times(vlen, param)?,
        })
    }

    fn section(&self, bytes: &mut Bytes<'_>, size: u32, vlen: usize) -> Result<Kind, BtfError> {
        let var = || {
            Ok(SectionVar {
                of: TypeId(self.u32(bytes)?),
                offset: self.u32(bytes)?,
                size: self.u32(bytes)?,
            })
        };
        Ok(Kind::Datasec {
            size,
            vars: times(vlen, var)?,
        })
    }
}

/// `count` items; memory is taken as they come, not as they are announced.
fn times<T>(count: usize, item: impl FnMut() -> Result<T, BtfError>) -> Result<Vec<T>, BtfError> {
    std::iter::repeat_with(item).take(count).collect()
}
