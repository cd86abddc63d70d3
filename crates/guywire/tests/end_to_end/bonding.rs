//! One connection gets more than any single link has; many share few connections.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::lab::fetch::Transfer;
use xtask::lab::{Lab, THREE_LINKS, counters};

use super::lab;

/// At least this times the best link alone. All three together have 1.7 times its rate.
const LEAST: f64 = 1.3;
/// More than is moved before the time is over.
const ENDLESS: u64 = 1 << 33;
/// Where the lab's server listens.
const SERVER_PORT: u16 = 443;

#[test]
fn a_download_gets_more_than_the_best_link() -> Result<()> {
    let Some(turn) = lab("download", THREE_LINKS)? else {
        return Ok(());
    };
    compare(&turn.lab, |lab, host| {
        let fetch = lab.fetch(&format!("http://{host}/bytes/{ENDLESS}"));
        fetch
            .lasting(Duration::from_secs(8), Duration::from_secs(3))
            .run()
    })
}

#[test]
fn an_upload_gets_more_than_the_best_link() -> Result<()> {
    let Some(turn) = lab("upload", THREE_LINKS)? else {
        return Ok(());
    };
    compare(&turn.lab, |lab, host| {
        let fetch = lab.fetch(&format!("http://{host}/sink")).upload(ENDLESS);
        fetch
            .lasting(Duration::from_secs(8), Duration::from_secs(3))
            .run()
    })
}

fn compare(lab: &Lab, transfer: fn(&Lab, &str) -> Result<Transfer>) -> Result<()> {
    let best = transfer(lab, "direct1")?;
    ensure!(best.succeeded(), "past Guywire: {best:?}");
    let bonded = transfer(lab, "internet")?;
    bonded.check("through Guywire")?;
    ensure!(
        bonded.identical == Some(true),
        "the bytes differ: {:?}",
        bonded.identical
    );
    let times = bonded.goodput_mbps / best.goodput_mbps;
    ensure!(
        times >= LEAST,
        "{:.1} Mbit/s bonded is {times:.2} times the {:.1} of the best link, {LEAST} are expected",
        bonded.goodput_mbps,
        best.goodput_mbps,
    );
    Ok(())
}

#[test]
fn many_downloads_share_six_connections_a_link() -> Result<()> {
    let Some(turn) = lab("many", THREE_LINKS)? else {
        return Ok(());
    };
    let running = turn
        .lab
        .fetch("http://internet/bytes/1000000")
        .start_many(60)?;
    let mut most = 0;
    for _ in 0..10 {
        sleep(Duration::from_millis(200));
        let counts = counters::connections_to(&turn.lab, "router", SERVER_PORT)?;
        most = most.max(counts.values().copied().max().unwrap_or(0));
    }
    let transfers = running.wait()?;
    ensure!(transfers.succeeded == 60, "some failed: {transfers:?}");
    ensure!(transfers.identical == 60, "some differ: {transfers:?}");
    ensure!((1..=6).contains(&most), "{most} connections on one link");
    Ok(())
}
