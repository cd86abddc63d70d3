//! One subflow as the session sees it: the kernel's figures, what it owes, what waits to be written.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use guywire_sched::{SubflowId, Time};

use crate::progress::Progress;
use crate::record::MAX_CHUNK;

/// How long a queue of ours in the kernel may take to leave: long enough that the kernel never runs
/// dry between two looks, short enough that a decision is not made too early.
pub(crate) const QUEUE_TIME: Duration = Duration::from_millis(10);
/// Bounds of that queue in bytes.
const QUEUE_BYTES: std::ops::RangeInclusive<u64> = 12_000..=1 << 20;
/// How long one chunk may take to leave. 1,400 to 60,000 bytes gave the same goodput on 5 Mbit/s
/// links, but the longest gap grew from 67 to 241 ms.
const CHUNK_TIME: Duration = Duration::from_millis(8);
/// The smallest chunk that is cut while more is waiting.
const MIN_CHUNK: u64 = 1_400;

/// A snapshot of the kernel's figures, for one subflow.
///
/// | field | source (Linux `TCP_INFO`) | unit |
/// |---|---|---|
/// | `srtt`, `rttvar`, `min_rtt` | `tcpi_rtt`, `tcpi_rttvar`, `tcpi_min_rtt` | time |
/// | `cwnd`, `unacked`, `delivered` | `tcpi_snd_cwnd`, `tcpi_unacked`, `tcpi_delivered` | segments |
/// | `in_flight` | `tcpi_unacked - tcpi_sacked - tcpi_lost + tcpi_retrans` (`tcp_packets_in_flight`) | segments |
/// | `mss` | `tcpi_snd_mss` | bytes |
/// | `repeated` | `tcpi_total_retrans` | segments |
/// | `notsent` | `tcpi_notsent_bytes` and what is encrypted but not handed to the kernel | bytes |
/// | `bytes_acked` | `tcpi_bytes_acked` | bytes |
/// | `delivery_rate`, `app_limited` | `tcpi_delivery_rate`, `tcpi_delivery_rate_app_limited` | bytes/s |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the table above documents each
pub struct SubflowInfo {
    pub srtt: Duration,
    pub rttvar: Duration,
    pub min_rtt: Duration,
    pub cwnd: u32,
    pub mss: u32,
    pub unacked: u32,
    pub in_flight: u32,
    pub notsent: u64,
    pub delivered: u64,
    pub repeated: u64,
    pub bytes_acked: u64,
    pub delivery_rate: u64,
    pub app_limited: bool,
}

impl SubflowInfo {
    /// Whether anything is unsent or not acknowledged yet.
    pub(crate) fn is_outstanding(&self) -> bool {
        self.unacked > 0 || self.notsent > 0
    }

    /// What the subflow delivers, in bytes a second, at least 1. An application-limited sample only
    /// bounds the rate from below; with BBR `cwnd x mss / srtt` alone is two to three times too high. But
    /// where even that is far lower, the window has just collapsed, as in BBR's PROBE_RTT.
    pub fn rate(&self) -> u64 {
        let by_window =
            f64::from(self.cwnd) * f64::from(self.mss) / self.srtt.as_secs_f64().max(1e-4);
        let by_window = by_window as u64;
        let rate = match (self.delivery_rate, self.app_limited) {
            (0, _) => by_window,
            (rate, false) => rate.min(2 * by_window),
            (rate, true) => rate.max(by_window.min(2 * rate)).min(2 * by_window),
        };
        rate.max(1)
    }
}

/// What follows from the kernel's figures; asked for each chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paced {
    /// Bytes a second, as [`SubflowInfo::rate`].
    rate: u64,
    /// The queue it may have in the kernel, in bytes.
    queue: u64,
    /// The size of the next chunk, in bytes.
    chunk: u64,
}

impl Paced {
    fn by(info: &SubflowInfo) -> Paced {
        let rate = info.rate();
        let share = |time: Duration| (rate as f64 * time.as_secs_f64()) as u64;
        Paced {
            rate,
            queue: share(QUEUE_TIME).clamp(*QUEUE_BYTES.start(), *QUEUE_BYTES.end()),
            chunk: share(CHUNK_TIME).clamp(MIN_CHUNK, MAX_CHUNK as u64),
        }
    }
}

/// One subflow of a session.
#[derive(Debug)]
pub(crate) struct Subflow {
    pub(crate) path: u8,
    /// Its own end's address and the other's, where the driver told them.
    pub(crate) ends: Option<[SocketAddr; 2]>,
    /// The flow it is lent to, in the direction this end sends.
    pub(crate) lent_to: Option<u64>,
    /// The session has asked for it to be closed.
    pub(crate) closing: bool,
    /// It alone is overdue while its path is not: only new progress makes it fit again.
    pub(crate) suspect: bool,
    /// When its window collapsed, as in BBR's PROBE_RTT, not long ago.
    pub(crate) collapsed: Option<Time>,
    /// A queue stood behind the collapsed window, and that was told.
    pub(crate) jammed: bool,
    /// The driver was told that there is something to transmit.
    pub(crate) woken: bool,
    pub(crate) info: SubflowInfo,
    pub(crate) paced: Paced,
    pub(crate) progress: Progress,
    /// Bytes handed over for sending and, as far as known, unsent in the kernel.
    pub(crate) queued: u64,
    /// Bytes of chunks it owes.
    pub(crate) owed: u64,
    /// Flows that have debts here, in turn.
    pub(crate) turn: VecDeque<u64>,
    /// Flows whose acknowledgement goes out here next.
    pub(crate) acks: BTreeSet<u64>,
    /// Control records to go out here.
    pub(crate) control: BTreeSet<u64>,
    /// Whether the control sequence is to be acknowledged here.
    pub(crate) control_ack: bool,
    /// PONGs to be sent: only the last stamp counts, so a flood of PINGs costs nothing.
    pub(crate) pong: Option<u64>,
    pub(crate) ping: Option<u64>,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

impl Subflow {
    pub(crate) fn new(path: u8, info: SubflowInfo, now: Time) -> Subflow {
        let mut progress = Progress::new(now, info.delivered, info.bytes_acked);
        if info.is_outstanding() {
            // What the handshake said last is on its way. Nobody would ask again whether it has arrived.
            progress.wrote(now);
        }
        Subflow {
            path,
            ends: None,
            lent_to: None,
            closing: false,
            suspect: false,
            collapsed: None,
            jammed: false,
            woken: false,
            paced: Paced::by(&info),
            info,
            progress,
            queued: 0,
            owed: 0,
            turn: VecDeque::new(),
            acks: BTreeSet::new(),
            control: BTreeSet::new(),
            control_ack: false,
            pong: None,
            ping: None,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }

    /// Takes the kernel's figures. Returns whether a queue stands behind a collapsed window, once for each
    /// collapse: what is in it will be late.
    pub(crate) fn take_info(&mut self, now: Time, info: SubflowInfo) -> bool {
        let window = u64::from(info.cwnd) * u64::from(info.mss);
        let shrunk = info.cwnd < self.info.cwnd / 4;
        let before = self.collapsed.filter(|_| info.cwnd <= self.info.cwnd);
        self.collapsed = before.or(shrunk.then_some(now));
        self.info = info;
        self.paced = Paced::by(&info);
        self.queued = info.notsent;
        let told = self.jammed;
        self.jammed = self.collapsed.is_some() && (told || info.notsent > window);
        self.jammed && !told
    }

    /// What it delivers, in bytes a second, at least 1.
    pub(crate) fn rate(&self) -> u64 {
        self.paced.rate
    }

    /// The queue it may have in the kernel, in bytes.
    pub(crate) fn queue_bound(&self) -> u64 {
        self.paced.queue
    }

    /// Whether it is to carry anything new.
    pub(crate) fn is_fit(&self) -> bool {
        !self.suspect && !self.closing
    }

    /// Bytes it takes at once; 0 when full.
    pub(crate) fn room(&self) -> u64 {
        if !self.is_fit() {
            return 0;
        }
        self.queue_bound().saturating_sub(self.queued + self.owed)
    }

    /// Bytes that are in flight, wait in the kernel, or are owed.
    pub(crate) fn taken(&self) -> u64 {
        u64::from(self.info.in_flight) * u64::from(self.info.mss) + self.queued + self.owed
    }

    /// Whether it owes more than the chunk that filled it, as happens with copies: they are owed wherever one of
    /// their subflows has room.
    pub(crate) fn is_overdrawn(&self) -> bool {
        self.owed > self.queue_bound() + self.chunk() && self.is_fit()
    }

    /// Whether there is a flow that finds room here.
    pub(crate) fn may_take(&self) -> bool {
        self.room() > 0 || self.is_overdrawn()
    }

    /// What a flow finds here: bytes that will be sent before its own, and its room. Debts are paid flow by flow
    /// in turn, so who has none does not wait for all copies of others.
    pub(crate) fn offer(&self, flow: u64) -> (u64, u64) {
        if self.is_overdrawn() && !self.turn.contains(&flow) {
            let turns = self.turn.len() as u64 * self.chunk();
            return (self.queued + turns.min(self.owed), self.chunk());
        }
        (self.queued + self.owed, self.room())
    }

    /// When a chunk sent now, behind `written` bytes that the kernel has not been given yet, will have
    /// arrived, unless something goes wrong.
    pub(crate) fn arrival(&self, written: u64) -> Duration {
        let ahead = (self.queued + written) as f64 / self.rate() as f64;
        let queue = Duration::from_secs_f64(ahead.min(1.0));
        queue + self.info.srtt / 2 + 4 * self.info.rttvar
    }

    /// The size of the next chunk for it, in bytes.
    pub(crate) fn chunk(&self) -> u64 {
        self.paced.chunk
    }

    pub(crate) fn owe(&mut self, flow: u64, bytes: u64) {
        self.owed += bytes;
        if !self.turn.contains(&flow) {
            self.turn.push_back(flow);
        }
    }

    pub(crate) fn relieve(&mut self, bytes: u64) {
        self.owed = self.owed.saturating_sub(bytes);
    }

    /// Whether records that are not chunks wait to be sent.
    pub(crate) fn has_signals(&self) -> bool {
        self.pong.is_some()
            || self.ping.is_some()
            || self.control_ack
            || !self.control.is_empty()
            || !self.acks.is_empty()
    }

    /// Whether there is anything to send now.
    pub(crate) fn has_output(&self) -> bool {
        self.has_signals() || (!self.turn.is_empty() && self.queued < self.queue_bound())
    }
}

/// The oldest fit subflow of a path among `subflows`: its trunk.
pub(crate) fn trunk<'a>(
    subflows: impl IntoIterator<Item = (&'a SubflowId, &'a Subflow)>,
    path: u8,
) -> Option<SubflowId> {
    subflows
        .into_iter()
        .find(|(_, subflow)| subflow.path == path && !subflow.closing)
        .map(|(&id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_one_flow_leave_another_its_turn() {
        let [copied, other] = [2, 4];
        let mut subflow = Subflow::new(0, SubflowInfo::default(), Time::ZERO);
        let chunk = subflow.chunk();
        subflow.owe(copied, subflow.queue_bound() + chunk);
        assert_eq!(subflow.offer(other), (subflow.owed, 0), "it is just full");
        subflow.owe(copied, chunk);
        assert_eq!(
            subflow.offer(other),
            (chunk, chunk),
            "one of the copies precedes its own"
        );
        assert_eq!(subflow.offer(copied), (subflow.owed, 0));
        subflow.owe(other, chunk);
        assert_eq!(
            subflow.offer(other),
            (subflow.owed, 0),
            "it has had its turn"
        );
        subflow.suspect = true;
        assert_eq!(subflow.offer(6).1, 0);
    }
}
