//! What is wrong is refused with a clear message, and nothing else is harmed by it.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::lab::programs::Scratch;
use xtask::lab::strangers;
use xtask::lab::{Lab, THREE_LINKS};

use super::super::Run;
use super::super::report::Report;

/// Connections that send garbage to the server's port.
const GARBAGE: u32 = 20;
/// What a router says whose key its server does not know.
const UNKNOWN_KEY: &str = "does not know this router's key";

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let lab = run.three_links("refusals")?;
    report.condition(format!(
        "links {THREE_LINKS}; a download runs all the while"
    ));
    let scratch = Scratch::new("refusals")?;
    let length = run.pick(30, 15);
    let running = lab
        .fetch("http://internet/bytes/8000000000?rate=10mbit")
        .lasting(Duration::from_secs(length), Duration::ZERO)
        .start()?;

    invitations(&lab, &scratch, report)?;
    garbage(&lab, report)?;
    broken_files(&lab, &scratch, report)?;

    let transfer = running.wait()?;
    let unharmed = transfer.succeeded() && transfer.identical == Some(true);
    report.fact(
        "the download was not harmed",
        unharmed,
        transfer.error.unwrap_or(transfer.ending),
    );
    let later = lab.fetch("http://internet/bytes/1000000").run()?;
    report.fact(
        "new connections work afterwards",
        later.succeeded(),
        later.ending,
    );

    // Last, since it takes the place of the lab's router.
    let said = strangers::unknown_key(&lab, &scratch, UNKNOWN_KEY)?;
    let detail = said.lines().find(|line| line.contains(UNKNOWN_KEY));
    let detail = detail.or(said.lines().next_back()).unwrap_or_default();
    let title = "a key the server does not know: refused, and it says so";
    report.fact(title, said.contains(UNKNOWN_KEY), detail);
    Ok(())
}

/// A used invitation, an expired one, and a damaged line.
fn invitations(lab: &Lab, scratch: &Scratch, report: &mut Report) -> Result<()> {
    let line = strangers::invite(lab, "second", &[])?;
    let first = strangers::join(lab, scratch, "first", &line)?;
    ensure!(
        first.status.success(),
        "a fresh invitation is refused: {}",
        said(&first)
    );
    let again = strangers::join(lab, scratch, "again", &line)?;
    refused(report, "an invitation used before", &again, "used");

    let short = strangers::invite(lab, "third", &["--expires", "1s"])?;
    std::thread::sleep(Duration::from_secs(2));
    let late = strangers::join(lab, scratch, "late", &short)?;
    refused(report, "an expired invitation", &late, "expired");

    let cut = strangers::join(lab, scratch, "cut", &line[..line.len() - 8])?;
    refused(report, "a line cut short", &cut, "cut off");
    Ok(())
}

/// Strangers who talk anything but TLS to the server.
fn garbage(lab: &Lab, report: &mut Report) -> Result<()> {
    let script = format!(
        "for n in $(seq {GARBAGE}); do \
           ( exec 3<>/dev/tcp/server/443 && head -c 20000 /dev/urandom >&3; timeout 10 cat <&3 ) & \
         done 2>/dev/null; wait"
    );
    let answer = lab.exec("router", &["bash", "-c", &script]).output()?;
    let bytes = answer.stdout.len();
    let few = bytes <= 64 * GARBAGE as usize;
    report.fact(
        "garbage on the server's port is cut off",
        few,
        format!("{bytes} bytes of answers"),
    );
    let status = lab
        .exec("server", &["guywire", "server", "status"])
        .output()?;
    report.fact(
        "the server still answers",
        status.status.success(),
        last_line(&status),
    );
    Ok(())
}

/// Files that are no TOML, and files with a key that does not exist.
fn broken_files(lab: &Lab, scratch: &Scratch, report: &mut Report) -> Result<()> {
    let table = [
        ("TOML without an end", "name = \"router", "1:"),
        ("an unknown key", "schedular = \"default\"\n", "scheduler"),
    ];
    for (title, text, wanted) in table {
        let file = scratch.path().join("broken.toml");
        std::fs::write(&file, text).context("cannot write a broken file")?;
        let file = file.display().to_string();
        let command = ["guywire", "router", "run", "--config", &file];
        refused(
            report,
            title,
            &lab.exec("router", &command).output()?,
            wanted,
        );
    }
    Ok(())
}

/// `output` is a refusal, and its text holds `wanted`.
fn refused(report: &mut Report, title: &str, output: &Output, wanted: &str) {
    let clear = said(output).contains(wanted);
    report.fact(
        format!("{title}: refused, and it says so"),
        !output.status.success() && clear,
        last_line(output),
    );
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn last_line(output: &Output) -> String {
    said(output)
        .lines()
        .next_back()
        .unwrap_or_default()
        .to_owned()
}
