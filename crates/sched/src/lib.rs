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
//! | [`default`], [`redundant`], [`roundrobin`], [`first`], [`backup`], [`burst`], [`minrtt`], [`weighted`], [`blest`], [`ecf`], [`sttf`], [`early`], [`lowlatency`] | the native schedulers, a file each |
//! | [`factory`] | [`Factory`]: a scheduler, native or not, as it is chosen |
//! | [`run`] | [`Run`]: what goes to the same subflows without another question |
//! | [`quirk`] | [`Quirk`]: what speaks against relying on a scheduler |
//! | [`reason`] | [`Reason`]: why a scheduler is not used any more |
//! | [`guard`] | [`Guard`](guard::Guard): asks schedulers, and judges what they do |
//!
//! To write another one, copy [`roundrobin`] and its page, and add a row to [`NATIVE`].

#![forbid(unsafe_code)]

pub mod backup;
pub mod blest;
pub mod burst;
pub mod default;
pub mod early;
pub mod ecf;
pub mod factory;
pub mod first;
pub mod guard;
pub mod lowlatency;
pub mod minrtt;
pub mod quirk;
pub mod reason;
pub mod redundant;
pub mod roundrobin;
pub mod run;
pub mod sttf;
pub mod time;
pub mod view;
pub mod weighted;

pub use factory::{Factory, Maker, MapValue};
pub use quirk::{Quirk, Quirks};
pub use reason::{Offence, Reason};
pub use run::Run;
pub use time::Time;
pub use view::{FlowView, MAX_SUBFLOWS, Marks, SubflowId, SubflowView, Traffic};

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

    /// What it did that it must not do, since this was asked last. Native code panics instead.
    fn offence(&mut self) -> Option<Offence> {
        None
    }

    /// The instructions it took since this was asked last. Native code is not metered.
    fn spent(&mut self) -> u64 {
        0
    }

    /// What it did so far that harms nobody, and that people should know of. Native code has no quirks.
    fn quirks(&self) -> Quirks {
        Quirks::default()
    }

    /// What it printed last, a line each.
    fn log(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A native scheduler as people choose it.
pub struct Native {
    /// The name used in configuration, commands and the protocol.
    pub name: &'static str,
    /// One sentence for tables and `--help`.
    pub summary: &'static str,
    /// What it does, when to use it, when it hurts, in Markdown.
    pub page: &'static str,
    /// Makes an instance for one direction of one flow.
    pub make: fn() -> Box<dyn Scheduler>,
}

/// Every native scheduler, in the order they are shown; `default` is the first.
pub const NATIVE: &[Native] = &[
    Native {
        name: "default",
        summary: "earliest expected delivery, never waits while a link that helps has room",
        page: include_str!("default.md"),
        make: || Box::new(default::Default),
    },
    Native {
        name: "redundant",
        summary: "a copy of every chunk on every link",
        page: include_str!("redundant.md"),
        make: || Box::new(redundant::Redundant),
    },
    Native {
        name: "roundrobin",
        summary: "the links in turn, whatever their speed",
        page: include_str!("roundrobin.md"),
        make: || Box::new(roundrobin::RoundRobin::default()),
    },
    Native {
        name: "first",
        summary: "everything on the first link that is up",
        page: include_str!("first.md"),
        make: || Box::new(first::First),
    },
    Native {
        name: "backup",
        summary: "the first link that is no backup; a backup only where no other is left",
        page: include_str!("backup.md"),
        make: || Box::new(backup::Backup),
    },
    Native {
        name: "burst",
        summary: "the kernel's own: the link whose queue drains soonest, for 64 kB at a time",
        page: include_str!("burst.md"),
        make: || Box::new(burst::Burst::default()),
    },
    Native {
        name: "minrtt",
        summary: "the link with the shortest round trip that has room",
        page: include_str!("minrtt.md"),
        make: || Box::new(minrtt::MinRtt),
    },
    Native {
        name: "weighted",
        summary: "the links in turn, in proportion to what they deliver",
        page: include_str!("weighted.md"),
        make: || Box::new(weighted::Weighted::default()),
    },
    Native {
        name: "blest",
        summary: "the quickest link, and a slower one only where the window has space for what follows",
        page: include_str!("blest.md"),
        make: || Box::new(blest::Blest::default()),
    },
    Native {
        name: "ecf",
        summary: "the quickest link, and a slower one only where the transfer is over sooner so",
        page: include_str!("ecf.md"),
        make: || Box::new(ecf::Ecf::default()),
    },
    Native {
        name: "sttf",
        summary: "the link with the shortest transfer time, even if it has to be waited for",
        page: include_str!("sttf.md"),
        make: || Box::new(sttf::Sttf),
    },
    Native {
        name: "early",
        summary: "the quickest link, passed over before its queue overflows",
        page: include_str!("early.md"),
        make: || Box::new(early::Early::default()),
    },
    Native {
        name: "lowlatency",
        summary: "like default, with a copy of the heads and tails of bursts",
        page: include_str!("lowlatency.md"),
        make: || Box::new(lowlatency::LowLatency::default()),
    },
];

/// The native scheduler called `name`.
pub fn native(name: &str) -> Option<&'static Native> {
    NATIVE.iter().find(|native| native.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_says_what_it_does_when_to_use_it_and_when_it_hurts() {
        for Native { name, page, .. } in NATIVE {
            assert!(page.starts_with(&format!("# {name}\n")), "{page}");
            let headings: Vec<&str> = page
                .lines()
                .filter(|line| line.starts_with("## "))
                .collect();
            let wanted = [
                "## Overview",
                "## Typical use",
                "## When it hurts",
                "## Production ready?",
            ];
            assert_eq!(headings[..4], wanted, "{name}");
        }
    }
}
