//! `guywire sim`: what schedulers would do over links that are only simulated, as a table, JSON, or a plot.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use guywire_ebpf::scheduler::Settings;
use guywire_lab::scenario::{MAX_DURATION, Scenario};
use guywire_lab::spec::{LinkSpecs, read_duration};
use guywire_lab::story;
use guywire_sched::Factory;
use guywire_sim::network::{Algorithm, Network};
use guywire_sim::sweep::on_all_cores;
use guywire_sim::workload::{Workload, read_bytes};
use guywire_sim::{Measured, plot};

use super::output::print;
use super::sched::check::{self, Found};

mod table;

/// The most seeds: each is a run for each scheduler.
const MAX_SEEDS: u64 = 1_000;
/// The smallest window: less than a few segments of a flow is of no use.
const MIN_WINDOW: u64 = 16_000;

#[derive(Debug, Args)]
pub(super) struct Sim {
    /// A scenario file, as the lab plays it; without, --links and --workload say what happens
    #[arg(value_name = "SCENARIO", conflicts_with_all = ["links", "workload", "duration"])]
    scenario: Option<PathBuf>,
    /// The links, such as `100mbit/20ms,50mbit/60ms/loss0.5%/queue200ms/red,20mbit/trace:FILE`
    #[arg(long, value_name = "SPEC", default_value = story::LINKS)]
    links: LinkSpecs,
    /// What is transferred: `down`, `up`, `once:SIZE`, `short:SIZE` again and again, `paced:RATE`, or `mix`
    #[arg(long, default_value = "down")]
    workload: Workload,
    /// How long it goes on, in virtual time
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    duration: Duration,
    /// The schedulers to compare: names of those that are built in, or object files
    #[arg(
        long = "scheduler",
        value_name = "NAME|OBJ",
        value_delimiter = ',',
        default_value = "default"
    )]
    schedulers: Vec<String>,
    /// Congestion control of the subflows: bbr or cubic
    #[arg(long, value_name = "NAME", default_value = "bbr")]
    congestion: Algorithm,
    /// Give the whole session only so much memory at each end, and so a single flow such a window [default: 64 MiB]
    #[arg(long, value_name = "SIZE", value_parser = window)]
    window: Option<u64>,
    /// Seed of everything that happens by chance [default: the scenario's]
    #[arg(long)]
    seed: Option<u64>,
    /// Play so many seeds, from the first one on, and tell the medians
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MAX_SEEDS))]
    seeds: u64,
    /// Leave this much of the beginning out of the goodput
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = read_duration)]
    skip: Duration,
    /// Send a ping over each link this often, past Guywire, and tell how long they took
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pings: Option<Duration>,
    /// Draw rates and pauses over time, of the first seed, into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print every run as JSON
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let time = read_duration(text).map_err(|why| why.to_string())?;
    match time.is_zero() || time > MAX_DURATION {
        true => Err(format!("{text:?} is not more than 0s and at most a day")),
        false => Ok(time),
    }
}

fn window(text: &str) -> Result<u64, String> {
    match read_bytes(text)? {
        bytes if bytes < MIN_WINDOW => Err(format!("{text:?} is less than {MIN_WINDOW} bytes")),
        bytes => Ok(bytes),
    }
}

impl Sim {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let scenario = self.scenario()?;
        let factories = self.factories()?;
        let first = self.seed.unwrap_or(scenario.seed);
        let mut networks = Vec::new();
        for factory in &factories {
            for seed in first..first.saturating_add(self.seeds) {
                networks.push(self.network(&scenario, factory, seed)?);
            }
        }
        let played = on_all_cores(&networks, guywire_sim::measure);
        let runs: Vec<Measured> = played.into_iter().collect::<Result<_, _>>()?;
        if let Some(file) = &self.svg {
            let of_first: Vec<Measured> = runs
                .iter()
                .filter(|run| run.seed == first)
                .cloned()
                .collect();
            let drawn = plot::svg(&scenario.links.to_string(), &of_first)?;
            std::fs::write(file, drawn)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        print(&match self.json {
            true => serde_json::to_string_pretty(&table::json(&runs, self.skip))? + "\n",
            false => table::text(&runs, self.skip),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn scenario(&self) -> anyhow::Result<Scenario> {
        Ok(match &self.scenario {
            Some(file) => Scenario::load(file)?,
            None => Scenario {
                links: self.links.clone(),
                duration: self.duration,
                seed: 1,
                events: Vec::new(),
                transfers: self.workload.transfers(),
            },
        })
    }

    fn factories(&self) -> anyhow::Result<Vec<Factory>> {
        let mut factories: Vec<Factory> = Vec::new();
        for name in &self.schedulers {
            let factory = factory(name)?;
            if factories.iter().any(|other| other.name() == factory.name()) {
                bail!("the scheduler `{}` is named twice", factory.name());
            }
            factories.push(factory);
        }
        Ok(factories)
    }

    fn network(
        &self,
        scenario: &Scenario,
        factory: &Factory,
        seed: u64,
    ) -> anyhow::Result<Network> {
        let mut network = guywire_sim::scenario::network(scenario, factory.clone())?;
        network.seed = seed;
        network.algorithm = self.congestion;
        network.pings = self.pings;
        if let Some(window) = self.window {
            network.limit_window(window);
        }
        Ok(network)
    }
}

/// The scheduler of this name, or in this object file.
fn factory(name: &str) -> anyhow::Result<Factory> {
    match check::find(name)? {
        Found::Native(native) => Ok(native.into()),
        Found::Bpf(Ok(bpf)) => Ok(bpf.factory(Settings::default())),
        Found::Bpf(Err(unfit)) => bail!("{name}: {unfit}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        sim: Sim,
    }

    fn read(line: &str) -> Result<Sim, String> {
        let words = ["sim"].into_iter().chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(line.sim)
    }

    fn runs(line: &str) -> Vec<Measured> {
        let sim = read(line).expect("a good line");
        let scenario = sim.scenario().expect("a scenario");
        let network = |factory: &Factory| sim.network(&scenario, factory, 1).expect("a network");
        let factories = sim.factories().expect("schedulers");
        let measured = |factory| guywire_sim::measure(&network(factory)).expect("it is played");
        factories.iter().map(measured).collect()
    }

    #[test]
    fn a_row_for_each_scheduler_and_every_run_in_json() {
        let line = "--links 20mbit/20ms,10mbit/40ms --duration 2s --workload short:100kB --scheduler minrtt,bpf_rr --pings 100ms";
        let runs = runs(line);
        let text = table::text(&runs, Duration::ZERO);
        for word in [
            "SCHEDULER",
            "minrtt",
            "bpf_rr",
            "Mbit/s",
            "ping p95",
            "instr.",
            "never",
        ] {
            assert!(text.contains(word), "{word} is not in\n{text}");
        }
        let json = table::json(&runs, Duration::ZERO);
        assert_eq!(json[0]["scheduler"], "minrtt");
        assert_eq!(json[1]["figures"]["complete"], 4.0);
        assert_eq!(
            json[1]["run"]["transfers"].as_array().map(Vec::len),
            Some(4)
        );
        // In each tenth of a second until the last transfer was over.
        let rates = json[0]["rates_mbps"].as_array().expect("rates");
        let bits: f64 = rates.iter().filter_map(serde_json::Value::as_f64).sum();
        assert!(
            rates.len() <= 20 && (bits * 0.1 - 3.2).abs() < 0.01,
            "{rates:?}"
        );
    }

    #[test]
    fn the_same_objects_and_names_as_elsewhere_are_taken() {
        let sim = read("--scheduler default,/nowhere.o").expect("the line is good");
        let error = sim.factories().expect_err("no such file").to_string();
        assert!(error.contains("guywire sched list"), "{error}");
        let sim = read("--scheduler ecf,ecf").expect("the line is good");
        let error = sim.factories().expect_err("twice").to_string();
        assert!(error.contains("named twice"), "{error}");
    }

    #[test]
    fn wrong_words_are_named() {
        for (line, words) in [
            ("--workload long", "`short:100kB`"),
            ("--congestion reno", "`cubic`"),
            ("--window 5kB", "less than 16000 bytes"),
            ("--duration 0s", "at most a day"),
            ("--seeds 0", "1..=1000"),
            ("x.toml --links 1mbit", "cannot be used with"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
