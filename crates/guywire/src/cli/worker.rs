//! `guywire worker`: what a supervisor starts. Before any thread exists, it gives up what a data worker has no use
//! for.

use std::process::ExitCode;

use anyhow::Context as _;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Where the kernel looks first when memory runs out (-1000 to 1000): a worker can be started again, the supervisor
/// and the machine's other programs may not be.
const OOM_SCORE: &str = "500";

/// Gives up privileges and runs the data worker until it is told to stop.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    // For `ps` and `ss`: it was started by way of /proc/self/exe.
    rustix::thread::set_name(c"guywire-worker").context("cannot name this process")?;
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        tracing::debug!("cannot set oom_score_adj: {error}");
    }
    give_up_capabilities().context("cannot give up capabilities")?;
    crate::worker::run()?;
    Ok(ExitCode::SUCCESS)
}

/// All of them, for good: a worker that is taken over must not change rules, routes or other users' files. As root it
/// would get them back from any program it executes, hence no_new_privs.
fn give_up_capabilities() -> rustix::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )
}
