//! Schedulers are chosen while the router runs, bad ones are ejected, and no connection is touched by it.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xtask::lab::schedulers::{await_ejection, choose, listed, pardon, sched, zoo};
use xtask::lab::service::Service;
use xtask::lab::{Lab, THREE_LINKS, signal};

use super::{lab, lab_with, whole};

/// How long a supervisor may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn bad_schedulers_are_ejected_at_both_ends_and_transfers_go_on() -> Result<()> {
    let Some(turn) = lab_with("bad-schedulers", &["--links", THREE_LINKS, "--objects"])? else {
        return Ok(());
    };
    let lab = &turn.lab;
    let refused = choose(lab, &zoo("z_endless"), &[]);
    ensure!(refused.is_err(), "it is used against its verdict");
    let down = lab
        .fetch("http://internet/bytes/8000000?rate=8mbit")
        .start()?;
    // Else the router, which has the request to send, ejects for both ends before the server has anything to send.
    sleep(Duration::from_secs(2));
    for (member, reason) in [("z_endless", "fuel_exhausted"), ("z_nothing", "stalled")] {
        choose(lab, &zoo(member), &["--i-know-why"])?;
        // It is out at the router too, whoever ejected it.
        for role in ["server", "router"] {
            let why = await_ejection(lab, role, member)?;
            ensure!(why == reason, "{member} at the {role}: {why}");
        }
    }
    whole(&down.wait()?)?;
    let up = lab
        .fetch("http://internet/sink")
        .upload(8_000_000)
        .with(&["--rate", "8mbit"])
        .start()?;
    choose(lab, &zoo("z_wild"), &["--i-know-why"])?;
    let why = await_ejection(lab, "router", "z_wild")?;
    ensure!(why == "memory_fault", "z_wild: {why}");
    // One that works, on the same connection.
    choose(lab, Path::new("bpf_rr"), &[])?;
    for role in ["router", "server"] {
        await_use(lab, role, "bpf_rr")?;
    }
    whole(&up.wait()?)?;
    let incidents = sched(lab, "server", &["incidents", "--last", "2"])?;
    for part in ["z_endless", "goto", "last decisions", "path 1", "z_nothing"] {
        ensure!(incidents.contains(part), "{part} is missing in {incidents}");
    }
    out_until_pardoned(lab)
}

/// Waits until a role says that it uses a scheduler: what it says is half a second old at most.
fn await_use(lab: &Lab, role: &str, name: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        let listed = listed(lab, role)?;
        if listed.in_use.iter().all(|it| it.here.name == name) {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "{role}: {listed:?}");
        sleep(Duration::from_millis(100));
    }
}

/// Kills the router's supervisor and starts another one.
fn restart(lab: &Lab) -> Result<Service> {
    signal(lab.pid("router_supervisor")?, "-9")?;
    let supervisor = Service::start(&mut lab.exec("router", &["guywire", "router", "run"]))?;
    let start = Instant::now();
    while listed(lab, "router").is_err() {
        ensure!(start.elapsed() < PATIENCE, "it does not start again");
        sleep(Duration::from_millis(100));
    }
    Ok(supervisor)
}

/// The quarantine outlives a supervisor that was killed.
fn out_until_pardoned(lab: &Lab) -> Result<()> {
    let _supervisor = restart(lab)?;
    await_ejection(lab, "router", "z_wild")?;
    let refused = choose(lab, &zoo("z_wild"), &["--i-know-why"]);
    let Err(error) = refused else {
        anyhow::bail!("it came out of quarantine by itself");
    };
    ensure!(
        error.to_string().contains("guywire sched pardon"),
        "{error}"
    );
    pardon(lab, "router", "z_wild")?;
    choose(lab, &zoo("z_wild"), &["--i-know-why"])?;
    Ok(())
}

#[test]
fn a_server_takes_no_objects_unless_told_to() -> Result<()> {
    let Some(turn) = lab("objects", THREE_LINKS)? else {
        return Ok(());
    };
    let told = choose(&turn.lab, &zoo("z_garbage"), &["--i-know-why"])?;
    ensure!(told.contains("objects_from"), "it says {told}");
    let listed = listed(&turn.lab, "server")?;
    ensure!(listed.in_use[0].here.name == "default", "{listed:?}");
    // What is built in is another matter.
    let told = choose(&turn.lab, Path::new("bpf_red"), &[])?;
    ensure!(told.contains("here and at the server"), "it says {told}");
    Ok(())
}

#[test]
fn a_class_of_traffic_has_a_scheduler_of_its_own() -> Result<()> {
    let Some(turn) = lab("classes", "50mbit/20ms,50mbit/20ms")? else {
        return Ok(());
    };
    let lab = &turn.lab;
    let class = "[[class]]\nname = \"web\"\nports = [80]\nsources = [\"192.168.0.0/16\", \"2001:db8::/32\"]\n\
                 scheduler = \"redundant\"\n[[class]]\nname = \"voice\"\ndscp = [46]\n";
    let script = format!("printf '%s' '{class}' >> /etc/guywire/router.toml");
    lab.shell("router", &script)?;
    let _supervisor = restart(lab)?;
    let told = choose(lab, Path::new("minrtt"), &["--class", "voice"])?;
    ensure!(
        told.contains("the class voice, here and at the server"),
        "it says {told}"
    );
    let whose = || -> Result<Vec<(u8, String, u64)>> {
        let listed = listed(lab, "server")?.in_use.into_iter();
        Ok(listed
            .map(|it| (it.class, it.here.name, it.decisions))
            .collect())
    };
    whole(&lab.fetch("http://internet/bytes/2000000").run()?)?;
    // The reports are half a second old at most.
    sleep(Duration::from_secs(1));
    let used = whose()?;
    let decided = |class| used.iter().find(|it| it.0 == class).map_or(0, |it| it.2);
    ensure!(decided(1) > 50, "the class is not used: {used:?}");
    ensure!(decided(0) < 50, "all other traffic: {used:?}");
    let names: Vec<&str> = used.iter().map(|it| it.1.as_str()).collect();
    ensure!(names == ["default", "redundant", "minrtt"], "{used:?}");
    choose(lab, Path::new("configured"), &["--class", "voice"])?;
    sleep(Duration::from_secs(1));
    let left = whose()?;
    ensure!(left.len() == 2, "a class without a scheduler: {left:?}");
    Ok(())
}
