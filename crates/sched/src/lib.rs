//! The scheduler interface of Guywire and its native schedulers.
//!
//! A scheduler sees a read-only view of one flow and of the subflows that live for it, and *marks*
//! those that get the flow's next chunk: none, one or several. Everything else (cutting chunks,
//! debts, reinjection, acknowledgements) belongs to `guywire-flow`. This room is pure: no clocks,
//! no sockets, time is a field of the view.
//!
//! | module | what it holds |
//! |---|---|
//! | [`time`] | [`Time`], the session's clock |
//! | [`view`] | [`FlowView`], [`SubflowView`], [`Marks`]: what a scheduler sees and answers |
//! | [`default`], [`redundant`], [`roundrobin`] | the native schedulers, a file each |
//!
//! To write another one, copy [`roundrobin`] and add a row to [`NATIVE`].

#![forbid(unsafe_code)]

pub mod default;
pub mod redundant;
pub mod roundrobin;
pub mod time;
pub mod view;

pub use time::Time;
pub use view::{FlowView, MAX_SUBFLOWS, Marks, SubflowId, SubflowView};

/// Decides which subflows get a flow's next chunk. One instance serves one direction of one flow.
pub trait Scheduler: Send {
    /// Marks the subflows that get the next *new* chunk of the flow. To mark nothing means to wait.
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks);

    /// Marks the subflows that get a chunk *again*, because those that had it are stale or gone.
    ///
    /// Without a decision of its own a scheduler treats it like new data, as the kernel does for
    /// schedulers without `get_retrans` (net/mptcp/sched.c, `mptcp_sched_get_retrans`).
    fn get_retrans(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        self.get_send(flow, marks);
    }
}

/// A native scheduler as people choose it.
pub struct Native {
    /// The name used in configuration, commands and the protocol.
    pub name: &'static str,
    /// One sentence for tables and `--help`.
    pub summary: &'static str,
    /// Makes an instance for one direction of one flow.
    pub make: fn() -> Box<dyn Scheduler>,
}

/// Every native scheduler, in the order they are shown.
pub const NATIVE: &[Native] = &[
    Native {
        name: "default",
        summary: "earliest expected delivery, never waits while a link that helps has room",
        make: || Box::new(default::Default),
    },
    Native {
        name: "redundant",
        summary: "a copy of every chunk on every link",
        make: || Box::new(redundant::Redundant),
    },
    Native {
        name: "roundrobin",
        summary: "the links in turn, whatever their speed",
        make: || Box::new(roundrobin::RoundRobin::default()),
    },
];

/// The native scheduler called `name`.
pub fn native(name: &str) -> Option<&'static Native> {
    NATIVE.iter().find(|native| native.name == name)
}
