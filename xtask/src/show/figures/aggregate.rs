//! One bonded transfer against the sum of what each link alone gives plain TCP past Guywire, and
//! against the kernel's MPTCP over the same links.

use anyhow::Result;
use xtask::lab::{Lab, THREE_LINKS};

use super::super::Run;
use super::super::goodput::{Direction, Way, alone, goodput};
use super::super::report::{Bound, Report};
use super::rival;

/// The link sets, and the least share of their sum, in percent.
const SETS: [(&str, f64); 5] = [
    (THREE_LINKS, 97.0),
    ("300mbit/10ms,80mbit/30ms", 97.0),
    ("100mbit/25ms,100mbit/25ms", 97.0),
    ("50mbit/20ms,12mbit/20ms", 97.0),
    ("50mbit/20ms,50mbit/320ms", 95.0),
];

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    for (links, least) in run.part.share(SETS) {
        set(run, report, links, least)?;
    }
    Ok(())
}

/// Measures one set of links in both directions.
fn set(run: &Run, report: &mut Report, links: &str, least: f64) -> Result<()> {
    let lab = Lab::up(&run.binary, "aggregate", links)?;
    let count = links.split(',').count();
    let rival = rival::prepare(&lab, count);
    if let Err(why) = &rival {
        report.condition(format!("not beside kernel MPTCP: {why:#}"));
    }
    for direction in Direction::BOTH {
        let title = format!("{links}, {direction}");
        let sum: f64 = alone(run, &lab, report, links, direction, count)?
            .iter()
            .sum();
        let bonded = goodput(run, &lab, report, links, direction, Way::Bonded)?;
        report.judge(
            format!("{title}: Guywire's share of the sum"),
            bonded * 100.0 / sum,
            "%",
            Bound::AtLeast(least),
        );
        if rival.is_ok() {
            let other = goodput(run, &lab, report, links, direction, Way::Mptcp)?;
            let quantity = format!("{title}: kernel MPTCP's share of the sum");
            report.note(quantity, other * 100.0 / sum, "%");
            let quantity = format!("{title}: not below kernel MPTCP");
            report.fact(quantity, bonded >= other, "");
        }
    }
    Ok(())
}
