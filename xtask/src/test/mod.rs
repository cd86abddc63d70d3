//! `cargo xtask test`: every test, end to end too.
//!
//! 1. The system packages that the tests want are looked for, and installed when asked
//!    ([`packages`]).
//! 2. The release binary is built: the end-to-end tests in `crates/guywire/tests` drive it, named
//!    by `GUYWIRE_BIN`.
//! 3. `cargo nextest` runs all tests where it is installed, else `cargo test` does.
//! 4. What they printed is counted ([`outcome`]): a test that prints `skipped: REASON` and returns
//!    was skipped. With `CI=true` a skip fails the run.
//!
//! The last line is always `N passed, N failed`, with `, N skipped` where there were skips.

mod outcome;
mod packages;

use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use outcome::{Format, Reader, Tally};

use crate::{command, workspace};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Install missing system packages with apt (as root).
    #[arg(long)]
    install: bool,
    /// Run only tests whose name contains this.
    filter: Option<String>,
}

/// Runs the tests; true where none failed and, on CI, none was skipped.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    packages::provide(arguments.install)?;

    println!("building the release binary");
    let mut build = cargo(&["build", "--release", "--quiet", "--package", "guywire"]);
    if !command::passes(&mut build)? {
        bail!("the release binary does not build");
    }

    let filter = arguments.filter.as_deref();
    let mut tally = Tally::default();
    if xtask::find_program("cargo-nextest").is_some() {
        let mut nextest = cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]);
        nextest.args(["--color=never", "--hide-progress-bar", "--no-tests=pass"]);
        nextest.args(["--success-output=immediate", "--failure-output=immediate"]);
        nextest.args(filter);
        count(nextest, Format::Nextest, &mut tally)?;
        // nextest leaves out the examples in the documentation.
        let mut examples = cargo(&[
            "test",
            "--workspace",
            "--doc",
            "--no-fail-fast",
            "--color=never",
        ]);
        examples.args(filter).args(["--", "--show-output"]);
        count(examples, Format::Libtest, &mut tally)?;
    } else {
        let mut test = cargo(&["test", "--workspace", "--no-fail-fast", "--color=never"]);
        test.args(filter).args(["--", "--show-output"]);
        count(test, Format::Libtest, &mut tally)?;
    }

    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    let good = tally.failed.is_empty() && (tally.skipped.is_empty() || !ci);
    summarise(&tally, ci);
    Ok(good)
}

/// Runs `command`, shows what matters of its output and adds it to `tally`.
fn count(mut command: Command, format: Format, tally: &mut Tally) -> Result<()> {
    let (reader, writer) = io::pipe().context("cannot open a pipe")?;
    let target = workspace::target_directory()?;
    let mut child = command
        .env("GUYWIRE_BIN", target.join("release/guywire"))
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("cannot copy a pipe")?)
        .stderr(writer)
        .spawn()
        .context("cannot start cargo")?;
    // The command holds our copies of the writing end: the reader would never see the end.
    drop(command);
    let failed_before = tally.failed.len();
    let mut counter = Reader::new(format, tally);
    for line in BufReader::new(reader).split(b'\n') {
        let bytes = line.context("cannot read what the tests print")?;
        let line = String::from_utf8_lossy(&bytes);
        if counter.read(&line) {
            println!("{line}");
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() && tally.failed.len() == failed_before {
        // The build failed, or a test program ended before it could say how its tests did.
        tally.failed.push(format!("cargo ended with {status}"));
    }
    Ok(())
}

fn summarise(tally: &Tally, ci: bool) {
    println!();
    for failed in &tally.failed {
        println!("failed: {failed}");
    }
    for skip in &tally.skipped {
        println!("skipped: {}: {}", skip.test, skip.reason);
    }
    if ci && !tally.skipped.is_empty() {
        println!("On CI everything the tests want is there, so a skip fails the run.");
    }
    println!("{}", tally.line());
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command::cargo();
    cargo.current_dir(workspace::root()).args(arguments);
    cargo
}
