//! What a link is like, as a person writes it: `100mbit/20ms/loss0.5%` and,
//! while it runs, `rate=50mbit,loss=0%`. This room holds the written form and
//! its types; what the emulator makes of them is in [`crate::emulator`].
//!
//! A list of links is separated by commas, the parts of one link by slashes:
//!
//! | part | meaning | `set` |
//! |---|---|---|
//! | `100mbit` | rate, counted in IP packets (`gbit`, `mbit`, `kbit`, `bit`) | `rate=100mbit` |
//! | `20ms` | round trip, split evenly over the directions | `rtt=20ms` |
//! | `down8ms`, `up12ms` | one-way delay of a direction | `delay=8ms` (each way), `downdelay=8ms` |
//! | `loss0.5%` | share of packets lost at random | `loss=0.5%` |
//! | `burst1%x10` | share lost in bursts of 10 packets on average | `burst=1%x10` |
//! | `jitter5ms` | delay wanders by up to 5 ms either way, order is kept | `jitter=5ms` |
//! | `reorder` | jitter is drawn for each packet and order is not kept | `reorder=on` |
//! | `queue200ms`, `queue64p`, `queue256kB` | where the queue ends (default: one bandwidth-delay product) | `queue=64p`, `queue=bdp` |
//! | `red` | the queue drops early and at random (RED) instead of at its end | `red=on` |
//! | `largest1280B` | larger packets vanish, and nobody is told (a black hole) | `largest=1280B`, `largest=1500B` |
//! | `trace:FILE` | rate from a mahimahi trace; comes last, the rest of the link is the file's name | `trace=FILE` |
//!
//! `down` (towards the router) or `up` before a part or a key means one
//! direction only. `veth` alone is a link without emulation.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

mod parse;
mod set;
#[cfg(test)]
mod tests;
mod units;
mod verb;

pub use parse::{PartError, SpecError};
pub use set::{Change, SetError, Setting, Settings, Side};
pub use units::{Loss, Rate};
pub use verb::{LinkState, Verb, VerbError};

use units::Time;

/// The most links one specification may name.
pub const MAX_LINKS: usize = 32;
/// The longest round trip of a link.
pub const MAX_ROUND_TRIP: Duration = Duration::from_secs(10);
/// The longest one-way delay of a direction.
pub const MAX_DELAY: Duration = Duration::from_secs(5);
/// The widest jitter, to either side of the delay.
pub const MAX_JITTER: Duration = Duration::from_secs(2);
/// The longest queue given as a time.
pub const MAX_QUEUE_TIME: Duration = Duration::from_secs(10);
/// The longest queue given in packets.
pub const MAX_QUEUE_PACKETS: u32 = 65_536;
/// The longest queue given in bytes.
pub const MAX_QUEUE_BYTES: u64 = 128_000_000;
/// The largest packet there is on an emulated link, in bytes.
pub const MAX_PACKET: u16 = 1_500;
/// The longest mean length of a loss burst, in packets.
pub const MAX_BURST: u16 = 1_000;
/// The greatest share that may be lost in bursts: above one half no mean
/// length of one packet could reach it.
pub const MAX_BURST_LOSS: Loss = Loss::from_parts_per_million(500_000);

/// Several links, `wan1` first: `100mbit/20ms,50mbit/60ms,veth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSpecs(pub Vec<LinkSpec>);

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkSpec {
    /// A plain cable without emulation, as fast as the machine.
    Veth,
    /// Emulated in both directions.
    Emulated(EmulatedLink),
}

/// The two directions of an emulated link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmulatedLink {
    /// Towards the router.
    pub down: DirectionSpec,
    /// Towards the server and the rest of the world.
    pub up: DirectionSpec,
}

/// One direction of an emulated link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectionSpec {
    /// How fast it sends.
    pub rate: RateSpec,
    /// One-way delay, without the time in the queue and on the wire.
    pub delay: Duration,
    /// Which packets get lost.
    pub loss: LossSpec,
    /// How far the delay wanders to either side; never below zero in sum.
    pub jitter: Duration,
    /// Whether jitter may change the order of packets.
    pub reorder: bool,
    /// Where the queue ends.
    pub queue: QueueSpec,
    /// Whether the queue drops early and at random (RED) instead of at its end.
    pub red: bool,
    /// The largest packet that passes, in bytes, at most [`MAX_PACKET`]; larger ones vanish.
    pub largest: u16,
}

/// Where the rate of a direction comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateSpec {
    /// The same at all times.
    Fixed(Rate),
    /// From the mahimahi trace in this file.
    Trace(String),
}

/// Which packets get lost on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LossSpec {
    /// None.
    #[default]
    None,
    /// Each with this probability, which is not zero.
    Random(Loss),
    /// In bursts (the two-state model of Gilbert and Elliott).
    Bursty {
        /// Share lost in the long run, not zero, at most [`MAX_BURST_LOSS`].
        share: Loss,
        /// Mean length of a burst in packets, 1 to [`MAX_BURST`].
        length: u16,
    },
}

/// Where a queue ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum QueueSpec {
    /// At one bandwidth-delay product, and never below 32 full packets.
    #[default]
    Bdp,
    /// At what the link sends in this time (by the mean rate of a trace).
    Time(Duration),
    /// At this many packets of any size.
    Packets(u32),
    /// At this many bytes.
    Bytes(u64),
}

impl Default for DirectionSpec {
    /// The slowest link there is, without delay or faults; a start to apply
    /// [`Change`]s to.
    fn default() -> DirectionSpec {
        DirectionSpec {
            rate: RateSpec::Fixed(Rate::MIN),
            delay: Duration::ZERO,
            loss: LossSpec::None,
            jitter: Duration::ZERO,
            reorder: false,
            queue: QueueSpec::Bdp,
            red: false,
            largest: MAX_PACKET,
        }
    }
}

/// Reads a time of any length such as `20ms`, `1.5s` or `250us`.
///
/// # Errors
/// A text that says what is wrong.
pub fn read_duration(text: &str) -> Result<Duration, PartError> {
    units::read_time(text, Duration::MAX).map_err(|why| {
        let bounds = "times are at most some hundred years";
        parse::misread(text, text, why, "a time such as `20ms` or `1.5s`", bounds)
    })
}

/// Reads a rate such as `5mbit` or `800kbit`, from [`Rate::MIN`] to [`Rate::MAX`].
///
/// # Errors
/// A text that says what is wrong.
pub fn read_rate(text: &str) -> Result<Rate, PartError> {
    Rate::read(text).map_err(|why| {
        let bounds = "rates are from 8kbit to 10gbit";
        parse::misread(
            text,
            text,
            why,
            "a rate such as `5mbit` or `800kbit`",
            bounds,
        )
    })
}

impl EmulatedLink {
    /// The round trip of an empty link.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.down.delay + self.up.delay
    }
}

impl FromStr for LinkSpecs {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<LinkSpecs, SpecError> {
        parse::links(text)
    }
}

impl FromStr for LinkSpec {
    type Err = PartError;

    fn from_str(text: &str) -> Result<LinkSpec, PartError> {
        parse::link(text)
    }
}

impl fmt::Display for LinkSpecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, link) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{link}")?;
        }
        Ok(())
    }
}

impl fmt::Display for LinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkSpec::Veth => f.write_str("veth"),
            LinkSpec::Emulated(link) => link.fmt(f),
        }
    }
}

impl fmt::Display for EmulatedLink {
    /// The shortest text that reads back as this link: parts that both
    /// directions share once, defaults left out, traces last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        self.show(&mut parts, |d| match &d.rate {
            RateSpec::Fixed(rate) => Some(rate.to_string()),
            RateSpec::Trace(_) => None,
        });
        if self.down.delay == self.up.delay && !self.round_trip().is_zero() {
            parts.push(Time(self.round_trip()).to_string());
        } else {
            self.show(&mut parts, |d| shown_time("", d.delay));
        }
        self.show(&mut parts, |d| match d.loss {
            LossSpec::None => None,
            loss => Some(loss.to_string()),
        });
        self.show(&mut parts, |d| shown_time("jitter", d.jitter));
        self.show(&mut parts, |d| d.reorder.then(|| "reorder".to_string()));
        self.show(&mut parts, |d| match d.queue {
            QueueSpec::Bdp => None,
            queue => Some(format!("queue{queue}")),
        });
        self.show(&mut parts, |d| d.red.then(|| "red".to_string()));
        self.show(&mut parts, |d| {
            (d.largest < MAX_PACKET).then(|| format!("largest{}B", d.largest))
        });
        self.show(&mut parts, |d| match &d.rate {
            RateSpec::Fixed(_) => None,
            RateSpec::Trace(file) => Some(format!("trace:{file}")),
        });
        f.write_str(&parts.join("/"))
    }
}

impl EmulatedLink {
    /// Adds one property to `parts`: once when the directions agree, else for
    /// each direction that has it.
    fn show(&self, parts: &mut Vec<String>, text: impl Fn(&DirectionSpec) -> Option<String>) {
        let (down, up) = (text(&self.down), text(&self.up));
        if down == up {
            parts.extend(down);
        } else {
            parts.extend(down.map(|part| format!("down{part}")));
            parts.extend(up.map(|part| format!("up{part}")));
        }
    }
}

/// `name` and a time, or nothing for the time zero, which is the default.
fn shown_time(name: &str, time: Duration) -> Option<String> {
    (!time.is_zero()).then(|| format!("{name}{}", Time(time)))
}

impl fmt::Display for LossSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossSpec::None => f.write_str("loss0%"),
            LossSpec::Random(share) => write!(f, "loss{share}"),
            LossSpec::Bursty { share, length } => write!(f, "burst{share}x{length}"),
        }
    }
}

impl fmt::Display for QueueSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueueSpec::Bdp => f.write_str("bdp"),
            QueueSpec::Time(time) => Time(*time).fmt(f),
            QueueSpec::Packets(count) => write!(f, "{count}p"),
            QueueSpec::Bytes(count) if count % 1_000 == 0 => write!(f, "{}kB", count / 1_000),
            QueueSpec::Bytes(count) => write!(f, "{count}B"),
        }
    }
}
