//! Links go and come back in mid-transfer, and nothing is lost.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::lab::{Lab, THREE_LINKS};

use super::{lab, whole};

/// The longest pause accepted while other links live; `cargo xtask show failover` has the real one.
const MOST_GAP: f64 = 4.0;

#[test]
fn a_link_falls_silent_and_returns() -> Result<()> {
    let Some(turn) = lab("silent", THREE_LINKS)? else {
        return Ok(());
    };
    let gap = through(&turn.lab, &["wan1"], &["silent"])?;
    ensure!(gap < MOST_GAP, "nothing arrived for {gap:.2} s");
    Ok(())
}

#[test]
fn a_link_goes_down_and_returns() -> Result<()> {
    let Some(turn) = lab("down", THREE_LINKS)? else {
        return Ok(());
    };
    let gap = through(&turn.lab, &["wan1"], &["down"])?;
    ensure!(gap < MOST_GAP, "nothing arrived for {gap:.2} s");
    Ok(())
}

#[test]
fn every_link_falls_silent_and_returns() -> Result<()> {
    let Some(turn) = lab("all-silent", THREE_LINKS)? else {
        return Ok(());
    };
    through(&turn.lab, &["wan1", "wan2", "wan3"], &["silent"])?;
    Ok(())
}

/// Does `verb` to `links` for three seconds in the middle of a download that has to survive it.
/// Returns its longest pause in seconds.
fn through(lab: &Lab, links: &[&str], verb: &[&str]) -> Result<f64> {
    let running = lab
        .fetch("http://internet/bytes/100000000?rate=50mbit")
        .start()?;
    sleep(Duration::from_secs(4));
    for link in links {
        lab.link(link, verb)?;
    }
    sleep(Duration::from_secs(3));
    for link in links {
        lab.link(link, &["up"])?;
    }
    let transfer = running.wait()?;
    whole(&transfer)?;
    Ok(transfer.longest_gap.seconds)
}
