//! The static pass: what can be refused before the first run is.
//!
//! Its steps, each over the whole code: every instruction is one ([`crate::decode`]) and every jump
//! stays in its function ([`structure`]); calls form no cycle and fit the stack ([`calls`]); no
//! register is read before it is written ([`registers`]). What depends on values, such as where a
//! pointer points to, is the machine's to check at each access.
//!
//! The time it takes is linear in the length of the code, and that is bounded: each instruction is
//! decoded once, and looked at again only when fewer registers reach it than before, which is at most
//! eleven times in each of two walks.

mod calls;
mod registers;
mod structure;

use crate::Insn;
use crate::decode::References;
use crate::kernel::Kfunc;
use crate::object::{Function, MapSpec};
use crate::op::Op;
use crate::program;
use crate::refusal::{Place, Problem, Refusal};

/// Most instructions of a program. The largest scheduler seen has 300, the kernel reads a million.
const MAX_CODE: usize = 65_536;
/// Most functions of a program.
const MAX_FUNCTIONS: usize = 1_024;

/// A function that is called from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Its number.
    pub(crate) function: usize,
    /// Bit n: register n holds something.
    pub(crate) registers: u16,
    /// Whether it has to set r0.
    pub(crate) returns: bool,
}

/// All that the static pass looks at.
pub(crate) struct Unit<'a> {
    pub(crate) code: &'a [Insn],
    pub(crate) functions: &'a [Function],
    pub(crate) entries: &'a [Entry],
    pub(crate) maps: &'a [MapSpec],
    /// Names of the object's kfuncs.
    pub(crate) kfuncs: &'a [String],
    /// The kernel's kfuncs.
    pub(crate) known: &'a [Kfunc],
    /// How many reasons for poison there are.
    pub(crate) poison: usize,
}

impl Unit<'_> {
    /// Refuses for what is wrong with instruction `pc`.
    fn refuse(&self, pc: usize, problem: Problem) -> Refusal {
        Refusal {
            place: program::place(self.code, self.functions, pc),
            problem,
        }
    }

    fn references(&self) -> References<'_> {
        References {
            maps: self.maps,
            kfuncs: self.kfuncs,
            known: self.known,
            poison: self.poison,
        }
    }
}

/// Checks everything; the answer is the code, decoded.
pub(crate) fn verify(unit: &Unit<'_>) -> Result<Vec<Op>, Refusal> {
    check_bounds(unit)?;
    let ops = structure::decode(unit)?;
    let calls = calls::check(unit, &ops)?;
    registers::check(unit, &ops, &calls)?;
    Ok(ops)
}

/// Counts are within limits, functions follow each other, callbacks are functions.
fn check_bounds(unit: &Unit<'_>) -> Result<(), Refusal> {
    let whole = |problem| {
        Err(Refusal {
            place: Place::Program,
            problem,
        })
    };
    let (count, most) = (unit.code.len(), MAX_CODE);
    if count > most {
        return whole(Problem::TooLong { count, most });
    }
    let (count, most) = (unit.functions.len(), MAX_FUNCTIONS);
    if count > most {
        return whole(Problem::TooManyFunctions { count, most });
    }
    let mut previous = 0;
    for &Function {
        ref name,
        start,
        end,
        ..
    } in unit.functions
    {
        if start < previous || end <= start || end > unit.code.len() {
            return Err(Refusal {
                place: Place::Function(name.clone()),
                problem: Problem::FunctionBounds { start, end },
            });
        }
        previous = end;
    }
    let mut entries = unit.entries.iter().map(|entry| entry.function);
    match entries.find(|&number| number >= unit.functions.len()) {
        Some(number) => whole(Problem::NoSuchFunction { number }),
        None => Ok(()),
    }
}
