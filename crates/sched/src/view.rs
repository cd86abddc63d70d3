//! What a scheduler sees and what it answers.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Time;

/// At most so many subflows of a flow are shown, as in the kernel (`MPTCP_SUBFLOWS_MAX`).
pub const MAX_SUBFLOWS: usize = 8;

/// Names one subflow within its session, at one end. Never reused while the session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubflowId(pub u32);

/// What kind of traffic a flow is; both ends know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Where it leads, unless that is a service of the server.
    pub destination: Option<SocketAddr>,
    /// DSCP of the first packet that opened it, 0 to 63; 0 if unknown, as of what is not marked.
    pub dscp: u8,
}

/// One direction of a flow at the moment of a decision.
#[derive(Clone, Copy, Debug)]
pub struct FlowView<'a> {
    /// The session's clock.
    pub now: Time,
    /// What it carries.
    pub traffic: Traffic,
    /// Bytes the receiver would still accept beyond what was scheduled: the free window.
    pub window_free: u64,
    /// Bytes scheduled that the receiver has not acknowledged. With [`FlowView::window_free`] they are its whole window.
    pub outstanding: u64,
    /// Bytes that wait to be scheduled for the first time.
    pub backlog: u64,
    /// Bytes of the flow scheduled so far.
    pub sent: u64,
    /// Bytes of the chunk that would be cut next, at most.
    pub chunk: u64,
    /// The live subflows, one a path, in the order of their paths; never more than
    /// [`MAX_SUBFLOWS`]. Stale ones are shown only when no other is left.
    pub subflows: &'a [SubflowView],
}

impl<'a> FlowView<'a> {
    /// The subflows to choose from, with their positions: backups only when nothing else is there.
    pub fn usable(&self) -> impl Iterator<Item = (usize, &'a SubflowView)> + use<'a> {
        let only_backups = self.subflows.iter().all(|subflow| subflow.backup);
        let all = self.subflows.iter().enumerate();
        all.filter(move |(_, subflow)| only_backups || !subflow.backup)
    }

    /// The one with the shortest round trip, in microseconds as programs see it, among those that fit.
    pub fn quickest(&self, fit: impl Fn(&SubflowView) -> bool) -> Option<(usize, &'a SubflowView)> {
        self.usable()
            .filter(|(_, subflow)| fit(subflow))
            .min_by_key(|(_, subflow)| subflow.srtt.as_micros())
    }
}

/// One subflow at the moment of a decision. Figures come from `TCP_INFO`, at most some milliseconds
/// old, advanced by the byte counts of the session itself.
#[derive(Clone, Copy, Debug)]
pub struct SubflowView {
    /// Which subflow this is.
    pub id: SubflowId,
    /// The path it runs on.
    pub path: u8,
    /// Its own end's address, where the driver told it.
    pub local: Option<SocketAddr>,
    /// The other end's address, where the driver told it.
    pub remote: Option<SocketAddr>,
    /// Smoothed round trip, its own queue included (`tcpi_rtt`).
    pub srtt: Duration,
    /// Mean deviation of the round trip (`tcpi_rttvar`).
    pub rttvar: Duration,
    /// Smallest round trip seen (`tcpi_min_rtt`).
    pub min_rtt: Duration,
    /// What the subflow delivers, in bytes a second; never 0.
    pub rate: u64,
    /// Bytes that wait for this subflow before a new chunk could leave: owed to it, in our buffers,
    /// and unsent in the kernel.
    pub queued: u64,
    /// Bytes the subflow takes at once without a queue of our making; 0 when full.
    pub room: u64,
    /// Bytes of a segment (`tcpi_snd_mss`).
    pub mss: u32,
    /// Segments in flight (`tcpi_unacked`).
    pub unacked: u32,
    /// Segments that arrived (`tcpi_delivered`).
    pub delivered: u64,
    /// Bytes given to the subflow since it began, those it owes included.
    pub given: u64,
    /// To be used only when nothing else is left.
    pub backup: bool,
    /// Data on its path is overdue. Shown only when every subflow is.
    pub stale: bool,
}

impl SubflowView {
    /// One without any figures, to be filled in. Its rate is the least there is.
    pub const EMPTY: SubflowView = SubflowView {
        id: SubflowId(0),
        path: 0,
        local: None,
        remote: None,
        srtt: Duration::ZERO,
        rttvar: Duration::ZERO,
        min_rtt: Duration::ZERO,
        rate: 1,
        queued: 0,
        room: 0,
        mss: 0,
        unacked: 0,
        delivered: 0,
        given: 0,
        backup: false,
        stale: false,
    };

    /// Bytes that the subflow was given and the other end has not acknowledged (`sk_wmem_queued`), at
    /// most what an `int` holds.
    pub fn in_socket(&self) -> u64 {
        let in_flight = u64::from(self.unacked) * u64::from(self.mss);
        self.queued.saturating_add(in_flight).min(i32::MAX as u64)
    }

    /// About how many bytes its congestion control lets be on their way, at least a segment: what is, or
    /// what it delivers in a round trip, if that is more.
    pub fn window(&self) -> u64 {
        let in_flight = u64::from(self.unacked) * u64::from(self.mss);
        let micros = u64::try_from(self.srtt.as_micros()).unwrap_or(u64::MAX);
        let in_a_trip = self.rate.saturating_mul(micros) / 1_000_000;
        in_flight.max(in_a_trip).max(u64::from(self.mss)).max(1)
    }

    /// Whether its window is likely to double each round trip still (RFC 5681, section 3.1): then all that was ever
    /// delivered is less than two windows.
    fn is_starting(&self) -> bool {
        self.delivered.saturating_mul(self.mss.into()) < self.window().saturating_mul(2)
    }

    /// About how many bytes leave within `time`: those of its rate, or if it is starting, of a window that doubles for
    /// four round trips more.
    pub fn sends_within(&self, time: Duration) -> f64 {
        const DOUBLINGS: f64 = 4.0;
        let steady = self.rate as f64 * time.as_secs_f64();
        if !self.is_starting() {
            return steady;
        }
        let trips = time.as_secs_f64() / self.srtt.as_secs_f64().max(1e-4);
        let doubled = trips.min(DOUBLINGS);
        let windows = doubled.exp2() - 1.0 + (trips - doubled) * doubled.exp2();
        steady.max(self.window() as f64 * windows)
    }

    /// When a chunk of `bytes`, given to this subflow now, is expected to have arrived: once what is queued
    /// before it and itself have left at the subflow's rate, it takes the way there. That is half of the smallest
    /// round trip and all that the round trip has grown by: the queue stands in the direction that sends.
    pub fn expected_delivery(&self, bytes: u64) -> Duration {
        let ahead = self.queued.saturating_add(bytes) as f64 / self.rate.max(1) as f64;
        let way = self.srtt - self.min_rtt.min(self.srtt) / 2;
        way + Duration::from_secs_f64(ahead.min(3_600.0))
    }
}

/// The answer: a set of positions in [`FlowView::subflows`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u16);

impl Marks {
    /// Marks the subflow at `position`. Positions that were not shown are remembered too, those
    /// that never are as one: to mark what was not given is an offence that the guard names.
    pub fn mark(&mut self, position: usize) {
        self.0 |= 1 << position.min(MAX_SUBFLOWS);
    }

    /// Whether the subflow at `position` is marked.
    pub fn contains(self, position: usize) -> bool {
        self.0 & (1 << position.min(MAX_SUBFLOWS)) != 0
    }

    /// Whether nothing is marked.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The marked positions, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..=MAX_SUBFLOWS).filter(move |&position| self.contains(position))
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A subflow with room on path `path`: round trip in ms, rate in Mbit/s.
    pub(crate) fn subflow(path: u8, rtt_ms: u64, mbit: u64) -> SubflowView {
        SubflowView {
            id: SubflowId(path.into()),
            path,
            srtt: Duration::from_millis(rtt_ms),
            rttvar: Duration::from_millis(2),
            min_rtt: Duration::from_millis(rtt_ms),
            rate: mbit * 125_000,
            room: mbit * 1_250,
            mss: 1_400,
            delivered: 1 << 20,
            ..SubflowView::EMPTY
        }
    }

    /// A long flow with a large window over `subflows`.
    pub(crate) fn flow(subflows: &[SubflowView]) -> FlowView<'_> {
        FlowView {
            now: Time::ZERO,
            traffic: Traffic::default(),
            window_free: 16 << 20,
            outstanding: 0,
            backlog: 1 << 20,
            sent: 64 << 20,
            chunk: 16_000,
            subflows,
        }
    }
}
