//! What a supervisor and its data worker say to each other, and the channel they say it on.
//!
//! The supervisor owns what needs privilege (rules, routes, listeners, files); the worker moves data. They share one
//! Unix stream socket: one JSON object a line, and the descriptors that a line names travel with it. This room holds
//! the words (`messages`, and `schedulers` what they say of those), the wire (`channel`) and the wrapper that keeps keys out of logs (`secret`). It starts
//! nothing: that is [`crate::supervisor`].

mod channel;
mod messages;
mod schedulers;
mod secret;

pub use channel::{
    ChannelError, MAX_DESCRIPTORS, MAX_LINE, Receiver, Sender, SupervisorChannel, WORKER_FD_ENV,
    WorkerChannel, WorkerEnd, pair,
};
pub use messages::{
    AuthorisedRouter, Enrolled, FromWorker, Identity, LinkSetup, Message, PathState, PathStatus,
    Priority, RouterSetup, ServerPeer, ServerSetup, ToWorker, WorkerStatus, descriptor,
};
pub use schedulers::{
    Answer, Budget, ChosenScheduler, ClassRule, ClassSetup, Ejection, MapSetting, SchedulerId,
    SchedulerReport, SchedulerSetup, TRACE_FOR, TracedDecision,
};
pub use secret::{SecretBytes, SecretText};
