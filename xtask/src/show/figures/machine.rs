//! The eBPF machine beside rbpf's interpreter: both run the same programs in turn, in one process.

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::Run;
use super::super::report::{Bound, Report};
use crate::{command, workspace};

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let mut bench = command::cargo();
    bench.current_dir(workspace::root()).args([
        "bench",
        "--quiet",
        "--package",
        "guywire-ebpf",
        "--bench",
        "rival",
        "--",
        run.pick("full", "quick"),
    ]);
    let ran = command::capture(&mut bench)?;
    let last = ran.output.lines().last().unwrap_or_default();
    let json: Value = serde_json::from_str(last)
        .with_context(|| format!("the comparison ended without figures: {last}"))?;
    let programs = json["programs"].as_array().map_or(&[][..], Vec::as_slice);
    report.fact("programs were compared", !programs.is_empty(), "");
    report.condition(format!(
        "rbpf 0.4, interpreted; {} turns each, alternating; medians of this thread's running time",
        json["rounds"]
    ));
    for program in programs {
        judge(program, report);
    }
    Ok(())
}

/// Rows for one program, whose last is judged.
fn judge(program: &Value, report: &mut Report) {
    let name = program["name"].as_str().unwrap_or_default();
    let number = |key: &str| program[key].as_f64().unwrap_or(f64::NAN);
    let instructions = number("instructions");
    for (who, key) in [("Guywire", "ns_per_run"), ("rbpf", "rbpf_ns_per_run")] {
        let each = number(key) / instructions;
        report.note(format!("{name}: {who}, an instruction"), each, "ns");
        if name == "decision" {
            report.note(format!("{name}: {who}, the whole"), number(key), "ns");
        }
    }
    let ratio = number("ratio");
    report.judge(
        format!("{name}: Guywire to rbpf"),
        ratio,
        "",
        Bound::AtMost(1.0),
    );
    report.sample(program.clone());
}
