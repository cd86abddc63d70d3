//! Links that fall silent in mid-transfer, one after the other, and come back.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use xtask::lab::counters::{self, Watch};
use xtask::lab::{Lab, THREE_LINKS};

use super::super::Run;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};

/// How long a transfer runs before the cut, in seconds.
const BEFORE: u64 = 4;
/// How long the link is silent, in seconds.
const SILENT: u64 = 5;
/// How long the transfer goes on after the link's return, in seconds.
const AFTER: u64 = 5;
/// The longest pause that is allowed, in seconds.
const MOST_GAP: f64 = 1.0;
/// The longest until the link is used again, in seconds.
const MOST_RETURN: f64 = 2.0;
/// A link that carries this share of what it carried before the cut is used again.
const USED: f64 = 0.1;
/// More than any transfer here moves before its time is over.
const ENDLESS: u64 = 1 << 33;

/// What one cut did.
struct Cut {
    complete: bool,
    identical: bool,
    gap: f64,
    /// Until the link was used again; nothing where it was not.
    back: Option<f64>,
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let lab = run.three_links("failover")?;
    let cuts = run.pick(20, 3);
    report.condition(format!(
        "links {THREE_LINKS}; {cuts} cuts of {SILENT} s, the links in turn"
    ));
    let mut done = Vec::new();
    for number in 0..cuts {
        let link = format!("wan{}", number % 3 + 1);
        let cut = steadily(&lab, report, || one(&lab, &link))
            .with_context(|| format!("cut {} of {cuts}, {link}", number + 1))?;
        let back = cut
            .back
            .map_or("never".to_owned(), |back| format!("{back:.2} s"));
        run.say(format_args!(
            "{link}: gap {:.3} s, used again after {back}",
            cut.gap
        ));
        done.push(cut);
    }
    judge(&done, report);
    Ok(())
}

fn judge(cuts: &[Cut], report: &mut Report) {
    let failing = |good: fn(&Cut) -> bool| cuts.iter().filter(|cut| !good(cut)).count() as f64;
    let lost = failing(|cut| cut.complete);
    report.judge("flows lost", lost, "", Bound::AtMost(0.0));
    let different = failing(|cut| cut.identical);
    report.judge(
        "transfers with other bytes",
        different,
        "",
        Bound::AtMost(0.0),
    );
    let mut gaps: Vec<f64> = cuts.iter().map(|cut| cut.gap).collect();
    gaps.sort_by(f64::total_cmp);
    report.note("median of the longest gaps", gaps[gaps.len() / 2], "s");
    report.judge(
        "longest gap",
        gaps[gaps.len() - 1],
        "s",
        Bound::AtMost(MOST_GAP),
    );
    let never = failing(|cut| cut.back.is_some());
    report.judge("links never used again", never, "", Bound::AtMost(0.0));
    let slowest = cuts.iter().filter_map(|cut| cut.back).fold(0.0, f64::max);
    report.judge(
        "slowest return of a link",
        slowest,
        "s",
        Bound::AtMost(MOST_RETURN),
    );
}

/// Cuts `link` once in the middle of a download.
fn one(lab: &Lab, link: &str) -> Result<Cut> {
    let length = BEFORE + SILENT + AFTER;
    let watch = Watch::start(lab, "router")?;
    let running = lab
        .fetch(&format!("http://internet/bytes/{ENDLESS}"))
        .lasting(Duration::from_secs(length), Duration::ZERO)
        .start()?;
    sleep(Duration::from_secs(BEFORE));
    let cut = counters::uptime()?;
    lab.link(link, &["silent"])?;
    sleep(Duration::from_secs(SILENT));
    let returned = counters::uptime()?;
    lab.link(link, &["up"])?;
    let transfer = running.wait()?;
    let snapshots = watch.stop();
    let before = counters::rate(&snapshots, link, cut - 1.0, cut)
        .with_context(|| format!("the router's counters of {link} were not seen"))?;
    Ok(Cut {
        complete: transfer.succeeded(),
        identical: transfer.identical == Some(true),
        gap: transfer.longest_gap.seconds,
        back: counters::back_after(&snapshots, link, returned, before * USED),
    })
}
