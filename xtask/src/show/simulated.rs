//! What `guywire sim` says of a scheduler, for figures.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Run;
use super::sample::median;
use crate::command;

/// One run, as `guywire sim --json` tells it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Simulated {
    pub(super) scheduler: String,
    figures: Figures,
    run: Whole,
}

#[derive(Clone, Debug, Deserialize)]
struct Figures {
    mbps: f64,
    completion_s: Option<f64>,
    longest_gap_ms: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct Whole {
    links: Vec<LinkUse>,
    incidents: Vec<serde_json::Value>,
}

#[derive(Clone, Debug, Deserialize)]
struct LinkUse {
    pings: Vec<f64>,
}

/// The runs of one scheduler over several seeds.
pub(super) struct Runs(Vec<Simulated>);

/// Simulates `schedulers`, under these further options.
pub(super) fn simulate(run: &Run, schedulers: &[&str], options: &[&str]) -> Result<Vec<Runs>> {
    let mut sim = Command::new(&run.binary);
    sim.args(["sim", "--json", "--scheduler", &schedulers.join(",")]);
    let output = command::output(sim.args(options))?;
    let runs: Vec<Simulated> =
        serde_json::from_str(&output).context("cannot understand `guywire sim --json`")?;
    let of = |name: &&str| {
        let mine = runs.iter().filter(|run| run.scheduler == **name);
        Runs(mine.cloned().collect())
    };
    Ok(schedulers.iter().map(of).collect())
}

impl Runs {
    /// Goodput in Mbit/s: the median.
    pub(super) fn mbps(&self) -> f64 {
        self.median(|run| run.figures.mbps)
    }

    /// Seconds that a transfer took: the median.
    pub(super) fn completion(&self) -> f64 {
        self.median(|run| run.figures.completion_s.unwrap_or(f64::NAN))
    }

    /// The longest pause in ms: the median.
    pub(super) fn gap(&self) -> f64 {
        self.median(|run| run.figures.longest_gap_ms)
    }

    /// Round trips of pings over link `index`, in ms, of all runs.
    pub(super) fn pings(&self, index: usize) -> Vec<f64> {
        let links = self.0.iter().filter_map(|run| run.run.links.get(index));
        links.flat_map(|link| link.pings.iter().copied()).collect()
    }

    /// In how many of them it was ejected.
    pub(super) fn ejected(&self) -> u64 {
        let ejected = self.0.iter().filter(|run| !run.run.incidents.is_empty());
        ejected.count() as u64
    }

    fn median(&self, of: fn(&Simulated) -> f64) -> f64 {
        median(&self.0.iter().map(of).collect::<Vec<_>>())
    }
}

/// A scenario of the repository.
pub(super) fn scenario(name: &str) -> String {
    let file = Path::new("scenarios").join(format!("{name}.toml"));
    let path = crate::workspace::root().join(file);
    path.to_string_lossy().into_owned()
}
