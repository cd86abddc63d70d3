//! What a transfer did over time: bytes per 100 ms, and the longest pause.
//!
//! Pure: the reader passes the time of each read in. Used by the measuring
//! client for downloads and by the internet host for uploads.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The length of one sample.
pub const SAMPLE: Duration = Duration::from_millis(100);

/// Most samples kept (an hour); later bytes count in the last one.
const MAX_SAMPLES: usize = 36_000;

/// Most pauses listed; later ones are left out.
const MAX_GAPS: usize = 100_000;

/// A pause between two reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When it began, from the meter's start.
    pub at: Duration,
    /// How long it lasted.
    pub length: Duration,
}

/// The longest pause of a transfer, as reports state it; zero if there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GapReport {
    /// Seconds from the transfer's start to the pause.
    pub at: f64,
    /// Its length in seconds.
    pub seconds: f64,
}

impl From<Option<Gap>> for GapReport {
    fn from(gap: Option<Gap>) -> GapReport {
        gap.map_or_else(GapReport::default, |gap| GapReport {
            at: gap.at.as_secs_f64(),
            seconds: gap.length.as_secs_f64(),
        })
    }
}

/// Counts a transfer's bytes. Order of calls: [`Meter::start`], then
/// [`Meter::record`] with times that never go back, [`Meter::stop`] if the
/// reader stopped waiting, then the getters.
#[derive(Clone, Debug)]
pub struct Meter {
    start: Instant,
    bytes: u64,
    /// The first read, from the start.
    first: Option<Duration>,
    /// The last read, or the stop; from the start.
    last: Duration,
    longest: Option<Gap>,
    /// Pauses of this length or more are listed.
    listed: Option<Duration>,
    gaps: Vec<Gap>,
    samples: Vec<u64>,
}

impl Meter {
    /// A transfer that begins at `now`.
    pub fn start(now: Instant) -> Meter {
        Meter {
            start: now,
            bytes: 0,
            first: None,
            last: Duration::ZERO,
            longest: None,
            listed: None,
            gaps: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Lists every pause of at least this length too.
    pub fn listing(mut self, least: Option<Duration>) -> Meter {
        self.listed = least;
        self
    }

    /// `bytes` were read at `now`.
    pub fn record(&mut self, now: Instant, bytes: u64) {
        let at = now.saturating_duration_since(self.start);
        self.advance(at);
        self.first.get_or_insert(at);
        self.bytes += bytes;
        let index = sample_of(at);
        if self.samples.len() <= index {
            self.samples.resize(index + 1, 0);
        }
        self.samples[index] += bytes;
    }

    /// The reader gave up waiting at `now`: the pause since the last read counts.
    pub fn stop(&mut self, now: Instant) {
        self.advance(now.saturating_duration_since(self.start));
    }

    /// Bytes read in all.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first read, from the start.
    pub fn first(&self) -> Option<Duration> {
        self.first
    }

    /// The last read or the stop, from the start.
    pub fn last(&self) -> Duration {
        self.last
    }

    /// The longest pause after the first read.
    pub fn longest_gap(&self) -> Option<Gap> {
        self.longest
    }

    /// The pauses listed, in their order.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Bytes per [`SAMPLE`] since the start; the last one may be cut short.
    pub fn samples(&self) -> &[u64] {
        &self.samples
    }

    /// Bits per second between `skip` (rounded up to a whole sample) and the
    /// last read; 0 if nothing was read after it.
    pub fn goodput(&self, skip: Duration) -> f64 {
        goodput(&self.samples, self.last, skip)
    }

    fn advance(&mut self, at: Duration) {
        if self.first.is_some() {
            let gap = Gap {
                at: self.last,
                length: at.saturating_sub(self.last),
            };
            if self
                .longest
                .is_none_or(|longest| gap.length > longest.length)
            {
                self.longest = Some(gap);
            }
            if self.listed.is_some_and(|least| gap.length >= least) && self.gaps.len() < MAX_GAPS {
                self.gaps.push(gap);
            }
        }
        self.last = self.last.max(at);
    }
}

/// Bits per second in `samples` from `skip` (rounded up to a whole sample) to `end`.
pub fn goodput(samples: &[u64], end: Duration, skip: Duration) -> f64 {
    let skipped = skip.as_millis().div_ceil(SAMPLE.as_millis()) as usize;
    let time = end.saturating_sub(SAMPLE * skipped as u32).as_secs_f64();
    let bytes: u64 = samples.iter().skip(skipped).sum();
    if time > 0.0 {
        bytes as f64 * 8.0 / time
    } else {
        0.0
    }
}

fn sample_of(at: Duration) -> usize {
    ((at.as_millis() / SAMPLE.as_millis()) as usize).min(MAX_SAMPLES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(reads: &[(u64, u64)]) -> Meter {
        let start = Instant::now();
        let mut meter = Meter::start(start);
        for &(ms, bytes) in reads {
            meter.record(start + Duration::from_millis(ms), bytes);
        }
        meter
    }

    #[test]
    fn samples_hold_every_byte() {
        let meter = meter(&[(10, 5), (99, 5), (100, 7), (350, 1)]);
        assert_eq!(meter.samples(), [10, 7, 0, 1]);
        assert_eq!(meter.bytes(), 18);
        assert_eq!(meter.first(), Some(Duration::from_millis(10)));
    }

    #[test]
    fn the_wait_for_the_first_byte_is_no_gap() {
        let meter = meter(&[(500, 1), (510, 1), (580, 1), (600, 1)]);
        let gap = Gap {
            at: Duration::from_millis(510),
            length: Duration::from_millis(70),
        };
        assert_eq!(meter.longest_gap(), Some(gap));
    }

    #[test]
    fn lists_the_pauses_that_matter() {
        let start = Instant::now();
        let mut meter = Meter::start(start).listing(Some(Duration::from_millis(20)));
        for ms in [0, 10, 40, 45, 65] {
            meter.record(start + Duration::from_millis(ms), 1);
        }
        let lengths: Vec<u128> = meter
            .gaps()
            .iter()
            .map(|gap| gap.length.as_millis())
            .collect();
        assert_eq!(lengths, [30, 20]);
    }

    #[test]
    fn giving_up_counts_as_a_gap() {
        let start = Instant::now();
        let mut meter = Meter::start(start);
        meter.record(start, 1);
        meter.stop(start + Duration::from_secs(2));
        assert_eq!(
            meter.longest_gap().map(|gap| gap.length),
            Some(Duration::from_secs(2))
        );
        assert_eq!(meter.last(), Duration::from_secs(2));
    }

    #[test]
    fn goodput_leaves_the_start_out() {
        let reads: Vec<(u64, u64)> = (0..20)
            .map(|n| (n * 100 + 50, if n < 10 { 1 } else { 1_000 }))
            .collect();
        let meter = meter(&reads);
        // 10,000 bytes between 1.0 s and 1.95 s.
        assert!((meter.goodput(Duration::from_secs(1)) - 80_000.0 / 0.95).abs() < 1.0);
        assert_eq!(meter.goodput(Duration::from_secs(5)), 0.0);
    }
}
