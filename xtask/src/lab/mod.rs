//! One lab, from `lab up` to `lab down`.

pub mod counters;
pub mod fetch;
pub mod processes;
pub mod programs;
pub mod schedulers;
pub mod service;
pub mod strangers;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use fetch::Fetch;

/// The three unequal links that most figures are measured over.
pub const THREE_LINKS: &str = "100mbit/20ms,50mbit/60ms,20mbit/120ms/loss0.5%";

/// A running lab. It is taken down when this value goes.
pub struct Lab {
    binary: PathBuf,
    name: String,
}

impl Lab {
    /// Starts a lab with the links `spec` and waits until it is ready. Its name begins with
    /// `purpose` and is no other lab's.
    ///
    /// # Errors
    /// Where the lab does not come up; the text is the lab's own.
    pub fn up(binary: impl Into<PathBuf>, purpose: &str, spec: &str) -> Result<Self> {
        Self::up_with(binary, purpose, &["--links", spec])
    }

    /// As [`Lab::up`], with any options of `lab up`.
    ///
    /// # Errors
    /// Where the lab does not come up; the text is the lab's own.
    pub fn up_with(binary: impl Into<PathBuf>, purpose: &str, options: &[&str]) -> Result<Self> {
        // Several labs of one process must differ too.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{purpose}-{}-{number}", std::process::id());
        let lab = Self {
            binary: binary.into(),
            name,
        };
        let started = lab
            .command(&["lab", "up", "--detach"])
            .args(options)
            .output();
        finished("lab up", started)?;
        Ok(lab)
    }

    /// The name that `--name` takes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The command that runs `program` in `node`, not yet started and without input.
    #[must_use]
    pub fn exec<S: AsRef<OsStr>>(&self, node: &str, program: &[S]) -> Command {
        let mut command = self.command(&["lab", "exec"]);
        command.args([node, "--"]).args(program);
        command
    }

    /// Runs `program` in `node` and returns its standard output.
    ///
    /// # Errors
    /// Where it does not end with status 0; the text holds what it printed to its errors.
    pub fn output<S: AsRef<OsStr>>(&self, node: &str, program: &[S]) -> Result<String> {
        let first = program.first().map(AsRef::as_ref).unwrap_or_default();
        let what = format!("{} in {node}", first.to_string_lossy());
        finished(&what, self.exec(node, program).output())
    }

    /// Runs the shell script `script` in `node` and returns its standard output.
    ///
    /// # Errors
    /// Where it does not end with status 0; the text holds what it printed to its errors.
    pub fn shell(&self, node: &str, script: &str) -> Result<String> {
        self.output(node, &["sh", "-c", script])
    }

    /// Transfers by the measuring client in the node `client`.
    #[must_use]
    pub fn fetch(&self, url: &str) -> Fetch {
        self.fetch_in("client", url)
    }

    /// Transfers by the measuring client in any node.
    #[must_use]
    pub fn fetch_in(&self, node: &str, url: &str) -> Fetch {
        let mut command = self.exec(node, &["guywire", "lab", "fetch", "--json"]);
        command.arg(url);
        Fetch::new(command)
    }

    /// Does `verb` (`down`, `silent`, `up`, `set rate=5mbit`, ...) to `link`.
    ///
    /// # Errors
    /// Where the lab refuses; the text is its own.
    pub fn link(&self, link: &str, verb: &[&str]) -> Result<()> {
        let mut command = self.command(&["lab", "link"]);
        command.arg(link).args(verb);
        finished("lab link", command.output())?;
        Ok(())
    }

    /// What `lab status --json` says.
    ///
    /// # Errors
    /// Where the lab does not answer, or not in JSON.
    pub fn status(&self) -> Result<Value> {
        let mut command = self.command(&["lab", "status", "--json"]);
        let text = finished("lab status", command.output())?;
        serde_json::from_str(&text).context("cannot understand `lab status --json`")
    }

    /// The process id of `role`, as `lab status` names it.
    ///
    /// # Errors
    /// Where there is none.
    pub fn pid(&self, role: &str) -> Result<u32> {
        let status = self.status()?;
        status["processes"][role]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok())
            .with_context(|| format!("the lab names no process for `{role}`: {status}"))
    }

    /// Ends the lab now, and says how that went.
    ///
    /// # Errors
    /// Where `lab down` fails.
    pub fn down(self) -> Result<()> {
        let down = self.command(&["lab", "down"]).output();
        std::mem::forget(self);
        finished("lab down", down)?;
        Ok(())
    }

    /// A command of the binary, told which lab it is for.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(words)
            .args(["--name", &self.name])
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = finished("lab down", self.command(&["lab", "down"]).output()) {
            eprintln!("{error:#}");
        }
    }
}

/// Sends a signal (`-9`, `-TERM`) to a process, by its id as the host sees it.
///
/// # Errors
/// Where there is no such process, or it is not ours.
pub fn signal(pid: u32, signal: &str) -> Result<()> {
    let mut kill = Command::new("kill");
    finished("kill", kill.args([signal, &pid.to_string()]).output())?;
    Ok(())
}

/// The standard output of a program that succeeded; else an error with all it said.
fn finished(what: &str, ended: std::io::Result<Output>) -> Result<String> {
    let output = ended.with_context(|| format!("cannot start {what}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{what} ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
