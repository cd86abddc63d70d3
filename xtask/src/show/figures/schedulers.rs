//! Schedulers in simulation: those that mean well stay, and twins decide alike.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::Run;
use super::super::report::Report;
use crate::command;

/// Every scheduler that is built in, over many networks with cuts.
pub(super) fn innocent(run: &Run, report: &mut Report) -> Result<()> {
    let count: u32 = run.pick(300, 40);
    let listed = simulate(run, &["schedulers"])?;
    let names: Vec<&str> = listed.lines().collect();
    report.fact("there are 22 schedulers", names.len() == 22, "");
    report.condition(format!(
        "{count} simulated networks each, with the scheduler at both ends"
    ));
    for name in run.part.share(names) {
        let told = simulate(run, &["innocent", &count.to_string(), name])?;
        for row in rows(&told, report)? {
            let number = |key: &str| row[key].as_u64().unwrap_or(u64::MAX);
            let (ejected, failures) = (number("ejected"), number("failures"));
            run.say(format_args!(
                "{name}: {ejected} ejected, {failures} gone wrong"
            ));
            let played = number("networks") == u64::from(count);
            report.fact(format!("{name}: every network was played"), played, "");
            report.none(format!("{name}: ejected"), ejected);
            report.none(format!("{name}: networks gone wrong"), failures);
        }
    }
    Ok(())
}

/// Every BPF scheduler beside its native twin, over random states.
pub(super) fn twins(run: &Run, report: &mut Report) -> Result<()> {
    let count: u32 = run.pick(1_000_000, 20_000);
    let told = simulate(run, &["twins", &count.to_string()])?;
    let rows = rows(&told, report)?;
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

/// Runs a command of the simulation, and returns what it printed.
pub(super) fn simulate(run: &Run, words: &[&str]) -> Result<String> {
    let mut simulation = Command::new(run.program("guywire-sim")?);
    Ok(command::capture(simulation.args(words))?.output)
}

/// The JSON lines of what was printed; the others become conditions.
fn rows(told: &str, report: &mut Report) -> Result<Vec<Value>> {
    let (rows, others): (Vec<&str>, Vec<&str>) =
        told.lines().partition(|line| line.starts_with('{'));
    others.into_iter().for_each(|line| report.condition(line));
    let rows = rows.into_iter().map(serde_json::from_str);
    rows.collect::<Result<_, _>>()
        .context("the simulation's figures")
}
