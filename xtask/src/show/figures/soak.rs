//! Half an hour of everything at once: 200 flows of five kinds, links that are cut and change, and
//! processes that are killed.
//!
//! It goes in rounds. In each, all flows begin, live through what happens, and end; then what the
//! processes hold is looked at, at rest. In the first two thirds of the time nothing may be lost: only
//! links are cut, and supervisors killed. In the last third workers are killed too, whose connections
//! may be reset, and nothing else.

mod flat;

use std::collections::BTreeMap;
use std::fmt;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xtask::lab::fetch::{Running, Transfers};
use xtask::lab::service::Service;
use xtask::lab::{Lab, THREE_LINKS, signal};

use super::super::Run;
use super::super::goodput::ENDLESS;
use super::super::machine::steadily;
use super::super::report::Report;
use super::super::sample::Choices;
use super::failover::Kind;
use flat::Looks;

/// Flows of each kind.
const EACH: u32 = 40;
/// How long the flows of a round live, in seconds.
const LIFE: u64 = 25;
/// The rest after a round, until what is left of it is gone.
const REST: Duration = Duration::from_secs(6);
/// How long a killed supervisor is missed.
const ORPHANED: Duration = Duration::from_secs(1);
/// What the links of [`THREE_LINKS`] carry, in Mbit/s.
const RATES: [usize; 3] = [100, 50, 20];

/// Whom a round costs its life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Nobody,
    /// Of `router` or `server`.
    Supervisor(&'static str),
    Worker(&'static str),
}

impl Victim {
    /// In turn, while nothing may be lost.
    const SPARING: [Self; 3] = [
        Self::Nobody,
        Self::Supervisor("router"),
        Self::Supervisor("server"),
    ];
    /// In turn, at the end.
    const COSTLY: [Self; 3] = [Self::Worker("router"), Self::Worker("server"), Self::Nobody];
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody killed"),
            Self::Supervisor(role) => write!(f, "{role}'s supervisor killed"),
            Self::Worker(role) => write!(f, "{role}'s worker killed"),
        }
    }
}

/// What became of all flows.
#[derive(Default)]
struct Tally {
    rounds: usize,
    flows: u64,
    /// Reset, in rounds in which a worker was killed.
    reset: u64,
    /// Ended badly in any other way.
    lost: u64,
    /// Moved other bytes than were sent.
    different: u64,
}

struct Soak<'a> {
    run: &'a Run,
    lab: &'a Lab,
    choices: Choices,
    /// Supervisors that were started in place of those that were killed, by role.
    supervisors: BTreeMap<&'static str, Service>,
    tally: Tally,
    looks: Looks,
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let lab = run.three_links("soak")?;
    let length = Duration::from_secs(60 * run.pick(30, 3));
    report.condition(format!(
        "links {THREE_LINKS}; {length:?}; rounds of {} flows: downloads, uploads, idle, slow readers and paced \
         ones, {EACH} each; cuts of every kind and rates between a quarter and the whole, seeded",
        EACH * 5
    ));
    let mut soak = Soak {
        run,
        lab: &lab,
        choices: Choices::seeded(6),
        supervisors: BTreeMap::new(),
        tally: Tally::default(),
        looks: Looks::default(),
    };
    let losses = steadily(&lab, report, || soak.rounds(length))?;
    losses.into_iter().for_each(|loss| report.condition(loss));
    let Tally {
        rounds,
        flows,
        reset,
        lost,
        different,
    } = soak.tally;
    report.note("rounds", rounds as f64, "");
    report.note("flows", flows as f64, "");
    report.note("flows reset by the death of a worker", reset as f64, "");
    report.none("flows lost that need not be", lost);
    report.none("flows with other bytes", different);
    soak.looks.judge(report);
    Ok(())
}

impl Soak<'_> {
    /// Goes on for `length`; returns what was lost that need not be, in words.
    fn rounds(&mut self, length: Duration) -> Result<Vec<String>> {
        let start = Instant::now();
        let mut losses = Vec::new();
        while start.elapsed() < length {
            let victims = if start.elapsed() < length * 2 / 3 {
                Victim::SPARING
            } else {
                Victim::COSTLY
            };
            losses.extend(self.round(victims[self.tally.rounds % victims.len()])?);
        }
        Ok(losses)
    }

    /// One round; returns what was lost that need not be, in words.
    fn round(&mut self, victim: Victim) -> Result<Vec<String>> {
        let flows = self.start_flows()?;
        let begun = Instant::now();
        let mut alive = true;
        let mut happened = Vec::new();
        // The last event is over before the flows are.
        while begun.elapsed() < Duration::from_secs(LIFE - 6) {
            sleep(Duration::from_millis(
                500 + self.choices.below(2_000) as u64,
            ));
            happened.push(self.disturb()?);
            if alive && begun.elapsed() > Duration::from_secs(LIFE / 3) {
                self.kill(victim)?;
                alive = false;
            }
        }
        let mut losses = Vec::new();
        for (kind, running) in flows {
            let transfers = running.wait().with_context(|| kind.to_owned())?;
            losses.extend(self.count(kind, victim, &transfers));
        }
        sleep(REST);
        self.looks.look(self.lab, &self.supervisors)?;
        self.tally.rounds += 1;
        self.run.say(format_args!(
            "round {}, {victim}: {}; {} flows lost so far",
            self.tally.rounds,
            happened.join(", "),
            self.tally.lost
        ));
        Ok(losses)
    }

    fn start_flows(&self) -> Result<Vec<(&'static str, Running<Transfers>)>> {
        let life = Duration::from_secs(LIFE);
        let get = |path: String| self.lab.fetch(&format!("http://internet/{path}"));
        let bytes = || get(format!("bytes/{ENDLESS}"));
        let kinds = [
            ("downloads", bytes()),
            ("uploads", get("sink".to_owned()).upload(ENDLESS)),
            ("idle flows", get(format!("hold/{LIFE}"))),
            ("slow readers", bytes().with(&["--rate", "200kbit"])),
            ("paced flows", get(format!("bytes/{ENDLESS}?rate=500kbit"))),
        ];
        let start = |(kind, fetch): (&'static str, xtask::lab::fetch::Fetch)| {
            let fetch = fetch.with(&["--patience", "120"]);
            let fetch = match kind {
                // They end by themselves, at the same time.
                "idle flows" => fetch,
                _ => fetch.lasting(life, Duration::ZERO),
            };
            Ok((kind, fetch.start_many(EACH)?))
        };
        kinds.into_iter().map(start).collect()
    }

    /// Cuts a link for a while, or changes its rate; says which.
    fn disturb(&mut self) -> Result<String> {
        let number = 1 + self.choices.below(RATES.len());
        if self.choices.below(3) == 0 {
            let full = RATES[number - 1];
            let rate = full / 4 + self.choices.below(full - full / 4 + 1);
            let setting = format!("rate={rate}mbit");
            self.lab.link(&format!("wan{number}"), &["set", &setting])?;
            return Ok(format!("wan{number} {rate} Mbit/s"));
        }
        let kind = Kind::ALL[self.choices.below(Kind::ALL.len())];
        kind.cut(self.lab, number)?;
        sleep(Duration::from_millis(
            200 + self.choices.below(3_000) as u64,
        ));
        kind.undo(self.lab, number)?;
        Ok(format!("wan{number} {kind}"))
    }

    fn kill(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Nobody => Ok(()),
            Victim::Worker(role) => signal(self.lab.pid(&format!("{role}_worker"))?, "-9"),
            Victim::Supervisor(role) => {
                let pid = match self.supervisors.get(role) {
                    Some(service) => service.pid()?,
                    None => self.lab.pid(&format!("{role}_supervisor"))?,
                };
                signal(pid, "-9")?;
                sleep(ORPHANED);
                let mut command = self.lab.exec(role, &["guywire", role, "run"]);
                let next = Service::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
                self.supervisors.insert(role, next);
                Ok(())
            }
        }
    }

    /// Counts how flows ended; returns what was lost that need not be, in words.
    fn count(&mut self, kind: &str, victim: Victim, transfers: &Transfers) -> Vec<String> {
        self.tally.flows += transfers.count;
        self.tally.different += transfers.different;
        let mut losses = Vec::new();
        for failures in &transfers.failures {
            if failures.ending == "reset" && matches!(victim, Victim::Worker(_)) {
                self.tally.reset += failures.count;
                continue;
            }
            self.tally.lost += failures.count;
            losses.push(format!(
                "round {}, {victim}: {} {kind} ended {}: {}",
                self.tally.rounds + 1,
                failures.count,
                failures.ending,
                failures.example
            ));
        }
        losses
    }
}
