//! The sans-I/O crates are pure: no sockets, no clock, no runtime.
//!
//! Proven three ways: nothing they depend on can do I/O; their own `clippy.toml` disallows the
//! standard library's clocks, sockets and threads (the clippy step enforces it, this one sees that
//! it is there); and they build for WebAssembly, which has none of these, where that target is
//! installed.

use std::path::Path;

use anyhow::Result;

use super::Finding;
use crate::command;
use crate::workspace;

/// The pure crates: package name and directory.
const PURE: &[(&str, &str)] = &[
    ("guywire-ebpf", "crates/ebpf"),
    ("guywire-flow", "crates/flow"),
    ("guywire-sched", "crates/sched"),
];

/// What a pure crate must not even reach. Nearly every crate that talks to the system does so
/// through `libc`, `rustix` or `linux-raw-sys`.
const IMPURE: &[&str] = &[
    "aws-lc-rs",
    "getrandom",
    "guywire-net",
    "guywire-transport",
    "libc",
    "linux-raw-sys",
    "mio",
    "rustix",
    "rustls",
    "socket2",
    "tokio",
];

/// What each pure crate's `clippy.toml` has to disallow at least.
const DISALLOWED: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::sleep",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
];

const WASM: &str = "wasm32-unknown-unknown";

/// All three proofs.
pub(super) fn check() -> Result<Finding> {
    let mut complaints = Vec::new();
    for (name, directory) in PURE {
        for package in workspace::packages(&["--package", name, "--edges=normal"])? {
            if IMPURE.contains(&package.name.as_str()) {
                complaints.push(format!("{name} reaches {}, which can do I/O", package.name));
            }
        }
        let file = workspace::root().join(directory).join("clippy.toml");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        for path in DISALLOWED
            .iter()
            .filter(|path| !text.contains(&format!("\"{path}\"")))
        {
            complaints.push(format!("{directory}/clippy.toml does not disallow {path}"));
        }
    }
    if !wasm_is_installed()? {
        return Ok(Finding::of(
            &complaints,
            format!("{WASM} is not installed: not built for it"),
        ));
    }
    let mut cargo = command::cargo();
    cargo
        .current_dir(workspace::root())
        .args(["check", "--quiet", "--target", WASM]);
    PURE.iter().for_each(|(name, _)| {
        cargo.args(["--package", name]);
    });
    let built = command::capture(&mut cargo)?;
    if !built.status.success() {
        complaints.push(built.output);
    }
    Ok(Finding::of(&complaints, format!("built for {WASM} too")))
}

fn wasm_is_installed() -> Result<bool> {
    let mut rustc = std::process::Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", WASM]);
    let directory = command::output(&mut rustc)?;
    Ok(Path::new(directory.trim()).is_dir())
}
