//! The emulator's clock reading. The core never asks for the time; it is told.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment, in nanoseconds since a beginning that the caller chooses: the
/// machine's start for real links, zero for simulated ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The beginning.
    pub const ZERO: Time = Time(0);

    /// The moment this many nanoseconds after the beginning.
    #[must_use]
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Nanoseconds since the beginning.
    #[must_use]
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    #[inline]
    fn add(self, time: Duration) -> Time {
        Time(self.0.saturating_add(nanos(time)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    /// Stops at the beginning.
    #[inline]
    fn sub(self, time: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(time)))
    }
}

impl Sub for Time {
    type Output = Duration;

    /// The time from `earlier` to here, zero when it is later.
    #[inline]
    fn sub(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
