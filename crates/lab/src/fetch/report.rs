//! What the measuring client measured, as JSON for programs and text for people.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::measure::GapReport;

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The whole body passed.
    Complete,
    /// The time or the number of bytes asked for was reached.
    Stopped,
    /// The connection was refused.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection ended cleanly before the body did.
    CutShort,
    /// Nothing happened for too long.
    TimedOut,
    /// The server answered with an error status.
    Status,
    /// Anything else; see the report's `error`.
    Failed,
}

impl Ending {
    /// Whether the transfer did what it was asked to.
    pub fn is_success(self) -> bool {
        matches!(self, Ending::Complete | Ending::Stopped)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Complete => "complete",
            Ending::Stopped => "stopped as asked",
            Ending::Refused => "refused",
            Ending::Reset => "reset",
            Ending::CutShort => "cut short",
            Ending::TimedOut => "timed out",
            Ending::Status => "refused by the web server",
            Ending::Failed => "failed",
        })
    }
}

/// One transfer. Of an upload, bytes, gaps, samples and goodput are what the
/// *receiver* saw, counted from the request's arrival there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchReport {
    /// What was asked for.
    pub url: String,
    /// When it began, in seconds since 1970 by the machine's clock.
    #[serde(default)]
    pub began_unix: f64,
    /// The address and port that answered.
    pub address: Option<String>,
    /// Congestion control of this end's socket.
    pub congestion: Option<String>,
    /// Congestion control of the socket that answered, if the server says so.
    pub server_congestion: Option<String>,
    /// How it ended.
    pub ending: Ending,
    /// What went wrong, if something did.
    pub error: Option<String>,
    /// Bytes of the body.
    pub bytes: u64,
    /// Seconds from the first connection attempt to the last byte.
    pub seconds: f64,
    /// Seconds from the first connection attempt to the body's first byte.
    pub first_byte_seconds: Option<f64>,
    /// Seconds left out of `goodput_mbps`.
    pub skip_seconds: f64,
    /// Megabits of body per second after the skipped start.
    pub goodput_mbps: f64,
    /// The longest pause after the first byte.
    pub longest_gap: GapReport,
    /// Every pause of the length asked for or more, if that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<GapReport>,
    /// SHA-256 of the body, in hexadecimal.
    pub sha256: Option<String>,
    /// Whether that is the hash the server states; unknown if it states none.
    pub identical: Option<bool>,
    /// Bytes of the body per 100 ms.
    pub samples: Vec<u64>,
}

impl FetchReport {
    /// Whether the transfer did what it was asked to, without a wrong byte.
    pub fn is_success(&self) -> bool {
        self.ending.is_success() && self.identical != Some(false)
    }
}

impl fmt::Display for FetchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} bytes in {:.3} s, {:.2} Mbit/s",
            self.ending, self.bytes, self.seconds, self.goodput_mbps
        )?;
        if self.skip_seconds > 0.0 {
            write!(f, " after the first {} s", self.skip_seconds)?;
        }
        if let Some(first) = self.first_byte_seconds {
            write!(f, "; first byte after {:.1} ms", first * 1e3)?;
        }
        write!(
            f,
            "; longest gap {:.0} ms at {:.2} s",
            self.longest_gap.seconds * 1e3,
            self.longest_gap.at
        )?;
        writeln!(f)?;
        let unknown = "unknown".to_owned();
        let address = self.address.as_ref().unwrap_or(&unknown);
        let congestion = self.congestion.as_ref().unwrap_or(&unknown);
        let server = self.server_congestion.as_ref().unwrap_or(&unknown);
        write!(
            f,
            "to {address}, congestion control {congestion} here, {server} there"
        )?;
        if let Some(digest) = &self.sha256 {
            let verdict = match self.identical {
                Some(true) => "as the server says",
                Some(false) => "NOT what the server says",
                None => "the server states none",
            };
            write!(f, "\nSHA-256 {digest}, {verdict}")?;
        }
        if let Some(error) = &self.error {
            write!(f, "\n{error}")?;
        }
        Ok(())
    }
}

/// Many transfers at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchSummary {
    /// How many were started.
    pub count: u64,
    /// How many did what they were asked to.
    pub succeeded: u64,
    /// How many of all were found identical to what the server says.
    pub identical: u64,
    /// How many were found different.
    pub different: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// Seconds until the last one was over.
    pub seconds: f64,
    /// Megabits per second of all together, over that time.
    pub goodput_mbps: f64,
    /// Seconds of the fastest, the median and the slowest one that succeeded.
    pub fastest_median_slowest: Option<[f64; 3]>,
    /// The longest gap in any of them, in seconds.
    pub longest_gap: Option<f64>,
    /// How many ended in each way that is no success, with one error's text.
    pub failures: Vec<Failures>,
}

/// Transfers that failed in the same way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failures {
    /// The way.
    pub ending: Ending,
    /// How many.
    pub count: u64,
    /// What the first of them said.
    pub example: String,
}

impl FetchSummary {
    /// Adds `reports` up; all were over after `elapsed`.
    pub fn of(reports: &[FetchReport], elapsed: Duration) -> FetchSummary {
        let mut times: Vec<f64> = reports
            .iter()
            .filter(|report| report.ending.is_success())
            .map(|report| report.seconds)
            .collect();
        times.sort_by(f64::total_cmp);
        let bytes = reports.iter().map(|report| report.bytes).sum();
        let matching = |wanted| {
            reports
                .iter()
                .filter(|report| report.identical == Some(wanted))
                .count() as u64
        };
        let gaps = reports.iter().map(|report| report.longest_gap);
        FetchSummary {
            count: reports.len() as u64,
            succeeded: times.len() as u64,
            identical: matching(true),
            different: matching(false),
            bytes,
            seconds: elapsed.as_secs_f64(),
            goodput_mbps: bytes as f64 * 8e-6 / elapsed.as_secs_f64().max(1e-9),
            fastest_median_slowest: times
                .first()
                .zip(times.last())
                .map(|(&first, &last)| [first, times[times.len() / 2], last]),
            longest_gap: gaps.map(|gap| gap.seconds).max_by(f64::total_cmp),
            failures: failures(reports),
        }
    }

    /// Whether every transfer succeeded and none was found different.
    pub fn is_success(&self) -> bool {
        self.succeeded == self.count && self.different == 0
    }
}

fn failures(reports: &[FetchReport]) -> Vec<Failures> {
    let mut failures: Vec<Failures> = Vec::new();
    for report in reports.iter().filter(|report| !report.ending.is_success()) {
        match failures
            .iter_mut()
            .find(|known| known.ending == report.ending)
        {
            Some(known) => known.count += 1,
            None => failures.push(Failures {
                ending: report.ending,
                count: 1,
                example: report.error.clone().unwrap_or_default(),
            }),
        }
    }
    failures
}

impl fmt::Display for FetchSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} transfers succeeded, {} identical, {} different: {} bytes in {:.3} s, {:.2} Mbit/s",
            self.succeeded,
            self.count,
            self.identical,
            self.different,
            self.bytes,
            self.seconds,
            self.goodput_mbps
        )?;
        if let Some([fastest, median, slowest]) = self.fastest_median_slowest {
            write!(
                f,
                "\nfastest {fastest:.3} s, median {median:.3} s, slowest {slowest:.3} s"
            )?;
        }
        for Failures {
            ending,
            count,
            example,
        } in &self.failures
        {
            write!(f, "\n{count} {ending}: {example}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ending: Ending, seconds: f64, identical: Option<bool>) -> FetchReport {
        FetchReport {
            url: "http://internet/bytes/10".into(),
            began_unix: 0.0,
            address: None,
            congestion: None,
            server_congestion: None,
            ending,
            error: (!ending.is_success()).then(|| "it broke".into()),
            bytes: 10,
            seconds,
            first_byte_seconds: None,
            skip_seconds: 0.0,
            goodput_mbps: 0.0,
            longest_gap: GapReport::default(),
            gaps: Vec::new(),
            sha256: None,
            identical,
            samples: Vec::new(),
        }
    }

    #[test]
    fn summaries_count_by_ending() {
        let reports = [
            report(Ending::Complete, 2.0, Some(true)),
            report(Ending::Reset, 9.0, None),
            report(Ending::Complete, 1.0, Some(false)),
            report(Ending::Reset, 9.0, None),
            report(Ending::Stopped, 3.0, None),
        ];
        let summary = FetchSummary::of(&reports, Duration::from_secs(4));
        assert_eq!((summary.count, summary.succeeded), (5, 3));
        assert_eq!((summary.identical, summary.different), (1, 1));
        assert_eq!(summary.fastest_median_slowest, Some([1.0, 2.0, 3.0]));
        assert_eq!(summary.failures.len(), 1);
        assert_eq!(summary.failures[0].count, 2);
        assert!(!summary.is_success());
    }

    #[test]
    fn no_transfer_is_no_division_by_zero() {
        let summary = FetchSummary::of(&[], Duration::ZERO);
        assert_eq!(summary.fastest_median_slowest, None);
        assert_eq!(summary.goodput_mbps, 0.0);
    }
}
