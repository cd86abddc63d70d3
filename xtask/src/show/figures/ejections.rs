//! Bad schedulers, one after the other, on a router and a server that carry fifty flows: each is ejected, and
//! nobody notices.
//!
//! What a server sends, its scheduler is judged by, so ejections at the server are made beside downloads, those
//! at the router beside uploads. Each round has flows of its own, so that every byte of them can be compared;
//! ejections for faults and for stalls are in different rounds, for they may cost differently.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xtask::lab::Lab;
use xtask::lab::fetch::{Running, Transfer};
use xtask::lab::schedulers::{await_ejection, choose, pardon, zoo};
use xtask::lab::service::Service;

use super::super::goodput::Direction;
use super::super::report::{Bound, Report};
use super::super::sample::worst;
use super::super::{Run, build};

/// Links that the flows fill by half.
const LINKS: &str = "200mbit/20ms,100mbit/60ms";
/// The longer round trip of the two, with the queue of a link that is full, in ms.
const LOADED: f64 = 80.0;
/// Flows at one time.
const FLOWS: usize = 50;
/// What each of them carries, in bytes a second.
const PACE: u64 = 375_000;
/// How long the flows of a round last, in seconds.
const ROUND: u64 = 30;
/// Nothing is begun so shortly before their end.
const SPARE: Duration = Duration::from_secs(4);
/// Between a stall and the next: what piled up meanwhile has to be carried first.
const REST: Duration = Duration::from_millis(300);
/// Rounds without ejections. The longest of many gaps is longer than the longest of few, so these are as many as
/// a part's ejections for faults take.
const QUIET: usize = 3;
/// Ejections in all.
const EJECTIONS: usize = 1_000;
/// What a fault found in a call may cost, in ms.
const FAULT: f64 = 100.0;
/// What a stall may cost: the rule's limit and this, in ms, and a loaded round trip.
const STALL: f64 = 20.0 + 50.0;
/// In what time a service of the router answers, in ms.
const ANSWER: f64 = 50.0;
/// The router's address in the LAN, and a port that is free there.
const SERVICE: &str = "192.168.77.1:7";

/// Members of the zoo that are found out in a call, and those that are found out by what does not happen.
const FAULTS: [&str; 6] = [
    "z_endless",
    "z_spin",
    "z_wild",
    "z_one_past",
    "z_stranger",
    "z_turncoat",
];
const STALLS: [&str; 2] = ["z_nothing", "z_full"];

/// Rounds of one kind.
struct Kind {
    direction: Direction,
    /// Who ejects.
    role: &'static str,
    members: &'static [&'static str],
    title: &'static str,
    rest: Duration,
}

/// What became of the flows of a round.
#[derive(Default)]
struct Seen {
    /// The longest pause of any flow, in ms.
    gaps: Vec<f64>,
    lost: u64,
    different: u64,
    ejections: usize,
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let instrument = build("guywire-rig")?.display().to_string();
    let lab = Lab::up_with(&run.binary, "ejections", &["--links", LINKS, "--objects"])?;
    let _echo = Service::start_ready(&mut lab.exec("router", &[&instrument, "echo", SERVICE]))?;
    let shares: Vec<usize> = run.part.share(0..run.pick(EJECTIONS, 80));
    let wanted = shares.len();
    report.condition(format!(
        "links {LINKS}; {wanted} ejections beside {FLOWS} flows of {} Mbit/s; downloads for the server, uploads for the router",
        PACE * 8 / 1_000_000
    ));
    let mut answers = Vec::new();
    for (direction, role) in [(Direction::Down, "server"), (Direction::Up, "router")] {
        let mut quiet = Vec::new();
        for _ in 0..run.pick(QUIET, 1) {
            let seen = round(run, &lab, &instrument, &mut answers, direction, |_| Ok(0))?;
            quiet.extend(seen.gaps);
        }
        let before = worst(&quiet);
        report.note(
            format!("{role}: longest gap without ejections"),
            before,
            "ms",
        );
        let (faults, stalls) = (wanted * 3 / 8, wanted / 8);
        for (members, title, count, rest, bound) in [
            (&FAULTS[..], "faults", faults, Duration::ZERO, FAULT),
            (&STALLS[..], "stalls", stalls, REST, STALL + LOADED),
        ] {
            let kind = Kind {
                direction,
                role,
                members,
                title,
                rest,
            };
            let seen = rounds(run, &lab, &instrument, &mut answers, &kind, count)?;
            let what = |quantity: &str| format!("{role}, {title}: {quantity}");
            report.note(what("ejections"), seen.ejections as f64, "");
            report.none(what("flows lost"), seen.lost);
            report.none(what("flows with other bytes"), seen.different);
            let longer = worst(&seen.gaps) - before;
            report.judge(
                what("longest gap beyond that"),
                longer,
                "ms",
                Bound::AtMost(bound),
            );
        }
    }
    let answer = worst(&answers);
    report.judge(
        "a service of the router answers within",
        answer,
        "ms",
        Bound::AtMost(ANSWER),
    );
    Ok(())
}

/// As many rounds as it takes to `count` ejections.
fn rounds(
    run: &Run,
    lab: &Lab,
    instrument: &str,
    answers: &mut Vec<f64>,
    kind: &Kind,
    count: usize,
) -> Result<Seen> {
    let mut all = Seen::default();
    let mut next = kind.members.iter().cycle();
    while all.ejections < count {
        let left = count - all.ejections;
        let seen = round(run, lab, instrument, answers, kind.direction, |until| {
            let mut ejected = 0;
            while ejected < left && Instant::now() < until {
                let member = next.next().context("there are members")?;
                eject(lab, kind.role, member)?;
                sleep(kind.rest);
                ejected += 1;
            }
            Ok(ejected)
        })?;
        all.gaps.extend(seen.gaps);
        all.lost += seen.lost;
        all.different += seen.different;
        all.ejections += seen.ejections;
        run.say(format_args!(
            "{}, {}: {} of {count} ejections, longest gap {:.0} ms",
            kind.role,
            kind.title,
            all.ejections,
            worst(&all.gaps)
        ));
    }
    Ok(all)
}

/// One ejection, and the pardon after it. The router gives up what the server ejects, too.
fn eject(lab: &Lab, role: &str, member: &str) -> Result<()> {
    choose(lab, &zoo(member), &["--i-know-why"])?;
    await_ejection(lab, role, member)?;
    await_ejection(lab, "router", member)?;
    pardon(lab, "router", member)?;
    if role == "server" {
        pardon(lab, role, member)?;
    }
    Ok(())
}

/// Flows of half a minute, and `work` beside them until shortly before their end.
fn round(
    run: &Run,
    lab: &Lab,
    instrument: &str,
    answers: &mut Vec<f64>,
    direction: Direction,
    work: impl FnOnce(Instant) -> Result<usize>,
) -> Result<Seen> {
    let seconds = run.pick(ROUND, 12);
    let asked = (seconds - 2).to_string();
    let words = [instrument, "probe", "--seconds", &asked, SERVICE];
    std::thread::scope(|scope| {
        let flows: Vec<_> = (0..FLOWS)
            .map(|_| flow(lab, direction, PACE * seconds))
            .collect::<Result<_>>()?;
        let until = Instant::now() + Duration::from_secs(seconds) - SPARE;
        // All of them have begun, and their programs have started.
        sleep(Duration::from_secs(1));
        let answered = scope.spawn(|| lab.output("client", &words));
        let ejections = work(until)?;
        let mut seen = Seen {
            ejections,
            ..Seen::default()
        };
        for flow in flows {
            let transfer = flow.wait()?;
            seen.lost += u64::from(transfer.ending != "complete");
            seen.different += u64::from(transfer.identical != Some(true));
            seen.gaps.push(transfer.longest_gap.seconds * 1e3);
        }
        let said = answered.join().expect("it does not panic")?;
        let (_, worst) = said.trim().split_once(' ').context("two numbers")?;
        answers.push(worst.parse()?);
        Ok(seen)
    })
}

/// A paced transfer of so many bytes.
fn flow(lab: &Lab, direction: Direction, bytes: u64) -> Result<Running<Transfer>> {
    let rate = format!("{}kbit", PACE * 8 / 1_000);
    match direction {
        Direction::Down => {
            let url = format!("http://internet/bytes/{bytes}?rate={rate}");
            lab.fetch(&url).start()
        }
        Direction::Up => {
            let fetch = lab.fetch("http://internet/sink").upload(bytes);
            fetch.with(&["--rate", &rate]).start()
        }
    }
}
