//! The schedulers `redundant` and `bpf_red` under a paced flow: a link that dies costs no more than the difference
//! of the delays.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use xtask::lab::Lab;
use xtask::lab::fetch::Transfer;
use xtask::lab::schedulers::choose;

use super::super::Run;
use super::super::goodput::ENDLESS;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};
use super::super::sample::{median, percentile, unix_now, worst};
use super::failover::Kind;

/// The links, and half their round trips in ms.
const LINKS: &str = "100mbit/20ms,50mbit/60ms,20mbit/120ms/loss0.5%";
const ONE_WAY: [f64; 3] = [10.0, 30.0, 60.0];
/// Below 80 % of the second-best link.
const RATE: &str = "38mbit";
/// Cuts of the two links that can carry the flow.
const CUTS: usize = 20;
/// More than the difference of the one-way delays, in ms.
const MORE: f64 = 20.0;
/// The window after a cut, and the rest before the next, in seconds.
const WINDOW: u64 = 3;
const REST: u64 = 4;

/// The native one, and the one that users of OpenMPTCProuter know.
const SCHEDULERS: [&str; 2] = ["redundant", "bpf_red"];

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let lab = Lab::up(&run.binary, "redundant", LINKS)?;
    let cuts = run.part.share(0..run.pick(CUTS, 4));
    report.condition(format!(
        "links {LINKS}; one download paced to {RATE} with each scheduler; {} silent cuts of wan1 and wan2 in turn",
        cuts.len()
    ));
    for scheduler in SCHEDULERS {
        choose(&lab, Path::new(scheduler), &[])?;
        with(run, &lab, report, scheduler, &cuts)?;
    }
    Ok(())
}

fn with(run: &Run, lab: &Lab, report: &mut Report, scheduler: &str, cuts: &[usize]) -> Result<()> {
    let (transfer, times) = steadily(lab, report, || cut(lab, cuts))?;
    let what = |quantity: &str| format!("{scheduler}: {quantity}");
    report.fact(what("the flow was not lost"), transfer.succeeded(), "");
    let identical = transfer.identical == Some(true);
    report.fact(what("its bytes are what was sent"), identical, "");
    let (mut gaps, mut quiet, mut over) = (Vec::new(), Vec::new(), Vec::new());
    for (link, at, end) in times {
        let gap = transfer.longest_between(at, end) * 1e3;
        let before = transfer.longest_between(at - WINDOW as f64, at) * 1e3;
        run.say(format_args!(
            "{scheduler}: wan{link}: gap {gap:.0} ms, {before:.0} before"
        ));
        report.sample(
            json!({"scheduler": scheduler, "link": link, "gap_ms": gap, "quiet_ms": before}),
        );
        let best_left = if link == 1 { ONE_WAY[1] } else { ONE_WAY[0] };
        let difference = (best_left - ONE_WAY[link - 1]).max(0.0);
        over.push(gap - difference);
        quiet.push(before);
        gaps.push(gap);
    }
    let usual = percentile(&quiet, 95.0);
    report.note(what("95th percentile of gaps without a cut"), usual, "ms");
    report.note(what("gap after a cut: median"), median(&gaps), "ms");
    report.note(what("gap after a cut: worst"), worst(&gaps), "ms");
    report.judge(
        what("worst, less the difference of the one-way delays"),
        worst(&over),
        "ms",
        Bound::AtMost(MORE),
    );
    Ok(())
}

/// A cut: which link, and from when to when, in seconds since 1970.
type Made = (usize, f64, f64);

/// A download with cuts of the first two links in turn.
fn cut(lab: &Lab, cuts: &[usize]) -> Result<(Transfer, Vec<Made>)> {
    let length = REST + (WINDOW + REST + 1) * cuts.len() as u64;
    let running = lab
        .fetch(&format!("http://internet/bytes/{ENDLESS}?rate={RATE}"))
        .with(&["--ipv4", "--gaps", "0.002"])
        .lasting(Duration::from_secs(length), Duration::ZERO)
        .start()?;
    let mut times = Vec::new();
    for number in cuts {
        sleep(Duration::from_secs(REST));
        let link = 1 + number % 2;
        let at = unix_now();
        Kind::Silent.cut(lab, link)?;
        sleep(Duration::from_secs(WINDOW));
        times.push((link, at, unix_now()));
        Kind::Silent.undo(lab, link)?;
    }
    Ok((running.wait()?, times))
}
