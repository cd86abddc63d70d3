//! Schedulers are chosen while the router runs, bad ones are ejected, and no connection is touched by it.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::lab::schedulers::{await_ejection, choose, listed, pardon, sched, zoo};
use xtask::lab::service::Service;
use xtask::lab::{Lab, THREE_LINKS, signal};

use super::{eventually, lab, lab_with, whole};

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
    eventually(PATIENCE, || {
        let decided: u64 = listed(lab, "server")?
            .in_use
            .iter()
            .map(|it| it.decisions)
            .sum();
        ensure!(decided > 20, "the server has decided {decided} times");
        Ok(())
    })?;
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
    eventually(PATIENCE, || {
        let listed = listed(lab, role)?;
        let used = listed.in_use.iter().all(|it| it.here.name == name);
        ensure!(used, "{role}: {listed:?}");
        Ok(())
    })
}

/// Kills the router's supervisor and starts another one.
fn restart(lab: &Lab) -> Result<Service> {
    signal(lab.pid("router_supervisor")?, "-9")?;
    let supervisor = Service::start(&mut lab.exec("router", &["guywire", "router", "run"]))?;
    eventually(PATIENCE, || listed(lab, "router"))?;
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

#[test]
fn a_trial_ends_by_itself_and_is_told() -> Result<()> {
    let Some(turn) = lab("trial", THREE_LINKS)? else {
        return Ok(());
    };
    let lab = &turn.lab;
    choose(lab, Path::new("minrtt"), &[])?;
    let down = lab
        .fetch("http://internet/bytes/40000000?rate=16mbit")
        .start()?;
    let told = choose(lab, Path::new("redundant"), &["--trial", "12s"])?;
    ensure!(told.contains("for 12 s"), "it says {told}");
    for role in ["router", "server"] {
        await_use(lab, role, "redundant")?;
    }
    // A supervisor that starts anew knows of it.
    let _supervisor = restart(lab)?;
    for role in ["router", "server"] {
        await_use(lab, role, "minrtt")?;
    }
    whole(&down.wait()?)?;
    let incidents = sched(lab, "router", &["incidents"])?;
    for part in [
        "the trial of redundant",
        "minrtt schedules it again",
        "Mbit/s down",
    ] {
        ensure!(incidents.contains(part), "{part} is missing in {incidents}");
    }
    Ok(())
}

#[test]
fn a_scheduler_is_tried_on_links_like_those_of_the_router() -> Result<()> {
    let Some(turn) = lab("like-here", "50mbit/20ms,20mbit/40ms")? else {
        return Ok(());
    };
    let lab = &turn.lab;
    let check = &["check", "default", "--like-here"];
    let idle = sched(lab, "router", check);
    let Err(error) = idle else {
        anyhow::bail!("a rate is known before anything was carried");
    };
    ensure!(error.to_string().contains("--links"), "{error}");
    whole(&lab.fetch("http://internet/bytes/30000000").run()?)?;
    let report = eventually(PATIENCE, || sched(lab, "router", check))?;
    for part in [
        "your link 2 cut",
        "on your links: as fast as default, survives every cut",
    ] {
        ensure!(report.contains(part), "{part} is missing in {report}");
    }
    Ok(())
}
