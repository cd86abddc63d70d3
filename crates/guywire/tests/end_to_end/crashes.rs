//! Processes are killed: nothing that broke looks complete, what need not break does not, and nothing is left behind.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xtask::lab::programs;
use xtask::lab::service::Service;
use xtask::lab::{Lab, THREE_LINKS, signal};

use super::{eventually, have, lab};

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
    await_connection(lab)?;
    let transfers = running.wait()?;
    ensure!(
        transfers.ended("reset") == u64::from(OPEN),
        "not all were reset: {transfers:?}"
    );
    Ok(())
}

#[test]
fn a_stopped_worker_is_replaced() -> Result<()> {
    let Some(turn) = lab("stopped", THREE_LINKS)? else {
        return Ok(());
    };
    for role in ["router", "server"] {
        let (_, generation) = supervised(&turn.lab, role)?;
        signal(turn.lab.pid(&format!("{role}_worker"))?, "-STOP")?;
        let start = Instant::now();
        await_connection(&turn.lab)?;
        eprintln!(
            "{role}: new connections work {:.1} s after the stop",
            start.elapsed().as_secs_f64()
        );
        await_supervised(&turn.lab, role, |worker| worker.1 == generation + 1)?;
        let status = inner_status(&turn.lab, role)?.to_string();
        ensure!(status.contains("worker-hung"), "no incident: {status}");
    }
    Ok(())
}

#[test]
fn flows_outlive_a_killed_router_supervisor() -> Result<()> {
    let Some(turn) = lab("orphan-router", THREE_LINKS)? else {
        return Ok(());
    };
    killed_supervisor(&turn.lab, "router")?;
    // The new one was killed too: what it leaves behind can still be removed by hand.
    turn.lab.output("router", &["guywire", "router", "clean"])?;
    if have(&["nft"]) {
        let tables = turn.lab.output("router", &["nft", "list", "tables"])?;
        ensure!(!tables.contains("guywire"), "`router clean` left {tables}");
    }
    Ok(())
}

#[test]
fn flows_outlive_a_killed_server_supervisor() -> Result<()> {
    let Some(turn) = lab("orphan-server", THREE_LINKS)? else {
        return Ok(());
    };
    killed_supervisor(&turn.lab, "server")
}

/// Kills a supervisor in the middle of a download, starts another one, and expects every byte to arrive, new
/// connections to work all the while, and the next worker to be started by the new supervisor.
fn killed_supervisor(lab: &Lab, role: &str) -> Result<()> {
    let worker = supervised(lab, role)?;
    let running = lab
        .fetch("http://internet/bytes/20000000?rate=20mbit")
        .start()?;
    sleep(Duration::from_secs(1));
    signal(lab.pid(&format!("{role}_supervisor"))?, "-9")?;
    sleep(Duration::from_secs(1));
    let orphaned = lab.fetch("http://internet/bytes/1000").run()?;
    ensure!(orphaned.succeeded(), "without a supervisor: {orphaned:?}");
    let _supervisor = Service::start(&mut lab.exec(role, &["guywire", role, "run"]))?;
    let adopted = await_supervised(lab, role, |_| true)?;
    ensure!(
        adopted == worker,
        "worker {worker:?} became {adopted:?} with the new supervisor"
    );
    let transfer = running.wait()?;
    ensure!(
        transfer.succeeded(),
        "the download did not survive: {transfer:?}"
    );
    let (pid, generation) = adopted;
    lab.output(role, &["kill", "-9", &pid.to_string()])?;
    await_supervised(lab, role, |next| *next == (next.0, generation + 1))?;
    await_connection(lab)
}

#[test]
fn names_resolve_while_a_router_fails_open() -> Result<()> {
    let Some(turn) = lab("names-open", THREE_LINKS)? else {
        return Ok(());
    };
    let lab = &turn.lab;
    let start = Instant::now();
    while inner_status(lab, "router")?["state"] != "crash-loop" {
        // Between two workers there is none to kill.
        if let Ok((pid, _)) = supervised(lab, "router") {
            let _ = lab
                .exec("router", &["kill", "-9", &pid.to_string()])
                .output()?;
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "it is not taken for a crash loop"
        );
    }
    let addresses = programs::addresses(lab, "www.lab.test")?;
    ensure!(!addresses.is_empty(), "the name has no address");
    let named = lab.fetch("http://www.lab.test/bytes/1000").run()?;
    named.check("by name, and past Guywire")
}

/// Process id, as the node sees it, and generation of the worker that a role's supervisor has.
fn supervised(lab: &Lab, role: &str) -> Result<(u64, u64)> {
    let status = inner_status(lab, role)?;
    let number = |at| status.pointer(at).and_then(serde_json::Value::as_u64);
    ensure!(status["state"] == "running", "it is {}", status["state"]);
    number("/worker/pid")
        .zip(number("/generation"))
        .with_context(|| format!("no worker: {status}"))
}

fn inner_status(lab: &Lab, role: &str) -> Result<serde_json::Value> {
    let status = lab.output(role, &["guywire", role, "status", "--json"])?;
    serde_json::from_str(&status).context("a status is JSON")
}

/// Waits for a worker as wanted.
fn await_supervised(
    lab: &Lab,
    role: &str,
    wanted: impl Fn(&(u64, u64)) -> bool,
) -> Result<(u64, u64)> {
    eventually(PATIENCE, || {
        let worker = supervised(lab, role)?;
        ensure!(wanted(&worker), "the worker is {worker:?}");
        Ok(worker)
    })
}

/// Waits until a new connection works.
fn await_connection(lab: &Lab) -> Result<()> {
    eventually(PATIENCE, || {
        let transfer = lab.fetch("http://internet/bytes/1000").run()?;
        transfer.check("a new connection")
    })
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
    eventually(PATIENCE, || {
        let left = tables()?;
        ensure!(
            !left.contains("guywire_capture"),
            "capture outlives the router: {left}"
        );
        Ok(())
    })?;
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
    eventually(PATIENCE, || {
        let left = pids.iter().find(|pid| alive(**pid));
        ensure!(
            left.is_none(),
            "process {left:?} of {status} is still there"
        );
        Ok(())
    })
}

/// Whether a process runs; one that only waits to be collected does not.
fn alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
