//! What may happen in a network and what must not.
//!
//! A flow may be reset where its program reset it, where its destination refused it, and where the
//! session ended because no path was left for five minutes. Nowhere else. Every other flow brings
//! every byte, in order, and completes at both ends; then nothing of it is left.

use std::sync::Arc;
use std::time::Duration;

use guywire_flow::{FlowReason, SessionReason};
use guywire_lab::trace::TraceError;
use guywire_sched::Reason;
use thiserror::Error;

use crate::network::Class;

/// A network in which something went wrong. Its seed plays it again.
#[derive(Clone, Debug, Error)]
#[error("seed {seed} ({class:?}) after {at:?}: {trouble}")]
pub struct Failure {
    /// The network's seed.
    pub seed: u64,
    /// What it was drawn for.
    pub class: Class,
    /// The virtual time.
    pub at: Duration,
    /// What went wrong.
    pub trouble: Trouble,
}

/// What went wrong.
#[derive(Clone, Debug, Error)]
pub enum Trouble {
    /// The state machine's own books are wrong.
    #[error("{end}: {what}")]
    Invariant {
        /// Which end.
        end: &'static str,
        /// What it says.
        what: String,
    },
    /// A byte other than the one that was written.
    #[error("talk {talk}: another byte at {at} than was written")]
    Content {
        /// Which talk.
        talk: usize,
        /// The byte's number.
        at: u64,
    },
    /// A direction ended before or after its last byte.
    #[error("talk {talk}: {read} bytes were read of {written} that were written")]
    Truncated {
        /// Which talk.
        talk: usize,
        /// What was read.
        read: u64,
        /// What was written.
        written: u64,
    },
    /// A reset that nothing called for.
    #[error("talk {talk} was reset at the {end} though nothing called for it: {reason}")]
    Reset {
        /// Which talk.
        talk: usize,
        /// Where.
        end: &'static str,
        /// What was given as the reason.
        reason: FlowReason,
    },
    /// The session ended though paths were left, or never did.
    #[error("the session ended at the {end}: {reason}")]
    Ended {
        /// Where.
        end: &'static str,
        /// Why.
        reason: SessionReason,
    },
    /// A record was refused.
    #[error("the {end} refused a record: {reason}")]
    Refused {
        /// Which end.
        end: &'static str,
        /// Why.
        reason: String,
    },
    /// A flow could not be opened.
    #[error("talk {talk} could not be opened: {reason}")]
    NotOpened {
        /// Which talk.
        talk: usize,
        /// Why.
        reason: FlowReason,
    },
    /// A destination was connected to twice.
    #[error("talk {talk} was opened at the server twice")]
    OpenedTwice {
        /// Which talk.
        talk: usize,
    },
    /// A talk stood still though a link worked.
    #[error("talk {talk} stands still for {stood:?} though a link works: {state}")]
    Stall {
        /// Which talk.
        talk: usize,
        /// How long.
        stood: Duration,
        /// How far it had come.
        state: String,
    },
    /// Nothing would ever happen again.
    #[error("the clock stands still: {state}")]
    Stuck {
        /// How far the talks had come.
        state: String,
    },
    /// Too many steps or too much time.
    #[error("not finished after {steps} steps: {state}")]
    Unfinished {
        /// Steps taken.
        steps: u64,
        /// How far the talks had come.
        state: String,
    },
    /// Something is left after everything is complete.
    #[error("{end}: left behind: {what}")]
    Residue {
        /// Which end.
        end: &'static str,
        /// What.
        what: String,
    },
    /// A link's rates cannot be read.
    #[error("{0}")]
    Trace(Arc<TraceError>),
    /// The state machine panicked.
    #[error("panic: {0}")]
    Panic(String),
}

impl From<TraceError> for Trouble {
    fn from(error: TraceError) -> Trouble {
        Trouble::Trace(Arc::new(error))
    }
}

/// How a network went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The network's seed.
    pub seed: u64,
    /// What it was drawn for.
    pub class: Class,
    /// Virtual time.
    pub elapsed: Duration,
    /// Steps of the simulation.
    pub steps: u64,
    /// What occurred.
    pub seen: Seen,
    /// Schedulers that were ejected, in turn.
    pub ejected: Vec<Ejected>,
}

/// A scheduler was ejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejected {
    /// At which end.
    pub end: &'static str,
    /// When.
    pub at: Duration,
    /// Why.
    pub reason: Reason,
    /// The particulars.
    pub text: String,
}

/// What occurred in a network: proof that its class was really exercised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Bytes that programs read.
    pub bytes: u64,
    /// Talks complete at both ends.
    pub complete: u64,
    /// Times a path was held stale by an end.
    pub stale: u64,
    /// Times a path was up again.
    pub returned: u64,
    /// Packets with data that a silent or vanished link swallowed.
    pub swallowed_data: u64,
    /// Acknowledgements of TCP that it swallowed.
    pub swallowed_acks: u64,
    /// Large packets that vanished in a black hole.
    pub vanished: u64,
    /// Packets lost by chance or at a queue's end.
    pub lost: u64,
    /// Time-outs of TCP.
    pub timeouts: u64,
    /// Connections that were reset from outside.
    pub connection_resets: u64,
    /// Links that vanished.
    pub gone: u64,
    /// Times no link worked.
    pub no_link: u64,
    /// Flows reset by their program.
    pub program_resets: u64,
    /// Flows refused by their destination.
    pub refusals: u64,
    /// Sessions that ended without paths, counted at each end.
    pub ended: u64,
    /// Bytes that were sent more than once.
    pub repeated: u64,
    /// Times a writer met a full window.
    pub window_full: u64,
    /// Talks of which one direction was complete 100 ms or more before the other.
    pub half_closed: u64,
    /// Readers that slept while data waited.
    pub deaf: u64,
    /// Rate or delay changes.
    pub changes: u64,
    /// Dials that failed.
    pub failed_dials: u64,
    /// The longest time a talk stood still though a link worked, in milliseconds.
    pub longest_stand_ms: u64,
}
