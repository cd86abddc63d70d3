//! The same scenarios in simulation and on real packets.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use xtask::lab::Lab;
use xtask::lab::fetch::Transfer;

use super::super::Run;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};
use super::super::sample::median;
use super::super::simulated::{scenario, simulate};

const SCENARIOS: [&str; 5] = ["equal", "unequal", "lossy", "queue", "outage"];
const SCHEDULERS: [&str; 4] = ["default", "redundant", "roundrobin", "minrtt"];
/// Goodput differs by no more than this, in percent.
const GOODPUT: f64 = 15.0;
/// The longest pauses differ by no more than this factor.
const GAPS: f64 = 2.0;
/// Pauses below this, in ms, are as long as a turn of either side takes.
const SHORTEST: f64 = 20.0;
/// Seeds of the simulation, whose medians count.
const SEEDS: &str = "5";
/// Runs in the lab, whose medians count: the longest pause of one run is one event.
const RUNS: usize = 3;
/// A scenario is over within this time.
const PATIENCE: Duration = Duration::from_secs(40);

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let runs = run.pick(RUNS, 1);
    report.condition(format!(
        "the transfer of scenarios/*.toml, BBR; medians of {SEEDS} seeds in simulation and of {runs} runs in the lab"
    ));
    let scenarios = run.pick(&SCENARIOS[..], &SCENARIOS[1..2]);
    let pairs = scenarios
        .iter()
        .flat_map(|name| SCHEDULERS.map(|scheduler| (*name, scheduler)));
    for (name, scheduler) in run.part.share(pairs) {
        run.say(format_args!("{name}, {scheduler}"));
        let file = scenario(name);
        let simulated = simulate(run, &[scheduler], &[&file, "--seeds", SEEDS])?;
        let simulated = (simulated[0].mbps(), simulated[0].gap());
        let (mut mbps, mut gaps) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let real = in_lab(run, report, &file, scheduler)?;
            mbps.push(real.goodput_mbps);
            gaps.push(real.longest_gap.seconds * 1e3);
        }
        let real = (median(&mbps), median(&gaps));
        compare(report, &format!("{name}, {scheduler}"), simulated, real);
    }
    Ok(())
}

/// Goodput in Mbit/s and the longest pause in ms, simulated and real.
fn compare(report: &mut Report, title: &str, simulated: (f64, f64), real: (f64, f64)) {
    report.note(format!("{title}: real"), real.0, "Mbit/s");
    report.note(format!("{title}: simulated"), simulated.0, "Mbit/s");
    report.judge(
        format!("{title}: goodput differs by"),
        (simulated.0 / real.0 - 1.0).abs() * 100.0,
        "%",
        Bound::AtMost(GOODPUT),
    );
    report.note(format!("{title}: longest pause, real"), real.1, "ms");
    report.note(
        format!("{title}: longest pause, simulated"),
        simulated.1,
        "ms",
    );
    let ratio = simulated.1.max(SHORTEST) / real.1.max(SHORTEST);
    report.judge(
        format!("{title}: longest pause differs by the factor"),
        ratio.max(1.0 / ratio),
        "",
        Bound::AtMost(GAPS),
    );
    report.sample(json!({
        "pair": title, "simulated_mbps": simulated.0, "mbps": real.0,
        "simulated_gap_ms": simulated.1, "gap_ms": real.1,
    }));
}

/// Plays a scenario in the lab, and tells how its first transfer went.
fn in_lab(run: &Run, report: &mut Report, file: &str, scheduler: &str) -> Result<Transfer> {
    let options = ["--scenario", file, "--scheduler", scheduler];
    let lab = Lab::up_with(&run.binary, "simlab", &options)?;
    let status = lab.status()?;
    let directory = status["directory"]
        .as_str()
        .context("a lab has a directory")?;
    let told = Path::new(directory).join("log/transfer-1.json");
    let transfer = steadily(&lab, report, || first_transfer(&told))?;
    transfer.check(file)?;
    Ok(transfer)
}

fn first_transfer(told: &Path) -> Result<Transfer> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        // It is there when the transfer is over, and may be written in parts.
        let text = fs::read_to_string(told).unwrap_or_default();
        if let Ok(transfer) = serde_json::from_str(&text) {
            return Ok(transfer);
        }
        sleep(Duration::from_millis(100));
    }
    bail!(
        "no transfer was over within {PATIENCE:?}: {}",
        told.display()
    )
}
