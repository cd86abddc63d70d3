//! The measuring client: one or many plain HTTP transfers, watched closely.
//!
//! It knows nothing of Guywire. It runs in the node `client`, talks to any
//! web server, and where the server is the lab's internet host it also checks
//! that every byte is the right one.
//!
//! | module | what it is for |
//! |---|---|
//! | [`report`] | what is measured, as people and programs read it |
//! | `dial` | from a URL to an HTTP connection |
//! | `transfer` | the download and the upload loop |

mod dial;
pub mod report;
mod transfer;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::spec::Rate;

pub use self::dial::{Family, Target, TargetError};
pub use self::report::{Ending, FetchReport, FetchSummary};

/// Most transfers at once.
pub const MAX_COUNT: u32 = 10_000;

/// What to transfer, and when to stop.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// What to ask for.
    pub target: Target,
    /// Which addresses of the host to use.
    pub family: Family,
    /// Stop after this long.
    pub seconds: Option<Duration>,
    /// The start that goodput leaves out.
    pub skip: Duration,
    /// Send this many bytes instead of receiving.
    pub upload: Option<u64>,
    /// Send no faster than this, or read no faster, as a slow program does.
    pub rate: Option<Rate>,
    /// Stop after this many bytes received.
    pub limit: Option<u64>,
    /// Give up when nothing happens for this long.
    pub patience: Duration,
    /// Report every pause of at least this length, not only the longest; of downloads.
    pub gaps: Option<Duration>,
    /// Connect by the kernel's MPTCP: the rival that Guywire is measured against.
    pub mptcp: bool,
    /// Compute the SHA-256, and compare it with the one that the other end knows.
    pub verify: bool,
}

/// What is going on, told every 100 ms of a single transfer.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Seconds since the transfer began.
    pub elapsed: f64,
    /// Bytes so far; of an upload, bytes handed to the kernel.
    pub bytes: u64,
}

/// Runs one transfer. What goes wrong on the way is part of the report.
pub async fn fetch(options: &FetchOptions, progress: impl FnMut(Progress)) -> FetchReport {
    match options.upload {
        None => transfer::download(options, progress).await,
        Some(bytes) => transfer::upload(options, bytes, progress).await,
    }
}

/// Runs `count` transfers at once (at most [`MAX_COUNT`]).
pub async fn fetch_many(options: &FetchOptions, count: u32) -> FetchSummary {
    let start = tokio::time::Instant::now();
    let mut transfers = JoinSet::new();
    for _ in 0..count.min(MAX_COUNT) {
        let options = options.clone();
        transfers.spawn(async move { fetch(&options, |_| ()).await });
    }
    let reports = transfers.join_all().await;
    FetchSummary::of(&reports, start.elapsed())
}
