//! What goes wrong on a link by chance: loss, jitter, early drops. Every draw
//! comes from the generator that is passed in, so a seed repeats a run.

use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg32;

use super::config::QueueLimit;
use super::time::Time;
use crate::spec::{Loss, LossSpec, Rate};

/// The least time for which a draw of ordered jitter holds.
const MIN_JITTER_HOLD: Duration = Duration::from_millis(1);

/// Decides which packets get lost.
#[derive(Debug)]
pub(super) struct LossProcess {
    spec: LossSpec,
    /// Whether a burst is on.
    bad: bool,
}

impl LossProcess {
    pub(super) fn new(spec: LossSpec) -> LossProcess {
        LossProcess { spec, bad: false }
    }

    /// Whether the next packet gets lost.
    pub(super) fn lose(&mut self, rng: &mut Pcg32) -> bool {
        match self.spec {
            LossSpec::None => false,
            LossSpec::Random(share) => rng.random_bool(share.fraction()),
            LossSpec::Bursty { share, length } => self.lose_in_bursts(share, length, rng),
        }
    }

    /// Gilbert and Elliott's model with everything lost in the bad state and
    /// nothing in the good one. It stays bad for `length` packets on average
    /// and enters so often that `share` of all packets meet it.
    fn lose_in_bursts(&mut self, share: Loss, length: u16, rng: &mut Pcg32) -> bool {
        let leave = 1.0 / f64::from(length.max(1));
        let share = share.fraction();
        let enter = leave * share / (1.0 - share).max(f64::EPSILON);
        let flip = if self.bad { leave } else { enter };
        if rng.random_bool(flip.clamp(0.0, 1.0)) {
            self.bad = !self.bad;
        }
        self.bad
    }
}

/// How far from its delay a packet is released.
///
/// With order kept, a draw holds for as long as the jitter is wide (at least
/// 1 ms): the line stalls and then lets go of what it held, as radio links do.
/// A draw for each packet would, with order kept, only be a longer delay. With
/// reordering each packet has its own draw.
#[derive(Debug, Default)]
pub(super) struct Jitter {
    /// Until when the current draw holds.
    until: Time,
    /// The current draw: nanoseconds on top of the least delay.
    drawn: Duration,
}

impl Jitter {
    /// The delay of a packet that departs at `departure`: even between
    /// `delay - width` and `delay + width`, and not below zero.
    pub(super) fn delay(
        &mut self,
        departure: Time,
        (delay, width): (Duration, Duration),
        reorder: bool,
        rng: &mut Pcg32,
    ) -> Duration {
        if width.is_zero() {
            return delay;
        }
        if reorder || departure >= self.until {
            let nanos = rng.random_range(0..=2 * width.as_nanos() as u64);
            self.drawn = Duration::from_nanos(nanos);
            self.until = departure + width.max(MIN_JITTER_HOLD);
        }
        (delay + self.drawn).saturating_sub(width)
    }
}

/// Random early detection (Floyd and Jacobson 1993, with the gentle slope
/// above the upper threshold): drops grow with the mean length of the queue.
/// It only drops; it does not mark ECN.
#[derive(Debug)]
pub(super) struct Red {
    /// Below this mean length, in bytes, nothing is dropped.
    low: f64,
    /// Here one packet in ten is dropped, at twice this length each.
    high: f64,
    /// The mean length, in bytes.
    mean: f64,
    /// Packets since the last drop, which spread drops evenly.
    since_drop: u32,
    /// When the queue was last seen.
    seen: Time,
    /// How long a full packet takes, for the decay while idle.
    packet_time: Duration,
}

impl Red {
    /// Weight of one packet in the mean.
    const WEIGHT: f64 = 1.0 / 512.0;
    /// Share dropped at the upper threshold.
    const MOST: f64 = 0.1;

    /// Thresholds at a sixth and a half of the queue.
    pub(super) fn new(limit: QueueLimit, rate: Rate, now: Time) -> Red {
        let bytes = limit.bytes.min(limit.packets.saturating_mul(1_500)) as f64;
        Red {
            low: bytes / 6.0,
            high: bytes / 2.0,
            mean: 0.0,
            since_drop: 0,
            seen: now,
            packet_time: rate.time_for(1_500),
        }
    }

    /// Whether a packet that finds `queued` bytes is dropped.
    pub(super) fn drop(&mut self, now: Time, queued: u64, rng: &mut Pcg32) -> bool {
        self.observe(now, queued);
        let share = self.share();
        if share <= 0.0 {
            self.since_drop = 0;
            return false;
        }
        self.since_drop += 1;
        let spread = share / (1.0 - f64::from(self.since_drop) * share).max(share);
        if rng.random_bool(spread.clamp(0.0, 1.0)) {
            self.since_drop = 0;
            return true;
        }
        false
    }

    /// Moves the mean; an empty queue counts once for each packet that could
    /// have been sent since.
    fn observe(&mut self, now: Time, queued: u64) {
        if queued == 0 {
            let idle = (now - self.seen).as_secs_f64() / self.packet_time.as_secs_f64().max(1e-9);
            self.mean *= (1.0 - Red::WEIGHT).powf(idle);
        }
        self.mean += Red::WEIGHT * (queued as f64 - self.mean);
        self.seen = now;
    }

    /// The share to drop at the current mean.
    fn share(&self) -> f64 {
        if self.mean < self.low {
            0.0
        } else if self.mean < self.high {
            Red::MOST * (self.mean - self.low) / (self.high - self.low)
        } else {
            let above = (self.mean - self.high) / self.high;
            Red::MOST + (1.0 - Red::MOST) * above
        }
    }
}
