//! Steps that other tools judge: rustfmt, clippy, rustdoc and, where it is installed, cargo-deny.

use std::process::Command;

use anyhow::Result;

use super::Finding;
use crate::{command, workspace};

/// The format is rustfmt's.
pub(super) fn format() -> Result<Finding> {
    judge(&mut cargo(&["fmt", "--all", "--", "--check", "-l"]))
}

/// Clippy has nothing to say, nor has the compiler.
pub(super) fn clippy() -> Result<Finding> {
    judge(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

/// The fuzz targets keep to the same rules. They are a workspace of their own, so that no other step would notice
/// when they no longer build.
pub(super) fn fuzz() -> Result<Finding> {
    if xtask::find_program("c++").is_none() {
        let lacking = "libFuzzer is built with a C++ compiler, and there is no `c++`";
        return Ok(Finding::Skipped(lacking.to_owned()));
    }
    let within = ["--manifest-path", "fuzz/Cargo.toml"];
    let mut format = cargo(&["fmt"]);
    format.args(within).args(["--", "--check", "-l"]);
    let Finding::Good(_) = judge(&mut format)? else {
        let next = "not formatted; `cargo fmt --manifest-path fuzz/Cargo.toml` does it";
        return Ok(Finding::Bad(next.to_owned()));
    };
    let mut clippy = cargo(&["clippy", "--quiet", "--locked", "--all-targets"]);
    judge(clippy.args(within).args(["--", "-D", "warnings"]))
}

/// The documentation builds, and its links lead somewhere.
pub(super) fn documentation() -> Result<Finding> {
    let mut cargo = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    judge(cargo.env("RUSTDOCFLAGS", "-D warnings"))
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
    if let Finding::Bad(text) = judge(&mut cargo(&[
        "deny", "check", "licenses", "bans", "sources",
    ]))? {
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

fn judge(command: &mut Command) -> Result<Finding> {
    let captured = command::capture(command)?;
    if captured.status.success() {
        return Ok(Finding::Good(String::new()));
    }
    Ok(Finding::Bad(captured.output))
}
