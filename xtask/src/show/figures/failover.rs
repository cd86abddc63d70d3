//! Links that are cut in mid-transfer in every way a link can be, and come back.

use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use xtask::lab::counters::{self, Snapshot, Watch};
use xtask::lab::fetch::Transfer;
use xtask::lab::{Lab, THREE_LINKS};

use super::super::Run;
use super::super::goodput::ENDLESS;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};
use super::super::sample::{Choices, median, percentile, unix_now, worst};

/// Cuts in all.
const CUTS: usize = 100;
/// Cuts in one download.
const A_DOWNLOAD: usize = 5;
/// How long a download runs before its first cut is prepared, in seconds.
const BEFORE: u64 = 4;
/// The window without a cut before each, and that after it, in seconds.
const WINDOW: u64 = 3;
/// How long the download goes on after a link's return, in seconds.
const AFTER: u64 = 4;
/// The median of what a cut costs, in ms.
const MEDIAN: f64 = 100.0;
/// The worst, in ms, or this many round trips of the lost path.
const WORST: f64 = 250.0;
const WORST_ROUND_TRIPS: f64 = 1.5;
/// The longest until a link is used again: this many ms, and so many round trips.
const RETURN: f64 = 1_000.0;
const RETURN_ROUND_TRIPS: f64 = 4.0;
/// A link that carries this share of what it carried before the cut is used again.
const USED: f64 = 0.1;

/// How a link is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Packets vanish in both directions.
    Silent,
    /// Packets towards the router vanish.
    SilentIn,
    /// Packets from the router vanish.
    SilentOut,
    /// Its connections are reset; the link itself goes on.
    Reset,
    /// The router's device disappears.
    Gone,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Silent,
        Self::SilentIn,
        Self::SilentOut,
        Self::Reset,
        Self::Gone,
    ];

    /// Cuts link `number`.
    pub(super) fn cut(self, lab: &Lab, number: usize) -> Result<()> {
        let link = format!("wan{number}");
        match self {
            Self::Silent => lab.link(&link, &["silent"]),
            Self::SilentIn => lab.link(&link, &["silent", "in"]),
            Self::SilentOut => lab.link(&link, &["silent", "out"]),
            Self::Gone => lab.link(&link, &["remove"]),
            Self::Reset => {
                let which = format!(
                    "( src 10.0.{number}.2 or src [2001:db8:{:x}::2] ) and dport = :443",
                    0x100 + number
                );
                lab.output("router", &["ss", "-K", "-H", "-t", &which])?;
                Ok(())
            }
        }
    }

    /// Brings the link back.
    pub(super) fn undo(self, lab: &Lab, number: usize) -> Result<()> {
        let link = format!("wan{number}");
        match self {
            Self::Silent | Self::SilentIn | Self::SilentOut => lab.link(&link, &["up"]),
            Self::Gone => lab.link(&link, &["add"]),
            Self::Reset => Ok(()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Silent => "silent",
            Self::SilentIn => "silent in",
            Self::SilentOut => "silent out",
            Self::Reset => "reset",
            Self::Gone => "gone",
        })
    }
}

/// One cut to be made.
#[derive(Clone, Copy)]
struct Cut {
    kind: Kind,
    link: usize,
}

/// When things happened to a link that was cut.
struct Made {
    cut: Cut,
    /// Seconds since 1970: the window without a cut begins; the cut; the window after it ends.
    quiet: f64,
    at: f64,
    end: f64,
    /// The lost path's round trip just before, in ms, as the sender saw it.
    round_trip: f64,
    /// Uptimes of the cut and of the return.
    cut_uptime: f64,
    back_uptime: f64,
}

/// What a cut did. All in ms.
struct Cost {
    cut: Cut,
    quiet: f64,
    gap: f64,
    round_trip: f64,
    /// Until the link was used again; nothing where it was not.
    back: Option<f64>,
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let cuts = run.part.share(cuts(run.pick(CUTS, A_DOWNLOAD)));
    report.condition(format!(
        "links {THREE_LINKS}; {} cuts of {WINDOW} s, seeded",
        cuts.len()
    ));
    let (mut costs, mut lost, mut different) = (Vec::new(), 0, 0);
    for cuts in cuts.chunks(A_DOWNLOAD) {
        let lab = run.three_links("failover")?;
        let (transfer, done) = steadily(&lab, report, || download(run, &lab, cuts))?;
        lost += u32::from(!transfer.succeeded());
        different += u32::from(transfer.identical != Some(true));
        if let Some(error) = &transfer.error {
            report.condition(format!("a download ended {}: {error}", transfer.ending));
        }
        costs.extend(done);
    }
    report.none("flows lost", lost.into());
    report.none("transfers with other bytes", different.into());
    judge(&costs, report);
    Ok(())
}

/// The first `count` of the seeded cuts: every kind once in each five, in an order of its own, so
/// that a part of them has all kinds too; the links at random.
fn cuts(count: usize) -> Vec<Cut> {
    let mut choices = Choices::seeded(4);
    let mut cuts = Vec::with_capacity(count);
    for number in 0..count {
        cuts.push(Cut {
            kind: Kind::ALL[number % Kind::ALL.len()],
            link: 1 + choices.below(3),
        });
    }
    for block in cuts.chunks_mut(Kind::ALL.len()) {
        for last in (1..block.len()).rev() {
            block.swap(last, choices.below(last + 1));
        }
    }
    cuts
}

/// One download in which all of `cuts` happen.
fn download(run: &Run, lab: &Lab, cuts: &[Cut]) -> Result<(Transfer, Vec<Cost>)> {
    let each = 2 * WINDOW + AFTER;
    // The commands take time of their own.
    let length = BEFORE + (each + 1) * cuts.len() as u64;
    let watch = Watch::start(lab, "router")?;
    let running = lab
        .fetch(&format!("http://internet/bytes/{ENDLESS}"))
        .with(&["--ipv4", "--gaps", "0.002"])
        .lasting(Duration::from_secs(length), Duration::ZERO)
        .start()?;
    sleep(Duration::from_secs(BEFORE));
    let mut made = Vec::new();
    for cut in cuts {
        made.push(one(lab, *cut).with_context(|| format!("{} of wan{}", cut.kind, cut.link))?);
    }
    let transfer = running.wait()?;
    let snapshots = watch.stop();
    let costs: Vec<Cost> = made
        .iter()
        .map(|made| cost(made, &transfer, &snapshots))
        .collect::<Result<_>>()?;
    for cost in &costs {
        let back = cost
            .back
            .map_or("never".to_owned(), |back| format!("{back:.0} ms"));
        run.say(format_args!(
            "wan{} {:<10}: gap {:>4.0} ms, {:>3.0} before, round trip {:>3.0} ms, used again after {back}",
            cost.cut.link, cost.cut.kind, cost.gap, cost.quiet, cost.round_trip
        ));
    }
    Ok((transfer, costs))
}

/// Makes one cut and brings the link back.
fn one(lab: &Lab, cut: Cut) -> Result<Made> {
    let quiet = unix_now();
    sleep(Duration::from_secs(WINDOW));
    let round_trip = round_trip(lab, cut.link)?;
    let (at, cut_uptime) = (unix_now(), counters::uptime()?);
    cut.kind.cut(lab, cut.link)?;
    sleep(Duration::from_secs(WINDOW));
    let (end, back_uptime) = (unix_now(), counters::uptime()?);
    cut.kind.undo(lab, cut.link)?;
    sleep(Duration::from_secs(AFTER));
    Ok(Made {
        cut,
        quiet,
        at,
        end,
        round_trip,
        cut_uptime,
        back_uptime,
    })
}

/// The round trip of link `number` under load, in ms, as the server sees it.
pub(super) fn round_trip(lab: &Lab, number: usize) -> Result<f64> {
    let status = lab.status()?;
    let paths = status["server"]["paths"].as_array();
    let name = format!("wan{number}");
    let path = paths
        .into_iter()
        .flatten()
        .find(|path| path["link"] == name.as_str());
    let time = path.and_then(|path| path["srtt_us"].as_f64());
    Ok(time.with_context(|| format!("the server tells no round trip of {name}"))? / 1e3)
}

fn cost(made: &Made, transfer: &Transfer, snapshots: &[Snapshot]) -> Result<Cost> {
    let link = format!("wan{}", made.cut.link);
    let before = counters::rate(snapshots, &link, made.cut_uptime - 1.0, made.cut_uptime)
        .with_context(|| format!("what {link} carried before its cut is unknown"))?;
    let back = counters::back_after(snapshots, &link, made.back_uptime, before * USED);
    Ok(Cost {
        cut: made.cut,
        quiet: transfer.longest_between(made.quiet, made.at) * 1e3,
        gap: transfer.longest_between(made.at, made.end) * 1e3,
        round_trip: made.round_trip,
        back: back.map(|seconds| seconds * 1e3),
    })
}

fn judge(costs: &[Cost], report: &mut Report) {
    let quiet: Vec<f64> = costs.iter().map(|cost| cost.quiet).collect();
    let usual = percentile(&quiet, 95.0);
    report.note(
        "longest gap in 3 s without a cut, 95th percentile",
        usual,
        "ms",
    );
    let excess = |cost: &Cost| (cost.gap - usual).max(0.0);
    for kind in Kind::ALL {
        let of_kind: Vec<f64> = costs
            .iter()
            .filter(|cost| cost.cut.kind == kind)
            .map(excess)
            .collect();
        if !of_kind.is_empty() {
            report.note(format!("{kind}: median"), median(&of_kind), "ms");
            report.note(format!("{kind}: worst"), worst(&of_kind), "ms");
        }
    }
    let all: Vec<f64> = costs.iter().map(excess).collect();
    report.judge(
        "all kinds: median",
        median(&all),
        "ms",
        Bound::AtMost(MEDIAN),
    );
    report.note("all kinds: worst", worst(&all), "ms");
    let shares: Vec<f64> = costs
        .iter()
        .map(|cost| excess(cost) * 100.0 / WORST.max(WORST_ROUND_TRIPS * cost.round_trip))
        .collect();
    report.judge(
        format!("worst share of max({WORST} ms, {WORST_ROUND_TRIPS} round trips)"),
        worst(&shares),
        "%",
        Bound::AtMost(100.0),
    );
    returns(costs, report);
    for cost in costs {
        report.sample(json!({
            "kind": cost.cut.kind.to_string(), "link": cost.cut.link, "quiet_ms": cost.quiet,
            "gap_ms": cost.gap, "round_trip_ms": cost.round_trip, "back_ms": cost.back,
        }));
    }
}

/// Judges how soon links that had been lost carried data again.
fn returns(costs: &[Cost], report: &mut Report) {
    let returned = || costs.iter().filter(|cost| cost.cut.kind != Kind::Reset);
    let never = returned().filter(|cost| cost.back.is_none()).count();
    report.none("links not used again in time", never as u64);
    let backs: Vec<f64> = returned().filter_map(|cost| cost.back).collect();
    report.note("return of a link: median", median(&backs), "ms");
    report.note("return of a link: worst", worst(&backs), "ms");
    let shares: Vec<f64> = returned()
        .filter_map(|cost| {
            Some(cost.back? * 100.0 / (RETURN + RETURN_ROUND_TRIPS * cost.round_trip))
        })
        .collect();
    report.judge(
        format!("worst share of {RETURN} ms and {RETURN_ROUND_TRIPS} round trips"),
        worst(&shares),
        "%",
        Bound::AtMost(100.0),
    );
}
