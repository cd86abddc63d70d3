//! Short transfers: no slower than plain TCP on the best link, and without new connections.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xtask::lab::{Lab, THREE_LINKS};

use super::super::Run;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};
use super::super::sample::{median, worst};

/// The best link's round trip, in ms.
const ROUND_TRIP: f64 = 20.0;
/// Time to the first byte, in round trips, beside the far connect.
const ROUND_TRIPS: f64 = 1.15;
/// Downloads in a row.
const ROW: u32 = 1_000;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let lab = run.three_links("short")?;
    let count = run.pick(30, 5);
    report.condition(format!(
        "links {THREE_LINKS}; IPv4; medians of {count}, the plain ones over wan1 in between"
    ));
    // The session's trunks have settled when this is over.
    times(&lab, "internet", 2_000_000)?;
    first_byte(&lab, report, count)?;
    for (bytes, title) in [(100_000, "100 kB"), (2_000_000, "2 MB")] {
        run.say(title);
        let (mut bonded, mut plain) = (Vec::new(), Vec::new());
        steadily(&lab, report, || {
            for _ in 0..count {
                plain.push(times(&lab, "direct1", bytes)?.1);
                bonded.push(times(&lab, "internet", bytes)?.1);
            }
            Ok(())
        })?;
        report.sample(json!({"bytes": bytes, "plain_ms": plain, "guywire_ms": bonded}));
        report.note(format!("{title}: plain TCP, median"), median(&plain), "ms");
        report.note(format!("{title}: plain TCP, worst"), worst(&plain), "ms");
        report.note(format!("{title}: Guywire, worst"), worst(&bonded), "ms");
        report.judge(
            format!("{title}: Guywire, median"),
            median(&bonded),
            "ms",
            Bound::AtMost(readable(median(&plain))),
        );
    }
    row(run, &lab, report)
}

fn first_byte(lab: &Lab, report: &mut Report, count: u32) -> Result<()> {
    let first = |node: &str, count: u32| {
        let one = |_| times_in(lab, node, "internet", 1_000).map(|times| times.0);
        (0..count).map(one).collect::<Result<Vec<f64>>>()
    };
    let (far, bonded) = steadily(lab, report, || {
        Ok((first("server", count)?, first("client", count)?))
    })?;
    let far = median(&far);
    report.note("first byte from the server itself, median", far, "ms");
    report.note("first byte through Guywire, worst", worst(&bonded), "ms");
    report.judge(
        "first byte through Guywire, median",
        median(&bonded),
        "ms",
        Bound::AtMost(readable(ROUND_TRIP * ROUND_TRIPS + far)),
    );
    Ok(())
}

/// A measured bound in tenths of a ms, rounded down.
fn readable(milliseconds: f64) -> f64 {
    (milliseconds * 10.0).floor() / 10.0
}

/// Many downloads in a row, and the connections the router opened meanwhile.
fn row(run: &Run, lab: &Lab, report: &mut Report) -> Result<()> {
    let count = run.pick(ROW, 100);
    run.say(format_args!("{count} downloads in a row"));
    let before = opened(lab)?;
    let script = format!(
        "for n in $(seq {count}); do \
           guywire lab fetch --ipv4 --no-verify http://internet/bytes/10000 >/dev/null || echo failed; \
         done"
    );
    let said = steadily(lab, report, || lab.shell("client", &script))?;
    let after = opened(lab)?;
    report.none(
        format!("{count} downloads in a row: failed"),
        said.lines().count() as u64,
    );
    report.none(
        format!("{count} downloads in a row: connections opened"),
        after - before,
    );
    Ok(())
}

/// Connections that the router's node has opened, `ActiveOpens` of proc_net_snmp.
fn opened(lab: &Lab) -> Result<u64> {
    let text = lab.output("router", &["cat", "/proc/net/snmp"])?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let names = lines.next().context("/proc/net/snmp has no TCP")?;
    let place = names
        .split_whitespace()
        .position(|name| name == "ActiveOpens");
    let values = lines.next().context("/proc/net/snmp has no TCP figures")?;
    values
        .split_whitespace()
        .nth(place.context("/proc/net/snmp has no ActiveOpens")?)
        .and_then(|count| count.parse().ok())
        .context("cannot understand /proc/net/snmp")
}

/// Milliseconds to the first and to the last byte of one download by the client.
fn times(lab: &Lab, host: &str, bytes: u64) -> Result<(f64, f64)> {
    times_in(lab, "client", host, bytes)
}

fn times_in(lab: &Lab, node: &str, host: &str, bytes: u64) -> Result<(f64, f64)> {
    let transfer = lab
        .fetch_in(node, &format!("http://{host}/bytes/{bytes}"))
        .with(&["--ipv4", "--no-verify"])
        .run()?;
    ensure!(
        transfer.succeeded(),
        "{bytes} bytes from {host}: {} {:?}",
        transfer.ending,
        transfer.error
    );
    let first = transfer.first_byte_seconds.context("no byte came")?;
    Ok((first * 1e3, transfer.seconds * 1e3))
}
