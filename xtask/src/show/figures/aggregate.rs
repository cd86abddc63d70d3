//! One bonded transfer against the sum of what each link alone gives plain TCP past Guywire, and
//! against the kernel's MPTCP over the same links.

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::lab::fetch::{Fetch, Transfer};
use xtask::lab::{Lab, THREE_LINKS};

use super::super::Run;
use super::super::machine::steadily_again;
use super::super::report::{Bound, Report};
use super::rival;

/// The link sets, and the least share of their sum, in percent.
const SETS: [(&str, f64); 5] = [
    (THREE_LINKS, 97.0),
    ("300mbit/10ms,80mbit/30ms", 97.0),
    ("100mbit/25ms,100mbit/25ms", 97.0),
    ("50mbit/20ms,12mbit/20ms", 97.0),
    ("50mbit/20ms,50mbit/320ms", 95.0),
];
/// More than any transfer here moves before its time is over.
const ENDLESS: u64 = 1 << 33;

#[derive(Clone, Copy)]
enum Direction {
    Down,
    Up,
}

/// Which transfer, and how it goes past Guywire, through it, or by the rival.
struct Way {
    node: &'static str,
    host: String,
    options: &'static [&'static str],
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    for (links, least) in run.part.share(SETS) {
        set(run, report, links, least)?;
    }
    Ok(())
}

/// Measures one set of links in both directions.
fn set(run: &Run, report: &mut Report, links: &str, least: f64) -> Result<()> {
    let lab = Lab::up(&run.binary, "aggregate", links)?;
    let count = links.split(',').count();
    let rival = rival::prepare(&lab, count);
    for (direction, name) in [(Direction::Down, "download"), (Direction::Up, "upload")] {
        let title = format!("{links}, {name}");
        let mut sum = 0.0;
        for link in 1..=count {
            let way = Way {
                node: "client",
                host: format!("direct{link}"),
                options: &[],
            };
            sum += one(
                run,
                &lab,
                report,
                direction,
                &way,
                &format!("{title}: wan{link} alone"),
            )?;
        }
        let way = Way {
            node: "client",
            host: "internet".to_owned(),
            options: &[],
        };
        let bonded = one(
            run,
            &lab,
            report,
            direction,
            &way,
            &format!("{title}: Guywire"),
        )?;
        let share = |goodput: f64| goodput * 100.0 / sum;
        report.judge(
            format!("{title}: Guywire's share of the sum"),
            share(bonded),
            "%",
            Bound::AtLeast(least),
        );
        match &rival {
            Err(why) => report.condition(format!("not beside kernel MPTCP: {why:#}")),
            Ok(()) => {
                let way = Way {
                    node: "router",
                    host: format!("internet:{}", rival::PORT),
                    options: &["--mptcp"],
                };
                let text = format!("{title}: kernel MPTCP");
                let other = one(run, &lab, report, direction, &way, &text)?;
                report.note(format!("{text}'s share of the sum"), share(other), "%");
                report.fact(
                    format!("{title}: not below kernel MPTCP"),
                    bonded >= other,
                    "",
                );
            }
        }
    }
    Ok(())
}

/// Measures one transfer, notes its goodput under `title` and returns it.
fn one(
    run: &Run,
    lab: &Lab,
    report: &mut Report,
    direction: Direction,
    way: &Way,
    title: &str,
) -> Result<f64> {
    run.say(title);
    let (length, skip) = run.pick((15, 5), (6, 2));
    let fetch = || {
        fetch(lab, direction, way)
            .with(&["--ipv4"])
            .with(way.options)
            .lasting(Duration::from_secs(length), Duration::from_secs(skip))
    };
    let transfer: Transfer = steadily_again(lab, report, || fetch().run())?;
    ensure!(
        transfer.succeeded(),
        "{title}: {} {:?}",
        transfer.ending,
        transfer.error
    );
    ensure!(
        transfer.identical != Some(false),
        "{title}: the bytes are not what was sent"
    );
    let unknown = || "unknown".to_owned();
    report.condition(format!(
        "IPv4; {length} s each, of which the first {skip} s do not count; TCP uses {} on the client, \
         {} on the web server, and Guywire the nodes' default",
        transfer.congestion.unwrap_or_else(unknown),
        transfer.server_congestion.unwrap_or_else(unknown),
    ));
    report.note(title, transfer.goodput_mbps, "Mbit/s");
    Ok(transfer.goodput_mbps)
}

fn fetch(lab: &Lab, direction: Direction, way: &Way) -> Fetch {
    let (node, host) = (way.node, &way.host);
    match direction {
        Direction::Down => lab.fetch_in(node, &format!("http://{host}/bytes/{ENDLESS}")),
        Direction::Up => lab
            .fetch_in(node, &format!("http://{host}/sink"))
            .upload(ENDLESS),
    }
}
