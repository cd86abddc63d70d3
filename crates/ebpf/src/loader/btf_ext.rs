//! `.BTF.ext`: what the compiler recorded about instructions (Documentation/bpf/btf.rst).
//!
//! Only the questions about kernel types are read; source lines are not.

use super::core_relo::Question;
use super::{LoadFault, limits};
use crate::btf::{Btf, TypeId};
use crate::bytes::Bytes;

/// A question about kernel types, and which instruction wants the answer.
pub(super) struct Record<'a> {
    /// The instruction's section.
    pub(super) section: &'a str,
    /// Where it is in it, in bytes.
    pub(super) offset: u32,
    /// About what type.
    pub(super) root: TypeId,
    /// About which member.
    pub(super) access: &'a str,
    /// What about it.
    pub(super) question: Question,
}

/// Bytes of a record that are understood; later compilers may append to it.
const RECORD: usize = 16;

/// All questions, in their order.
pub(super) fn parse<'a>(data: &'a [u8], btf: &'a Btf) -> Result<Vec<Record<'a>>, LoadFault> {
    let Some(part) = questions(data)? else {
        return Ok(Vec::new());
    };
    let mut reader = Reader {
        bytes: Bytes::new(part),
        btf,
    };
    let mut records = Vec::new();
    if reader.bytes.is_empty() {
        return Ok(records);
    }
    let size = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
    if size < RECORD {
        return Err(reader.fault("its records are too short"));
    }
    while !reader.bytes.is_empty() {
        let section = reader.string()?;
        for _ in 0..reader.number()? {
            limits::check(
                "questions about kernel types",
                records.len(),
                limits::CORE_RELOCATIONS,
            )?;
            records.push(reader.record(section, size)?);
        }
    }
    Ok(records)
}

/// The part with the questions; objects that ask nothing may have none.
fn questions(data: &[u8]) -> Result<Option<&[u8]>, LoadFault> {
    let fault = |why| LoadFault::BtfExt { why, at: 0 };
    let mut bytes = Bytes::new(data);
    let mut word = || {
        bytes
            .u32()
            .map(|word| usize::try_from(word).unwrap_or(usize::MAX))
    };
    let short = || fault("the header is too short");
    // Magic, version and flags were those of .BTF; the next part says how long the header is.
    let (_, header) = (word().ok_or_else(short)?, word().ok_or_else(short)?);
    // Functions and lines: start and length of each.
    for _ in 0..4 {
        word().ok_or_else(short)?;
    }
    if header < 32 {
        return Ok(None);
    }
    let (start, len) = (word().ok_or_else(short)?, word().ok_or_else(short)?);
    let start = header.saturating_add(start);
    let part = data.get(start..start.saturating_add(len));
    part.map(Some)
        .ok_or_else(|| fault("the part about kernel types is not within it"))
}

struct Reader<'a> {
    bytes: Bytes<'a>,
    btf: &'a Btf,
}

impl<'a> Reader<'a> {
    fn fault(&self, why: &'static str) -> LoadFault {
        LoadFault::BtfExt {
            why,
            at: self.bytes.position(),
        }
    }

    fn number(&mut self) -> Result<u32, LoadFault> {
        self.bytes
            .u32()
            .ok_or_else(|| self.fault("it ends within a record"))
    }

    fn string(&mut self) -> Result<&'a str, LoadFault> {
        let offset = self.number()?;
        self.btf
            .string_at(offset)
            .ok_or_else(|| self.fault("a name is not among the strings"))
    }

    fn record(&mut self, section: &'a str, size: usize) -> Result<Record<'a>, LoadFault> {
        let record = Record {
            section,
            offset: self.number()?,
            root: TypeId(self.number()?),
            access: self.string()?,
            question: {
                let number = self.number()?;
                Question::from_number(number)
                    .ok_or_else(|| self.fault("a question of an unknown kind"))?
            },
        };
        let rest = self.bytes.take(size - RECORD);
        rest.map(|_| record)
            .ok_or_else(|| self.fault("it ends within a record"))
    }
}
