//! One transfer of the client, run in the lab and watched while it runs.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval};

use super::StoryError;
use crate::client;
use crate::fetch::{FetchReport, Progress};
use crate::place::Place;
use crate::protocol::LinkStatus;

/// How often the links are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Rates are means over this many looks.
const SMOOTH: usize = 5;

/// What the client shall do.
pub(super) struct Transfer {
    url: String,
    length: Duration,
    skip: Duration,
    upload: bool,
}

/// What is seen of a transfer at one moment.
pub(super) struct Watch {
    /// Since the client began, as the client says.
    pub(super) elapsed: Duration,
    /// When this was seen.
    pub(super) now: Instant,
    /// What all of it comes to.
    pub(super) total: Total,
    /// The links.
    pub(super) links: Vec<LinkStatus>,
    /// What each link carries in the transfer's direction, in Mbit/s.
    pub(super) link_mbps: Vec<f64>,
    /// The same, in bytes since the lab began.
    pub(super) link_bytes: Vec<u64>,
}

/// What a transfer comes to at one moment.
pub(super) struct Total {
    /// Who sees it.
    pub(super) name: &'static str,
    /// What is seen.
    pub(super) what: &'static str,
    /// How much, in Mbit/s.
    pub(super) mbps: f64,
}

impl Transfer {
    /// A download that ends after `length`.
    pub(super) fn download(url: String, length: Duration, skip: Duration) -> Transfer {
        Transfer {
            url,
            length,
            skip,
            upload: false,
        }
    }

    /// An upload that ends after `length`.
    pub(super) fn upload(url: String, length: Duration, skip: Duration) -> Transfer {
        Transfer {
            url,
            length,
            skip,
            upload: true,
        }
    }

    /// Runs it; `watch` is called every [`LOOK`].
    pub(super) async fn run(
        &self,
        place: &Place,
        mut watch: impl FnMut(&Watch) -> Result<(), StoryError>,
    ) -> Result<FetchReport, StoryError> {
        let mut child = self.start(place)?;
        let mut lines = BufReader::new(child.stdout.take().ok_or_else(no_pipe)?).lines();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut seen = Recent::default();
        loop {
            tokio::select! {
                line = lines.next_line() => {
                    let Some(line) = line? else { return Err(silent(child).await) };
                    match serde_json::from_str::<Progress>(&line) {
                        Ok(progress) => seen.progress = progress,
                        Err(_) => return report(&line, child).await,
                    }
                }
                _ = looks.tick() => watch(&seen.look(client::links(place)?, self.upload))?,
            }
        }
    }

    fn start(&self, place: &Place) -> Result<Child, StoryError> {
        let seconds = |time: Duration| time.as_secs_f64().to_string();
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([
                "lab",
                "exec",
                "--name",
                place.name().as_str(),
                "client",
                "--",
            ])
            // One family for all, so that like is compared with like.
            .args(["guywire", "lab", "fetch", "-4", "--json", "--live"])
            .args([
                "--seconds",
                &seconds(self.length),
                "--skip",
                &seconds(self.skip),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if self.upload {
            command.args(["--upload", &super::ENDLESS.to_string()]);
        }
        Ok(command.arg(&self.url).spawn()?)
    }
}

/// The last looks, newest last.
#[derive(Default)]
struct Recent {
    progress: Progress,
    looks: std::collections::VecDeque<(Instant, u64, Vec<u64>)>,
}

impl Recent {
    fn look(&mut self, links: Vec<LinkStatus>, upload: bool) -> Watch {
        let now = Instant::now();
        let direction = |link: &LinkStatus| if upload { link.up } else { link.down };
        let link_bytes: Vec<u64> = links
            .iter()
            .map(|link| direction(link).map_or(0, |passed| passed.counters.bytes))
            .collect();
        self.looks
            .push_back((now, self.progress.bytes, link_bytes.clone()));
        if self.looks.len() > SMOOTH + 1 {
            self.looks.pop_front();
        }
        // There is one: it was pushed just now.
        let (then, bytes, before) = &self.looks[0];
        let seconds = now.saturating_duration_since(*then).as_secs_f64().max(1e-3);
        let mbps = |now: u64, before: u64| now.saturating_sub(before) as f64 * 8e-6 / seconds;
        let link_mbps: Vec<f64> = link_bytes
            .iter()
            .zip(before)
            .map(|(now, before)| mbps(*now, *before))
            .collect();
        // An upload's client only knows what it handed to buffers on the way.
        let total = match upload {
            false => Total {
                name: "client",
                what: "one TCP connection",
                mbps: mbps(self.progress.bytes, *bytes),
            },
            true => Total {
                name: "sum",
                what: "all links",
                mbps: link_mbps.iter().sum(),
            },
        };
        Watch {
            elapsed: Duration::from_secs_f64(self.progress.elapsed.max(0.0)),
            now,
            total,
            links,
            link_mbps,
            link_bytes,
        }
    }
}

/// The last line is the report.
async fn report(line: &str, child: Child) -> Result<FetchReport, StoryError> {
    match serde_json::from_str(line) {
        Ok(report) => Ok(report),
        Err(_) => Err(silent(child).await),
    }
}

/// What the client said instead of a report.
async fn silent(mut child: Child) -> StoryError {
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        // What was read before an error is still worth having.
        let _ = stderr.take(4_096).read_to_string(&mut said).await;
    }
    StoryError::NoReport {
        said: said.trim().to_owned(),
    }
}

fn no_pipe() -> std::io::Error {
    std::io::Error::other("the measuring client has no output")
}
