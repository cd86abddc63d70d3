//! `guywire sched check` tells bad schedulers from good ones, and finds nothing wrong with `default` anywhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::super::Run;
use super::super::report::Report;
use super::links;
use super::schedulers::simulate;
use crate::workspace;

/// Sets of links on which `default` is judged.
const SETS: usize = 100;

/// What `sched check --json` says, as far as it is wanted here.
#[derive(Deserialize)]
pub(super) struct Judged {
    pub(super) verdict: String,
    networks: u64,
    pub(super) reasons: Vec<String>,
}

impl Judged {
    /// What does not load is never tried.
    pub(super) fn loads(&self) -> bool {
        self.networks > 0
    }
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    zoo(run, report)?;
    own(run, report)?;
    let sets = run.part.share(links::sets(run.pick(SETS, 10)));
    let mut wrong = 0;
    for (links, _) in &sets {
        let judged = judge(&run.binary, Path::new("default"), &["--links", links])?;
        if judged.verdict != "works" {
            wrong += 1;
            let why = judged.reasons.join("; ");
            report.condition(format!("`default` on {links}: {}: {why}", judged.verdict));
        }
    }
    report.note("`default`: sets of links", sets.len() as f64, "");
    report.none("`default`: sets on which the verdict is not `works`", wrong);
    Ok(())
}

/// Every member that loads is refused or marked.
fn zoo(run: &Run, report: &mut Report) -> Result<()> {
    let (mut judged, mut let_through) = (0, 0);
    for object in objects(&workspace::root().join("bpf/zoo"))? {
        let found = judge(&run.binary, &object, &[])?;
        let member = object.file_stem().unwrap_or_default().to_string_lossy();
        if !found.loads() {
            continue;
        }
        judged += 1;
        let_through += u64::from(found.verdict == "works");
        let why = found.reasons.first().map_or("", |reason| reason.as_str());
        let why = why.lines().next().unwrap_or_default();
        run.say(format_args!("{member}: {}: {why}", found.verdict));
        report
            .sample(json!({"member": member, "verdict": found.verdict, "reasons": found.reasons}));
    }
    report.fact(
        "members of the zoo that load",
        judged >= 13,
        judged.to_string(),
    );
    report.none("of these: neither refused nor marked", let_through);
    Ok(())
}

/// None that is built in is.
fn own(run: &Run, report: &mut Report) -> Result<()> {
    let names = simulate(run, &["schedulers"])?;
    let mut marked = 0;
    for name in names.lines() {
        let judged = judge(&run.binary, Path::new(name), &[])?;
        if judged.verdict != "works" {
            marked += 1;
            let why = judged.reasons.join("; ");
            report.condition(format!("{name}: {}: {why}", judged.verdict));
        }
    }
    report.note(
        "schedulers that are built in",
        names.lines().count() as f64,
        "",
    );
    report.none("of these: refused or marked", marked);
    Ok(())
}

/// Asks `guywire sched check` of a scheduler that is built in, or of an object file.
pub(super) fn judge(guywire: &Path, what: &Path, options: &[&str]) -> Result<Judged> {
    let output = Command::new(guywire)
        .args(["sched", "check", "--json"])
        .arg(what)
        .args(options)
        .output()
        .context("cannot start guywire")?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!(
            "`guywire sched check {}` answered: {errors}",
            what.display()
        )
    })
}

/// The object files of a folder, by name.
fn objects(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut objects = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "o") {
            objects.push(path);
        }
    }
    objects.sort();
    Ok(objects)
}
