//! What is wrong is refused with a clear message, and nothing else is harmed by it.

use std::process::Output;

use anyhow::{Context, Result, ensure};
use xtask::lab::THREE_LINKS;
use xtask::lab::programs::Scratch;
use xtask::lab::strangers;

use super::{binary, have, lab, whole};

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
