//! Which function calls which: no cycles, and no deeper than there are stack frames.

use super::Unit;
use crate::memory::FRAMES;
use crate::op::{Kind, Op};
use crate::refusal::{Place, Problem, Refusal};

/// The calls of a program.
pub(super) struct Calls {
    /// For each function the functions it calls.
    callees: Vec<Vec<usize>>,
    /// How many frames a call of each function takes; 0 as long as it is not known.
    heights: Vec<usize>,
    /// All functions, called ones before their callers.
    pub(super) order: Vec<usize>,
}

/// Finds all local calls and what they come to.
pub(super) fn check(unit: &Unit<'_>, ops: &[Op]) -> Result<Calls, Refusal> {
    let count = unit.functions.len();
    let mut calls = Calls {
        callees: vec![Vec::new(); count],
        heights: vec![0; count],
        order: Vec::with_capacity(count),
    };
    for (number, function) in unit.functions.iter().enumerate() {
        for pc in (function.start..function.end).filter(|&pc| ops[pc].kind == Kind::CallLocal) {
            let callee = callee(unit, ops, pc)?;
            calls.callees[number].push(callee);
        }
    }
    for callees in &mut calls.callees {
        callees.sort_unstable();
        callees.dedup();
    }
    for function in 0..count {
        calls.visit(unit, function, &mut Vec::new())?;
    }
    Ok(calls)
}

/// The function that the local call at `pc` leads to.
pub(super) fn callee(unit: &Unit<'_>, ops: &[Op], pc: usize) -> Result<usize, Refusal> {
    let target = pc as i64 + 1 + i64::from(ops[pc].off);
    let starts = usize::try_from(target).ok();
    let found = starts.and_then(|start| {
        let functions = unit.functions;
        functions.binary_search_by_key(&start, |f| f.start).ok()
    });
    found.ok_or_else(|| unit.refuse(pc, Problem::CallOut { target }))
}

impl Calls {
    /// Visits `function`, called by the last of `path`, and all that it calls. The path is never
    /// longer than there are frames, and no function is visited to its end twice.
    fn visit(
        &mut self,
        unit: &Unit<'_>,
        function: usize,
        path: &mut Vec<usize>,
    ) -> Result<(), Refusal> {
        let recursion = path.contains(&function);
        path.push(function);
        let depth = path.len() + self.heights[function].saturating_sub(1);
        if recursion || depth > FRAMES {
            let names = path
                .iter()
                .map(|&number| unit.functions[number].name.as_str());
            let chain = names.collect::<Vec<_>>().join(" -> ");
            return Err(Refusal {
                place: Place::Function(unit.functions[function].name.clone()),
                problem: if recursion {
                    Problem::Recursion { chain }
                } else {
                    let most = FRAMES;
                    Problem::TooDeep { depth, most, chain }
                },
            });
        }
        if self.heights[function] == 0 {
            let callees = std::mem::take(&mut self.callees[function]);
            for &callee in &callees {
                self.visit(unit, callee, path)?;
            }
            let highest = callees.iter().map(|&callee| self.heights[callee]).max();
            self.heights[function] = 1 + highest.unwrap_or(0);
            self.order.push(function);
        }
        path.pop();
        Ok(())
    }
}
