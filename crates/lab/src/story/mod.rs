//! The story that `guywire lab` tells: every link alone past Guywire, all of
//! them bonded, a cable cut in the middle of a download and plugged in again,
//! an upload, and a table of what was measured.
//!
//! | module | what it is for |
//! |---|---|
//! | `transfer` | one transfer of the client, watched while it runs |
//! | `cut` | the cut in the middle of the download |
//! | `screen` | what is shown meanwhile |
//! | [`result`] | the table |

mod cut;
pub mod result;
mod screen;
mod transfer;

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use self::cut::Cut;
use self::result::{AloneResult, StoryResult};
use self::screen::Screen;
use self::transfer::{Transfer, Watch};
use crate::client::ClientError;
use crate::fetch::FetchReport;
use crate::launch::{LaunchError, RunningLab, UpOptions};
use crate::measure::goodput;
use crate::place::{LabName, Place};
use crate::plan::Plan;
use crate::protocol::LinkStatus;
use crate::spec::LinkSpecs;
use crate::topology::Link;

/// The story's links, unless others are asked for.
pub const LINKS: &str = "100mbit/20ms,50mbit/60ms,20mbit/120ms/loss0.5%";

/// More bytes than any transfer of the story moves: each ends by time.
const ENDLESS: u64 = crate::internet::content::MAX_BYTES;

/// What story to tell.
#[derive(Clone, Debug)]
pub struct StoryOptions {
    /// The links.
    pub links: LinkSpecs,
    /// The router's scheduler, if not its own default.
    pub scheduler: Option<String>,
    /// How long it may take, about.
    pub length: Duration,
    /// Whether what goes on is shown.
    pub show: bool,
}

/// Why the story broke off.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// The lab did not come up or end.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The lab does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The system refuses something.
    #[error("cannot tell the story: {0}")]
    System(#[from] io::Error),
    /// The measuring client ended without a report.
    #[error("the measuring client failed: {said}")]
    NoReport {
        /// What it said.
        said: String,
    },
    /// A transfer went wrong.
    #[error("{what} failed: {why}")]
    Transfer {
        /// Which, in words.
        what: String,
        /// How.
        why: String,
    },
    /// The user interrupted it.
    #[error("interrupted; nothing of the lab is left")]
    Interrupted,
}

/// Tells the story in a lab of its own, which is gone afterwards. The process
/// must have one thread only.
///
/// # Errors
/// See [`StoryError`].
pub fn tell(options: &StoryOptions) -> Result<StoryResult, StoryError> {
    let mut screen = Screen::new(options.show);
    let lab = UpOptions {
        name: own_name(),
        plan: Plan {
            scheduler: options.scheduler.clone(),
            ..Plan::new(&options.links)
        },
        attached: true,
    };
    let lab = RunningLab::up(&lab, |step| screen.say(step))?;
    if let Some(warning) = lab.warning() {
        screen.say(&format!("warning: {warning}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            result = perform(lab.place(), options, &mut screen) => result,
            _ = interrupt.recv() => Err(StoryError::Interrupted),
            _ = terminate.recv() => Err(StoryError::Interrupted),
            _ = hangup.recv() => Err(StoryError::Interrupted),
        }
    });
    drop(runtime);
    lab.down()?;
    outcome
}

/// A name that no other lab of this machine has.
fn own_name() -> LabName {
    let name = format!("story-{}", std::process::id());
    // Digits after a word: a good name.
    name.parse().unwrap_or_default()
}

/// How the time is spent, in parts of the whole story.
struct Times {
    alone: Duration,
    alone_skip: Duration,
    download: Duration,
    download_skip: Duration,
    cut: Duration,
    back: Duration,
    upload: Duration,
    upload_skip: Duration,
}

impl Times {
    /// About 48 of 60 seconds are transfers; the rest is coming up and going down.
    fn new(length: Duration, links: usize) -> Times {
        let part = |seconds: f64| length.mul_f64(seconds / 60.0);
        let alone = part(15.0 / links.max(1) as f64).max(Duration::from_secs(2));
        Times {
            alone,
            alone_skip: alone / 2,
            download: part(24.0),
            download_skip: part(3.0),
            cut: part(10.0),
            back: part(15.0),
            upload: part(9.0),
            upload_skip: part(3.0),
        }
    }
}

async fn perform(
    place: &Place,
    options: &StoryOptions,
    screen: &mut Screen,
) -> Result<StoryResult, StoryError> {
    let times = Times::new(options.length, options.links.0.len());
    let mut alone = Vec::new();
    for link in crate::client::links(place)? {
        alone.push(one_alone(place, &times, &link, screen).await?);
    }
    let (download, cut) = bonded_download(place, &times, screen).await?;
    let steady = &download.samples[..download.samples.len().min(samples_in(times.cut))];
    let bonded_mbps = goodput(steady, times.cut, times.download_skip) / 1e6;
    screen.note("one download, bonded, before the cut", bonded_mbps);
    let upload = bonded_upload(place, &times, screen).await?;
    screen.finish();
    Ok(StoryResult::new(
        alone,
        bonded_mbps,
        &download,
        &upload,
        cut,
        options.scheduler.clone(),
    ))
}

/// One plain TCP download over one link, past Guywire.
async fn one_alone(
    place: &Place,
    times: &Times,
    link: &LinkStatus,
    screen: &mut Screen,
) -> Result<AloneResult, StoryError> {
    let what = format!("{} alone, past Guywire", link.name);
    let number = link
        .name
        .trim_start_matches("wan")
        .parse()
        .unwrap_or_default();
    let host = Link(number).direct_name();
    let url = format!("http://{host}/bytes/{ENDLESS}");
    let transfer = Transfer::download(url, times.alone, times.alone_skip);
    let report = run(place, &what, &transfer, screen, |_| Ok(())).await?;
    screen.note(&what, report.goodput_mbps);
    Ok(AloneResult {
        name: link.name.clone(),
        spec: link.spec.clone(),
        mbps: report.goodput_mbps,
        congestion: report.server_congestion,
    })
}

/// One download over all links, in which the first one is cut and comes back.
async fn bonded_download(
    place: &Place,
    times: &Times,
    screen: &mut Screen,
) -> Result<(FetchReport, Cut), StoryError> {
    let url = format!("http://internet/bytes/{ENDLESS}");
    let transfer = Transfer::download(url, times.download, times.download_skip);
    let mut cut = Cut::new(place.clone(), Link(1).name(), times.cut, times.back);
    let report = run(place, "one download, bonded", &transfer, screen, |watch| {
        cut.watch(watch)
    })
    .await?;
    Ok((report, cut))
}

/// One upload over all links.
async fn bonded_upload(
    place: &Place,
    times: &Times,
    screen: &mut Screen,
) -> Result<FetchReport, StoryError> {
    let transfer = Transfer::upload(
        "http://internet/sink".into(),
        times.upload,
        times.upload_skip,
    );
    let report = run(place, "one upload, bonded", &transfer, screen, |_| Ok(())).await?;
    screen.note("one upload, bonded", report.goodput_mbps);
    Ok(report)
}

/// Runs a transfer, shows it, and insists that it succeeds.
async fn run(
    place: &Place,
    what: &str,
    transfer: &Transfer,
    screen: &mut Screen,
    mut watch: impl FnMut(&Watch) -> Result<(), StoryError>,
) -> Result<FetchReport, StoryError> {
    let report = transfer
        .run(place, |seen| {
            screen.show(what, seen);
            watch(seen)
        })
        .await?;
    if report.is_success() {
        return Ok(report);
    }
    let why = match &report.error {
        Some(error) => format!("{}, {error}", report.ending),
        None => "its bytes are not the right ones".into(),
    };
    Err(StoryError::Transfer {
        what: what.into(),
        why,
    })
}

fn samples_in(time: Duration) -> usize {
    (time.as_millis() / crate::measure::SAMPLE.as_millis()) as usize
}
