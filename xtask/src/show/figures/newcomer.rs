//! The first minute: the story of `guywire lab`, with nothing but the kernel.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;
use xtask::lab::programs::Scratch;

use super::super::Run;
use super::super::report::{Bound, Report};

/// The longest that the story may take, in seconds.
const MOST: f64 = 120.0;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let scratch = Scratch::new("newcomer")?;
    // An empty PATH: no `ip`, no `nft`, no shell can be of help.
    let nothing = scratch.path().join("empty");
    let mut plain = Command::new(&run.binary);
    plain.env("PATH", nothing);
    story(run, report, "as this user", &mut plain, scratch.path())?;
    if !xtask::is_root() {
        return Ok(());
    }
    if xtask::find_program("setpriv").is_none() {
        report.condition("not shown as an ordinary user: there is no setpriv");
        return Ok(());
    }
    let mut nobody = Command::new(scratch.as_nobody(&run.binary)?);
    story(
        run,
        report,
        "as an ordinary user",
        &mut nobody,
        scratch.path(),
    )
}

fn story(
    run: &Run,
    report: &mut Report,
    who: &str,
    command: &mut Command,
    directory: &Path,
) -> Result<()> {
    run.say(format_args!("the story {who}"));
    let start = Instant::now();
    let output = command
        .args(["lab", "--json"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .context("cannot start the lab")?;
    let seconds = start.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    let detail = said.lines().next_back().unwrap_or_default();
    report.fact(
        format!("the story succeeds {who}"),
        output.status.success(),
        detail,
    );
    let json: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    report.fact(format!("it hands back JSON {who}"), json.is_some(), "");
    report.judge(format!("it takes {who}"), seconds, "s", Bound::AtMost(MOST));
    Ok(())
}
