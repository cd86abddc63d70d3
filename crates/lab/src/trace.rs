//! Rate traces in the format of mahimahi: a text file with one whole number a
//! line, the millisecond at which one packet of 1500 bytes can be delivered;
//! several packets in one millisecond are several lines. The trace repeats
//! after its last millisecond. Empty lines and lines that begin with `#` are
//! skipped.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::spec::Rate;

#[cfg(test)]
mod tests;

/// What one line of a trace can deliver, in bytes.
pub const OPPORTUNITY_BYTES: u32 = 1_500;
/// The largest trace file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 16 << 20;
/// The most lines a trace may have; at 1 Gbit/s that is 24 seconds.
pub const MAX_OPPORTUNITIES: usize = 2_000_000;
/// The last millisecond a trace may name: one day.
pub const MAX_MILLISECOND: u32 = 86_400_000;

/// A rate that changes with time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Milliseconds of the delivery opportunities, never falling; not empty,
    /// and the last one is not 0.
    opportunities: Vec<u32>,
}

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("cannot read trace {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The file is too large.
    #[error("trace {} is larger than {MAX_FILE_BYTES} bytes; cut it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The text is no trace.
    #[error("trace {}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: TraceParseError,
    },
}

/// Why a text is no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceParseError {
    /// A line that is not a number.
    #[error(
        "line {line}: `{text}` is not a whole number of milliseconds up to {MAX_MILLISECOND}; \
         a trace has one such number a line"
    )]
    NotMillisecond {
        /// The line, from 1.
        line: usize,
        /// What it says, shortened.
        text: String,
    },
    /// A line that goes back in time.
    #[error("line {line}: {millisecond} ms comes after {earlier} ms; sort the trace by time")]
    Backwards {
        /// The line, from 1.
        line: usize,
        /// What it says.
        millisecond: u32,
        /// What the line before said.
        earlier: u32,
    },
    /// Too many lines.
    #[error("line {line}: more than {MAX_OPPORTUNITIES} deliveries; cut the trace")]
    TooLong {
        /// The first line too many.
        line: usize,
    },
    /// No line that delivers anything after time zero.
    #[error("no delivery after millisecond 0, so it has no length to repeat; add lines")]
    Empty,
}

impl Trace {
    /// Reads a trace file.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than [`MAX_FILE_BYTES`] or is
    /// no trace.
    pub fn load(path: &Path) -> Result<Trace, TraceError> {
        let read = |reason| TraceError::Read {
            path: path.to_path_buf(),
            reason,
        };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
            .map_err(read)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(TraceError::TooLarge {
                path: path.to_path_buf(),
            });
        }
        Trace::parse(&text).map_err(|reason| TraceError::Parse {
            path: path.to_path_buf(),
            reason,
        })
    }

    /// Reads the text of a trace.
    ///
    /// # Errors
    /// Names the first line that is wrong.
    pub fn parse(text: &str) -> Result<Trace, TraceParseError> {
        let mut opportunities = Vec::new();
        let mut earlier = 0;
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let millisecond = read_millisecond(line, text)?;
            if millisecond < earlier {
                return Err(TraceParseError::Backwards {
                    line,
                    millisecond,
                    earlier,
                });
            }
            if opportunities.len() == MAX_OPPORTUNITIES {
                return Err(TraceParseError::TooLong { line });
            }
            opportunities.push(millisecond);
            earlier = millisecond;
        }
        if earlier == 0 {
            return Err(TraceParseError::Empty);
        }
        Ok(Trace { opportunities })
    }

    /// The milliseconds of the opportunities within one period, never falling.
    #[must_use]
    pub fn opportunities(&self) -> &[u32] {
        &self.opportunities
    }

    /// After how long the trace repeats; not zero.
    #[must_use]
    pub fn period(&self) -> Duration {
        let last = self.opportunities.last().copied().unwrap_or(1);
        Duration::from_millis(u64::from(last))
    }

    /// The rate over one period.
    #[must_use]
    pub fn mean_rate(&self) -> Rate {
        let bits = self.opportunities.len() as u128 * u128::from(OPPORTUNITY_BYTES) * 8;
        let per_second = bits * 1_000 / self.period().as_millis();
        Rate::from_bits_per_second(u64::try_from(per_second).unwrap_or(u64::MAX))
    }
}

fn read_millisecond(line: usize, text: &str) -> Result<u32, TraceParseError> {
    text.parse()
        .ok()
        .filter(|&millisecond| millisecond <= MAX_MILLISECOND)
        .ok_or_else(|| TraceParseError::NotMillisecond {
            line,
            text: text.chars().take(40).collect(),
        })
}
