//! The eBPF machine beside rbpf's interpreter, and beside native code: what a BPF scheduler costs a
//! transfer more than its native twin.
//!
//! The interpreters run the same programs in turn, in one process. `bpf_burst` and `burst` carry the same
//! transfers in turn, each in a lab of its own.

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::Run;
use super::super::goodput::Direction;
use super::super::report::{Bound, Report};
use super::super::sample::median;
use super::cpu;
use crate::{command, workspace};

/// Cables as fast as the machine, two of them, so that there is something to decide.
const LINKS: &str = "veth,veth";
/// The native scheduler and its twin.
const TWINS: [&str; 2] = ["burst", "bpf_burst"];
/// The most that the twin may take of the native one's CPU time.
const RATIO: f64 = 1.03;
/// Transfers of each, whose medians are compared.
const TIMES: usize = 10;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let [down, up] = Direction::BOTH.map(Some);
    for part in run.part.share([None, down, up]) {
        match part {
            None => interpreters(run, report)?,
            Some(direction) => twins(run, report, direction)?,
        }
    }
    Ok(())
}

/// The two schedulers in one direction, at half of what the native one carries at most.
fn twins(run: &Run, report: &mut Report, direction: Direction) -> Result<()> {
    let [native, bpf] =
        TWINS.map(|name| cpu::guywire(run, name, &["--links", LINKS, "--scheduler", name]));
    let contenders = [native?, bpf?];
    let fastest = cpu::one(run, &contenders[0], direction, None)?;
    let kilobits = (fastest.goodput * 1e3 / 2.0) as u64;
    let times = run.pick(TIMES, 2);
    let title = format!("{direction} at {} Mbit/s", kilobits / 1_000);
    run.say(&title);
    report.condition(format!(
        "links {LINKS}; {TWINS:?} in turn, {times} transfers each; CPU time is what the \
         processes of router and server took, for a gigabyte of payload"
    ));
    let costs = cpu::paced_in_turn(run, report, &contenders, direction, (kilobits, times))?;
    cpu::note(report, &title, &contenders, &costs);
    // Of neighbours, since the machine's pace drifts by more than what is looked for.
    let ratios = costs[0].iter().zip(&costs[1]);
    let ratios: Vec<f64> = ratios.map(|(native, bpf)| bpf.own / native.own).collect();
    report.judge(
        format!(
            "{title}: CPU time of {} in that of {} before it",
            TWINS[1], TWINS[0]
        ),
        median(&ratios),
        "",
        Bound::AtMost(RATIO),
    );
    Ok(())
}

/// The machine beside rbpf's.
fn interpreters(run: &Run, report: &mut Report) -> Result<()> {
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
