//! Eight downloads at once share as fairly as eight plain TCP connections do.

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::lab::{Lab, THREE_LINKS};

use super::super::Run;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};

/// Downloads at once.
const FLOWS: usize = 8;
/// How much less fair than plain TCP is allowed.
const LESS: f64 = 0.02;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let lab = run.three_links("fair")?;
    report.condition(format!(
        "links {THREE_LINKS}; {FLOWS} downloads at once, IPv4; the plain ones all over wan1"
    ));
    let plain = one(run, &lab, report, "direct1", "plain TCP")?;
    let bonded = one(run, &lab, report, "internet", "Guywire")?;
    report.judge(
        "Jain's index, Guywire less plain TCP",
        bonded - plain,
        "",
        Bound::AtLeast(-LESS),
    );
    Ok(())
}

/// Jain's index of the downloads' goodputs: 1 where all are equal, 1/n where one has everything.
fn one(run: &Run, lab: &Lab, report: &mut Report, host: &str, title: &str) -> Result<f64> {
    run.say(title);
    let (length, skip) = run.pick((30, 5), (10, 2));
    let goodputs = steadily(lab, report, || {
        let start = |_| {
            lab.fetch(&format!("http://{host}/bytes/{}", 1_u64 << 33))
                .with(&["--ipv4", "--no-verify"])
                .lasting(Duration::from_secs(length), Duration::from_secs(skip))
                .start()
        };
        let running: Vec<_> = (0..FLOWS).map(start).collect::<Result<_>>()?;
        let mut goodputs = Vec::new();
        for one in running {
            let transfer = one.wait()?;
            ensure!(transfer.succeeded(), "{title}: {:?}", transfer.error);
            goodputs.push(transfer.goodput_mbps);
        }
        Ok(goodputs)
    })?;
    let index = jain(&goodputs);
    report.note(format!("{title}: Jain's index"), index, "");
    let slowest = goodputs.iter().copied().fold(f64::INFINITY, f64::min);
    let fastest = goodputs.iter().copied().fold(0.0, f64::max);
    report.note(format!("{title}: slowest"), slowest, "Mbit/s");
    report.note(format!("{title}: fastest"), fastest, "Mbit/s");
    report.note(format!("{title}: all"), goodputs.iter().sum(), "Mbit/s");
    Ok(index)
}

fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    sum * sum / (values.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_one_where_all_are_equal() {
        assert_eq!(jain(&[3.0; 8]), 1.0);
        assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), 0.25);
    }
}
