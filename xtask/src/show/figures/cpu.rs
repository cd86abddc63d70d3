//! What carrying a gigabyte costs router and server together, against a bare TLS relay in their
//! place: the same nodes, link, capture, ciphers and keys, and nothing but copying.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use xtask::lab::programs::Scratch;
use xtask::lab::service::Service;
use xtask::lab::{Lab, processes};

use super::super::Run;
use super::super::goodput::Direction;
use super::super::machine::{cpu, steadily_again};
use super::super::report::{Bound, Report};
use super::super::sample::median;

/// A cable as fast as the machine: no emulator's work is beside what is measured.
const LINK: &str = "veth";
/// Where the lab's server is.
const SERVER: &str = "198.51.100.10:443";
/// The most that Guywire may take of the relay's CPU time.
const RATIO: f64 = 1.15;
/// The least that Guywire must carry of the rate at which both are compared, in percent.
const CARRIED: f64 = 97.0;

/// One of two, in a lab of its own.
pub(super) struct Contender {
    name: &'static str,
    lab: Lab,
    /// The processes at both ends.
    processes: Vec<u32>,
    /// The relay's, which end with this.
    _services: Vec<Service>,
}

/// What one transfer took.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    /// Goodput in Mbit/s.
    pub(super) goodput: f64,
    /// CPU seconds of both ends' processes for a gigabyte.
    pub(super) own: f64,
    /// CPU seconds of the whole machine for a gigabyte: client, web server and interrupts too.
    all: f64,
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let scratch = Scratch::new("cpu")?;
    let options = ["--links", LINK];
    let contenders = [relay(run, &scratch)?, guywire(run, "Guywire", &options)?];
    let (unpaced, paced) = (run.pick(3, 1), run.pick(5, 1));
    report.condition(format!(
        "one link, {LINK}; IPv4; transfers of {:?}, relay and Guywire in turn, medians of {unpaced} unpaced \
         and {paced} paced ones; CPU time is what the processes of router and server took, for a gigabyte \
         of payload",
        length(run)
    ));
    for direction in run.part.share(Direction::BOTH) {
        compare(run, report, &contenders, direction, [unpaced, paced])?;
    }
    Ok(())
}

fn length(run: &Run) -> Duration {
    Duration::from_secs(run.pick(10, 4))
}

/// Guywire in a lab with `options`.
pub(super) fn guywire(run: &Run, name: &'static str, options: &[&str]) -> Result<Contender> {
    let lab = Lab::up_with(&run.binary, "cpu", options)?;
    let roles = [
        "router_supervisor",
        "router_worker",
        "server_supervisor",
        "server_worker",
    ];
    let processes: Result<Vec<u32>> = roles.iter().map(|role| lab.pid(role)).collect();
    Ok(Contender {
        name,
        processes: processes?,
        lab,
        _services: Vec::new(),
    })
}

fn relay(run: &Run, scratch: &Scratch) -> Result<Contender> {
    let program = run.program("guywire-rig")?;
    let key = scratch.path().join("key");
    let made = Command::new(&program)
        .args(["relay", "key"])
        .arg(&key)
        .status()?;
    ensure!(made.success(), "the relay makes no key");
    let lab = Lab::up_with(&run.binary, "cpu", &["--links", LINK, "--no-guywire"])?;
    let (program, key) = (program.display().to_string(), key.display().to_string());
    let start = |node: &str, options: &[&str]| {
        let words = [&[&program, "relay", node, "--key", &key], options].concat();
        Service::start_ready(&mut lab.exec(node, &words))
    };
    let services = vec![
        start("server", &[SERVER])?,
        start("router", &["--lan", "lan0", SERVER])?,
    ];
    let processes: Result<Vec<u32>> = services.iter().map(Service::pid).collect();
    Ok(Contender {
        name: "bare relay",
        processes: processes?,
        lab,
        _services: services,
    })
}

/// Compares the two in one direction: as fast as they go, then at half of the relay's speed.
fn compare(
    run: &Run,
    report: &mut Report,
    contenders: &[Contender; 2],
    direction: Direction,
    [unpaced, paced]: [usize; 2],
) -> Result<()> {
    let title = format!("{direction}, unpaced");
    run.say(&title);
    // The machine is meant to be busy here, so nothing is void.
    let fastest = in_turn(contenders, unpaced, |contender| {
        one(run, contender, direction, None)
    })?;
    note(report, &title, contenders, &fastest);
    let kilobits = (of(&fastest[0], |cost| cost.goodput) * 1e3 / 2.0) as u64;
    let title = format!("{direction} at {} Mbit/s", kilobits / 1_000);
    run.say(&title);
    let costs = paced_in_turn(run, report, contenders, direction, (kilobits, paced))?;
    note(report, &title, contenders, &costs);
    let [relay, guywire] = costs;
    let carried = of(&guywire, |cost| cost.goodput) * 1e5 / kilobits as f64;
    report.judge(
        format!("{title}: carried by Guywire"),
        carried,
        "%",
        Bound::AtLeast(CARRIED),
    );
    let ratio = of(&guywire, |cost| cost.own) / of(&relay, |cost| cost.own);
    report.judge(
        format!("{title}: Guywire's CPU time, in those of the relay"),
        ratio,
        "",
        Bound::AtMost(RATIO),
    );
    Ok(())
}

/// Lets both do `work` in turn, so many `times`; what it cost each.
pub(super) fn in_turn(
    contenders: &[Contender; 2],
    times: usize,
    mut work: impl FnMut(&Contender) -> Result<Cost>,
) -> Result<[Vec<Cost>; 2]> {
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..times {
        for (contender, costs) in contenders.iter().zip(&mut costs) {
            costs.push(work(contender)?);
        }
    }
    Ok(costs)
}

/// The same, of transfers at `kilobits` a second, on a machine with time to spare.
pub(super) fn paced_in_turn(
    run: &Run,
    report: &mut Report,
    contenders: &[Contender; 2],
    direction: Direction,
    (kilobits, times): (u64, usize),
) -> Result<[Vec<Cost>; 2]> {
    in_turn(contenders, times, |contender| {
        steadily_again(&contender.lab, report, || {
            one(run, contender, direction, Some(kilobits))
        })
    })
}

/// One transfer, at most at `kilobits` a second.
pub(super) fn one(
    run: &Run,
    contender: &Contender,
    direction: Direction,
    kilobits: Option<u64>,
) -> Result<Cost> {
    let own = || -> Result<f64> {
        let processes = contender.processes.iter();
        processes.map(|pid| processes::cpu_seconds(*pid)).sum()
    };
    let (own_before, all_before) = (own()?, cpu()?);
    let transfer = direction
        .fetch(&contender.lab, "client", "internet", kilobits)
        .with(&["--no-verify"])
        .lasting(length(run), Duration::from_secs(1))
        .run()?;
    let (own_after, all_after) = (own()?, cpu()?);
    transfer.check(contender.name)?;
    let gigabytes = transfer.bytes as f64 / 1e9;
    let cost = Cost {
        goodput: transfer.goodput_mbps,
        own: (own_after - own_before) / gigabytes,
        all: all_after.busy_since(&all_before) / gigabytes,
    };
    run.say(format_args!(
        "{:<10}: {:.0} Mbit/s, {:.2} s/GB, the whole machine {:.2} s/GB",
        contender.name, cost.goodput, cost.own, cost.all
    ));
    Ok(cost)
}

/// The median of one part of the costs.
fn of(costs: &[Cost], part: impl Fn(&Cost) -> f64) -> f64 {
    median(&costs.iter().map(part).collect::<Vec<f64>>())
}

/// Notes what both did and what it cost.
pub(super) fn note(
    report: &mut Report,
    title: &str,
    contenders: &[Contender; 2],
    costs: &[Vec<Cost>; 2],
) {
    for (contender, costs) in contenders.iter().zip(costs) {
        let title = format!("{title}: {}", contender.name);
        let goodput = of(costs, |cost| cost.goodput / 1e3);
        report.note(&title, goodput, "Gbit/s");
        let own = of(costs, |cost| cost.own);
        report.note(format!("{title}, CPU time"), own, "s/GB");
        let all = of(costs, |cost| cost.all);
        report.note(format!("{title}, the whole machine's"), all, "s/GB");
        for cost in costs {
            report.sample(json!({
                "title": title, "goodput_mbps": cost.goodput, "own_s_per_gb": cost.own,
                "all_s_per_gb": cost.all,
            }));
        }
    }
}
