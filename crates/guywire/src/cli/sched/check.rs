//! `guywire sched check`: what becomes of a scheduler, before anything depends on it.
//!
//! An object is loaded and passes the machine's static pass, or not. Then it schedules both ends of
//! simulated networks, with cuts, losses and flows of all kinds, under the guard; and it is tried beside `default`
//! over links like those that people have. Native schedulers are played too.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use comfy_table::{Table, presets};
use data_encoding::HEXLOWER;
use guywire_ebpf::loader::limits;
use guywire_ebpf::scheduler::{Bpf, Settings, Unfit};
use guywire_sched::{Factory, Native, native};
use guywire_sim::states::Behaviour;
use guywire_sim::trial::{self, Course, Tried};
use guywire_sim::{schedulers, states};
use serde::Serialize;

use super::super::output::print;

/// Networks that are played.
const NETWORKS: u64 = 40;
/// States in which it is asked, each by itself: ordinary ones and hostile ones.
const STATES: u64 = 20_000;
/// Whoever is ejected in more than one of so many is refused.
const ONE_IN: usize = 10;

/// What may be done with a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// Nothing speaks against it.
    Works,
    /// It runs, and something speaks against relying on it.
    Experimental,
    /// It cannot be used, or is ejected again and again.
    Refused,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Verdict::Works => "works",
            Verdict::Experimental => "experimental",
            Verdict::Refused => "refused",
        }
    }
}

/// The answer of the command, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    name: String,
    kind: &'static str,
    /// SHA-256 of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    pub(super) verdict: Verdict,
    /// Networks played.
    networks: u64,
    /// In how many of them it was ejected.
    ejected: usize,
    /// What came of the trial.
    trial: Vec<Tried>,
    reasons: Vec<String>,
}

pub(super) fn run(what: &str, courses: &[Course], json: bool) -> anyhow::Result<ExitCode> {
    let report = check(what, courses)?;
    let text = match json {
        true => serde_json::to_string_pretty(&report)? + "\n",
        false => report.text(),
    };
    print(&text)?;
    Ok(match report.verdict {
        Verdict::Works | Verdict::Experimental => ExitCode::SUCCESS,
        Verdict::Refused => ExitCode::FAILURE,
    })
}

/// Checks a scheduler that is built in, or an object file.
fn check(what: &str, courses: &[Course]) -> anyhow::Result<Report> {
    Ok(match find(what)? {
        Found::Native(native) => Report::played(what, "native", &Factory::from(native), courses),
        Found::Bpf(Ok(bpf)) => Report::of_object(&bpf, courses),
        Found::Bpf(Err(unfit)) => Report::unfit(what, &unfit),
    })
}

/// A scheduler that somebody named.
pub(in crate::cli) enum Found {
    Native(&'static Native),
    Bpf(Result<Bpf, Unfit>),
}

/// The scheduler of this name, or else in this object file.
pub(in crate::cli) fn find(what: &str) -> anyhow::Result<Found> {
    if let Some(native) = native(what) {
        return Ok(Found::Native(native));
    }
    Ok(Found::Bpf(match Bpf::embedded(what) {
        Some(bpf) => Ok(bpf),
        None => Bpf::load(what, &read(what)?),
    }))
}

/// Reads an object file, no more of it than the loader takes.
pub(super) fn read(path: &str) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).with_context(|| {
        format!(
            "`{path}` is neither a scheduler that is built in (`guywire sched list`) nor a file that can be read"
        )
    })?;
    let mut bytes = Vec::new();
    let most = limits::FILE as u64 + 1;
    file.take(most)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {path}"))?;
    if bytes.len() > limits::FILE {
        bail!("{path} is longer than {} bytes", limits::FILE);
    }
    Ok(bytes)
}

impl Report {
    fn unfit(what: &str, unfit: &Unfit) -> Report {
        Report {
            name: what.to_owned(),
            kind: "BPF",
            hash: None,
            verdict: Verdict::Refused,
            networks: 0,
            ejected: 0,
            trial: Vec::new(),
            reasons: vec![unfit.to_string()],
        }
    }

    /// Plays the networks with an object.
    pub(super) fn of_object(bpf: &Bpf, courses: &[Course]) -> Report {
        let factory = bpf.factory(Settings::default());
        let mut report = Report::played(bpf.name(), "BPF", &factory, courses);
        report.hash = Some(HEXLOWER.encode(&bpf.hash()));
        for poison in &bpf.object().poison {
            report.object_to(Verdict::Experimental, format!("not modelled: {poison}"));
        }
        report
    }

    /// Plays the networks with it, and takes it over the courses of the trial.
    fn played(name: &str, kind: &'static str, factory: &Factory, courses: &[Course]) -> Report {
        if std::io::stderr().is_terminal() {
            eprintln!("playing {NETWORKS} simulated networks, and a trial beside `default` ...");
        }
        let swept = schedulers::play(factory, 0..NETWORKS);
        let mut report = Report {
            name: name.to_owned(),
            kind,
            hash: None,
            verdict: Verdict::Works,
            networks: NETWORKS,
            ejected: 0,
            trial: Vec::new(),
            reasons: Vec::new(),
        };
        report.note_behaviour(states::behaviour(factory, STATES, 0));
        for outcome in &swept.outcomes {
            let Some(ejected) = outcome.ejected.first() else {
                continue;
            };
            report.ejected += 1;
            let verdict = match report.ejected * ONE_IN > NETWORKS as usize {
                true => Verdict::Refused,
                false => Verdict::Experimental,
            };
            let (seed, reason) = (outcome.seed, ejected.reason);
            let text = format!("ejected in network {seed}: {reason}: {}", ejected.text);
            report.object_to(verdict, text);
        }
        for failure in &swept.failures {
            report.object_to(Verdict::Refused, failure.to_string());
        }
        report.try_out(factory, courses);
        report
    }

    fn note_behaviour(&mut self, behaviour: Behaviour) {
        if let Some((state, offence)) = behaviour.offence {
            let (reason, text) = (offence.reason, offence.text);
            let what = format!("misbehaves in generated state {state}: {reason}: {text}");
            self.object_to(Verdict::Refused, what);
        }
        for quirk in behaviour.quirks.iter() {
            self.object_to(Verdict::Experimental, quirk.to_string());
        }
    }

    /// The trial beside `default`.
    fn try_out(&mut self, factory: &Factory, courses: &[Course]) {
        match trial::trial(factory, courses) {
            Ok(tried) => {
                for objection in tried.iter().filter_map(Tried::objection) {
                    self.object_to(Verdict::Experimental, objection);
                }
                self.trial = tried;
            }
            Err(error) => self.object_to(Verdict::Refused, error.to_string()),
        }
    }

    fn object_to(&mut self, verdict: Verdict, reason: String) {
        if self.verdict != Verdict::Refused {
            self.verdict = verdict;
        }
        self.reasons.push(reason);
    }

    pub(super) fn text(&self) -> String {
        /// More would not help anybody.
        const SHOWN: usize = 3;
        let mut text = format!("{}: {}\n", self.name, self.verdict.word());
        if self.networks > 0 {
            let (ejected, networks) = (self.ejected, self.networks);
            let _ = writeln!(
                text,
                "  ejected in {ejected} of {networks} simulated networks"
            );
        }
        if !self.trial.is_empty() {
            text += &table(&self.trial);
        }
        if let Some(summary) = summary(&self.trial) {
            let _ = writeln!(text, "  {summary}");
        }
        for reason in self.reasons.iter().take(SHOWN) {
            let _ = writeln!(text, "  {}", reason.replace('\n', "\n  "));
        }
        if let Some(more) = self.reasons.len().checked_sub(SHOWN + 1) {
            let _ = writeln!(text, "  and {} more; --json has all", more + 1);
        }
        text
    }
}

/// What came of each course.
fn table(trial: &[Tried]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "TRIAL",
        "Mbit/s",
        "`default`",
        "longest pause",
        "`default`",
        "cut survived",
    ]);
    for tried in trial {
        let pause = |seconds: f64| format!("{:.0} ms", seconds * 1e3);
        let survived = tried.survived().map(|survived| match survived {
            true => "yes",
            false => "no",
        });
        table.add_row([
            &tried.course,
            &format!("{:.1}", tried.mbps),
            &format!("{:.1}", tried.default_mbps),
            &pause(tried.pause),
            &pause(tried.default_pause),
            survived.unwrap_or(""),
        ]);
    }
    let lines = table.trim_fmt();
    lines.lines().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "  {line}");
        text
    })
}

/// What came of the trial on one's own links, in a line.
fn summary(trial: &[Tried]) -> Option<String> {
    let own: Vec<&Tried> = trial.iter().filter(|tried| tried.own).collect();
    let steady = own.iter().find(|tried| tried.cut.is_none())?;
    let gain = steady.gain();
    let speed = match gain.abs() < 0.5 {
        true => "as fast as default".to_owned(),
        false if gain > 0.0 => format!("{gain:.0} % faster than default"),
        false => format!("{:.0} % slower than default", -gain),
    };
    let cuts: Vec<bool> = own.iter().filter_map(|tried| tried.survived()).collect();
    let survived = cuts.iter().filter(|survived| **survived).count();
    let cuts = match cuts.len() {
        0 => "there is one link, which cannot be cut".to_owned(),
        all if all == survived => "survives every cut".to_owned(),
        all => format!("survives {survived} of {all} cuts"),
    };
    Some(format!("on your links: {speed}, {cuts}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zoo(member: &str) -> String {
        let root = env!("CARGO_MANIFEST_DIR");
        format!("{root}/../../bpf/zoo/{member}.bpf.o")
    }

    #[test]
    fn our_own_works() {
        let mut courses = trial::fixed();
        courses.extend(trial::over(&"30mbit/20ms,10mbit/60ms".parse().unwrap()));
        let report = check("bpf_rr", &courses).unwrap();
        assert_eq!((report.verdict, report.ejected), (Verdict::Works, 0));
        assert_eq!(report.hash.as_ref().map(String::len), Some(64));
        let text = report.text();
        for part in ["outage", "your link 2 cut", "survives every cut"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn a_bad_one_is_refused_with_its_reason() {
        let report = check(&zoo("z_endless"), &trial::fixed()).unwrap();
        assert_eq!(report.verdict, Verdict::Refused);
        assert!(
            report.text().contains("fuel exhausted"),
            "{}",
            report.text()
        );
    }

    #[test]
    fn what_is_odd_or_slow_is_marked() {
        for (member, words) in [("z_garbage", "it returns"), ("z_waits", "the slowest link")] {
            let report = check(&zoo(member), &trial::fixed()).unwrap();
            assert_ne!(report.verdict, Verdict::Works, "{member}");
            let said = |reason: &String| reason.contains(words);
            assert!(report.reasons.iter().any(said), "{}", report.text());
        }
    }

    #[test]
    fn what_does_not_load_is_refused_and_says_why() {
        let report = check(&zoo("z_recursion"), &[]).unwrap();
        assert_eq!((report.verdict, report.networks), (Verdict::Refused, 0));
        assert!(report.text().contains("recursion"), "{}", report.text());
    }

    #[test]
    fn what_is_not_there_names_the_next_step() {
        let error = check("/nowhere", &[]).unwrap_err().to_string();
        assert!(error.contains("guywire sched list"), "{error}");
    }
}
