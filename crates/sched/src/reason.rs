//! Why a scheduler is not used (any more): one list for loader, machine, guard, incidents and pages.

use std::fmt;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It did not load, or the static pass refused it.
    LoadRefused,
    /// A call took more instructions than it may.
    FuelExhausted,
    /// It touched memory that it was not handed.
    MemoryFault,
    /// It marked what it was not given.
    MarkedStranger,
    /// It marked nothing although data waited and nothing was in flight that could wake it.
    Stalled,
    /// `default` had to step in for it too often.
    TooManyOverrides,
    /// Its calls together took more of a thread than they may.
    CpuShare,
    /// It calls itself, or nests deeper than there is stack.
    Recursion,
    /// It panicked.
    Panicked,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 9] = [
        Reason::LoadRefused,
        Reason::FuelExhausted,
        Reason::MemoryFault,
        Reason::MarkedStranger,
        Reason::Stalled,
        Reason::TooManyOverrides,
        Reason::CpuShare,
        Reason::Recursion,
        Reason::Panicked,
    ];

    /// Its name in files and interfaces.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::LoadRefused => "load_refused",
            Reason::FuelExhausted => "fuel_exhausted",
            Reason::MemoryFault => "memory_fault",
            Reason::MarkedStranger => "marked_stranger",
            Reason::Stalled => "stalled",
            Reason::TooManyOverrides => "too_many_overrides",
            Reason::CpuShare => "cpu_share",
            Reason::Recursion => "recursion",
            Reason::Panicked => "panicked",
        }
    }

    /// Its number on the wire, from 1.
    pub fn code(self) -> u8 {
        let position = Reason::ALL.iter().position(|&reason| reason == self);
        position.map_or(0, |position| position as u8 + 1)
    }

    /// The reason of that number.
    pub fn by_code(code: u8) -> Option<Reason> {
        let position = usize::from(code).checked_sub(1)?;
        Reason::ALL.get(position).copied()
    }

    /// The reason of that name.
    pub fn by_name(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::LoadRefused => "load refused",
            Reason::FuelExhausted => "fuel exhausted",
            Reason::MemoryFault => "memory fault",
            Reason::MarkedStranger => "marked what it was not given",
            Reason::Stalled => "stalled",
            Reason::TooManyOverrides => "too many overrides",
            Reason::CpuShare => "CPU share over budget",
            Reason::Recursion => "recursion or stack",
            Reason::Panicked => "panicked",
        })
    }
}

/// What a scheduler did that it must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Why it is ejected.
    pub reason: Reason,
    /// The particulars, for people.
    pub text: String,
    /// The instruction at fault, of those that run in the machine.
    pub pc: Option<usize>,
    /// The instructions around it, a line each.
    pub listing: Vec<String>,
}

impl Offence {
    /// One without an instruction at fault.
    pub fn new(reason: Reason, text: impl Into<String>) -> Offence {
        Offence {
            reason,
            text: text.into(),
            pc: None,
            listing: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for reason in Reason::ALL {
            assert_eq!(Reason::by_name(reason.name()), Some(reason));
            assert_eq!(Reason::by_code(reason.code()), Some(reason));
        }
    }
}
