//! Schedulers of a lab's router and server, chosen while they run.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Lab;

/// How long something that was chosen may take to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `sched list --json` says, as far as it is wanted here.
#[derive(Debug, Deserialize)]
pub struct Listed {
    /// What schedules each class just now.
    pub in_use: Vec<InUse>,
    /// What is not used any more.
    pub quarantine: Vec<Quarantined>,
}

/// What schedules a class.
#[derive(Debug, Deserialize)]
pub struct InUse {
    /// The class.
    pub class: u8,
    /// The scheduler.
    pub here: Id,
    /// Decisions so far.
    pub decisions: u64,
}

/// A scheduler that was ejected.
#[derive(Debug, Deserialize)]
pub struct Quarantined {
    /// The scheduler.
    pub id: Id,
    /// Why.
    pub reason: String,
}

/// Which scheduler.
#[derive(Debug, Deserialize)]
pub struct Id {
    /// Its name.
    pub name: String,
}

/// The object of a member of the zoo of bad schedulers.
#[must_use]
pub fn zoo(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join("bpf/zoo").join(format!("{name}.bpf.o"))
}

/// `guywire sched use` on the router.
///
/// # Errors
/// Where it is refused; the text holds why.
pub fn choose(lab: &Lab, what: &Path, options: &[&str]) -> Result<String> {
    let what = what.to_string_lossy();
    let mut program = vec!["guywire", "sched", "use", &what];
    program.extend(options);
    lab.output("router", &program)
}

/// What `role` says of its schedulers.
///
/// # Errors
/// Where it does not answer.
pub fn listed(lab: &Lab, role: &str) -> Result<Listed> {
    let text = sched(lab, role, &["list", "--json"])?;
    serde_json::from_str(&text).context("`sched list --json` is JSON")
}

/// Lets a scheduler be used again by `role`.
///
/// # Errors
/// Where it was not in quarantine.
pub fn pardon(lab: &Lab, role: &str, name: &str) -> Result<()> {
    sched(lab, role, &["pardon", name]).map(drop)
}

/// A command of `guywire sched` for the router or the server.
///
/// # Errors
/// Where it fails.
pub fn sched(lab: &Lab, role: &str, words: &[&str]) -> Result<String> {
    let mut program = vec!["guywire", "sched"];
    program.extend(words);
    if role == "server" {
        program.push("--server");
    }
    lab.output(role, &program)
}

/// Waits until `role` has ejected a scheduler; says why it was.
///
/// # Errors
/// Where that does not happen for half a minute.
pub fn await_ejection(lab: &Lab, role: &str, name: &str) -> Result<String> {
    let start = Instant::now();
    loop {
        let quarantine = listed(lab, role)?.quarantine;
        if let Some(found) = quarantine.into_iter().find(|entry| entry.id.name == name) {
            return Ok(found.reason);
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "the {role} has not ejected {name} after {PATIENCE:?}"
        );
        sleep(Duration::from_millis(50));
    }
}
