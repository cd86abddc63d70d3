//! The protocol core in deterministic simulation: no lab, no clock, only seeds.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::Run;
use super::super::report::{Bound, Report};
use crate::command;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let count = run.pick(10_000, 500);
    run.say(format_args!("{count} networks, on all cores"));
    let mut sweep = Command::new(run.program("guywire-sim")?);
    sweep.args(["sweep", &count.to_string()]);
    let swept = command::capture(&mut sweep)?;
    let last = swept.output.lines().last().unwrap_or_default();
    let json: Value = serde_json::from_str(last)
        .with_context(|| format!("the simulation ended without figures: {last}"))?;
    let number = |key: &str| json[key].as_f64().unwrap_or(f64::NAN);
    let failed = json["failed_seeds"].as_array().map_or(usize::MAX, Vec::len);
    for failure in swept
        .output
        .lines()
        .filter(|line| line.starts_with("seed "))
    {
        report.condition(failure);
    }
    report.condition("`cargo run --package guywire-sim -- replay SEED` plays a seed again");
    let wanted = Bound::AtLeast(f64::from(count));
    report.judge("networks", number("networks"), "", wanted);
    report.none("failures", failed as u64);
    report.note("virtual time", number("virtual_hours"), "h");
    report.note("bytes carried", number("bytes") / 1e9, "GB");
    report.note("real time", number("seconds"), "s");
    let standing = number("longest_stand_ms") / 1e3;
    report.note("longest stand of a flow while a link worked", standing, "s");
    Ok(())
}
