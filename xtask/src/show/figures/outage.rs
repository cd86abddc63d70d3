//! All links gone for half a minute: the transfer waits and goes on.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use xtask::lab::THREE_LINKS;

use super::super::Run;
use super::super::goodput::ENDLESS;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};
use super::super::sample::unix_now;
use super::failover::Kind;

/// How long all links are silent, in seconds.
const SILENT: u64 = 30;
/// How long the download runs before and after, in seconds.
const AROUND: u64 = 10;
/// The longest until data arrives again, in seconds: a connection's own retries are no faster.
const MOST: f64 = 5.0;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let lab = run.three_links("outage")?;
    let silent = run.pick(SILENT, 10);
    report.condition(format!("links {THREE_LINKS}, all silent for {silent} s"));
    let (transfer, returned) = steadily(&lab, report, || {
        let running = lab
            .fetch(&format!("http://internet/bytes/{}", ENDLESS))
            .with(&["--ipv4", "--gaps", "0.1", "--patience", "90"])
            .lasting(Duration::from_secs(silent + 2 * AROUND), Duration::ZERO)
            .start()?;
        sleep(Duration::from_secs(AROUND));
        for link in 1..=3 {
            Kind::Silent.cut(&lab, link)?;
        }
        sleep(Duration::from_secs(silent));
        let returned = unix_now();
        for link in 1..=3 {
            Kind::Silent.undo(&lab, link)?;
        }
        Ok((running.wait()?, returned))
    })?;
    let detail = transfer.error.clone().unwrap_or_default();
    report.fact("the flow was not lost", transfer.succeeded(), detail);
    let identical = transfer.identical == Some(true);
    report.fact("its bytes are what was sent", identical, "");
    let still = transfer.longest_between(returned, returned + AROUND as f64);
    report.judge("it goes on after", still, "s", Bound::AtMost(MOST));
    Ok(())
}
