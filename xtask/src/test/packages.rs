//! The system packages that the tests want.
//!
//! Guywire itself needs none of them. They are strangers' programs that the end-to-end tests run
//! unchanged through it, and tools that read back what it told the kernel.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// A program, Debian's package with it, and what tests do with it.
struct Wanted {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const WANTED: &[Wanted] = &[
    Wanted {
        program: "curl",
        package: "curl",
        purpose: "downloads through Guywire",
    },
    Wanted {
        program: "iperf3",
        package: "iperf3",
        purpose: "measures through Guywire",
    },
    Wanted {
        program: "git",
        package: "git",
        purpose: "clones over SSH through Guywire",
    },
    Wanted {
        program: "ssh",
        package: "openssh-client",
        purpose: "carries git",
    },
    Wanted {
        program: "sshd",
        package: "openssh-server",
        purpose: "serves git in the lab",
    },
    Wanted {
        program: "ping",
        package: "iputils-ping",
        purpose: "checks the emulated delay",
    },
    Wanted {
        program: "nft",
        package: "nftables",
        purpose: "reads our rules back",
    },
    Wanted {
        program: "bpftool",
        package: "bpftool",
        purpose: "gives a second opinion on BPF objects",
    },
    Wanted {
        program: "setpriv",
        package: "util-linux",
        purpose: "becomes an ordinary user",
    },
];

/// Debian's own switch against services that start when their package is installed.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Names the packages that are missing, and installs them where `install` says so.
///
/// # Errors
/// Where they were to be installed and apt failed.
pub(super) fn provide(install: bool) -> Result<()> {
    let missing: Vec<&Wanted> = WANTED
        .iter()
        .filter(|wanted| xtask::find_program(wanted.program).is_none())
        .collect();
    if missing.is_empty() {
        println!("system packages: all there");
        return Ok(());
    }
    for wanted in &missing {
        println!("missing: {:<15} {}", wanted.package, wanted.purpose);
    }
    let names: Vec<&str> = missing.iter().map(|wanted| wanted.package).collect();
    let by_hand = format!("apt-get install {}", names.join(" "));
    if !install {
        println!(
            "Tests that want them are skipped. `--install` installs them, as does `{by_hand}`."
        );
    } else if !xtask::is_root() {
        println!("Only root can install them: `sudo {by_hand}`. Tests that want them are skipped.");
    } else if xtask::find_program("apt-get").is_none() {
        println!(
            "There is no apt-get here: install them by other means, or their tests are skipped."
        );
    } else {
        apt(&names)?;
    }
    Ok(())
}

fn apt(names: &[&str]) -> Result<()> {
    let policy = Policy::forbid()?;
    let updated = command::passes(&mut apt_get(&["update"]))?;
    let options = ["install", "--yes", "--no-install-recommends"];
    let installed = updated && command::passes(apt_get(&options).args(names))?;
    drop(policy);
    if !installed {
        bail!("apt could not install {}", names.join(" "));
    }
    // Nor at the next boot: the tests start their own sshd, inside the lab only.
    if names.contains(&"openssh-server") && Path::new("/run/systemd/system").exists() {
        command::passes(Command::new("systemctl").args(["disable", "--quiet", "ssh.service"]))?;
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.arg("--quiet")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// While it lives, no package starts a service: testing Guywire must not open port 22.
struct Policy {
    ours: bool,
}

impl Policy {
    fn forbid() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(POLICY)
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"#!/bin/sh\nexit 101\n"))
            .with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {POLICY} executable"))?;
        Ok(Self { ours: true })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours {
            // Nothing to be done where it fails but to say so.
            if let Err(error) = fs::remove_file(POLICY) {
                eprintln!("cannot remove {POLICY}: {error}; remove it, else no service starts");
            }
        }
    }
}
