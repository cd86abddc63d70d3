//! What the story measured, as a table for people and JSON for programs.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::cut::Cut;
use crate::fetch::FetchReport;

/// A link on its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AloneResult {
    /// Its name.
    pub name: String,
    /// What it is like.
    pub spec: String,
    /// What one plain TCP connection got of it past Guywire, in Mbit/s.
    pub mbps: f64,
    /// Congestion control of the web server's socket, which sent.
    pub congestion: Option<String>,
}

/// The cut of a link in the middle of the download.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CutResult {
    /// The link.
    pub link: String,
    /// For how long it was cut, in seconds.
    pub seconds: f64,
    /// The longest pause of the whole download, in seconds.
    pub longest_gap: f64,
    /// When that pause began, in seconds from the start.
    pub longest_gap_at: f64,
    /// From the link's return until it was used again, in seconds; unknown if
    /// it never was.
    pub used_again_after: Option<f64>,
}

/// Everything the story measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoryResult {
    /// Every link alone, past Guywire.
    pub links: Vec<AloneResult>,
    /// Their sum, in Mbit/s.
    pub sum_mbps: f64,
    /// One bonded download before the cut, in Mbit/s.
    pub bonded_mbps: f64,
    /// The same as a share of the sum.
    pub share: f64,
    /// One bonded upload, in Mbit/s.
    pub upload_mbps: f64,
    /// The cut.
    pub cut: CutResult,
    /// Whether every byte of every bonded transfer was the right one.
    pub identical: bool,
    /// Congestion control of the web server's and the client's sockets.
    pub congestion: Option<String>,
    /// The scheduler asked for; the router's own default if none was.
    pub scheduler: Option<String>,
}

impl StoryResult {
    pub(super) fn new(
        links: Vec<AloneResult>,
        bonded_mbps: f64,
        download: &FetchReport,
        upload: &FetchReport,
        cut: Cut,
        scheduler: Option<String>,
    ) -> StoryResult {
        let sum_mbps: f64 = links.iter().map(|link| link.mbps).sum();
        StoryResult {
            links,
            sum_mbps,
            bonded_mbps,
            share: bonded_mbps / sum_mbps.max(1e-9),
            upload_mbps: upload.goodput_mbps,
            cut: CutResult {
                link: cut.link,
                seconds: (cut.back - cut.at).as_secs_f64(),
                longest_gap: download.longest_gap.seconds,
                longest_gap_at: download.longest_gap.at,
                used_again_after: cut.used_after.map(|after| after.as_secs_f64()),
            },
            identical: download.identical == Some(true) && upload.identical == Some(true),
            congestion: download.server_congestion.clone(),
            scheduler,
        }
    }

    /// Whether nothing was lost and the link came back.
    pub fn is_success(&self) -> bool {
        self.identical && self.cut.used_again_after.is_some()
    }
}

impl fmt::Display for StoryResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mbps = |mbps: f64| format!("{mbps:.1} Mbit/s");
        let mut rows = Vec::new();
        for link in &self.links {
            rows.push((
                format!("{} alone, past Guywire: {}", link.name, link.spec),
                mbps(link.mbps),
            ));
        }
        rows.push(("sum of the links".into(), mbps(self.sum_mbps)));
        let scheduler = self
            .scheduler
            .as_ref()
            .map_or(String::new(), |name| format!(" ({name})"));
        rows.push((
            format!("bonded, one TCP download{scheduler}"),
            mbps(self.bonded_mbps),
        ));
        rows.push((
            "share of the sum".into(),
            format!("{:.1} %", self.share * 100.0),
        ));
        rows.push((
            format!("bonded, one TCP upload{scheduler}"),
            mbps(self.upload_mbps),
        ));
        let cut = &self.cut;
        rows.push((
            format!(
                "longest gap in the download, {} cut for {:.0} s",
                cut.link, cut.seconds
            ),
            format!("{:.0} ms", cut.longest_gap * 1e3),
        ));
        let again = cut
            .used_again_after
            .map_or("never".into(), |after| format!("{after:.1} s"));
        rows.push((format!("{} used again after its return", cut.link), again));
        rows.push((
            "bytes identical (SHA-256)".into(),
            if self.identical { "yes" } else { "NO" }.into(),
        ));
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        for (what, figure) in rows {
            table.add_row([what, figure]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{table}")?;
        let unknown = "unknown".to_owned();
        write!(
            f,
            "congestion control: {}",
            self.congestion.as_ref().unwrap_or(&unknown)
        )
    }
}
