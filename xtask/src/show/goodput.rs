//! One transfer and its goodput: past Guywire, through it, or by its rival.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use xtask::lab::Lab;
use xtask::lab::fetch::{Fetch, Transfer};

use super::Run;
use super::machine::steadily_again;
use super::report::Report;

/// More than any transfer here moves before its time is over.
pub(super) const ENDLESS: u64 = 1 << 36;
/// Where the internet host listens with the kernel's MPTCP.
const MPTCP_PORT: u16 = 8080;

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the client.
    Down,
    /// From the client.
    Up,
}

impl Direction {
    pub(super) const BOTH: [Self; 2] = [Self::Down, Self::Up];

    /// A transfer with `host` from `node`, over IPv4, that ends with its time only. Its sender paces
    /// it to `kilobits` a second, if that is given.
    pub(super) fn fetch(self, lab: &Lab, node: &str, host: &str, kilobits: Option<u64>) -> Fetch {
        let rate = kilobits.map(|kilobits| format!("{kilobits}kbit"));
        let fetch = match (self, &rate) {
            (Self::Down, None) => lab.fetch_in(node, &format!("http://{host}/bytes/{ENDLESS}")),
            (Self::Down, Some(rate)) => {
                lab.fetch_in(node, &format!("http://{host}/bytes/{ENDLESS}?rate={rate}"))
            }
            (Self::Up, rate) => {
                let upload = lab.fetch_in(node, &format!("http://{host}/sink"));
                let paced = rate.as_ref().map(|rate| ["--rate", rate]);
                upload
                    .upload(ENDLESS)
                    .with(paced.as_ref().map_or(&[], |paced| paced))
            }
        };
        fetch.with(&["--ipv4"])
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "download",
            Self::Up => "upload",
        })
    }
}

/// How a transfer travels.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// Past Guywire, over this link only.
    Alone(usize),
    /// Through Guywire.
    Bonded,
    /// By the kernel's MPTCP, from the router, which has every link's address.
    Mptcp,
}

impl Way {
    fn fetch(self, lab: &Lab, direction: Direction) -> Fetch {
        match self {
            Self::Alone(link) => direction.fetch(lab, "client", &format!("direct{link}"), None),
            Self::Bonded => direction.fetch(lab, "client", "internet", None),
            Self::Mptcp => direction
                .fetch(lab, "router", &format!("internet:{MPTCP_PORT}"), None)
                .with(&["--mptcp"]),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone(link) => write!(f, "wan{link} alone"),
            Self::Bonded => f.write_str("Guywire"),
            Self::Mptcp => f.write_str("kernel MPTCP"),
        }
    }
}

/// Measures one transfer, notes its goodput in Mbit/s and returns it. `title` says what it is part
/// of.
pub(super) fn goodput(
    run: &Run,
    lab: &Lab,
    report: &mut Report,
    title: &str,
    direction: Direction,
    way: Way,
) -> Result<f64> {
    let title = format!("{title}, {direction}: {way}");
    run.say(&title);
    let (length, skip) = run.pick((15, 5), (6, 2));
    let (length, skip) = (Duration::from_secs(length), Duration::from_secs(skip));
    let fetch = || way.fetch(lab, direction).lasting(length, skip);
    let transfer: Transfer = steadily_again(lab, report, || fetch().run())?;
    transfer.check(&title)?;
    let unknown = || "unknown".to_owned();
    report.condition(format!(
        "IPv4; {length:?} each, of which the first {skip:?} do not count; TCP uses {} on the client, \
         {} on the web server, and Guywire the nodes' default",
        transfer.congestion.unwrap_or_else(unknown),
        transfer.server_congestion.unwrap_or_else(unknown),
    ));
    report.note(title, transfer.goodput_mbps, "Mbit/s");
    Ok(transfer.goodput_mbps)
}

/// What each of `links` links gives plain TCP past Guywire, one after the other, in Mbit/s.
pub(super) fn alone(
    run: &Run,
    lab: &Lab,
    report: &mut Report,
    title: &str,
    direction: Direction,
    links: usize,
) -> Result<Vec<f64>> {
    (1..=links)
        .map(|link| goodput(run, lab, report, title, direction, Way::Alone(link)))
        .collect()
}
