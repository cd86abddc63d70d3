//! Strangers who are refused by the thousand, and what that takes from an established flow.

use std::time::Duration;

use anyhow::Result;
use xtask::lab::Lab;

use super::super::Run;
use super::super::goodput::Direction;
use super::super::machine::steadily_again;
use super::super::report::{Bound, Report};
use super::super::sample::median;

/// Links that leave the machine time for the strangers themselves.
const LINKS: &str = "50mbit/20ms,30mbit/40ms";
/// Strangers a second.
const RATE: f64 = 5_000.0;
/// So much of the rate must be reached, in percent, or the machine was too slow for it.
const REACHED: f64 = 98.0;
/// The most of its goodput that the flow loses, in percent.
const LOST: f64 = 5.0;
/// Where the lab's server is.
const SERVER: &str = "198.51.100.10:443";

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let instrument = run.program("guywire-rig")?.display().to_string();
    let lab = Lab::up(&run.binary, "strangers", LINKS)?;
    let (length, times) = (run.pick(15, 6), run.pick(3, 1));
    report.condition(format!(
        "links {LINKS}; downloads of {length} s without and with strangers in turn, medians of {times}; the \
         strangers come from the internet host, each with a connection and a whole ClientHello, and take \
         processor time of their own"
    ));
    let (mut quiet, mut flooded, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        quiet.push(steadily_again(&lab, report, || download(&lab, length))?);
        let seconds = (length + 1).to_string();
        let rate = RATE.to_string();
        let words = [
            &instrument,
            "strangers",
            "--rate",
            &rate,
            "--seconds",
            &seconds,
            SERVER,
        ];
        let (goodput, rate) = steadily_again(&lab, report, || {
            std::thread::scope(|scope| {
                let flood = scope.spawn(|| lab.output("internet", &words));
                let goodput = download(&lab, length)?;
                let said = flood.join().expect("it does not panic")?;
                Ok((goodput, said.trim().parse::<f64>()?))
            })
        })?;
        run.say(format_args!(
            "{rate:.0} strangers a second: {goodput:.1} Mbit/s"
        ));
        flooded.push(goodput);
        refused.push(rate);
    }
    let (without, with, rate) = (median(&quiet), median(&flooded), median(&refused));
    report.note("goodput without strangers", without, "Mbit/s");
    report.note("goodput with them", with, "Mbit/s");
    report.note("strangers refused", rate, "a second");
    if rate < RATE * REACHED / 100.0 {
        report.void(format!(
            "the machine makes only {rate:.0} strangers a second, not {RATE}"
        ));
    }
    let lost = (without - with) * 100.0 / without;
    report.judge("goodput lost to them", lost, "%", Bound::AtMost(LOST));
    Ok(())
}

/// The goodput of one download, in Mbit/s.
fn download(lab: &Lab, length: u64) -> Result<f64> {
    let transfer = Direction::Down
        .fetch(lab, "client", "internet", None)
        .lasting(Duration::from_secs(length), Duration::from_secs(2))
        .run()?;
    transfer.check("a download")?;
    Ok(transfer.goodput_mbps)
}
