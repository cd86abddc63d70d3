//! Changes to a link: the parts of a specification one by one, and the
//! `KEY=VALUE[,...]` form in which they are given for a running link.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::parse::{PartError, misread};
use super::units::{Misread, Time, read_bytes, read_count, read_time};
use super::{DirectionSpec, EmulatedLink, Loss, LossSpec, QueueSpec, Rate, RateSpec};
use super::{MAX_BURST, MAX_BURST_LOSS, MAX_DELAY, MAX_JITTER, MAX_QUEUE_BYTES};
use super::{MAX_PACKET, MAX_QUEUE_PACKETS, MAX_QUEUE_TIME, MAX_ROUND_TRIP};

/// The keys of `set`, for error texts.
const KEYS: &str = "rate, rtt, delay, loss, burst, jitter, reorder, queue, red, largest, trace, \
     each also with `down` or `up` in front";
/// The smallest size that every IPv4 link passes whole (RFC 791), in bytes.
const MIN_PACKET: u16 = 68;
/// The most settings in one `set`: more than twice what could differ.
const MAX_SETTINGS: usize = 64;

/// Which directions of a link are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Both.
    Both,
    /// Towards the router.
    Down,
    /// Towards the server.
    Up,
}

impl Side {
    /// Takes `down` or `up` off the front of a part or key.
    pub(super) fn strip(text: &str) -> (Side, &str) {
        if let Some(rest) = text.strip_prefix("down") {
            (Side::Down, rest)
        } else if let Some(rest) = text.strip_prefix("up") {
            (Side::Up, rest)
        } else {
            (Side::Both, text)
        }
    }

    /// Whether there is a direction that both mean.
    pub(super) fn overlaps(self, other: Side) -> bool {
        self == other || self == Side::Both || other == Side::Both
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Both => "",
            Side::Down => "down",
            Side::Up => "up",
        })
    }
}

/// One property of a link and its new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A fixed rate instead of what was there.
    Rate(Rate),
    /// The trace in this file instead of what was there.
    Trace(String),
    /// A round trip, half of it in each direction that is meant.
    RoundTrip(Duration),
    /// A one-way delay.
    Delay(Duration),
    /// Which packets get lost.
    Loss(LossSpec),
    /// How far the delay wanders.
    Jitter(Duration),
    /// Whether order may change.
    Reorder(bool),
    /// Where the queue ends.
    Queue(QueueSpec),
    /// Whether it drops early.
    Red(bool),
    /// The largest packet that passes, in bytes.
    Largest(u16),
}

impl Change {
    /// A number for the property that is changed, the same for changes that
    /// exclude each other in a specification.
    fn property(&self) -> u8 {
        match self {
            Change::Rate(_) | Change::Trace(_) => 0,
            Change::RoundTrip(_) | Change::Delay(_) => 1,
            Change::Loss(_) => 2,
            Change::Jitter(_) => 3,
            Change::Reorder(_) => 4,
            Change::Queue(_) => 5,
            Change::Red(_) => 6,
            Change::Largest(_) => 7,
        }
    }
}

/// A change and the directions it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Which directions.
    pub side: Side,
    /// What changes there.
    pub change: Change,
}

impl Setting {
    /// Whether `other` changes the same property of the same direction.
    pub(super) fn repeats(&self, other: &Setting) -> bool {
        self.side.overlaps(other.side) && self.change.property() == other.change.property()
    }
}

/// What `set` takes: changes in order, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings(pub Vec<Setting>);

impl Settings {
    /// Makes the changes, in order.
    pub fn apply(&self, link: &mut EmulatedLink) {
        for setting in &self.0 {
            apply(setting, link);
        }
    }
}

/// Why `set` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Nothing was given.
    #[error("nothing to set; write KEY=VALUE[,...] with keys {KEYS}")]
    Empty,
    /// Far more settings than a link has.
    #[error("{count} settings are given, at most {MAX_SETTINGS} are allowed")]
    TooMany {
        /// How many were given.
        count: usize,
    },
    /// No `=` in it.
    #[error("`{setting}` is not KEY=VALUE; keys are {KEYS}")]
    NotSetting {
        /// The setting as written.
        setting: String,
    },
    /// A key that does not exist.
    #[error("key `{key}` is not known; keys are {KEYS}")]
    Key {
        /// The key as written.
        key: String,
    },
    /// A value that is wrong.
    #[error(transparent)]
    Value(#[from] PartError),
}

impl FromStr for Settings {
    type Err = SetError;

    fn from_str(text: &str) -> Result<Settings, SetError> {
        if text.trim().is_empty() {
            return Err(SetError::Empty);
        }
        let count = text.split(',').count();
        if count > MAX_SETTINGS {
            return Err(SetError::TooMany { count });
        }
        text.split(',')
            .map(|setting| read_setting(setting.trim()))
            .collect::<Result<_, _>>()
            .map(Settings)
    }
}

fn read_setting(setting: &str) -> Result<Setting, SetError> {
    let (key, value) = setting
        .split_once('=')
        .ok_or_else(|| SetError::NotSetting {
            setting: setting.to_string(),
        })?;
    let (side, name) = Side::strip(key);
    let change = match name {
        "rate" => Change::Rate(rate(setting, value)?),
        "trace" => Change::Trace(trace(setting, value)?),
        "rtt" => Change::RoundTrip(time(
            setting,
            value,
            MAX_ROUND_TRIP,
            "a round trip is at most 10s",
        )?),
        "delay" => Change::Delay(time(
            setting,
            value,
            MAX_DELAY,
            "a one-way delay is at most 5s",
        )?),
        "loss" => Change::Loss(loss(setting, value)?),
        "burst" => Change::Loss(burst(setting, value)?),
        "jitter" => Change::Jitter(jitter(setting, value)?),
        "reorder" => Change::Reorder(switch(setting, value)?),
        "queue" => Change::Queue(queue(setting, value)?),
        "red" => Change::Red(switch(setting, value)?),
        "largest" => Change::Largest(largest(setting, value)?),
        _ => {
            return Err(SetError::Key {
                key: key.to_string(),
            });
        }
    };
    Ok(Setting { side, change })
}

/// Makes one change.
pub(super) fn apply(setting: &Setting, link: &mut EmulatedLink) {
    if setting.side != Side::Up {
        apply_to(&setting.change, &mut link.down, false);
    }
    if setting.side != Side::Down {
        apply_to(&setting.change, &mut link.up, true);
    }
}

/// Makes one change in one direction. A round trip that cannot be halved in
/// whole nanoseconds gives the odd one to the `larger_half`.
fn apply_to(change: &Change, direction: &mut DirectionSpec, larger_half: bool) {
    match change {
        Change::Rate(rate) => direction.rate = RateSpec::Fixed(*rate),
        Change::Trace(file) => direction.rate = RateSpec::Trace(file.clone()),
        Change::RoundTrip(time) if larger_half => direction.delay = *time - *time / 2,
        Change::RoundTrip(time) => direction.delay = *time / 2,
        Change::Delay(time) => direction.delay = *time,
        Change::Loss(loss) => direction.loss = *loss,
        Change::Jitter(time) => direction.jitter = *time,
        Change::Reorder(on) => direction.reorder = *on,
        Change::Queue(queue) => direction.queue = *queue,
        Change::Red(on) => direction.red = *on,
        Change::Largest(bytes) => direction.largest = *bytes,
    }
}

pub(super) use super::parse::rate;

/// Reads the name of a trace file, which must not be empty.
pub(super) fn trace(part: &str, value: &str) -> Result<String, PartError> {
    if value.is_empty() {
        return Err(PartError::Value {
            part: part.to_string(),
            value: value.to_string(),
            expected: "the name of a file",
        });
    }
    Ok(value.to_string())
}

/// Reads the share of random loss.
pub(super) fn loss(part: &str, value: &str) -> Result<LossSpec, PartError> {
    let share = read_loss(part, value, Loss::ALL, "a loss is 0% to 100%")?;
    Ok(match share {
        Loss::NONE => LossSpec::None,
        share => LossSpec::Random(share),
    })
}

/// Reads the share and the mean length of bursty loss: `1%x10`.
pub(super) fn burst(part: &str, value: &str) -> Result<LossSpec, PartError> {
    const EXPECTED: &str = "a share and a mean length in packets such as `1%x10`";
    let not_one = || misread(part, value, Misread::NotOne, EXPECTED, "");
    let (share, length) = value.split_once('x').ok_or_else(not_one)?;
    let share = read_loss(part, share, MAX_BURST_LOSS, "a loss in bursts is 0% to 50%")?;
    let length = read_count(length)
        .and_then(|count| match u16::try_from(count) {
            Ok(count) if (1..=MAX_BURST).contains(&count) => Ok(count),
            _ => Err(Misread::OutOfBounds),
        })
        .map_err(|why| {
            let bounds = "a mean burst is 1 to 1000 packets";
            misread(part, length, why, EXPECTED, bounds)
        })?;
    Ok(match share {
        Loss::NONE => LossSpec::None,
        share => LossSpec::Bursty { share, length },
    })
}

fn read_loss(part: &str, value: &str, most: Loss, bounds: &'static str) -> Result<Loss, PartError> {
    Loss::read(value)
        .and_then(|share| {
            if share <= most {
                Ok(share)
            } else {
                Err(Misread::OutOfBounds)
            }
        })
        .map_err(|why| misread(part, value, why, "a share such as `0.5%`", bounds))
}

/// Reads how far the delay wanders.
pub(super) fn jitter(part: &str, value: &str) -> Result<Duration, PartError> {
    time(part, value, MAX_JITTER, "a jitter is at most 2s")
}

fn time(
    part: &str,
    value: &str,
    longest: Duration,
    bounds: &'static str,
) -> Result<Duration, PartError> {
    read_time(value, longest)
        .map_err(|why| misread(part, value, why, "a time such as `20ms`", bounds))
}

/// Reads where a queue ends: `200ms`, `64p`, `256kB` or `bdp`.
pub(super) fn queue(part: &str, value: &str) -> Result<QueueSpec, PartError> {
    const BOUNDS: &str = "a queue is 1ms to 10s, 1p to 65536p or 1B to 128MB";
    let bounded = |inside: bool, queue| {
        if inside {
            Ok(queue)
        } else {
            Err(Misread::OutOfBounds)
        }
    };
    let read = if value == "bdp" {
        Ok(QueueSpec::Bdp)
    } else if let Some(count) = value.strip_suffix('p') {
        read_count(count).and_then(|count| {
            let packets = u32::try_from(count).unwrap_or(u32::MAX);
            bounded(
                (1..=MAX_QUEUE_PACKETS).contains(&packets),
                QueueSpec::Packets(packets),
            )
        })
    } else if let Ok(bytes) = read_bytes(value) {
        bounded(
            (1..=MAX_QUEUE_BYTES).contains(&bytes),
            QueueSpec::Bytes(bytes),
        )
    } else {
        read_time(value, MAX_QUEUE_TIME)
            .and_then(|time| bounded(time >= Duration::from_millis(1), QueueSpec::Time(time)))
    };
    read.map_err(|why| {
        let expected = "a queue such as `200ms`, `64p`, `256kB` or `bdp`";
        misread(part, value, why, expected, BOUNDS)
    })
}

/// Reads the size of the largest packet that passes.
pub(super) fn largest(part: &str, value: &str) -> Result<u16, PartError> {
    read_bytes(value)
        .and_then(|bytes| match u16::try_from(bytes) {
            Ok(bytes) if (MIN_PACKET..=MAX_PACKET).contains(&bytes) => Ok(bytes),
            _ => Err(Misread::OutOfBounds),
        })
        .map_err(|why| {
            let bounds = "the largest packet has 68B to 1500B";
            misread(part, value, why, "a size such as `1280B`", bounds)
        })
}

fn switch(part: &str, value: &str) -> Result<bool, PartError> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(misread(part, value, Misread::NotOne, "`on` or `off`", "")),
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, setting) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{setting}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = self.side;
        let on = |on: &bool| if *on { "on" } else { "off" };
        match &self.change {
            Change::Rate(rate) => write!(f, "{side}rate={rate}"),
            Change::Trace(file) => write!(f, "{side}trace={file}"),
            Change::RoundTrip(time) => write!(f, "{side}rtt={}", Time(*time)),
            Change::Delay(time) => write!(f, "{side}delay={}", Time(*time)),
            Change::Loss(LossSpec::None) => write!(f, "{side}loss=0%"),
            Change::Loss(LossSpec::Random(share)) => write!(f, "{side}loss={share}"),
            Change::Loss(LossSpec::Bursty { share, length }) => {
                write!(f, "{side}burst={share}x{length}")
            }
            Change::Jitter(time) => write!(f, "{side}jitter={}", Time(*time)),
            Change::Reorder(state) => write!(f, "{side}reorder={}", on(state)),
            Change::Queue(queue) => write!(f, "{side}queue={queue}"),
            Change::Red(state) => write!(f, "{side}red={}", on(state)),
            Change::Largest(bytes) => write!(f, "{side}largest={bytes}B"),
        }
    }
}
