//! One bonded transfer against the sum of what each link alone gives plain TCP past Guywire.

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::lab::fetch::{Fetch, Transfer};
use xtask::lab::{Lab, THREE_LINKS};

use super::super::Run;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};

/// Least share of the sum, in percent.
const LEAST: f64 = 85.0;
/// More than any transfer here moves before its time is over.
const ENDLESS: u64 = 1 << 33;

#[derive(Clone, Copy)]
enum Direction {
    Down,
    Up,
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let lab = run.three_links("aggregate")?;
    report.condition(format!("links {THREE_LINKS}"));
    for (direction, name) in [(Direction::Down, "download"), (Direction::Up, "upload")] {
        let mut sum = 0.0;
        for link in 1..=3 {
            let title = format!("{name} past Guywire over wan{link}");
            let host = format!("direct{link}");
            sum += one(run, &lab, report, direction, &host, &title)?;
        }
        let title = format!("{name} through Guywire");
        let bonded = one(run, &lab, report, direction, "internet", &title)?;
        let share = bonded * 100.0 / sum;
        let quantity = format!("share of the sum, {name}");
        report.judge(quantity, share, "%", Bound::AtLeast(LEAST));
    }
    Ok(())
}

/// Measures one transfer with `host`, notes its goodput under `title` and returns it.
fn one(
    run: &Run,
    lab: &Lab,
    report: &mut Report,
    direction: Direction,
    host: &str,
    title: &str,
) -> Result<f64> {
    run.say(title);
    let (length, skip) = run.pick((20, 5), (6, 2));
    let fetch =
        fetch(lab, direction, host).lasting(Duration::from_secs(length), Duration::from_secs(skip));
    let transfer: Transfer = steadily(lab, report, || fetch.run())?;
    ensure!(
        transfer.succeeded(),
        "{title}: {} {:?}",
        transfer.ending,
        transfer.error
    );
    ensure!(
        transfer.identical != Some(false),
        "{title}: the bytes are not what was sent"
    );
    let congestion = transfer.congestion.as_deref().unwrap_or("unknown");
    report.condition(format!(
        "{length} s each, of which the first {skip} s do not count; the client's TCP uses {congestion}"
    ));
    report.note(title, transfer.goodput_mbps, "Mbit/s");
    Ok(transfer.goodput_mbps)
}

fn fetch(lab: &Lab, direction: Direction, host: &str) -> Fetch {
    match direction {
        Direction::Down => lab.fetch(&format!("http://{host}/bytes/{ENDLESS}")),
        Direction::Up => lab.fetch(&format!("http://{host}/sink")).upload(ENDLESS),
    }
}
