//! Processes are killed: nothing that broke looks complete, and nothing is left behind.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xtask::lab::{THREE_LINKS, signal};

use super::{have, lab};

/// Downloads open when a worker dies.
const OPEN: u32 = 20;
/// How long a new connection may take to work again; the promise is 3 s.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_killed_router_worker_resets_every_connection() -> Result<()> {
    killed_worker("router_worker")
}

#[test]
fn a_killed_server_worker_resets_every_connection() -> Result<()> {
    killed_worker("server_worker")
}

fn killed_worker(role: &str) -> Result<()> {
    let Some(turn) = lab("crash", THREE_LINKS)? else {
        return Ok(());
    };
    let lab = &turn.lab;
    let running = lab
        .fetch("http://internet/bytes/50000000?rate=500kbit")
        .start_many(OPEN)?;
    sleep(Duration::from_secs(2));
    signal(lab.pid(role)?, "-9")?;
    let start = Instant::now();
    while !lab.fetch("http://internet/bytes/1000").run()?.succeeded() {
        ensure!(
            start.elapsed() < PATIENCE,
            "new connections still fail after {PATIENCE:?}"
        );
        sleep(Duration::from_millis(100));
    }
    let transfers = running.wait()?;
    ensure!(
        transfers.ended("reset") == u64::from(OPEN),
        "not all were reset: {transfers:?}"
    );
    Ok(())
}

#[test]
fn a_killed_router_leaves_no_capture_rules() -> Result<()> {
    if !have(&["nft"]) {
        return Ok(());
    }
    let Some(turn) = lab("rules", THREE_LINKS)? else {
        return Ok(());
    };
    let lab = &turn.lab;
    let tables = || lab.output("router", &["nft", "list", "tables"]);
    let before = tables()?;
    ensure!(
        before.contains("guywire_capture"),
        "capture is not installed: {before}"
    );
    // The supervisor first: it would start another worker.
    let worker = lab.pid("router_worker")?;
    signal(lab.pid("router_supervisor")?, "-9")?;
    signal(worker, "-9")?;
    let start = Instant::now();
    while tables()?.contains("guywire_capture") {
        ensure!(
            start.elapsed() < PATIENCE,
            "capture outlives the router: {}",
            tables()?
        );
        sleep(Duration::from_millis(100));
    }
    let cleaned = lab.output("router", &["guywire", "router", "clean"]);
    cleaned.context("`router clean` after a crash")?;
    let after = tables()?;
    ensure!(!after.contains("guywire"), "`router clean` left {after}");
    Ok(())
}

#[test]
fn a_lab_leaves_nothing_behind() -> Result<()> {
    let Some(turn) = lab("down", "veth,veth")? else {
        return Ok(());
    };
    let status = turn.lab.status()?;
    let processes = status["processes"]
        .as_object()
        .context("the status names no processes")?;
    let pids: Vec<u64> = processes
        .values()
        .filter_map(serde_json::Value::as_u64)
        .collect();
    ensure!(!pids.is_empty(), "the status names no processes: {status}");
    turn.lab.down()?;
    let start = Instant::now();
    while let Some(pid) = pids.iter().find(|pid| alive(**pid)) {
        ensure!(
            start.elapsed() < PATIENCE,
            "process {pid} of {status} is still there"
        );
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Whether a process runs; one that only waits to be collected does not.
fn alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
