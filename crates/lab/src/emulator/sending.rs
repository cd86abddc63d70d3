//! When packets leave the queue: a virtual clock instead of a real queue. Each
//! packet is told its departure on arrival, so a late wake-up of the emulator
//! bunches packets but never costs rate.

use std::sync::Arc;
use std::time::Duration;

use super::config::RateSource;
use super::time::Time;
use crate::spec::Rate;
use crate::trace::{OPPORTUNITY_BYTES, Trace};

/// The sending end of a direction.
///
/// Call [`Sender::departure`] once for each packet that is admitted, in order.
#[derive(Debug)]
pub(super) enum Sender {
    /// departure = max(now, previous departure) + size / rate
    Fixed {
        rate: Rate,
        /// When the last admitted packet has left.
        busy_until: Time,
    },
    /// Each 1500 bytes need an opportunity of the trace; a packet may use what
    /// is left of the last one, as long as the queue did not run empty.
    Trace(TraceCursor),
}

impl Sender {
    /// A sender that is idle at `now`; a trace begins there.
    pub(super) fn new(source: &RateSource, now: Time) -> Sender {
        match source {
            RateSource::Fixed(rate) => Sender::Fixed {
                rate: *rate,
                busy_until: now,
            },
            RateSource::Trace(trace) => Sender::Trace(TraceCursor::new(Arc::clone(trace), now)),
        }
    }

    /// When a packet of `size` bytes that arrives at `now` has left.
    pub(super) fn departure(&mut self, now: Time, size: u32) -> Time {
        match self {
            Sender::Fixed { rate, busy_until } => {
                *busy_until = now.max(*busy_until) + rate.time_for(u64::from(size));
                *busy_until
            }
            Sender::Trace(cursor) => cursor.departure(now, size),
        }
    }
}

/// A place in a trace that repeats.
#[derive(Debug)]
pub(super) struct TraceCursor {
    trace: Arc<Trace>,
    /// When the trace began.
    origin: Time,
    /// How many times it has repeated at the current opportunity.
    cycle: u64,
    /// The current opportunity within the trace.
    index: usize,
    /// Bytes that the current opportunity still has.
    left: u32,
}

impl TraceCursor {
    fn new(trace: Arc<Trace>, origin: Time) -> TraceCursor {
        TraceCursor {
            trace,
            origin,
            cycle: 0,
            index: 0,
            left: OPPORTUNITY_BYTES,
        }
    }

    /// When the current opportunity is.
    fn current(&self) -> Time {
        let millis = u64::from(self.trace.opportunities()[self.index]);
        self.origin + self.cycle_start(self.cycle) + Duration::from_millis(millis)
    }

    fn cycle_start(&self, cycle: u64) -> Duration {
        let period = self.trace.period().as_nanos() as u64;
        Duration::from_nanos(period.saturating_mul(cycle))
    }

    fn departure(&mut self, now: Time, size: u32) -> Time {
        if self.current() < now {
            self.seek(now);
        }
        let mut size = size;
        while size > self.left {
            size -= self.left;
            self.advance();
        }
        self.left -= size;
        self.current()
    }

    fn advance(&mut self) {
        self.left = OPPORTUNITY_BYTES;
        self.index += 1;
        if self.index == self.trace.opportunities().len() {
            self.index = 0;
            self.cycle += 1;
        }
    }

    /// Goes to the first opportunity at or after `now`.
    fn seek(&mut self, now: Time) {
        let elapsed = now - self.origin;
        let period = self.trace.period().as_nanos() as u64;
        self.cycle = elapsed.as_nanos() as u64 / period;
        let within = elapsed - self.cycle_start(self.cycle);
        self.left = OPPORTUNITY_BYTES;
        let opportunities = self.trace.opportunities();
        self.index = opportunities
            .partition_point(|&millis| Duration::from_millis(u64::from(millis)) < within);
        // The last opportunity is at the period's end, which `within` is below.
        debug_assert!(self.index < opportunities.len());
    }
}
