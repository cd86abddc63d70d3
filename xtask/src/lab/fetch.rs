//! Transfers by the measuring client, `guywire lab fetch`, and what it measured.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// A transfer, or many of the same, being described.
pub struct Fetch {
    command: Command,
}

impl Fetch {
    pub(super) fn new(command: Command) -> Self {
        Self { command }
    }

    /// Stops after `length`, and leaves the first `skip` of it out of the goodput.
    #[must_use]
    pub fn lasting(mut self, length: Duration, skip: Duration) -> Self {
        let seconds = |time: Duration| time.as_secs_f64().to_string();
        self.command
            .args(["--seconds", &seconds(length), "--skip", &seconds(skip)]);
        self
    }

    /// Sends `bytes` instead of receiving.
    #[must_use]
    pub fn upload(mut self, bytes: u64) -> Self {
        self.command.args(["--upload", &bytes.to_string()]);
        self
    }

    /// Gives the client more options of its own.
    #[must_use]
    pub fn with(mut self, options: &[&str]) -> Self {
        self.command.args(options);
        self
    }

    /// Runs the transfer and waits for its end, good or bad.
    ///
    /// # Errors
    /// Where the client does not say how it went.
    pub fn run(self) -> Result<Transfer> {
        self.start()?.wait()
    }

    /// Starts the transfer and returns at once.
    ///
    /// # Errors
    /// Where the client cannot be started.
    pub fn start(self) -> Result<Running<Transfer>> {
        Running::start(self.command)
    }

    /// Starts `count` of them at once.
    ///
    /// # Errors
    /// Where the client cannot be started.
    pub fn start_many(mut self, count: u32) -> Result<Running<Transfers>> {
        self.command.args(["--count", &count.to_string()]);
        Running::start(self.command)
    }
}

/// A client at work. Dropped without [`Running::wait`], it is ended.
pub struct Running<T> {
    child: Option<Child>,
    result: std::marker::PhantomData<T>,
}

impl<T: serde::de::DeserializeOwned> Running<T> {
    fn start(mut command: Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start `lab fetch`")?;
        Ok(Self {
            child: Some(child),
            result: std::marker::PhantomData,
        })
    }

    /// Waits for the end, good or bad.
    ///
    /// # Errors
    /// Where the client does not say how it went.
    pub fn wait(mut self) -> Result<T> {
        let child = self.child.take().context("waited for already")?;
        let output = child
            .wait_with_output()
            .context("cannot wait for `lab fetch`")?;
        // A failed transfer has a status of its own, but its report all the same.
        serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!(
                "`lab fetch` ended with {} and no report: {}",
                output.status,
                said.trim()
            )
        })
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only where it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One transfer. Of an upload, gap, samples and goodput are what the receiver saw.
#[derive(Clone, Debug, Deserialize)]
pub struct Transfer {
    /// How it ended: `complete`, `stopped` (as asked), or what went wrong.
    pub ending: String,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// Congestion control of the client's socket.
    pub congestion: Option<String>,
    /// Congestion control of the web server's socket.
    pub server_congestion: Option<String>,
    /// When it began, in seconds since 1970.
    pub began_unix: f64,
    /// Bytes of the body.
    pub bytes: u64,
    /// Seconds from the first connection attempt to the body's first byte.
    pub first_byte_seconds: Option<f64>,
    /// Seconds from the first connection attempt to the last byte.
    pub seconds: f64,
    /// Megabits of body a second after the skipped start.
    pub goodput_mbps: f64,
    /// The longest pause after the first byte.
    pub longest_gap: Gap,
    /// Every pause of the length asked for (`--gaps`), or more.
    #[serde(default)]
    pub gaps: Vec<Gap>,
    /// Whether the body is, byte by byte, what it should be; nothing where that is unknown.
    pub identical: Option<bool>,
    /// Bytes of the body in each 100 ms from the start.
    pub samples: Vec<u64>,
}

impl Transfer {
    /// The longest listed pause that was not over before `from` and had begun before `to` (both
    /// in seconds since 1970), of which only what lies after `from` counts; 0 where none is listed.
    #[must_use]
    pub fn longest_between(&self, from: f64, to: f64) -> f64 {
        let inside = self.gaps.iter().map(|gap| {
            let begin = self.began_unix + gap.at;
            let end = begin + gap.seconds;
            if begin < to && end > from {
                end - begin.max(from)
            } else {
                0.0
            }
        });
        inside.fold(0.0, f64::max)
    }

    /// Makes sure that it did what it was asked to, and brought no byte that was not sent.
    ///
    /// # Errors
    /// Says how it ended, after `what`.
    pub fn check(&self, what: &str) -> Result<()> {
        let Self { ending, error, .. } = self;
        ensure!(self.succeeded(), "{what}: {ending} {error:?}");
        ensure!(
            self.identical != Some(false),
            "{what}: the bytes are not what was sent"
        );
        Ok(())
    }

    /// Whether it did what it was asked to.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(self.ending.as_str(), "complete" | "stopped")
    }
}

/// A pause between two reads.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Gap {
    /// When it began, in seconds from the start.
    pub at: f64,
    /// How long it lasted, in seconds.
    pub seconds: f64,
}

/// Many transfers at once.
#[derive(Clone, Debug, Deserialize)]
pub struct Transfers {
    /// How many were started.
    pub count: u64,
    /// How many did what they were asked to.
    pub succeeded: u64,
    /// How many were found, byte by byte, what they should be.
    pub identical: u64,
    /// How many were found different.
    pub different: u64,
    /// Seconds until the last one was over.
    pub seconds: f64,
    /// How many ended in each way that is no success.
    pub failures: Vec<Failures>,
}

impl Transfers {
    /// How many ended in `ending`, one that is no success (`reset`, `cut_short`, ...).
    #[must_use]
    pub fn ended(&self, ending: &str) -> u64 {
        self.failures
            .iter()
            .filter(|failures| failures.ending == ending)
            .map(|failures| failures.count)
            .sum()
    }
}

/// Transfers that failed in the same way.
#[derive(Clone, Debug, Deserialize)]
pub struct Failures {
    /// The way.
    pub ending: String,
    /// How many.
    pub count: u64,
    /// What the first of them said.
    pub example: String,
}
