//! `early` keeps queues short that `minrtt` fills, in simulation.

use anyhow::Result;
use serde_json::json;

use super::super::Run;
use super::super::report::{Bound, Report};
use super::super::sample::{median, percentile};
use super::super::simulated::simulate;

/// Queues of 200 ms that drop at their end.
const LINKS: [&str; 3] = [
    "50mbit/20ms/queue200ms,20mbit/40ms/queue200ms",
    "20mbit/20ms/queue200ms,20mbit/20ms/queue200ms",
    "100mbit/20ms/queue200ms,50mbit/60ms/queue200ms,20mbit/120ms/queue200ms",
];
const SCHEDULERS: [&str; 3] = ["minrtt", "early", "bpf_early"];

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let seeds = run.pick("5", "1");
    report.condition(format!(
        "simulated: one download of 30 s, CUBIC, {seeds} seeds; a ping each 100 ms on every link, past Guywire"
    ));
    for links in LINKS {
        run.say(links);
        let common = ["--links", links, "--congestion", "cubic", "--seeds", seeds];
        let more = ["--duration", "30s", "--skip", "5s", "--pings", "100ms"];
        let runs = simulate(run, &SCHEDULERS, &[&common[..], &more].concat())?;
        for (name, of_scheduler) in SCHEDULERS.iter().zip(&runs) {
            report.none(format!("{links}: {name} ejected"), of_scheduler.ejected());
        }
        for link in 0..links.split(',').count() {
            let pings: Vec<Vec<f64>> = runs.iter().map(|of| of.pings(link)).collect();
            for (name, pings) in SCHEDULERS.iter().zip(&pings) {
                let title = format!("{links}: {name}, ping of wan{}", link + 1);
                report.note(format!("{title}, median"), median(pings), "ms");
                report.note(
                    format!("{title}, 95th percentile"),
                    percentile(pings, 95.0),
                    "ms",
                );
            }
            report.judge(
                format!(
                    "{links}: wan{}: early, of minrtt's 95th percentile",
                    link + 1
                ),
                percentile(&pings[1], 95.0) * 100.0 / percentile(&pings[0], 95.0),
                "%",
                Bound::AtMost(99.0),
            );
        }
        for (name, of_scheduler) in SCHEDULERS.iter().zip(&runs) {
            report.note(format!("{links}: {name}"), of_scheduler.mbps(), "Mbit/s");
        }
        let cost = (1.0 - runs[1].mbps() / runs[0].mbps()) * 100.0;
        report.note(format!("{links}: what early costs in goodput"), cost, "%");
        report.sample(json!({"links": links, "cost_percent": cost}));
    }
    Ok(())
}
