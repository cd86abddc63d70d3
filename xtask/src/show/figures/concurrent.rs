//! Many downloads at once share few connections.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use xtask::lab::{THREE_LINKS, counters};

use super::super::Run;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};

/// Downloads at once.
const DOWNLOADS: u32 = 200;
/// Bytes of each.
const BYTES: u64 = 1_000_000;
/// Most TLS connections on a link.
const MOST: f64 = 6.0;
/// Where the lab's server listens.
const SERVER_PORT: u16 = 443;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let lab = run.three_links("concurrent")?;
    report.condition(format!(
        "links {THREE_LINKS}; {DOWNLOADS} downloads of {BYTES} bytes at once"
    ));
    let (transfers, most) = steadily(&lab, report, || {
        let url = format!("http://internet/bytes/{BYTES}");
        let running = lab.fetch(&url).start_many(DOWNLOADS)?;
        let mut most = 0;
        // The whole takes about ten seconds; the first few see the pools at their largest.
        for _ in 0..run.pick(25, 10) {
            sleep(Duration::from_millis(200));
            let counts = counters::connections_to(&lab, "router", SERVER_PORT)?;
            most = most.max(counts.values().copied().max().unwrap_or(0));
        }
        Ok((running.wait()?, most))
    })?;
    report.judge(
        "downloads started",
        transfers.count as f64,
        "",
        Bound::AtLeast(DOWNLOADS.into()),
    );
    super::scale::judge(report, "downloads", &transfers, true);
    report.judge(
        "connections a link, at most",
        most as f64,
        "",
        Bound::AtMost(MOST),
    );
    report.judge(
        "connections seen at all",
        most as f64,
        "",
        Bound::AtLeast(1.0),
    );
    report.note("all done after", transfers.seconds, "s");
    Ok(())
}
