//! Schedulers from papers over the links of those papers, in simulation.

use anyhow::Result;
use serde_json::json;

use super::super::Run;
use super::super::report::{Bound, Report};
use super::super::simulated::{Runs, simulate};

/// Unequal links on which a small window makes the scheduler count.
const UNEQUAL: [&str; 3] = [
    "50mbit/20ms,5mbit/300ms/queue600ms",
    "100mbit/20ms,10mbit/150ms/queue400ms",
    "100mbit/20ms,20mbit/200ms/queue200ms",
];
/// Less unequal ones, where a window of 2 MB leaves `blest` and `ecf` little or nothing to gain: shown, not judged.
const LESS_UNEQUAL: [&str; 2] = [
    "25mbit/20ms,5mbit/200ms/queue400ms",
    "50mbit/20ms,10mbit/150ms/queue300ms",
];
/// Links alike, on which it must not matter.
const ALIKE: &str = "100mbit/25ms,100mbit/25ms";
const WINDOWS: [&str; 2] = ["1MB", "2MB"];
/// `blest` and `ecf` are better than `minrtt` by this, in percent, and on links alike not worse by that.
const BETTER: f64 = 10.0;
const WORSE: f64 = 2.0;
/// `default` is as fast as the best up to this, in percent; where not, that is told.
const BEHIND: f64 = 3.0;
/// All that is compared where orders are shown.
const ORDERED: [&str; 6] = ["minrtt", "blest", "ecf", "sttf", "default", "roundrobin"];
/// Raiciu et al., "How Hard Can It Be? Designing and Implementing a Deployable Multipath TCP" (NSDI 2012).
const WIFI_AND_3G: &str = "8mbit/20ms/queue80ms,2mbit/150ms/queue2s";
/// Ferlin et al., BLEST (2016).
const BLEST: &str = "25mbit/20ms,5mbit/65ms";
/// Lim et al., ECF (2017): each rate of the first link with each of the second, in kbit/s.
const RATES: [u32; 6] = [300, 700, 1_100, 1_700, 4_200, 8_600];

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let seeds = run.pick("5", "1");
    report.condition(format!(
        "simulated, CUBIC as in the papers, medians of {seeds} seeds; goodput of 20 s, completion of 2 MB"
    ));
    unequal(run, report, seeds)?;
    alike(run, report, seeds)?;
    for (what, links) in [
        ("less unequal", LESS_UNEQUAL[0]),
        ("less unequal", LESS_UNEQUAL[1]),
        ("Raiciu's WiFi and 3G", WIFI_AND_3G),
        ("BLEST's links", BLEST),
    ] {
        for window in WINDOWS {
            let (goodputs, times) = both(run, &ORDERED, links, window, seeds)?;
            let title = format!("{what}, {links}, {window}");
            order(report, &title, &goodputs, &times);
        }
    }
    grid(run, report, seeds)
}

/// Goodput of a long download, and completion of 2 MB.
fn both(
    run: &Run,
    schedulers: &[&str],
    links: &str,
    window: &str,
    seeds: &str,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let common = [
        "--links",
        links,
        "--window",
        window,
        "--seeds",
        seeds,
        "--congestion",
        "cubic",
    ];
    let with = |more: &[&str]| simulate(run, schedulers, &[&common[..], more].concat());
    let long = with(&["--duration", "20s", "--skip", "5s"])?;
    let short = with(&["--duration", "60s", "--workload", "once:2MB"])?;
    let of = |runs: &[Runs], figure: fn(&Runs) -> f64| runs.iter().map(figure).collect();
    Ok((of(&long, Runs::mbps), of(&short, Runs::completion)))
}

fn unequal(run: &Run, report: &mut Report, seeds: &str) -> Result<()> {
    let schedulers = ["minrtt", "blest", "ecf", "default"];
    for links in UNEQUAL {
        for window in WINDOWS {
            run.say(format_args!("{links}, {window}"));
            let (goodputs, times) = both(run, &schedulers, links, window, seeds)?;
            order_of(
                report,
                &format!("{links}, {window}"),
                &schedulers,
                &goodputs,
                &times,
            );
            for at in 1..3 {
                let goodput = (goodputs[at] / goodputs[0] - 1.0) * 100.0;
                let time = (times[0] / times[at] - 1.0) * 100.0;
                report.judge(
                    format!(
                        "{links}, {window}: {} better than minrtt, goodput or time",
                        schedulers[at]
                    ),
                    goodput.max(time),
                    "%",
                    Bound::AtLeast(BETTER),
                );
            }
        }
    }
    Ok(())
}

fn alike(run: &Run, report: &mut Report, seeds: &str) -> Result<()> {
    let schedulers = ["minrtt", "blest", "ecf", "default"];
    for window in WINDOWS {
        let (goodputs, times) = both(run, &schedulers, ALIKE, window, seeds)?;
        order_of(
            report,
            &format!("{ALIKE}, {window}"),
            &schedulers,
            &goodputs,
            &times,
        );
        for at in 1..3 {
            let goodput = (1.0 - goodputs[at] / goodputs[0]) * 100.0;
            report.judge(
                format!(
                    "{ALIKE}, {window}: {} worse than minrtt in goodput",
                    schedulers[at]
                ),
                goodput,
                "%",
                Bound::AtMost(WORSE),
            );
        }
    }
    Ok(())
}

fn order(report: &mut Report, title: &str, goodputs: &[f64], times: &[f64]) {
    order_of(report, title, &ORDERED, goodputs, times);
}

/// Shows both orders, best first.
fn order_of(
    report: &mut Report,
    title: &str,
    schedulers: &[&str],
    goodputs: &[f64],
    times: &[f64],
) {
    let rates: Vec<f64> = times.iter().map(|time| 1.0 / time).collect();
    behind(report, &format!("{title}, goodput"), schedulers, goodputs);
    behind(report, &format!("{title}, 2 MB"), schedulers, &rates);
    let sorted = |values: &[f64], falling: bool, unit: &str| {
        let mut pairs: Vec<(&str, f64)> = schedulers
            .iter()
            .copied()
            .zip(values.iter().copied())
            .collect();
        pairs.sort_by(|a, b| match falling {
            true => b.1.total_cmp(&a.1),
            false => a.1.total_cmp(&b.1),
        });
        let texts = pairs
            .iter()
            .map(|(name, value)| format!("{name} {value:.2}"));
        format!("{} {unit}", texts.collect::<Vec<_>>().join(" > "))
    };
    report.condition(format!("{title}: {}", sorted(goodputs, true, "Mbit/s")));
    report.condition(format!("{title}: {}", sorted(times, false, "s for 2 MB")));
    report.sample(json!({
        "title": title, "schedulers": schedulers, "mbps": goodputs, "seconds": times,
    }));
}

/// Tells where `default` is not about as fast as the best.
fn behind(report: &mut Report, title: &str, schedulers: &[&str], rates: &[f64]) {
    let best = rates.iter().copied().fold(f64::MIN, f64::max);
    let own = schedulers
        .iter()
        .zip(rates)
        .find(|(name, _)| **name == "default");
    let Some(lag) = own.map(|(_, rate)| (1.0 - rate / best) * 100.0) else {
        return;
    };
    if lag > BEHIND {
        report.note(format!("{title}: default is behind the best by"), lag, "%");
    }
}

/// The grid of ECF: both rates, round trips as measured there, a stream's pieces of 2 MB.
fn grid(run: &Run, report: &mut Report, seeds: &str) -> Result<()> {
    let schedulers = ["minrtt", "ecf", "blest", "default"];
    let (mut wins, mut losses, mut cells) = (0, 0, 0);
    let all = RATES
        .iter()
        .flat_map(|first| RATES.map(|second| (*first, second)));
    for (first, second) in run.part.share(all) {
        let links = format!(
            "{first}kbit/{},{second}kbit/{}",
            delay(first),
            delay(second)
        );
        run.say(&links);
        let common = [
            "--links",
            &links,
            "--window",
            "1MB",
            "--seeds",
            seeds,
            "--congestion",
            "cubic",
        ];
        let more = ["--duration", "200s", "--workload", "once:2MB"];
        let runs = simulate(run, &schedulers, &[&common[..], &more].concat())?;
        let times: Vec<f64> = runs.iter().map(Runs::completion).collect();
        let gain = (times[0] / times[1] - 1.0) * 100.0;
        let rates: Vec<f64> = times.iter().map(|time| 1.0 / time).collect();
        let cell = format!("ECF's grid, {first} and {second} kbit/s");
        behind(report, &cell, &schedulers, &rates);
        cells += 1;
        wins += u32::from(gain > 1.0);
        losses += u32::from(gain < -1.0);
        report.condition(format!(
            "ECF's grid, {first} and {second} kbit/s: minrtt {:.2} s, ecf {:.2} s ({gain:+.1} %), blest {:.2} s, default {:.2} s",
            times[0], times[1], times[2], times[3]
        ));
        report.sample(json!({"first": first, "second": second, "seconds": times}));
    }
    report.note("ECF's grid: cells", f64::from(cells), "");
    report.note(
        "ECF's grid: ecf more than 1 % quicker than minrtt",
        f64::from(wins),
        "",
    );
    report.note(
        "ECF's grid: ecf more than 1 % slower than minrtt",
        f64::from(losses),
        "",
    );
    Ok(())
}

/// A slow link has a long queue: the round trips of that testbed grew from some 40 ms at
/// 8.6 Mbit/s to about a second at 0.3.
fn delay(kilobits: u32) -> &'static str {
    match kilobits {
        0..=300 => "40ms/queue900ms",
        301..=700 => "40ms/queue400ms",
        701..=1_100 => "40ms/queue250ms",
        1_101..=1_700 => "40ms/queue160ms",
        1_701..=4_200 => "40ms/queue70ms",
        _ => "40ms/queue40ms",
    }
}
