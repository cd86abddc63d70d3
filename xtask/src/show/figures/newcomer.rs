//! The first minute: the story of `guywire lab`, with nothing but the kernel.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::Run;
use super::super::report::{Bound, Report};
use crate::command;

/// The longest that the story may take, in seconds.
const MOST: f64 = 120.0;
/// Debian's and everybody's number for `nobody`.
const NOBODY: &str = "65534";

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    // Outside any directory that only its owner may enter, as a home of root's is.
    let directory = std::env::temp_dir().join(format!("guywire-newcomer-{}", std::process::id()));
    std::fs::create_dir(&directory).context("cannot make a directory")?;
    let copied = copy(&run.binary, &directory);
    let measured = copied.and_then(|binary| all(run, report, &binary, &directory));
    std::fs::remove_dir_all(&directory).context("cannot remove the directory")?;
    measured
}

/// A copy of `binary` that everybody may run.
fn copy(binary: &Path, directory: &Path) -> Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let to = directory.join("guywire");
    std::fs::copy(binary, &to).context("cannot copy the binary")?;
    for path in [directory, &to] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))
            .context("cannot set permissions")?;
    }
    Ok(to)
}

fn all(run: &Run, report: &mut Report, binary: &Path, directory: &Path) -> Result<()> {
    let mut plain = Command::new(binary);
    story(run, report, "as this user", &mut plain, directory)?;
    if !command::is_root() {
        return Ok(());
    }
    let Some(setpriv) = xtask::find_program("setpriv") else {
        report.condition("not shown as an ordinary user: there is no setpriv");
        return Ok(());
    };
    let mut nobody = Command::new(setpriv);
    nobody.args([
        "--reuid",
        NOBODY,
        "--regid",
        NOBODY,
        "--clear-groups",
        "--no-new-privs",
    ]);
    nobody.arg(binary);
    story(run, report, "as an ordinary user", &mut nobody, directory)
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
    // An empty PATH: no `ip`, no `nft`, no shell can be of help.
    let output = command
        .args(["lab", "--json"])
        .env_clear()
        .env("PATH", directory.join("empty"))
        .env("HOME", directory)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .context("cannot start the lab")?;
    let seconds = start.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    let detail = said.lines().next_back().unwrap_or_default().to_owned();
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
