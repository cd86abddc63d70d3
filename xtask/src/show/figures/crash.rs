//! A worker is killed in mid-transfer: nothing that broke may look complete.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use xtask::lab::{Lab, THREE_LINKS, signal};

use super::super::Run;
use super::super::report::{Bound, Report};

/// Downloads open when the worker dies.
const OPEN: u32 = 40;
/// Between two kills: five in ten seconds are a crash loop, in which the LAN is on its own.
const BETWEEN_KILLS: Duration = Duration::from_secs(4);
/// The longest until new connections work, in seconds.
const MOST_RESTART: f64 = 3.0;
/// How long a new connection is waited for before the figure gives up.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let lab = run.three_links("crash")?;
    let kills = run.pick(5, 1);
    report.condition(format!(
        "links {THREE_LINKS}; {OPEN} downloads open; {kills} kills of each worker"
    ));
    for (role, title) in [
        ("router_worker", "router's worker"),
        ("server_worker", "server's worker"),
    ] {
        let (mut reset, mut clean, mut other, mut slowest) = (0, 0, 0, 0.0_f64);
        for _ in 0..kills {
            // Slow enough that none is complete by itself before the worker dies.
            let running = lab
                .fetch("http://internet/bytes/50000000?rate=500kbit")
                .start_many(OPEN)?;
            // Not so often that the supervisor takes it for a crash loop.
            sleep(BETWEEN_KILLS);
            signal(lab.pid(role)?, "-9")?;
            let restart = until_new_works(&lab)?;
            let transfers = running.wait()?;
            reset += transfers.ended("reset");
            clean += transfers.ended("cut_short") + transfers.succeeded;
            let told =
                transfers.ended("reset") + transfers.ended("cut_short") + transfers.succeeded;
            other += transfers.count - told;
            slowest = slowest.max(restart.as_secs_f64());
            run.say(format_args!(
                "{title}: {reset} resets, new connections after {restart:.2?}"
            ));
        }
        let all = f64::from(OPEN * kills);
        report.judge(
            format!("{title}: resets"),
            reset as f64,
            "",
            Bound::AtLeast(all),
        );
        report.none(format!("{title}: clean ends"), clean);
        report.none(format!("{title}: other ends"), other);
        let quantity = format!("{title}: slowest until new connections work");
        report.judge(quantity, slowest, "s", Bound::AtMost(MOST_RESTART));
    }
    Ok(())
}

/// How long from now until a new download succeeds.
fn until_new_works(lab: &Lab) -> Result<Duration> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if lab.fetch("http://internet/bytes/1000").run()?.succeeded() {
            return Ok(start.elapsed());
        }
        sleep(Duration::from_millis(50));
    }
    Ok(PATIENCE)
}
