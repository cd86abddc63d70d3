//! One direction of a TCP connection as the kernel sends it: segments, selective acknowledgements,
//! loss detection, time-outs with back-off, delivery rate, and the figures of `TCP_INFO`.
//!
//! After Linux: loss detection by order of sending (RACK, RFC 8985, with a reordering degree of three
//! segments), a tail loss probe, RTO of RFC 6298 with 200 ms at least and 1 s at most
//! (`TCP_RTO_MAX_MS`), ETIMEDOUT after fifteen time-outs, delivery rate after
//! net/ipv4/tcp_rate.c. Payload bytes stay here, in TLS records, until the receiver has one of them
//! whole; packets carry only numbers.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use guywire_flow::{SubflowInfo, Time};

mod congestion;
mod cubic;
mod lumps;
mod receiver;

pub use congestion::{Congestion, Sample};
pub use receiver::{Acknowledgement, Receiver, Transmission};

/// Bytes of a full segment.
pub const MSS: u64 = 1_448;
/// The same where large ones vanish (`TCP_MAXSEG` 1220, less timestamps).
pub const SMALL_MSS: u64 = 1_208;
/// What headers add to a segment's bytes.
pub const HEADERS: u64 = 52;
/// What TLS adds to a record: its header, the type within, the tag (RFC 8446, section 5.2).
const SEAL: u64 = 22;
/// The most that TLS puts into a record.
pub const RECORD: usize = 16_384;
/// RTO is the smoothed round trip and this at least.
const MIN_RTO: Duration = Duration::from_millis(200);
/// The longest time-out, back-off included.
const MAX_RTO: Duration = Duration::from_secs(1);
/// A connection breaks after so many time-outs in a row (`tcp_retries2`).
const MAX_TIMEOUTS: u32 = 15;
/// A segment is lost when so many sent after it have arrived.
const REORDERING: u64 = 3;
/// So many known segments in a row end the search for what a block tells.
const KNOWN: u32 = 8;

/// A segment that was sent and is not acknowledged in order.
#[derive(Clone, Copy, Debug)]
struct Segment {
    seq: u64,
    length: u64,
    /// Position in the order of sending, of all transmissions.
    order: u64,
    sent_at: Time,
    /// Counted as being in flight: sent, not delivered, not held lost.
    flying: bool,
    sacked: bool,
    resent: bool,
    /// What was delivered when it was sent, when that was, and when what arrived last had been sent.
    delivered: u64,
    delivered_at: Time,
    first_sent: Time,
    limited: bool,
}

/// The sending half of one direction.
///
/// Order of calls: [`Sender::write`] and [`Sender::handle_ack`], then [`Sender::poll_segment`]
/// until it is empty; [`Sender::handle_timeout`] when [`Sender::next_timeout`] has come.
#[derive(Debug)]
pub struct Sender {
    /// TLS records that the receiver has not taken, with the number behind their last byte.
    records: VecDeque<(u64, Bytes)>,
    unacked: u64,
    next: u64,
    end: u64,
    segments: VecDeque<Segment>,
    flying: u64,
    /// Segments held lost and not sent again yet.
    lost: u64,
    orders: u64,
    newest_delivered: u64,
    recovery_until: Option<u64>,
    congestion: Congestion,
    mss: u64,
    pace_at: Time,
    /// Segments that may still leave at the time at which the last one left.
    burst: (Time, u64),
    timer_from: Time,
    probed: bool,
    timeouts: u32,
    srtt: Duration,
    rttvar: Duration,
    min_rtt: Duration,
    /// The time-out without back-off.
    rto: Duration,
    delivered: u64,
    delivered_at: Time,
    first_sent: Time,
    /// Samples are limited by the application until so much was delivered.
    limited_until: u64,
    rate: u64,
    rate_limited: bool,
    repeated: u64,
}

impl Sender {
    /// An idle direction after a handshake that took this round trip and agreed on this size.
    pub fn new(now: Time, (round_trip, mss): (Duration, u64), congestion: Congestion) -> Sender {
        Sender {
            records: VecDeque::new(),
            unacked: 0,
            next: 0,
            end: 0,
            segments: VecDeque::new(),
            flying: 0,
            lost: 0,
            orders: 0,
            newest_delivered: 0,
            recovery_until: None,
            congestion,
            mss,
            pace_at: now,
            burst: (now, 0),
            timer_from: now,
            probed: false,
            timeouts: 0,
            srtt: round_trip,
            rttvar: round_trip / 2,
            min_rtt: round_trip,
            rto: rto(round_trip, round_trip / 2),
            delivered: 1,
            delivered_at: now,
            first_sent: now,
            limited_until: 0,
            rate: 0,
            rate_limited: false,
            repeated: 0,
        }
    }

    /// What `TCP_INFO` shows.
    pub fn info(&self) -> SubflowInfo {
        SubflowInfo {
            srtt: self.srtt,
            rttvar: self.rttvar,
            min_rtt: self.min_rtt,
            cwnd: self.congestion.window() as u32,
            mss: self.mss as u32,
            unacked: self.segments.len() as u32,
            in_flight: self.flying as u32,
            notsent: self.notsent(),
            delivered: self.delivered,
            repeated: self.repeated,
            bytes_acked: self.unacked,
            delivery_rate: self.rate,
            app_limited: self.rate_limited,
        }
    }

    /// Written bytes that were never sent.
    pub fn notsent(&self) -> u64 {
        self.end - self.next
    }

    /// Time-outs in a row.
    pub fn timeouts(&self) -> u32 {
        self.timeouts
    }

    /// Whether it gave up: nothing was acknowledged for 15 time-outs.
    pub fn is_broken(&self) -> bool {
        self.timeouts > MAX_TIMEOUTS
    }

    /// A TLS record of these bytes.
    pub fn write(&mut self, now: Time, bytes: Bytes) {
        if self.segments.is_empty() && self.notsent() == 0 {
            self.timer_from = now;
        }
        // `tcp_rate_check_app_limited`, which Linux asks in `sendmsg`: all was sent, and more could have been.
        let starved = self.notsent() < self.mss && self.lost == 0;
        if starved && self.flying < self.congestion.window() {
            self.limited_until = self.delivered + self.flying;
        }
        self.end += bytes.len() as u64 + SEAL;
        self.records.push_back((self.end, bytes));
    }

    /// What the next TLS record holds, if all of it is below `upto`: the receiver takes it.
    pub fn take(&mut self, upto: u64) -> Option<Bytes> {
        let whole = self.records.front().is_some_and(|(end, _)| *end <= upto);
        whole
            .then(|| self.records.pop_front())?
            .map(|(_, bytes)| bytes)
    }

    /// The next segment to put on the link now.
    pub fn poll_segment(&mut self, now: Time) -> Option<Transmission> {
        let goes_on = self.burst.0 == now && self.burst.1 > 0;
        if self.flying >= self.congestion.window() || (now < self.pace_at && !goes_on) {
            return None;
        }
        let (seq, length) = match self.lost {
            0 => self.send_new(now)?,
            _ => self.send_again(now)?,
        };
        if !goes_on {
            self.burst = (now, self.congestion.burst());
        }
        self.burst.1 -= 1;
        let gap = self.congestion.pacing_gap(length);
        self.pace_at = self.pace_at.max(now) + gap;
        Some(Transmission {
            seq,
            length,
            stamp: now,
        })
    }

    fn send_new(&mut self, now: Time) -> Option<(u64, u64)> {
        let length = self.notsent().min(self.mss);
        if length == 0 {
            return None;
        }
        if self.segments.is_empty() {
            self.first_sent = now;
            self.delivered_at = now;
            self.timer_from = now;
        }
        let seq = self.next;
        self.next += length;
        let segment = self.stamp(now, seq, length, false);
        self.segments.push_back(segment);
        self.flying += 1;
        Some((seq, length))
    }

    fn send_again(&mut self, now: Time) -> Option<(u64, u64)> {
        let at = self.segments.iter().position(|s| !s.flying && !s.sacked)?;
        let (seq, length) = (self.segments[at].seq, self.segments[at].length);
        self.segments[at] = self.stamp(now, seq, length, true);
        self.lost -= 1;
        self.flying += 1;
        self.repeated += 1;
        Some((seq, length))
    }

    fn stamp(&mut self, now: Time, seq: u64, length: u64, resent: bool) -> Segment {
        self.orders += 1;
        Segment {
            seq,
            length,
            order: self.orders,
            sent_at: now,
            flying: true,
            sacked: false,
            resent,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            limited: self.limited_until >= self.delivered,
        }
    }

    /// An acknowledgement arrived, and `noticed` later the clock was looked at for the round trip.
    pub fn handle_ack(&mut self, now: Time, noticed: Duration, ack: &Acknowledgement) {
        let mut newest: Option<Delivered> = None;
        let before = self.delivered;
        let advances = ack.cumulative > self.unacked;
        while self
            .segments
            .front()
            .is_some_and(|s| s.seq + s.length <= ack.cumulative)
        {
            if let Some(segment) = self.segments.pop_front() {
                self.deliver(now, &segment, &mut newest);
            }
        }
        self.unacked = self.unacked.max(ack.cumulative);
        for &block in ack.blocks.iter().flatten() {
            self.take_block(now, block, &mut newest);
        }
        if self.delivered > before {
            self.timeouts = 0;
            self.probed = false;
            self.timer_from = now;
            self.delivered_at = now;
        }
        match &newest {
            Some(newest) if !newest.resent => self.take_round_trip(now.since(newest.sent_at)),
            // Of what was sent twice the stamp tells which one it was (`tcp_ack_update_rtt`). Else a round trip that
            // grew beyond the time-out would never be learned.
            _ if advances => self.take_round_trip(now.since(ack.echo)),
            _ => {}
        }
        let Some(newest) = newest else {
            return;
        };
        self.first_sent = newest.sent_at;
        let lost = self.detect_loss();
        self.take_sample((now, noticed), &newest, self.delivered - before, lost);
    }

    /// Takes a block of what arrived, from its end on: what lies further back is mostly known.
    fn take_block(&mut self, now: Time, (from, upto): (u64, u64), newest: &mut Option<Delivered>) {
        let first = self.segments.partition_point(|s| s.seq < from);
        let end = self.segments.partition_point(|s| s.seq < upto);
        let mut known = 0;
        for at in (first..end).rev() {
            let segment = self.segments[at];
            if segment.sacked {
                known += 1;
                if known > KNOWN {
                    return;
                }
                continue;
            }
            known = 0;
            self.deliver(now, &segment, newest);
            self.segments[at].sacked = true;
            self.segments[at].flying = false;
        }
    }

    /// Counts a segment as delivered, if it was not before.
    fn deliver(&mut self, now: Time, segment: &Segment, newest: &mut Option<Delivered>) {
        if segment.sacked {
            return;
        }
        self.delivered += 1;
        match segment.flying {
            true => self.flying -= 1,
            false => self.lost -= 1,
        }
        if segment.resent && now.since(segment.sent_at) < self.min_rtt {
            // It is the first transmission that arrived (RFC 8985, section 6.2, step 2).
            return;
        }
        self.newest_delivered = self.newest_delivered.max(segment.order);
        if newest.as_ref().is_none_or(|n| n.order < segment.order) {
            *newest = Some(Delivered {
                order: segment.order,
                sent_at: segment.sent_at,
                resent: segment.resent,
                delivered: segment.delivered,
                delivered_at: segment.delivered_at,
                sending: segment.sent_at.since(segment.first_sent),
                limited: segment.limited,
            });
        }
    }

    /// Marks what was overtaken; returns how many segments that were, and whether a new loss episode begins.
    fn detect_loss(&mut self) -> (u64, bool) {
        let mut losses = 0;
        for segment in &mut self.segments {
            let overtaken = segment.order + REORDERING <= self.newest_delivered;
            if segment.flying && overtaken {
                segment.flying = false;
                self.flying -= 1;
                self.lost += 1;
                losses += 1;
            }
            if !segment.resent && !segment.sacked && !overtaken {
                break;
            }
        }
        if self
            .recovery_until
            .is_some_and(|until| self.unacked >= until)
        {
            self.recovery_until = None;
        }
        let begins = losses > 0 && self.recovery_until.is_none();
        if begins {
            self.recovery_until = Some(self.next);
        }
        (losses, begins)
    }

    fn take_round_trip(&mut self, sample: Duration) {
        let error = sample.abs_diff(self.srtt);
        self.rttvar = (self.rttvar * 3 + error) / 4;
        self.srtt = (self.srtt * 7 + sample) / 8;
        self.rto = rto(self.srtt, self.rttvar);
        self.min_rtt = self.min_rtt.min(sample);
    }

    fn take_sample(
        &mut self,
        (now, noticed): (Time, Duration),
        newest: &Delivered,
        acked: u64,
        (losses, loss_begins): (u64, bool),
    ) {
        let interval = now.since(newest.delivered_at).max(newest.sending);
        let count = self.delivered - newest.delivered;
        // A sample over less than the smallest round trip is a burst of acknowledgements.
        let valid = interval >= self.min_rtt && !interval.is_zero();
        let rate = match valid {
            true => ((count * self.mss) as f64 / interval.as_secs_f64()) as u64,
            false => 0,
        };
        if valid && (!newest.limited || rate >= self.rate) {
            self.rate = rate;
            self.rate_limited = newest.limited;
        }
        self.congestion.handle_ack(&Sample {
            now,
            rate: valid.then_some(rate),
            limited: newest.limited,
            acked,
            flying: self.flying,
            delivered: self.delivered,
            prior_delivered: newest.delivered,
            round_trip: (!newest.resent).then(|| now.since(newest.sent_at) + noticed),
            srtt: self.srtt,
            losses,
            loss_begins,
            recovering: self.recovery_until.is_some(),
        });
    }

    fn timeout(&self) -> Duration {
        match self.timeouts {
            0 => self.rto,
            again => (self.rto * (1 << again.min(10))).min(MAX_RTO),
        }
    }

    fn probe_time(&self) -> Option<Duration> {
        let fit = !self.probed && self.timeouts == 0 && self.recovery_until.is_none();
        let slack = if self.segments.len() == 1 {
            MIN_RTO
        } else {
            Duration::from_millis(8)
        };
        fit.then_some(2 * self.srtt + slack)
    }

    /// When [`Sender::handle_timeout`] or [`Sender::poll_segment`] has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        let wait = match self.probe_time() {
            Some(probe) => self.timeout().min(probe),
            None => self.timeout(),
        };
        let retransmission = (!self.segments.is_empty()).then_some(self.timer_from + wait);
        let may = self.flying < self.congestion.window() && (self.lost > 0 || self.notsent() > 0);
        let pacing = may.then_some(self.pace_at);
        retransmission.into_iter().chain(pacing).min()
    }

    /// A time may have come.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.segments.is_empty() {
            return;
        }
        if self.timer_from + self.timeout() <= now {
            self.time_out(now);
        } else if self
            .probe_time()
            .is_some_and(|probe| self.timer_from + probe <= now)
        {
            self.probed = true;
            self.timer_from = now;
            // The last segment goes out again, past the window.
            if let Some(last) = self.segments.back_mut().filter(|s| s.flying) {
                last.flying = false;
                self.flying -= 1;
                self.lost += 1;
                self.pace_at = self.pace_at.min(now);
            }
        }
    }

    fn time_out(&mut self, now: Time) {
        self.timeouts += 1;
        self.timer_from = now;
        self.recovery_until = Some(self.next);
        for segment in self.segments.iter_mut().filter(|s| s.flying) {
            segment.flying = false;
            self.flying -= 1;
            self.lost += 1;
        }
        self.pace_at = self.pace_at.min(now);
        self.congestion.handle_timeout();
    }
}

/// The time-out of RFC 6298, by the smoothed round trip and its variation.
fn rto(srtt: Duration, rttvar: Duration) -> Duration {
    (srtt + (4 * rttvar).max(MIN_RTO)).min(MAX_RTO)
}

/// What the newest of the segments that an acknowledgement delivered tells.
#[derive(Debug)]
struct Delivered {
    order: u64,
    sent_at: Time,
    resent: bool,
    delivered: u64,
    delivered_at: Time,
    sending: Duration,
    limited: bool,
}
