//! Running other programs: with their output captured in order, or passed through.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// What a finished program left behind.
pub(crate) struct Captured {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its output and its errors, in the order they were written.
    pub(crate) output: String,
}

/// Runs `command` to its end without input, and keeps all it printed.
pub(crate) fn capture(command: &mut Command) -> Result<Captured> {
    let (mut reader, writer) = io::pipe().context("cannot open a pipe")?;
    let name = name(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("cannot copy a pipe")?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot start `{name}`"))?;
    // The command holds our copies of the writing end: the reader would never see the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut bytes = Vec::new();
    reader
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read from `{name}`"))?;
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{name}`"))?;
    Ok(Captured {
        status,
        output: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// Runs `command` and returns its standard output.
///
/// # Errors
/// Where it cannot be started or ends with another status than 0.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let result = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{name}`"))?;
    if !result.status.success() {
        let errors = String::from_utf8_lossy(&result.stderr);
        bail!("`{name}` ended with {}: {}", result.status, errors.trim());
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

/// Runs `command` with our own output, and tells whether it succeeded.
pub(crate) fn passes(command: &mut Command) -> Result<bool> {
    let name = name(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{name}`"))?;
    Ok(status.success())
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut name = program
        .file_name()
        .unwrap_or(command.get_program())
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args().take(4) {
        name.push(' ');
        name.push_str(&argument.to_string_lossy());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_both_streams_and_the_status() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let captured = capture(&mut command).expect("sh starts");
        assert_eq!(captured.output, "one\ntwo\n");
        assert_eq!(captured.status.code(), Some(3));
    }

    #[test]
    fn names_the_program_that_failed() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo why >&2; exit 1"]);
        let error = output(&mut command).expect_err("it fails").to_string();
        assert!(error.starts_with("`sh -c"), "{error}");
        assert!(error.ends_with("why"), "{error}");
    }
}
