//! A direction as the emulator runs it: the written form with traces loaded
//! and limits worked out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::spec::{DirectionSpec, EmulatedLink, LossSpec, QueueSpec, Rate, RateSpec};
use crate::trace::{Trace, TraceError};

/// The queue never ends below this many bytes by itself: 32 full packets.
const MIN_BDP_QUEUE_BYTES: u64 = 32 * 1_500;
/// The most packets that are in a direction at once, queue and delay line
/// together. Each holds a buffer of 2 kB: 128 MiB. Enough for 1 Gbit/s of full
/// packets over 780 ms.
pub const MAX_PACKETS_IN_FLIGHT: usize = 65_536;

/// How one direction treats packets.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectionConfig {
    /// How fast packets leave the queue.
    pub rate: RateSource,
    /// One-way delay after that.
    pub delay: Duration,
    /// Which packets get lost before they reach the queue.
    pub loss: LossSpec,
    /// How far the delay wanders to either side.
    pub jitter: Duration,
    /// Whether jitter may change the order.
    pub reorder: bool,
    /// Where the queue ends.
    pub queue: QueueLimit,
    /// Whether it drops early.
    pub red: bool,
    /// The largest packet that passes, in bytes.
    pub largest: u32,
    /// How many packets fit, whatever else is said.
    pub max_packets: usize,
}

/// How fast packets leave.
#[derive(Clone, Debug, PartialEq)]
pub enum RateSource {
    /// At one rate.
    Fixed(Rate),
    /// By a trace that repeats.
    Trace(Arc<Trace>),
}

/// Where a queue ends: whichever comes first. The packet that is being sent
/// counts; an empty queue takes any packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimit {
    /// Bytes of IP packets.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

impl RateSource {
    /// The rate in the long run.
    #[must_use]
    pub fn mean(&self) -> Rate {
        match self {
            RateSource::Fixed(rate) => *rate,
            RateSource::Trace(trace) => trace.mean_rate(),
        }
    }
}

impl DirectionConfig {
    /// Works out one direction of a link with this round trip, reading its
    /// trace file if it has one.
    ///
    /// # Errors
    /// When the trace cannot be read.
    pub fn resolve(
        spec: &DirectionSpec,
        round_trip: Duration,
    ) -> Result<DirectionConfig, TraceError> {
        let rate = match &spec.rate {
            RateSpec::Fixed(rate) => RateSource::Fixed(*rate),
            RateSpec::Trace(file) => RateSource::Trace(Arc::new(Trace::load(Path::new(file))?)),
        };
        let queue = queue_limit(spec.queue, rate.mean(), round_trip);
        Ok(DirectionConfig {
            rate,
            delay: spec.delay,
            loss: spec.loss,
            jitter: spec.jitter,
            reorder: spec.reorder,
            queue,
            red: spec.red,
            largest: spec.largest.into(),
            max_packets: MAX_PACKETS_IN_FLIGHT,
        })
    }

    /// Works out both directions of a link, `(down, up)`.
    ///
    /// # Errors
    /// When a trace cannot be read.
    pub fn resolve_link(
        link: &EmulatedLink,
    ) -> Result<(DirectionConfig, DirectionConfig), TraceError> {
        let round_trip = link.round_trip();
        let down = DirectionConfig::resolve(&link.down, round_trip)?;
        let up = DirectionConfig::resolve(&link.up, round_trip)?;
        Ok((down, up))
    }
}

fn queue_limit(spec: QueueSpec, rate: Rate, round_trip: Duration) -> QueueLimit {
    let bytes = |bytes| QueueLimit {
        bytes,
        packets: u64::MAX,
    };
    match spec {
        QueueSpec::Bdp => bytes(rate.bytes_in(round_trip).max(MIN_BDP_QUEUE_BYTES)),
        QueueSpec::Time(time) => bytes(rate.bytes_in(time)),
        QueueSpec::Bytes(count) => bytes(count),
        QueueSpec::Packets(count) => QueueLimit {
            bytes: u64::MAX,
            packets: u64::from(count),
        },
    }
}
