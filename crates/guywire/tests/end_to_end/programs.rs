//! Programs that know nothing of Guywire, and the names and families they use.

use anyhow::{Result, ensure};
use xtask::lab::THREE_LINKS;
use xtask::lab::programs::{self, Scratch};

use super::{have, lab, skip};

/// A name that only the lab's internet host knows.
const NAME: &str = "www.lab.test";

#[test]
fn names_resolve_and_curl_works_over_both_families() -> Result<()> {
    if !have(&["curl"]) {
        return Ok(());
    }
    let Some(turn) = lab("names", THREE_LINKS)? else {
        return Ok(());
    };
    let addresses = programs::addresses(&turn.lab, NAME)?;
    let is = |mark: char| addresses.iter().any(|address| address.contains(mark));
    ensure!(is('.') && is(':'), "{NAME} has the addresses {addresses:?}");
    programs::curl(&turn.lab, "-4", NAME, 3_000_000)?;
    programs::curl(&turn.lab, "-6", NAME, 3_000_000)
}

#[test]
fn iperf3_works() -> Result<()> {
    if !have(&["iperf3"]) {
        return Ok(());
    }
    let Some(turn) = lab("iperf3", THREE_LINKS)? else {
        return Ok(());
    };
    let rate = programs::iperf3(&turn.lab, 4)?;
    ensure!(rate > 20.0, "iperf3 measures only {rate:.1} Mbit/s");
    Ok(())
}

#[test]
fn git_clones_over_ssh() -> Result<()> {
    if !xtask::is_root() {
        skip("sshd wants root");
        return Ok(());
    }
    if !have(&["git", "ssh", "ssh-keygen", "sshd"]) {
        return Ok(());
    }
    let Some(turn) = lab("git", THREE_LINKS)? else {
        return Ok(());
    };
    let scratch = Scratch::new("git")?;
    programs::git_over_ssh(&turn.lab, scratch.path(), 3_000_000)
}
