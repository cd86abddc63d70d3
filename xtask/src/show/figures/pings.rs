//! How much a bonded transfer delays others on each link, beside one plain TCP connection there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::lab::Lab;

use super::super::Run;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};
use super::super::sample::median;

/// Without loss, so that the queues are the congestion control's work.
const LINKS: &str = "100mbit/20ms,50mbit/60ms,20mbit/120ms";
/// Both measure the same congestion control; what differs by less than this many ms is noise.
const NOISE: f64 = 2.0;
/// How long a transfer runs before the pings begin, in seconds.
const START: u64 = 4;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let lab = Lab::up(&run.binary, "pings", LINKS)?;
    let (rounds, count) = (run.pick(4, 1), run.pick(100, 20));
    report.condition(format!(
        "links {LINKS}; {rounds} rounds of {count} pings a link, 100 ms apart, past Guywire, beside a new download \
         each; medians of all rounds"
    ));
    let mut bonded: [Vec<f64>; 3] = Default::default();
    let mut plain = bonded.clone();
    // In turn and on new connections: what a congestion control settles at differs from one to the next.
    for _ in 0..rounds {
        let all = steadily(&lab, report, || beside(&lab, "internet", &[1, 2, 3], count))?;
        bonded
            .iter_mut()
            .zip(all)
            .for_each(|(so_far, times)| so_far.extend(times));
        for (link, so_far) in (1..).zip(&mut plain) {
            let host = format!("direct{link}");
            let one = steadily(&lab, report, || beside(&lab, &host, &[link], count))?;
            so_far.extend(one.concat());
        }
    }
    for (link, (bonded, plain)) in (1..).zip(bonded.iter().zip(&plain)) {
        let idle = median(&pings(&lab, &[link], count)?[0]);
        let (bonded, plain) = (median(bonded), median(plain));
        report.note(format!("wan{link}: ping of the empty link"), idle, "ms");
        report.note(format!("wan{link}: beside plain TCP"), plain, "ms");
        report.note(format!("wan{link}: beside Guywire"), bonded, "ms");
        report.judge(
            format!("wan{link}: more than beside plain TCP"),
            bonded - plain,
            "ms",
            Bound::AtMost(NOISE),
        );
    }
    Ok(())
}

/// Pings `links` while a download from `host` runs.
fn beside(lab: &Lab, host: &str, links: &[usize], count: u32) -> Result<Vec<Vec<f64>>> {
    let length = START + u64::from(count) / 10 + 2;
    let running = lab
        .fetch(&format!("http://{host}/bytes/{}", 1_u64 << 36))
        .with(&["--ipv4", "--no-verify"])
        .lasting(Duration::from_secs(length), Duration::ZERO)
        .start()?;
    std::thread::sleep(Duration::from_secs(START));
    let times = pings(lab, links, count)?;
    running.wait()?;
    Ok(times)
}

/// The round trips of pings on each of `links`, all at once, in ms.
fn pings(lab: &Lab, links: &[usize], count: u32) -> Result<Vec<Vec<f64>>> {
    let count = count.to_string();
    let start = |link: &usize| {
        let host = format!("direct{link}");
        lab.exec(
            "client",
            &["ping", "-4", "-n", "-i", "0.1", "-c", &count, &host],
        )
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("cannot start ping")
    };
    let running: Vec<_> = links.iter().map(start).collect::<Result<_>>()?;
    let finish = |child: std::process::Child| {
        let output = child.wait_with_output().context("cannot wait for ping")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let times = super::emulator::round_trips(&text);
        ensure!(
            !times.is_empty(),
            "ping ended with {} and no answer",
            output.status
        );
        Ok(times)
    };
    running.into_iter().map(finish).collect()
}
