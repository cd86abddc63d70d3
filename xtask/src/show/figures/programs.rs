//! Programs that know nothing of Guywire run through it unchanged.

use anyhow::{Context, Result};
use xtask::lab::programs::{self, Scratch};
use xtask::lab::{Lab, THREE_LINKS};

use super::super::Run;
use super::super::report::Report;

/// A name that only the lab's internet host knows.
const NAME: &str = "www.lab.test";
/// Bytes of a download, and of the repository that is cloned.
const BYTES: u64 = 5_000_000;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let lab = run.three_links("programs")?;
    report.condition(format!("links {THREE_LINKS}"));
    names(&lab, report);
    for (family, title) in [("-4", "IPv4"), ("-6", "IPv6")] {
        run.say(format_args!("curl over {title}"));
        let done = programs::curl(&lab, family, NAME, BYTES);
        fact(report, &format!("curl over {title}, by name"), done);
    }
    run.say("iperf3");
    match programs::iperf3(&lab, run.pick(10, 3)) {
        Ok(rate) => report.note("iperf3, one connection", rate, "Mbit/s"),
        Err(error) => report.fact("iperf3", false, format!("{error:#}")),
    }
    if !xtask::is_root() {
        report.condition("git over SSH is not shown: sshd wants root");
        return Ok(());
    }
    run.say("git over SSH");
    let scratch = Scratch::new("git")?;
    let done = programs::git_over_ssh(&lab, scratch.path(), BYTES);
    fact(report, "git clone over SSH", done);
    Ok(())
}

fn names(lab: &Lab, report: &mut Report) {
    let found = programs::addresses(lab, NAME).context("no address");
    let (good, detail) = match found {
        Ok(addresses) => {
            let both = addresses.iter().any(|a| a.contains(':'))
                && addresses.iter().any(|a| a.contains('.'));
            (both, addresses.join(", "))
        }
        Err(error) => (false, format!("{error:#}")),
    };
    report.fact(format!("{NAME} resolves to IPv4 and IPv6"), good, detail);
}

fn fact(report: &mut Report, title: &str, done: Result<()>) {
    let detail = done
        .as_ref()
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    report.fact(title, done.is_ok(), detail);
}
