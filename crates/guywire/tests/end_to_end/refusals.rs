//! What is wrong is refused with a clear message, and nothing else is harmed by it.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::lab::programs::Scratch;
use xtask::lab::service::Service;
use xtask::lab::{THREE_LINKS, signal, strangers};

use super::{binary, eventually, have, lab, whole};

/// How long a router may take to notice what it promises to notice at once.
const PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn garbage_on_the_servers_port_harms_nobody() -> Result<()> {
    if !have(&["bash"]) {
        return Ok(());
    }
    let Some(turn) = lab("garbage", THREE_LINKS)? else {
        return Ok(());
    };
    let running = turn
        .lab
        .fetch("http://internet/bytes/10000000?rate=10mbit")
        .start()?;
    let script = "for n in 1 2 3 4 5 6 7 8 9; do \
                    ( exec 3<>/dev/tcp/server/443; head -c 20000 /dev/urandom >&3; \
                      timeout 5 cat <&3 >/dev/null ) & \
                  done 2>/dev/null; wait";
    turn.lab.exec("router", &["bash", "-c", script]).output()?;
    let transfer = running.wait()?;
    whole(&transfer)?;
    let later = turn.lab.fetch("http://internet/bytes/1000").run()?;
    ensure!(
        later.succeeded(),
        "afterwards: {} {:?}",
        later.ending,
        later.error
    );
    Ok(())
}

#[test]
fn an_invitation_is_good_once() -> Result<()> {
    let Some(turn) = lab("invitation", THREE_LINKS)? else {
        return Ok(());
    };
    let line = strangers::invite(&turn.lab, "second", &[])?;
    ensure!(
        line.starts_with("guywire1:") && !line.contains('\n'),
        "it printed {line}"
    );
    let scratch = Scratch::new("join")?;
    let first = strangers::join(&turn.lab, &scratch, "first", &line)?;
    ensure!(
        first.status.success(),
        "a fresh invitation: {}",
        said(&first)
    );
    let again = strangers::join(&turn.lab, &scratch, "again", &line)?;
    ensure!(!again.status.success(), "a used invitation was accepted");
    ensure!(said(&again).contains("used"), "it says: {}", said(&again));
    Ok(())
}

#[test]
fn a_key_the_server_does_not_know_is_refused() -> Result<()> {
    const WANTED: &str = "does not know this router's key";
    let Some(turn) = lab("unknown-key", THREE_LINKS)? else {
        return Ok(());
    };
    let scratch = Scratch::new("unknown-key")?;
    let said = strangers::unknown_key(&turn.lab, &scratch, WANTED)?;
    ensure!(said.contains(WANTED), "it says: {said}");
    Ok(())
}

#[test]
fn a_wrong_server_key_is_an_incident() -> Result<()> {
    if !have(&["sed"]) {
        return Ok(());
    }
    let Some(turn) = lab("wrong-key", THREE_LINKS)? else {
        return Ok(());
    };
    let lab = &turn.lab;
    // Another first letter of its key makes it another server.
    let other = "sed -i -e 's/public_key = \"a/public_key = \"b/;t' \
                 -e 's/public_key = \"./public_key = \"a/' /etc/guywire/router.toml";
    lab.shell("router", other)?;
    signal(lab.pid("router_supervisor")?, "-TERM")?;
    let _router = Service::start(&mut lab.exec("router", &["guywire", "router", "run"]))?;
    eventually(PATIENCE, || {
        let status = lab.output("router", &["guywire", "router", "status", "--json"])?;
        let told =
            status.contains("link-failed") && status.contains("another server answers there");
        ensure!(told, "no incident: {status}");
        Ok(())
    })
}

#[test]
fn whoever_connects_to_the_transparent_listener_itself_gets_nothing() -> Result<()> {
    if !have(&["bash"]) {
        return Ok(());
    }
    let Some(turn) = lab("listener", THREE_LINKS)? else {
        return Ok(());
    };
    let lab = &turn.lab;
    let mut found = 0;
    for port in own_listeners(&lab.output("router", &["cat", "/proc/net/tcp"])?) {
        found += 1;
        let ask = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port} && echo hello >&3 && timeout 5 cat <&3; echo $?"
        );
        let said = lab.exec("router", &["bash", "-c", &ask]).output()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        // 124 is the end of the patience: nobody had closed it.
        ensure!(
            said.lines().count() == 1 && said.trim() != "124",
            "port {port}: {said}"
        );
    }
    ensure!(found > 0, "nothing listens on the loopback address");
    let status = lab.status()?;
    ensure!(
        status["router"]["flows_opened"] == 0,
        "{}",
        status["router"]
    );
    let later = lab.fetch("http://internet/bytes/1000").run()?;
    later.check("afterwards")
}

/// Ports of the listeners on 127.0.0.1 in what `/proc/net/tcp` holds; 0A is the state LISTEN.
fn own_listeners(text: &str) -> Vec<u16> {
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        let port = local.strip_prefix("0100007F:").filter(|_| state == "0A")?;
        u16::from_str_radix(port, 16).ok()
    };
    text.lines().filter_map(port).collect()
}

#[test]
fn a_broken_file_is_named_with_line_and_next_step() -> Result<()> {
    let scratch = Scratch::new("broken")?;
    let table = [
        ("router", "name = \"router", ":1:"),
        ("router", "\nschedular = \"default\"\n", ":2:"),
        ("router", "schedular = \"default\"\n", "scheduler"),
        ("server", "[limits]\nmax_flow = 5\n", "max_flows"),
    ];
    for (role, text, wanted) in table {
        let file = scratch.path().join("broken.toml");
        std::fs::write(&file, text)?;
        let output = std::process::Command::new(binary())
            .args([role, "run", "--config"])
            .arg(&file)
            .output()
            .context("cannot start the binary")?;
        ensure!(!output.status.success(), "{role} starts with {text:?}");
        let said = said(&output);
        ensure!(said.contains(wanted), "{role} with {text:?} says: {said}");
        ensure!(
            !said.contains("panicked"),
            "{role} with {text:?} says: {said}"
        );
    }
    Ok(())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
