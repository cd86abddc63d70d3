//! The figures, one small file each.

mod aggregate;
mod compat;
mod concurrent;
mod cpu;
mod crash;
mod early;
mod ejections;
mod emulator;
mod failover;
mod fair;
mod judge;
mod links;
mod machine;
mod newcomer;
mod outage;
mod papers;
mod pings;
mod programs;
mod redundant;
mod refusals;
mod rival;
mod scale;
mod schedulers;
mod short;
mod sim_speed;
mod sim_vs_lab;
mod simulation;
mod soak;
mod stalls;
mod strangers;

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
        shows: "one transfer each way gets 97 % of what five sets of links give one by one, not less than kernel MPTCP",
        measure: aggregate::measure,
    },
    Figure {
        name: "links",
        shows: "over 30 random sets of links: 96 % of their sum (median), never below the best link",
        measure: links::measure,
    },
    Figure {
        name: "failover",
        shows: "links cut in every way: gaps grow by 100 ms (median), 250 ms or 1.5 round trips (worst)",
        measure: failover::measure,
    },
    Figure {
        name: "redundant",
        shows: "with `redundant` and `bpf_red`, a cut costs a paced flow the difference of the delays and 20 ms",
        measure: redundant::measure,
    },
    Figure {
        name: "outage",
        shows: "all links silent for 30 s: the transfer waits and goes on",
        measure: outage::measure,
    },
    Figure {
        name: "stalls",
        shows: "nothing cut: no gap over 1.5 round trips, under 1 alarm a minute, under 1 % sent twice",
        measure: stalls::measure,
    },
    Figure {
        name: "pings",
        shows: "a transfer delays pings on each link no more than one plain TCP connection there",
        measure: pings::measure,
    },
    Figure {
        name: "short",
        shows: "first byte, 100 kB, 2 MB: no slower than plain TCP on the best link; no new connections",
        measure: short::measure,
    },
    Figure {
        name: "fair",
        shows: "eight downloads share as fairly as eight plain TCP connections",
        measure: fair::measure,
    },
    Figure {
        name: "concurrent",
        shows: "200 downloads at once over at most 6 connections a link",
        measure: concurrent::measure,
    },
    Figure {
        name: "scale",
        shows: "500 downloads at once; 5,000 idle flows in 25 MB; 10,000 open flows; 20 MB at rest",
        measure: scale::measure,
    },
    Figure {
        name: "cpu",
        shows: "a gigabyte costs router and server 1.15 times what a bare TLS relay costs",
        measure: cpu::measure,
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
        name: "ejections",
        shows: "bad schedulers are ejected 1,000 times beside 50 flows: no flow, no byte, no 100 ms lost",
        measure: ejections::measure,
    },
    Figure {
        name: "strangers",
        shows: "5,000 refused connections a second take at most 5 % of an established download",
        measure: strangers::measure,
    },
    Figure {
        name: "soak",
        shows: "half an hour of cuts, rate changes and kills under 200 flows: none lost, memory flat",
        measure: soak::measure,
    },
    Figure {
        name: "programs",
        shows: "strangers' programs work unchanged: curl, iperf3, git over SSH; names, IPv4, IPv6",
        measure: programs::measure,
    },
    Figure {
        name: "simulation",
        shows: "10,000 simulated networks with cuts, losses and odd programs: nothing lost, nothing stuck",
        measure: simulation::measure,
    },
    Figure {
        name: "innocent",
        shows: "every scheduler that is built in, over 300 networks with cuts: none is ejected",
        measure: schedulers::innocent,
    },
    Figure {
        name: "twins",
        shows: "BPF schedulers pick what their native twins pick, over a million random states",
        measure: schedulers::twins,
    },
    Figure {
        name: "compat",
        shows: "schedulers of others, of every form of the interface: each runs, or is refused by name",
        measure: compat::measure,
    },
    Figure {
        name: "sim-speed",
        shows: "a simulated download at 170 Mbit/s is 50 times faster than life on one core",
        measure: sim_speed::measure,
    },
    Figure {
        name: "sim-vs-lab",
        shows: "five scenarios, four schedulers: simulated goodput within 15 % of the lab's, pauses within a factor of 2",
        measure: sim_vs_lab::measure,
    },
    Figure {
        name: "papers",
        shows: "BLEST and ECF beat minRTT by 10 % where links are unequal and windows small, and cost 2 % where not",
        measure: papers::measure,
    },
    Figure {
        name: "early",
        shows: "with long queues and CUBIC, `early` keeps pings beside a download quicker than `minrtt`",
        measure: early::measure,
    },
    Figure {
        name: "judge",
        shows: "`sched check` refuses or marks every bad scheduler, none of ours, and never `default`",
        measure: judge::measure,
    },
    Figure {
        name: "machine",
        shows: "the eBPF machine is not slower than rbpf's interpreter; `bpf_burst` costs a transfer 3 % more than `burst`",
        measure: machine::measure,
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
