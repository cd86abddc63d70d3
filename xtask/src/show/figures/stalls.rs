//! Nothing is cut, and nothing may stall: no gaps, no link falsely accused, little sent twice.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use xtask::lab::Lab;

use super::super::Run;
use super::super::goodput::ENDLESS;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};
use super::super::sample::unix_now;

/// The longest gap on clean links, in largest round trips.
const ROUND_TRIPS: f64 = 1.5;
/// False alarms a minute stay below this.
const ALARMS: f64 = 1.0;
/// Bytes sent twice stay below this share, in percent.
const TWICE: f64 = 1.0;
/// The start that does not count, in seconds.
const START: u64 = 5;

/// Links, what is special about them, and the largest round trip in ms where they are clean.
const SETS: [(&str, &str, Option<f64>); 3] = [
    (
        "clean",
        "100mbit/20ms,50mbit/60ms,20mbit/120ms",
        Some(120.0),
    ),
    (
        "25 ms of jitter",
        "100mbit/60ms/jitter25ms,50mbit/80ms/jitter25ms,20mbit/120ms/jitter25ms",
        None,
    ),
    (
        "0.5 % of loss",
        "100mbit/20ms/loss0.5%,50mbit/60ms/loss0.5%,20mbit/120ms/loss0.5%",
        None,
    ),
];

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    for (title, links, largest) in run.part.share(SETS) {
        report.condition(format!("{title}: {links}"));
        run.say(title);
        set(run, report, title, links, largest)?;
    }
    Ok(())
}

fn set(
    run: &Run,
    report: &mut Report,
    title: &str,
    links: &str,
    largest: Option<f64>,
) -> Result<()> {
    let lab = Lab::up(&run.binary, "stalls", links)?;
    let length = run.pick(120, 20);
    report.condition(format!(
        "one download of {length} s each, the first {START} s do not count; a path that an end holds stale is an alarm",
    ));
    let idle = Counted::read(&lab)?;
    let (transfer, began, before, after) = steadily(&lab, report, || {
        let running = lab
            .fetch(&format!("http://internet/bytes/{}", ENDLESS))
            .with(&["--ipv4", "--gaps", "0.002", "--no-verify"])
            .lasting(Duration::from_secs(length), Duration::from_secs(START))
            .start()?;
        sleep(Duration::from_secs(START));
        let (began, before) = (unix_now(), Counted::read(&lab)?);
        sleep(Duration::from_secs(length - START - 1));
        // Counted in the sessions of the moment; read while the flow is alive.
        let after = Counted::read(&lab)?;
        Ok((running.wait()?, began, before, after))
    })?;
    report.fact(
        format!("{title}: the flow was not lost"),
        transfer.succeeded(),
        transfer.error.clone().unwrap_or_default(),
    );
    report.note(format!("{title}: goodput"), transfer.goodput_mbps, "Mbit/s");
    let gap = transfer.longest_between(began, unix_now()) * 1e3;
    match largest {
        Some(largest) => report.judge(
            format!("{title}: longest gap"),
            gap,
            "ms",
            Bound::AtMost(largest * ROUND_TRIPS),
        ),
        None => report.note(format!("{title}: longest gap"), gap, "ms"),
    }
    let minutes = (length - START) as f64 / 60.0;
    report.judge(
        format!("{title}: alarms a minute"),
        (after.alarms - before.alarms) / minutes,
        "",
        Bound::AtMost(ALARMS),
    );
    report.judge(
        format!("{title}: bytes sent twice"),
        (after.repeated - idle.repeated) * 100.0 / transfer.bytes as f64,
        "%",
        Bound::AtMost(TWICE),
    );
    Ok(())
}

/// What both ends have counted.
struct Counted {
    /// How often either end held a path stale.
    alarms: f64,
    /// Bytes of flows that the server sent more than once.
    repeated: f64,
}

impl Counted {
    fn read(lab: &Lab) -> Result<Self> {
        let status = lab.status()?;
        let count = |end: &str, what: &str| {
            let count = status[end][what].as_f64();
            count.with_context(|| format!("the {end} does not tell its {what}"))
        };
        Ok(Self {
            alarms: count("router", "alarms")? + count("server", "alarms")?,
            repeated: count("server", "repeated_bytes")?,
        })
    }
}
