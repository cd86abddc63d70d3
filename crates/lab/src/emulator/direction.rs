//! One direction of a link as a state machine without sockets or clocks: the
//! emulator runs it on real packets, a simulator can run it on its own.

use std::collections::VecDeque;
use std::time::Duration;

use rand::SeedableRng;
use rand_pcg::Pcg32;

use super::config::DirectionConfig;
use super::counters::{Counters, DropCause};
use super::faults::{Jitter, LossProcess, Red};
use super::sending::Sender;
use super::time::Time;

/// A packet is late when it leaves the emulator this long after its time.
pub const LATE: Duration = Duration::from_millis(2);

/// One direction of a link.
///
/// ```text
///  offer ──> gate ──> size ──> loss ──> queue (drop-tail or RED) ──> delay line ──> gate ──> pop_due
///              └────────┴────────┴───────┴── dropped ──────────────────────────────┘
/// ```
///
/// Order of calls: [`offer`](Direction::offer) each packet when it arrives,
/// [`pop_due`](Direction::pop_due) until it returns nothing whenever
/// [`next_release`](Direction::next_release) has come. Time never goes back
/// from offer to offer. `P` is whatever stands for a packet; it is handed back in
/// the end, delivered or dropped.
#[derive(Debug)]
pub struct Direction<P> {
    config: DirectionConfig,
    /// Which verbs stop packets here.
    gate: Gate,
    loss: LossProcess,
    /// There when the configuration says so.
    red: Option<Red>,
    sender: Sender,
    jitter: Jitter,
    /// Admitted packets that have not left yet, by departure.
    queue: VecDeque<Queued>,
    /// Their sum.
    queued_bytes: u64,
    /// All admitted packets that were not popped yet, by release.
    line: VecDeque<InFlight<P>>,
    /// The latest release given out, which order-keeping packets follow.
    last_release: Time,
    rng: Pcg32,
    counters: Counters,
}

/// Whether packets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Gate {
    /// They do.
    #[default]
    Open,
    /// They vanish: the link is silent, both ends believe it is there.
    Silent,
    /// They vanish: the link is down.
    Down,
}

/// What became of a packet that was offered.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<P> {
    /// It will be released at this time.
    Admitted(Time),
    /// It is dropped and handed back.
    Dropped(DropCause, P),
}

/// A packet at the end of its way.
#[derive(Debug, PartialEq, Eq)]
pub enum Released<P> {
    /// To be delivered.
    Deliver(P),
    /// The gate closed while it was under way.
    Dropped(P),
}

#[derive(Debug)]
struct Queued {
    departure: Time,
    size: u32,
}

#[derive(Debug)]
struct InFlight<P> {
    release: Time,
    departure: Time,
    size: u32,
    packet: P,
}

impl<P> Direction<P> {
    /// An idle direction; equal seeds give equal runs.
    #[must_use]
    pub fn new(config: DirectionConfig, seed: u64, now: Time) -> Direction<P> {
        Direction {
            gate: Gate::Open,
            loss: LossProcess::new(config.loss),
            red: red(&config, now),
            sender: Sender::new(&config.rate, now),
            jitter: Jitter::default(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            line: VecDeque::new(),
            last_release: now,
            rng: Pcg32::seed_from_u64(seed),
            counters: Counters::default(),
            config,
        }
    }

    /// How it treats packets now.
    #[must_use]
    pub fn config(&self) -> &DirectionConfig {
        &self.config
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts a drop that happened outside, on the way in or out.
    pub fn count_drops(&mut self, cause: DropCause, packets: u64) {
        self.counters.drops.add(cause, packets);
    }

    /// Packets under way.
    #[must_use]
    pub fn packets_in_flight(&self) -> usize {
        self.line.len()
    }

    /// Whether packets pass.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// Takes a packet of `size` bytes (counted without its Ethernet header).
    pub fn offer(&mut self, now: Time, size: u32, packet: P) -> Verdict<P> {
        self.counters.offered_packets += 1;
        self.counters.offered_bytes += u64::from(size);
        self.leave_queue(now);
        if let Some(cause) = self.refuses(now, size) {
            self.counters.drops.add(cause, 1);
            return Verdict::Dropped(cause, packet);
        }
        self.counters.in_flight_bytes += u64::from(size);
        Verdict::Admitted(self.admit(now, size, packet))
    }

    /// When [`pop_due`](Direction::pop_due) next has something.
    #[must_use]
    pub fn next_release(&self) -> Option<Time> {
        self.line.front().map(|packet| packet.release)
    }

    /// Takes out a packet whose time has come.
    pub fn pop_due(&mut self, now: Time) -> Option<Released<P>> {
        if self.next_release()? > now {
            return None;
        }
        let InFlight {
            release,
            size,
            packet,
            ..
        } = self.line.pop_front()?;
        self.counters.in_flight_bytes -= u64::from(size);
        if let Some(cause) = self.gate.cause() {
            self.counters.drops.add(cause, 1);
            return Some(Released::Dropped(packet));
        }
        self.counters.packets += 1;
        self.counters.bytes += u64::from(size);
        if now - release > LATE {
            self.counters.late_packets += 1;
        }
        Some(Released::Deliver(packet))
    }

    /// Opens or closes the gate, for packets that arrive and packets under way.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// Goes on with another configuration. Packets still in the queue leave at
    /// the new rate, packets on the wire keep their time.
    pub fn reconfigure(&mut self, now: Time, config: DirectionConfig) {
        if self.config.loss != config.loss {
            self.loss = LossProcess::new(config.loss);
        }
        self.leave_queue(now);
        self.red = red(&config, now);
        self.jitter = Jitter::default();
        let same_rate = self.config.rate == config.rate;
        let rate = config.rate.clone();
        self.config = config;
        if !same_rate {
            self.sender = Sender::new(&rate, now);
            self.requeue(now);
        }
    }

    /// Ends the direction and hands back what was under way.
    pub fn into_packets(self) -> impl Iterator<Item = P> {
        self.line.into_iter().map(|packet| packet.packet)
    }

    /// Why a packet does not get in, if so.
    fn refuses(&mut self, now: Time, size: u32) -> Option<DropCause> {
        if let Some(cause) = self.gate.cause() {
            return Some(cause);
        }
        if size > self.config.largest {
            return Some(DropCause::Size);
        }
        if self.loss.lose(&mut self.rng) {
            return Some(DropCause::Loss);
        }
        let limit = self.config.queue;
        let bytes = self.queued_bytes + u64::from(size);
        let packets = self.queue.len() as u64 + 1;
        if packets > 1 && (bytes > limit.bytes || packets > limit.packets) {
            return Some(DropCause::Queue);
        }
        if let Some(red) = &mut self.red
            && red.drop(now, self.queued_bytes, &mut self.rng)
        {
            return Some(DropCause::Early);
        }
        (self.line.len() >= self.config.max_packets).then_some(DropCause::Memory)
    }

    /// Puts a packet behind the queue; returns its release.
    fn admit(&mut self, now: Time, size: u32, packet: P) -> Time {
        let departure = self.sender.departure(now, size);
        let (times, reorder) = ((self.config.delay, self.config.jitter), self.config.reorder);
        let delay = self.jitter.delay(departure, times, reorder, &mut self.rng);
        let mut release = departure + delay;
        if !reorder {
            release = release.max(self.last_release);
        }
        self.last_release = release.max(self.last_release);
        self.queue.push_back(Queued { departure, size });
        self.queued_bytes += u64::from(size);
        let packet = InFlight {
            release,
            departure,
            size,
            packet,
        };
        if self.line.back().is_none_or(|last| last.release <= release) {
            self.line.push_back(packet);
        } else {
            let place = self.line.partition_point(|other| other.release <= release);
            self.line.insert(place, packet);
        }
        release
    }

    /// Forgets the packets of the queue that have left it.
    fn leave_queue(&mut self, now: Time) {
        while let Some(first) = self.queue.front()
            && first.departure <= now
        {
            self.queued_bytes -= u64::from(first.size);
            self.queue.pop_front();
        }
    }

    /// Times the packets of the queue anew.
    fn requeue(&mut self, now: Time) {
        let (sent, mut waiting): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.line)
            .into_iter()
            .partition(|packet| packet.departure <= now);
        waiting
            .make_contiguous()
            .sort_by_key(|packet| packet.departure);
        self.line = sent;
        self.last_release = self.line.back().map_or(now, |packet| packet.release);
        self.queue.clear();
        self.queued_bytes = 0;
        for packet in waiting {
            self.admit(now, packet.size, packet.packet);
        }
    }
}

impl Gate {
    fn cause(self) -> Option<DropCause> {
        match self {
            Gate::Open => None,
            Gate::Silent => Some(DropCause::Silent),
            Gate::Down => Some(DropCause::Down),
        }
    }
}

fn red(config: &DirectionConfig, now: Time) -> Option<Red> {
    config
        .red
        .then(|| Red::new(config.queue, config.rate.mean(), now))
}
