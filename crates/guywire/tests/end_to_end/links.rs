//! What links do in real life, in the middle of a transfer. Nothing is lost, and nothing needs a restart.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::lab::fetch::{Running, Transfer};
use xtask::lab::{Lab, counters};

use super::{eventually, have, lab, whole};

/// Two links that are as good as each other, so that each is used.
const TWO_LINKS: &str = "50mbit/20ms,50mbit/30ms";
/// How long anything may take that the promises have within a second or two.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a download lasts in which things happen.
const DOWNLOAD: Duration = Duration::from_secs(15);
/// The longest pause accepted while another link lives.
const MOST_GAP: f64 = 4.0;
/// Where the lab's server listens.
const SERVER_PORT: u16 = 443;

#[test]
fn a_link_gets_a_new_address() -> Result<()> {
    let Some(turn) = lab("address", TWO_LINKS)? else {
        return Ok(());
    };
    let lab = &turn.lab;
    let running = busy(lab)?;
    let connections = || counters::connections_to(lab, "router", SERVER_PORT);
    let (old, new) = (hexadecimal([10, 0, 1, 2]), hexadecimal([10, 0, 1, 77]));
    ensure!(connections()?.contains_key(&old), "{:?}", connections()?);
    lab.link("wan1", &["address", "10.0.1.77/24"])?;
    eventually(PATIENCE, || {
        let now = connections()?;
        let moved = now.contains_key(&new) && !now.contains_key(&old);
        ensure!(moved, "not only the new address is used: {now:?}");
        Ok(())
    })?;
    await_used(lab, "wan1")?;
    unharmed(running)
}

#[test]
fn a_link_loses_its_route_and_gets_it_back() -> Result<()> {
    if !have(&["ip"]) {
        return Ok(());
    }
    let Some(turn) = lab("route", TWO_LINKS)? else {
        return Ok(());
    };
    let lab = &turn.lab;
    let running = busy(lab)?;
    lab.shell(
        "router",
"for table in main 1001; do \
           ip route del default dev wan1 table $table && ip -6 route del default dev wan1 table $table; \
         done",
    )?;
    await_path(lab, "wan1", |state| state != "up")?;
    lab.shell(
        "router",
        "ip route add default via 10.0.1.1 dev wan1 metric 101",
    )?;
    await_path(lab, "wan1", |state| state == "up")?;
    await_used(lab, "wan1")?;
    unharmed(running)
}

#[test]
fn a_device_vanishes_and_returns_again_and_again() -> Result<()> {
    let Some(turn) = lab("gone", TWO_LINKS)? else {
        return Ok(());
    };
    let lab = &turn.lab;
    let running = busy(lab)?;
    for _ in 0..3 {
        lab.link("wan1", &["remove"])?;
        await_path(lab, "wan1", |state| state != "up")?;
        lab.link("wan1", &["add"])?;
        await_path(lab, "wan1", |state| state == "up")?;
        await_used(lab, "wan1")?;
    }
    unharmed(running)
}

#[test]
fn two_links_may_have_one_address_and_gateway() -> Result<()> {
    if !have(&["ip", "nft"]) {
        return Ok(());
    }
    let Some(turn) = lab("twins", TWO_LINKS)? else {
        return Ok(());
    };
    let lab = &turn.lab;
    // Two providers who hand out the same private address translate it, each for itself.
    let provider = "nft -f - <<'END'\n\
        table ip second {\n\
          chain in {\n\
            type filter hook prerouting priority mangle;\n\
            iifname wan2 ct state new ct mark set 2\n\
            iifname != wan2 meta mark set ct mark\n\
          }\n\
          chain out {\n\
            type nat hook postrouting priority srcnat;\n\
            oifname != wan2 ct mark 2 masquerade\n\
          }\n\
        }\n\
        END\n\
        ip rule add fwmark 2 lookup 102 && ip route add 10.0.1.0/24 dev wan2 table 102";
    lab.shell("core", provider)?;
    let no_ipv6 = "for link in wan1 wan2; do ip -6 address flush dev $link scope global; done";
    lab.link("wan2", &["address", "10.0.1.2/24"])?;
    lab.shell("router", no_ipv6)?;
    for link in ["wan1", "wan2"] {
        await_path(lab, link, |state| state == "up")?;
    }
    let running = busy(lab)?;
    for link in ["wan1", "wan2"] {
        await_used(lab, link)?;
    }
    unharmed(running)
}

#[test]
fn a_link_begins_to_lose_large_packets() -> Result<()> {
    let Some(turn) = lab("black-hole", TWO_LINKS)? else {
        return Ok(());
    };
    let lab = &turn.lab;
    let running = busy(lab)?;
    lab.link("wan1", &["set", "largest=1280B"])?;
    await_used(lab, "wan1")?;
    // What was learned stays: a fresh connection starts with small segments, and the link is used at once.
    let dropped = too_large(lab, "wan1")?;
    lab.link("wan1", &["down"])?;
    await_path(lab, "wan1", |state| state != "up")?;
    lab.link("wan1", &["up"])?;
    await_path(lab, "wan1", |state| state == "up")?;
    await_used(lab, "wan1")?;
    let more = too_large(lab, "wan1")? - dropped;
    ensure!(more < 100, "{more} more packets were too large");
    unharmed(running)
}

#[test]
fn a_link_that_loses_every_third_packet_costs_no_other() -> Result<()> {
    let Some(turn) = lab("lossy", "30mbit/20ms/loss30%,30mbit/30ms")? else {
        return Ok(());
    };
    let goodput = |host: &str| {
        let fetch = turn
            .lab
            .fetch(&format!("http://{host}/bytes/{}", 1_u64 << 33));
        let fetch = fetch.lasting(Duration::from_secs(10), Duration::from_secs(3));
        let transfer = fetch.run()?;
        transfer.check(host)?;
        Ok::<f64, anyhow::Error>(transfer.goodput_mbps)
    };
    let (alone, both) = (goodput("direct2")?, goodput("internet")?);
    ensure!(
        both > 0.85 * alone,
        "{both:.1} Mbit/s with a lossy link, {alone:.1} without"
    );
    Ok(())
}

#[test]
fn a_flapping_link_harms_nobody_who_can_do_without() -> Result<()> {
    let Some(turn) = lab("flapping", TWO_LINKS)? else {
        return Ok(());
    };
    let lab = &turn.lab;
    let running = lab
        .fetch("http://internet/bytes/20000000?rate=15mbit")
        .start()?;
    sleep(Duration::from_secs(1));
    for _ in 0..4 {
        for verb in ["down", "up"] {
            lab.link("wan1", &[verb])?;
            sleep(Duration::from_secs(1));
        }
    }
    let transfer = running.wait()?;
    whole(&transfer)?;
    let gap = transfer.longest_gap.seconds;
    ensure!(gap < 1.0, "nothing arrived for {gap:.2} s");
    Ok(())
}

/// A download that wants all there is, and has been running for a while.
fn busy(lab: &Lab) -> Result<Running<Transfer>> {
    let endless = format!("http://internet/bytes/{}", 1_u64 << 33);
    let fetch = lab.fetch(&endless).with(&["--ipv4"]);
    let running = fetch.lasting(DOWNLOAD, Duration::ZERO).start()?;
    sleep(Duration::from_secs(2));
    Ok(running)
}

/// The download that runs has not suffered.
fn unharmed(running: Running<Transfer>) -> Result<()> {
    let transfer = running.wait()?;
    transfer.check("the download")?;
    let gap = transfer.longest_gap.seconds;
    ensure!(gap < MOST_GAP, "nothing arrived for {gap:.2} s");
    Ok(())
}

/// An address as `/proc/net/tcp` writes it.
fn hexadecimal(address: [u8; 4]) -> String {
    format!("{:08X}", u32::from_le_bytes(address))
}

/// Waits until the router's path over `link` is in a state as wanted, where a path that does not exist has none.
fn await_path(lab: &Lab, link: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
    eventually(PATIENCE, || {
        let status = lab.status()?;
        let mut paths = status["router"]["paths"].as_array().into_iter().flatten();
        let path = paths.find(|path| path["link"] == link);
        let state = path.and_then(|path| path["state"].as_str()).unwrap_or("");
        ensure!(wanted(state), "{link} is `{state}`");
        Ok(())
    })
}

/// Waits until the download that runs takes at least a fifth of the rate of `link`.
fn await_used(lab: &Lab, link: &str) -> Result<()> {
    let mut before = counted(lab, link, "/down/bytes")?;
    eventually(PATIENCE, || {
        sleep(Duration::from_millis(500));
        let bytes = counted(lab, link, "/down/bytes")?;
        let carried = bytes.saturating_sub(std::mem::replace(&mut before, bytes));
        ensure!(carried > 600_000, "{link} carried {carried} bytes");
        Ok(())
    })
}

fn too_large(lab: &Lab, link: &str) -> Result<u64> {
    counted(lab, link, "/down/drops/size")
}

/// A count of the emulator's.
fn counted(lab: &Lab, link: &str, what: &str) -> Result<u64> {
    let status = lab.status()?;
    let links = status["links"].as_array();
    let found = links.into_iter().flatten().find(|of| of["name"] == link);
    let count = found.and_then(|link| link.pointer(what)?.as_u64());
    // A removed device is no link of the emulator's.
    Ok(count.unwrap_or(0))
}
