//! Schedulers in simulation: those that mean well stay, and twins decide alike.

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::Run;
use super::super::report::{Bound, Report};
use crate::{command, workspace};

/// Every scheduler that is built in, over many networks with cuts.
pub(super) fn innocent(run: &Run, report: &mut Report) -> Result<()> {
    let count = run.pick(300, 40);
    let rows = simulate("innocent", count, report)?;
    for row in &rows {
        let name = row["scheduler"].as_str().unwrap_or_default();
        let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        report.judge(
            format!("{name}: ejected"),
            number("ejected"),
            "",
            Bound::AtMost(0.0),
        );
        report.judge(
            format!("{name}: networks gone wrong"),
            number("failures"),
            "",
            Bound::AtMost(0.0),
        );
    }
    report.fact(
        "every scheduler that is built in was played",
        rows.len() == 22,
        "",
    );
    report.condition(format!(
        "{count} simulated networks each, with the scheduler at both ends"
    ));
    Ok(())
}

/// Every BPF scheduler beside its native twin, over random states.
pub(super) fn twins(run: &Run, report: &mut Report) -> Result<()> {
    let count = run.pick(1_000_000, 20_000);
    let rows = simulate("twins", count, report)?;
    for row in &rows {
        let name = |key: &str| row[key].as_str().unwrap_or_default();
        let what = format!(
            "{} marks the same subflows as {}",
            name("bpf"),
            name("native")
        );
        report.fact(what, row["alike"] == true, "");
    }
    report.fact("nine pairs were compared", rows.len() == 9, "");
    report.condition(format!(
        "{count} random states each, in flows of 200; some path is up in each"
    ));
    Ok(())
}

/// Runs a command of the simulation; its JSON lines, and the others as conditions.
fn simulate(word: &str, count: u32, report: &mut Report) -> Result<Vec<Value>> {
    let mut simulation = command::cargo();
    simulation.current_dir(workspace::root()).args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "guywire-sim",
        "--",
        word,
        &count.to_string(),
    ]);
    let ran = command::capture(&mut simulation)?;
    let (rows, told): (Vec<&str>, Vec<&str>) =
        ran.output.lines().partition(|line| line.starts_with('{'));
    told.into_iter().for_each(|line| report.condition(line));
    let rows = rows.into_iter().map(serde_json::from_str);
    rows.collect::<Result<_, _>>()
        .context("the simulation's figures")
}
