//! Nothing is cut, and nothing may stall: no gaps, no link falsely accused, little sent twice.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
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
/// How often the paths' states are looked at.
const LOOK: Duration = Duration::from_millis(250);

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
        "one download of {length} s each, the first {START} s do not count; a path that was not up at a look, \
         every {} ms, at either end, is an alarm, so a shorter one may be missed",
        LOOK.as_millis()
    ));
    let repeated = repeated(&lab)?;
    let (transfer, alarms, began, after) = steadily(&lab, report, || {
        let began = unix_now() + START as f64;
        let running = lab
            .fetch(&format!("http://internet/bytes/{}", ENDLESS))
            .with(&["--ipv4", "--gaps", "0.002", "--no-verify"])
            .lasting(Duration::from_secs(length), Duration::from_secs(START))
            .start()?;
        sleep(Duration::from_secs(START));
        let alarms = alarms(&lab, Duration::from_secs(length - START - 1))?;
        // Sessions sum up what they repeated; read it while the flow is alive.
        let after = self::repeated(&lab)?;
        Ok((running.wait()?, alarms, began, after))
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
        alarms as f64 / minutes,
        "",
        Bound::AtMost(ALARMS),
    );
    report.judge(
        format!("{title}: bytes sent twice"),
        (after - repeated) * 100.0 / transfer.bytes as f64,
        "%",
        Bound::AtMost(TWICE),
    );
    Ok(())
}

/// Bytes of flows that the server sent more than once.
fn repeated(lab: &Lab) -> Result<f64> {
    let status = lab.status()?;
    Ok(status["server"]["repeated_bytes"]
        .as_f64()
        .unwrap_or(f64::NAN))
}

/// How often, for this long, a path ceased to be up at one of the ends.
fn alarms(lab: &Lab, length: Duration) -> Result<u32> {
    let start = Instant::now();
    let mut states = BTreeMap::new();
    let mut alarms = 0;
    while start.elapsed() < length {
        let status = lab.status()?;
        for end in ["router", "server"] {
            for path in status[end]["paths"].as_array().into_iter().flatten() {
                let key = (end, path["link"].to_string());
                let up = path["state"] == "up";
                let was = states.insert(key, up);
                alarms += u32::from(was == Some(true) && !up);
            }
        }
        sleep(LOOK);
    }
    Ok(alarms)
}
