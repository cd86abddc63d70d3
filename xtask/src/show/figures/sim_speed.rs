//! How much faster than life a simulation is.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use xtask::lab::THREE_LINKS;

use super::super::Run;
use super::super::report::{Bound, Report};
use super::super::sample::median;
use crate::command;

/// Virtual seconds for one second, on one core.
const FASTER: f64 = 50.0;
/// Runs, of which the median counts.
const RUNS: usize = 5;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let seconds = run.pick(120, 30);
    report.condition(format!(
        "one download over {THREE_LINKS}, {seconds} virtual seconds, one core; {RUNS} runs"
    ));
    for (congestion, scheduler, bound) in [
        ("bbr", "default", Some(Bound::AtLeast(FASTER))),
        ("cubic", "default", None),
        ("bbr", "bpf_minrtt", None),
    ] {
        let factor = || -> Result<f64> {
            let mut sim = Command::new(&run.binary);
            sim.args(["sim", "--links", THREE_LINKS, "--duration"])
                .arg(format!("{seconds}s"))
                .args(["--congestion", congestion, "--scheduler", scheduler]);
            let begin = Instant::now();
            command::output(&mut sim)?;
            Ok(f64::from(seconds) / begin.elapsed().as_secs_f64())
        };
        let factors: Vec<f64> = (0..RUNS).map(|_| factor()).collect::<Result<_>>()?;
        let what = format!("{scheduler}, {congestion}: faster than life");
        match bound {
            Some(bound) => report.judge(what, median(&factors), "times", bound),
            None => report.note(what, median(&factors), "times"),
        }
    }
    Ok(())
}
