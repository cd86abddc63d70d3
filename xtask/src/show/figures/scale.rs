//! Many flows: 500 downloads at once, thousands of idle flows, and what the router's processes take.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use xtask::lab::fetch::Transfers;
use xtask::lab::{Lab, processes};

use super::super::Run;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};

/// Links without loss; what they carry matters little here.
const LINKS: &str = "100mbit/20ms,50mbit/60ms,20mbit/120ms";
/// Downloads at once, and the bytes of each.
const DOWNLOADS: u32 = 500;
const BYTES: u64 = 300_000;
/// Idle flows, and the most megabytes they may add.
const IDLE: u32 = 5_000;
const IDLE_MOST: f64 = 25.0;
/// Open flows that must work.
const OPEN: u32 = 10_000;
/// The most megabytes of a router at rest.
const REST_MOST: f64 = 20.0;
/// How long idle flows are held, in seconds; they open within the first few.
const HELD: u64 = 30;

#[derive(Clone, Copy)]
enum Piece {
    Downloads,
    Idle,
    Open,
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    report.condition(format!(
        "links {LINKS}; IPv4; both ends permit {OPEN} connections where they are open or idle"
    ));
    for piece in run.part.share([Piece::Downloads, Piece::Idle, Piece::Open]) {
        let permitted = OPEN.to_string();
        let lab = match piece {
            Piece::Downloads => Lab::up(&run.binary, "scale", LINKS)?,
            Piece::Idle | Piece::Open => {
                let options = ["--links", LINKS, "--flows", &permitted];
                Lab::up_with(&run.binary, "scale", &options)?
            }
        };
        match piece {
            Piece::Downloads => downloads(run, &lab, report)?,
            Piece::Idle => idle(run, &lab, report)?,
            Piece::Open => open(run, &lab, report)?,
        }
    }
    Ok(())
}

fn downloads(run: &Run, lab: &Lab, report: &mut Report) -> Result<()> {
    run.say(format_args!("{DOWNLOADS} downloads at once"));
    let transfers = steadily(lab, report, || {
        lab.fetch(&format!("http://internet/bytes/{BYTES}"))
            .with(&["--ipv4"])
            .start_many(DOWNLOADS)?
            .wait()
    })?;
    let title = format!("{DOWNLOADS} downloads of {BYTES} bytes");
    judge(report, &title, &transfers, true);
    report.note(format!("{title}: all done after"), transfers.seconds, "s");
    Ok(())
}

fn idle(run: &Run, lab: &Lab, report: &mut Report) -> Result<()> {
    let count = run.pick(IDLE, IDLE / 10);
    run.say(format_args!("{count} idle flows"));
    // One flow each way has been seen: buffers that every router has are there.
    lab.fetch("http://internet/bytes/1000000").run()?;
    sleep(Duration::from_secs(3));
    let rest = pss(lab)?;
    let pages = tcp_megabytes()?;
    report.judge(
        "router's processes at rest: PSS",
        rest,
        "MB",
        Bound::AtMost(REST_MOST),
    );
    let title = format!("{count} idle flows");
    let held = hold(lab, report, &title, count)?;
    report.note(format!("{title}: PSS more"), held.0 - rest, "MB");
    report.note(format!("{title}: TCP pages more"), held.1 - pages, "MB");
    report.judge(
        format!("{title}: PSS and TCP pages more"),
        held.0 - rest + held.1 - pages,
        "MB",
        Bound::AtMost(IDLE_MOST),
    );
    Ok(())
}

fn open(run: &Run, lab: &Lab, report: &mut Report) -> Result<()> {
    let count = run.pick(OPEN, OPEN / 10);
    run.say(format_args!("{count} open flows"));
    let title = format!("{count} open flows");
    let held = hold(lab, report, &title, count)?;
    report.note(format!("{title}: PSS"), held.0, "MB");
    Ok(())
}

/// Opens `count` flows on which nothing happens until all end, and judges how they ended and how many
/// the router counted meanwhile. Returns its memory then: PSS and TCP pages, in megabytes.
fn hold(lab: &Lab, report: &mut Report, title: &str, count: u32) -> Result<(f64, f64)> {
    let running = lab
        .fetch(&format!("http://internet/hold/{HELD}"))
        .with(&["--ipv4", "--no-verify", "--patience", "120"])
        .start_many(count)?;
    sleep(Duration::from_secs(HELD - 5));
    let status = lab.status()?;
    let flows = status["router"]["flows"].as_f64().unwrap_or(0.0);
    let memory = (pss(lab)?, tcp_megabytes()?);
    judge(report, title, &running.wait()?, false);
    let quantity = format!("{title}: flows that the router counts");
    report.judge(quantity, flows, "", Bound::AtLeast(count.into()));
    Ok(memory)
}

/// Judges that all transfers succeeded and, where that was looked at, brought the right bytes.
pub(super) fn judge(report: &mut Report, title: &str, transfers: &Transfers, identical: bool) {
    let failed = transfers.count - transfers.succeeded;
    report.none(format!("{title}: failed"), failed);
    for failures in &transfers.failures {
        report.condition(format!(
            "{title}: {} ended {}: {}",
            failures.count, failures.ending, failures.example
        ));
    }
    if identical {
        let other = transfers.count - transfers.identical;
        report.none(format!("{title}: not identical"), other);
    }
}

/// Megabytes of memory that the router's two processes take, shared pages in proportion.
fn pss(lab: &Lab) -> Result<f64> {
    ["router_supervisor", "router_worker"]
        .iter()
        .map(|role| processes::megabytes(lab.pid(role)?))
        .sum()
}

/// Megabytes of pages that TCP holds on the whole machine, see `/proc/net/sockstat`.
fn tcp_megabytes() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/net/sockstat").context("cannot read sockstat")?;
    let pages = text
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))
        .and_then(|line| line.split(" mem ").nth(1)?.trim().parse::<f64>().ok());
    Ok(pages.context("sockstat tells no pages of TCP")? * 4_096.0 / 1e6)
}
