//! What a simulation measured of a network, as programs and people read it.

use std::time::Duration;

use guywire_lab::measure::{GapReport, Meter, SAMPLE, goodput};
use guywire_sched::Reason;
use serde::{Serialize, Serializer};

use crate::oracle::Ejected;

/// A network with one scheduler, from the scenario's beginning to its end.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The scheduler of both ends.
    pub scheduler: String,
    /// The seed of everything that happened by chance.
    pub seed: u64,
    /// How long it took, in virtual seconds.
    pub seconds: f64,
    /// What was transferred, in the order of its beginnings.
    pub transfers: Vec<Transfer>,
    /// What each link carried.
    pub links: Vec<LinkUse>,
    /// Times that the scheduler was asked, at both ends.
    pub decisions: u64,
    /// Instructions of the machine that this took; native code is not metered.
    pub instructions: u64,
    /// Chunks that the guard had `default` place for it.
    pub overrides: u64,
    /// Bytes that were sent more than once.
    pub repeated: u64,
    /// Where and why the scheduler was ejected.
    #[serde(serialize_with = "incidents")]
    pub incidents: Vec<Ejected>,
}

/// One transfer.
#[derive(Clone, Debug, Serialize)]
pub struct Transfer {
    /// `down` or `up`.
    pub direction: &'static str,
    /// When it began, in seconds.
    pub began: f64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Seconds until the first byte.
    pub first_byte: Option<f64>,
    /// Seconds until the last byte, if it is complete.
    pub completed: Option<f64>,
    /// The longest pause after the first byte.
    pub longest_gap: GapReport,
    /// Chunks that arrived.
    pub chunks: u64,
    /// Of these: for the first time, and after one that follows them.
    pub late: u64,
    /// Of these: once more.
    pub again: u64,
    /// Most bytes that waited for what precedes them.
    pub waiting: u64,
    /// Bytes read in each 100 ms.
    #[serde(skip)]
    pub samples: Vec<u64>,
    /// Pauses, by their begin, in seconds of the transfer.
    #[serde(skip)]
    pub gaps: Vec<(f64, f64)>,
}

/// One link.
#[derive(Clone, Debug, Serialize)]
pub struct LinkUse {
    /// Bytes of packets that arrived at the router.
    pub down_bytes: u64,
    /// Bytes of packets that arrived at the server.
    pub up_bytes: u64,
    /// Packets that were lost, whatever the cause.
    pub dropped: u64,
    /// Round trips of pings, in ms.
    pub pings: Vec<f64>,
}

fn incidents<S: Serializer>(incidents: &[Ejected], serializer: S) -> Result<S::Ok, S::Error> {
    let rows = incidents.iter().map(|it| Incident {
        end: it.end,
        at: it.at.as_secs_f64(),
        reason: it.reason.name(),
        text: &it.text,
    });
    serializer.collect_seq(rows)
}

#[derive(Serialize)]
struct Incident<'a> {
    end: &'static str,
    at: f64,
    reason: &'static str,
    text: &'a str,
}

impl Transfer {
    pub(crate) fn new(direction: &'static str, began: Duration, meter: &Meter) -> Transfer {
        let seconds = |time: Duration| time.as_secs_f64();
        Transfer {
            direction,
            began: seconds(began),
            bytes: meter.bytes(),
            first_byte: meter.first().map(seconds),
            completed: None,
            longest_gap: meter.longest_gap().into(),
            chunks: 0,
            late: 0,
            again: 0,
            waiting: 0,
            samples: meter.samples().to_vec(),
            gaps: meter
                .gaps()
                .iter()
                .map(|gap| (seconds(gap.at), seconds(gap.length)))
                .collect(),
        }
    }
}

impl Measured {
    /// Megabits a second that all transfers together brought from `skip` after the first began until
    /// the last byte, or the end.
    pub fn goodput(&self, skip: Duration) -> f64 {
        let Some(begin) = self.transfers.iter().map(|it| it.began).reduce(f64::min) else {
            return 0.0;
        };
        let all_complete = self.transfers.iter().all(|it| it.completed.is_some());
        let ends = self
            .transfers
            .iter()
            .filter_map(|it| Some(it.began + it.completed?));
        let end = match all_complete {
            true => ends.fold(begin, f64::max),
            false => self.seconds,
        };
        let first = (begin / SAMPLE.as_secs_f64()) as usize;
        let samples: Vec<u64> = self.sums().skip(first).collect();
        let length = Duration::from_secs_f64((end - begin).max(0.0));
        goodput(&samples, length, skip) / 1e6
    }

    /// Bytes read in each 100 ms by all transfers.
    fn sums(&self) -> impl Iterator<Item = u64> {
        let mut sums = vec![0; (self.seconds / SAMPLE.as_secs_f64()).ceil() as usize];
        for transfer in &self.transfers {
            let first = (transfer.began / SAMPLE.as_secs_f64()) as usize;
            for (at, bytes) in (first..).zip(&transfer.samples) {
                if let Some(sum) = sums.get_mut(at) {
                    *sum += bytes;
                }
            }
        }
        sums.into_iter()
    }

    /// Megabits a second over time: a point for each 100 ms.
    pub fn rates(&self) -> Vec<f64> {
        let to_mbps = 8.0 / 1e6 / SAMPLE.as_secs_f64();
        self.sums().map(|bytes| bytes as f64 * to_mbps).collect()
    }

    /// Pauses over time: when each began and how long it lasted, in seconds.
    pub fn pauses(&self) -> Vec<(f64, f64)> {
        let of = |it: &Transfer| -> Vec<(f64, f64)> {
            let began = it.began;
            it.gaps.iter().map(|&(at, gap)| (began + at, gap)).collect()
        };
        let mut pauses: Vec<_> = self.transfers.iter().flat_map(of).collect();
        pauses.sort_by(|a, b| a.0.total_cmp(&b.0));
        pauses
    }

    /// The longest pause of any transfer, in seconds.
    pub fn longest_gap(&self) -> f64 {
        let gaps = self.transfers.iter().map(|it| it.longest_gap.seconds);
        gaps.fold(0.0, f64::max)
    }

    /// Seconds that each complete transfer took, in rising order.
    pub fn completions(&self) -> Vec<f64> {
        let mut times: Vec<f64> = self
            .transfers
            .iter()
            .filter_map(|it| it.completed)
            .collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// The share of chunks that came after one that follows them.
    pub fn late_share(&self) -> f64 {
        let sum = |of: fn(&Transfer) -> u64| self.transfers.iter().map(of).sum::<u64>();
        sum(|it| it.late) as f64 / sum(|it| it.chunks).max(1) as f64
    }

    /// Bytes sent once more, as a share of those that were read.
    pub fn repeated_share(&self) -> f64 {
        let read: u64 = self.transfers.iter().map(|it| it.bytes).sum();
        self.repeated as f64 / read.max(1) as f64
    }

    /// Instructions of the machine for one decision.
    pub fn instructions_each(&self) -> f64 {
        self.instructions as f64 / self.decisions.max(1) as f64
    }

    /// Whether, and if so first why, it was ejected.
    pub fn ejected(&self) -> Option<Reason> {
        self.incidents.first().map(|it| it.reason)
    }
}
