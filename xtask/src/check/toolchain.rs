//! Steps that other tools judge: rustfmt, clippy, rustdoc and, where it is installed, cargo-deny.

use std::process::Command;

use anyhow::Result;

use super::Finding;
use crate::{command, workspace};

/// The format is rustfmt's.
pub(super) fn format() -> Result<Finding> {
    judge(cargo(&["fmt", "--all", "--", "--check", "-l"]))
}

/// Clippy has nothing to say, nor has the compiler.
pub(super) fn clippy() -> Result<Finding> {
    judge(cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

/// The documentation builds, and its links lead somewhere.
pub(super) fn documentation() -> Result<Finding> {
    let mut cargo = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    judge(cargo)
}

/// cargo-deny's own judgement by `deny.toml`, advisories included where its database can be had.
pub(super) fn deny(install: bool) -> Result<Finding> {
    if xtask::find_program("cargo-deny").is_none() {
        if !install {
            let next = "not installed; `cargo xtask check --install` installs it";
            return Ok(Finding::Skipped(next.to_owned()));
        }
        let built = command::capture(&mut cargo(&["install", "--locked", "cargo-deny"]))?;
        if !built.status.success() {
            return Ok(Finding::Bad(built.output));
        }
    }
    if let Finding::Bad(text) = judge(cargo(&["deny", "check", "licenses", "bans", "sources"]))? {
        return Ok(Finding::Bad(text));
    }
    let advisories = command::capture(&mut cargo(&["deny", "check", "advisories"]))?;
    if advisories.status.success() {
        return Ok(Finding::Good("advisories too".to_owned()));
    }
    if advisories
        .output
        .contains("failed to fetch advisory database")
    {
        return Ok(Finding::Good(
            "without advisories: their database cannot be had here".to_owned(),
        ));
    }
    Ok(Finding::Bad(advisories.output))
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command::cargo();
    cargo.current_dir(workspace::root()).args(arguments);
    cargo
}

fn judge(mut command: Command) -> Result<Finding> {
    let captured = command::capture(&mut command)?;
    if captured.status.success() {
        return Ok(Finding::Good(String::new()));
    }
    Ok(Finding::Bad(captured.output))
}
