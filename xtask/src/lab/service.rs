//! Programs that last, run in a node of a lab.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::processes;

/// A program at work in a node, ended when this value goes.
pub struct Service {
    /// `lab exec`, which the program dies with.
    exec: Child,
}

impl Service {
    /// Starts what [`super::Lab::exec`] describes.
    ///
    /// # Errors
    /// Where nothing can be run in the node.
    pub fn start(command: &mut Command) -> Result<Self> {
        let exec = command
            .spawn()
            .context("cannot start a program in a node")?;
        Ok(Self { exec })
    }

    /// Starts it and waits for its first line, which says that it is ready.
    ///
    /// # Errors
    /// Where it ends without a word.
    pub fn start_ready(command: &mut Command) -> Result<Self> {
        let mut service = Self::start(command.stdout(Stdio::piped()))?;
        let output = service.exec.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(!line.is_empty(), "a program in a node ended at once");
        Ok(service)
    }

    /// The program's process id, as the host sees it.
    ///
    /// # Errors
    /// Where it is not running.
    pub fn pid(&self) -> Result<u32> {
        processes::child_of(self.exec.id())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.exec.kill();
        let _ = self.exec.wait();
    }
}
