//! The figures, one small file each.

mod aggregate;
mod concurrent;
mod crash;
mod emulator;
mod failover;
mod newcomer;
mod programs;
mod refusals;

use anyhow::Result;

use super::Run;
use super::report::Report;

/// One promise and how it is measured.
pub(super) struct Figure {
    /// What `cargo xtask show` calls it.
    pub(super) name: &'static str,
    /// What it shows, in one sentence with its bound.
    pub(super) shows: &'static str,
    /// Measures it into the report.
    pub(super) measure: fn(&Run, &mut Report) -> Result<()>,
}

/// All of them, in the order a reader wants them.
pub(super) const ALL: &[Figure] = &[
    Figure {
        name: "aggregate",
        shows: "one download, and one upload, get at least 85 % of what all links give one by one",
        measure: aggregate::measure,
    },
    Figure {
        name: "failover",
        shows: "a link silent for 5 s in mid-transfer: nothing lost, no gap over 1 s, back within 2 s",
        measure: failover::measure,
    },
    Figure {
        name: "concurrent",
        shows: "200 downloads at once over at most 6 connections a link",
        measure: concurrent::measure,
    },
    Figure {
        name: "crash",
        shows: "a killed worker resets every connection, ends none; new ones work within 3 s",
        measure: crash::measure,
    },
    Figure {
        name: "refusals",
        shows: "wrong keys, bad invitations, garbage and broken files: a clear message, no harm",
        measure: refusals::measure,
    },
    Figure {
        name: "programs",
        shows: "strangers' programs work unchanged: curl, iperf3, git over SSH; names, IPv4, IPv6",
        measure: programs::measure,
    },
    Figure {
        name: "emulator",
        shows: "the lab's links are what they claim: rate within 3 %, round trip within 1 ms",
        measure: emulator::measure,
    },
    Figure {
        name: "newcomer",
        shows: "`guywire lab` tells its story as an ordinary user, with no tool but the kernel",
        measure: newcomer::measure,
    },
];
