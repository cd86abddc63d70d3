//! `guywire worker`: what a supervisor starts.

use std::process::ExitCode;

/// Gives up privileges and runs the data worker until it is told to stop or its supervisor's channel says otherwise.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    crate::worker::run()?;
    Ok(ExitCode::SUCCESS)
}
