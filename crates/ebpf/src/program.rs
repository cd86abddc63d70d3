//! A program that passed the static pass and is ready to run.

use std::ops::Range;

use crate::Insn;
use crate::disasm::disassemble;
use crate::kernel::{Bare, Kernel};
use crate::maps;
use crate::object::{Callbacks, Function, MapSpec, Object};
use crate::op::Op;
use crate::opcode::{CALL, JMP};
use crate::refusal::{Place, Refusal};
use crate::verify::{self, Entry, Unit};

/// What a callback finds in its registers: r1, the context.
const CONTEXT: u16 = 1 << 1;
/// What a raw program finds: r1 and r2, memory and its length.
const MEMORY: u16 = 1 << 1 | 1 << 2;

/// Code that was checked, with all that messages about it need. It does not change; threads can
/// share it.
#[derive(Debug)]
pub struct Program {
    pub(crate) ops: Vec<Op>,
    pub(crate) maps: Vec<MapSpec>,
    pub(crate) poison: Vec<String>,
    functions: Vec<Function>,
    callbacks: Callbacks,
    code: Vec<Insn>,
}

impl Program {
    /// Checks a loaded object against what the kernel `K` has.
    pub fn check<K: Kernel>(object: &Object) -> Result<Self, Refusal> {
        let Callbacks {
            init,
            release,
            get_send,
            get_retrans,
        } = object.callbacks;
        let decides = [Some(get_send), get_retrans].into_iter().flatten();
        let tells = [init, release].into_iter().flatten();
        let entries: Vec<Entry> = decides
            .map(|function| (function, true))
            .chain(tells.map(|function| (function, false)))
            .map(|(function, returns)| Entry {
                function,
                registers: CONTEXT,
                returns,
            })
            .collect();
        let unit = Unit {
            code: &object.code,
            functions: &object.functions,
            entries: &entries,
            maps: &object.maps,
            kfuncs: &object.kfuncs,
            known: K::KFUNCS,
            poison: object.poison.len(),
        };
        Self::from_unit(&unit, object.callbacks, object.poison.clone())
    }

    /// Checks instructions that came without an object. They start with the first, with memory in
    /// r1 and its length in r2; functions are where local calls lead to.
    pub fn raw(code: &[Insn]) -> Result<Self, Refusal> {
        let functions = raw_functions(code);
        let entry = Entry {
            function: 0,
            registers: MEMORY,
            returns: true,
        };
        let unit = Unit {
            code,
            functions: &functions,
            entries: &[entry],
            maps: &[],
            kfuncs: &[],
            known: Bare::KFUNCS,
            poison: 0,
        };
        let callbacks = Callbacks {
            init: None,
            release: None,
            get_send: 0,
            get_retrans: None,
        };
        Self::from_unit(&unit, callbacks, Vec::new())
    }

    fn from_unit(
        unit: &Unit<'_>,
        callbacks: Callbacks,
        poison: Vec<String>,
    ) -> Result<Self, Refusal> {
        maps::check(unit.maps)?;
        Ok(Self {
            ops: verify::verify(unit)?,
            maps: unit.maps.to_vec(),
            poison,
            functions: unit.functions.to_vec(),
            callbacks,
            code: unit.code.to_vec(),
        })
    }

    /// Which functions are called for what.
    pub fn callbacks(&self) -> Callbacks {
        self.callbacks
    }

    /// All functions, in their order in the code.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Where instruction `pc` of the code is, for people.
    pub fn place(&self, pc: usize) -> Place {
        place(&self.code, &self.functions, pc)
    }

    /// The instructions of `range` that there are, a line each, as `function+number: text`.
    pub fn listing(&self, range: Range<usize>) -> Vec<String> {
        let within = range.start..range.end.min(self.code.len());
        let lines = within.filter_map(|pc| match self.place(pc) {
            Place::Instruction {
                function,
                number,
                text,
            } => Some(format!("{function}+{number}: {text}")),
            _ => None,
        });
        lines.collect()
    }
}

/// Functions start at the first instruction, and where a local call leads to.
fn raw_functions(code: &[Insn]) -> Vec<Function> {
    const LOCAL: u8 = 1;
    let called = code.iter().enumerate().filter_map(|(at, insn)| {
        let local = insn.code == JMP | CALL && insn.src == LOCAL;
        let target = usize::try_from(at as i64 + 1 + i64::from(insn.imm)).ok()?;
        (local && target < code.len()).then_some(target)
    });
    let mut starts: Vec<usize> = std::iter::once(0).chain(called).collect();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().copied().skip(1).chain([code.len()]);
    let functions = starts.iter().zip(ends).map(|(&start, end)| Function {
        name: if start == 0 {
            "main".to_owned()
        } else {
            format!("function_{start}")
        },
        section: String::new(),
        start,
        end,
    });
    functions.collect()
}

/// Where instruction `pc` is.
pub(crate) fn place(code: &[Insn], functions: &[Function], pc: usize) -> Place {
    let function = functions.iter().find(|f| (f.start..f.end).contains(&pc));
    match function {
        Some(function) => Place::Instruction {
            function: function.name.clone(),
            number: pc - function.start,
            text: disassemble(code, pc),
        },
        None => Place::Program,
    }
}
