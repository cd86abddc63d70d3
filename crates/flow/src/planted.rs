//! Known bugs, planted one at a time and in this feature only, to prove that the simulation finds
//! such bugs. docs/simulation.md lists them.

use std::cell::Cell;

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The acknowledgement that trails the last change is forgotten.
    TrailingAck,
    /// A closed subflow takes what it carried with it.
    DebtsOfClosed,
    /// Control records of a lost subflow are not owed again.
    ControlNotReowed,
    /// A window that opened again is not told.
    WindowNotTold,
    /// A control record that arrives twice counts twice, and a second FIN is an offence.
    FinTwice,
    /// When a path returns everything lost is held to have arrived by it.
    WrongTrust,
    /// The window of numbers seen moves one too far where it closes a gap.
    ReplayOffByOne,
    /// What a lost subflow had is repeated except for the oldest chunk.
    HeadNotRepeated,
    /// Flows that wait for room are not asked again when there is room.
    NeverUnparked,
    /// A flow that is over keeps its growth of the budget.
    CreditNotGivenBack,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Bug; 10] = [
        Bug::TrailingAck,
        Bug::DebtsOfClosed,
        Bug::ControlNotReowed,
        Bug::WindowNotTold,
        Bug::FinTwice,
        Bug::WrongTrust,
        Bug::ReplayOffByOne,
        Bug::HeadNotRepeated,
        Bug::NeverUnparked,
        Bug::CreditNotGivenBack,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug in every session that runs on this thread, or none.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
