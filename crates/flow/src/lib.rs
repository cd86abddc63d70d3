//! Sessions, flows and records of Guywire: the protocol core, without input or output.
//!
//! A [`Session`] is one router with one server, seen from one end. It is told what arrived, what
//! the kernel says of each subflow and what time it is; it answers with records to send and events.
//! No socket, no clock, no task lives here: everything runs under a virtual clock in the tests.
//!
//! | module | what it holds |
//! |---|---|
//! | [`session`] | the state machine: commands, inputs, polls |
//! | [`record`], [`varint`] | the wire |
//! | [`reason`] | why flows and sessions end |
//! | `flow`, `send`, `recv` | one flow: chunks, debts, reassembly, its acknowledgements |
//! | `subflow`, `progress`, `path`, `patience` | what is known of a subflow and of its path |
//! | `outgoing` | [`Outgoing`]: what a subflow is given to send |
//! | `control`, `credit`, `timer` | the control sequence, the memory budget, the deadlines |

#![forbid(unsafe_code)]

/// Whether a known bug is planted here: never without the feature.
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($bug:ident) => {
        crate::planted::is_planted(crate::planted::Bug::$bug)
    };
}

mod control;
mod credit;
mod flow;
mod outgoing;
mod path;
mod patience;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod progress;
mod proven;
mod reader;
pub mod reason;
pub mod record;
mod recv;
mod send;
pub mod session;
mod subflow;
mod timer;
pub mod varint;

pub use credit::MIN_SHARE;
pub use guywire_sched::{SubflowId, Time};
pub use outgoing::Outgoing;
pub use path::{PathAttributes, PathState};
pub use reason::{FlowReason, SessionReason};
pub use record::{Destination, FlowKind};
pub use session::{
    Answer, Config, Event, Gone, Incident, MAX_SUBFLOWS_PER_PATH, PathReport, Read, Session, Side,
};
pub use subflow::SubflowInfo;
