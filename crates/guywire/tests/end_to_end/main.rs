//! Guywire from end to end, in labs: the real router, the real server, real programs.
//!
//! These tests assert facts with wide margins; `cargo xtask show` measures. Each makes its own lab
//! from the binary that `GUYWIRE_BIN` names (`cargo xtask test` sets it to the release build), or
//! else from the one built beside the tests. A lab loads the machine, so they run one at a time.

mod bonding;
mod crashes;
mod failover;
mod links;
mod ordinary_user;
mod programs;
mod refusals;
mod schedulers;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xtask::lab::Lab;
use xtask::lab::fetch::Transfer;

/// A lab, and the right to be the only one of these tests that runs.
struct Turn {
    lab: Lab,
    _turn: MutexGuard<'static, ()>,
}

/// The binary under test.
fn binary() -> PathBuf {
    std::env::var_os("GUYWIRE_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_guywire").into(), PathBuf::from)
}

/// Waits until no other of these tests runs.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed while it was its turn does not spoil the others'.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lab with the links `spec`; nothing where this machine forbids labs, which counts as a skip.
fn lab(purpose: &str, spec: &str) -> Result<Option<Turn>> {
    lab_with(purpose, &["--links", spec])
}

/// The same, with options of `lab up`.
fn lab_with(purpose: &str, options: &[&str]) -> Result<Option<Turn>> {
    if let Some(reason) = forbidden() {
        skip(&reason);
        return Ok(None);
    }
    let turn = turn();
    let lab = Lab::up_with(binary(), purpose, options)?;
    Ok(Some(Turn { lab, _turn: turn }))
}

/// Asks again and again until the answer is good, for so long at most; the last error is told then.
fn eventually<T>(patience: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Err(error) if start.elapsed() >= patience => {
                return Err(error.context(format!("still so after {patience:?}")));
            }
            Err(_) => sleep(Duration::from_millis(100)),
            good => return good,
        }
    }
}

/// Makes sure that a transfer came to its end, and that every byte is what was sent.
fn whole(transfer: &Transfer) -> Result<()> {
    transfer.check("a transfer")?;
    ensure!(transfer.ending == "complete", "it was {}", transfer.ending);
    ensure!(transfer.identical == Some(true), "its bytes are unknown");
    Ok(())
}

/// Why no lab can be made here.
fn forbidden() -> Option<String> {
    if xtask::is_root() {
        return None;
    }
    let mut probe = Command::new("unshare");
    probe.args(["--user", "--map-root-user", "--net", "true"]);
    let allowed = probe
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    (!allowed).then(|| "user namespaces are forbidden here, and this is not root".to_owned())
}

/// Whether all `programs` are there; says what is missing, which counts as a skip.
fn have(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|program| xtask::find_program(program).is_none())
        .copied()
        .collect();
    if !missing.is_empty() {
        skip(&format!("not installed: {}", missing.join(", ")));
    }
    missing.is_empty()
}

/// Says why a test cannot run here, in the form that `cargo xtask test` counts.
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}
