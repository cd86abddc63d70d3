//! Scenario files: links, what happens to them and what is transferred
//! meanwhile, in TOML. A scenario says nothing of how it is run; the lab and a
//! simulator can run the same one.
//!
//! ```toml
//! links = ["100mbit/20ms", "50mbit/60ms", "20mbit/120ms/loss0.5%"]
//! duration = "30s"
//! seed = 7
//!
//! [[transfers]]
//! direction = "down"
//! at = "1s"
//!
//! [[transfers]]
//! direction = "up"
//! bytes = 100000
//! every = "500ms"
//!
//! [[events]]
//! at = "10s"
//! link = 2
//! verb = "silent"
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Deserializer};

use crate::spec::{LinkSpec, LinkSpecs, MAX_LINKS, Rate, Verb, read_duration, read_rate};

#[cfg(test)]
mod tests;

/// The longest scenario: one day.
pub const MAX_DURATION: Duration = Duration::from_secs(86_400);
/// The largest scenario file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// The most flows of one transfer.
pub const MAX_FLOWS: u32 = 10_000;

/// What happens in a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its links, `wan1` first; at least one.
    pub links: LinkSpecs,
    /// How long it takes.
    pub duration: Duration,
    /// Seed of everything that happens by chance.
    pub seed: u64,
    /// What happens to links, sorted by time.
    pub events: Vec<Event>,
    /// What is transferred.
    pub transfers: Vec<Transfer>,
}

/// Something that happens to a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, from the scenario's begin and before its end.
    pub at: Duration,
    /// The number of the link, from 1.
    pub link: usize,
    /// What.
    pub verb: Verb,
}

/// TCP transfers between the client and the internet host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Which way the bytes go.
    pub direction: TransferDirection,
    /// When it begins, from the scenario's begin.
    #[serde(default, deserialize_with = "time")]
    pub at: Duration,
    /// How many bytes each flow moves; without, it goes on until the end.
    pub bytes: Option<u64>,
    /// How many flows do so at once.
    #[serde(default = "one")]
    pub flows: u32,
    /// How fast its sender writes; without, as fast as it goes.
    #[serde(default, deserialize_with = "rate")]
    pub rate: Option<Rate>,
    /// It begins again this often, until the end.
    #[serde(default, deserialize_with = "some_time")]
    pub every: Option<Duration>,
}

impl Transfer {
    /// When it begins in a scenario of this duration, once or again and again.
    pub fn begins(&self, duration: Duration) -> impl Iterator<Item = Duration> {
        let every = self.every.filter(|every| !every.is_zero());
        let next = move |at: &Duration| Some(*at + every?).filter(|&at| at < duration);
        std::iter::successors(Some(self.at), next)
    }
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferDirection {
    /// From the internet host to the client.
    Down,
    /// From the client to the internet host.
    Up,
}

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read scenario {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The file is too large.
    #[error("scenario {} is larger than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The text is no scenario. It says where.
    #[error("scenario {}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: ScenarioParseError,
    },
}

/// Why a text is no scenario.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ScenarioParseError {
    /// Not TOML, an unknown key or a wrong value.
    #[error("{0}")]
    Toml(#[from] toml_edit::de::Error),
    /// No links, or more than a lab can have.
    #[error("links: {count} are given, 1 to {MAX_LINKS} are allowed")]
    Links {
        /// How many are given.
        count: usize,
    },
    /// A time beyond its bounds.
    #[error("{what}: {time:?} is out of bounds, allowed is more than 0s up to {most:?}")]
    Time {
        /// Which time.
        what: &'static str,
        /// What was given.
        time: Duration,
        /// The most that is allowed.
        most: Duration,
    },
    /// An event for a link that does not exist.
    #[error("event {event}: there is no link {link}; links are 1 to {links}")]
    NoLink {
        /// The event's number in the file, from 1.
        event: usize,
        /// The link it names.
        link: usize,
        /// How many links there are.
        links: usize,
    },
    /// A number of flows beyond its bounds, all repetitions counted.
    #[error("transfer {transfer}: {flows} flows are out of bounds, 1 to {MAX_FLOWS}")]
    Flows {
        /// The transfer's number in the file, from 1.
        transfer: usize,
        /// How many they come to.
        flows: u64,
    },
}

/// A scenario as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(deserialize_with = "links")]
    links: Vec<LinkSpec>,
    #[serde(deserialize_with = "time")]
    duration: Duration,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    events: Vec<WrittenEvent>,
    #[serde(default)]
    transfers: Vec<Transfer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEvent {
    #[serde(deserialize_with = "time")]
    at: Duration,
    link: usize,
    #[serde(deserialize_with = "verb")]
    verb: Verb,
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than [`MAX_FILE_BYTES`] or is
    /// no scenario.
    pub fn load(path: &Path) -> Result<Scenario, ScenarioError> {
        let owned = || path.to_path_buf();
        let read = |reason| ScenarioError::Read {
            path: owned(),
            reason,
        };
        if fs::metadata(path).map_err(read)?.len() > MAX_FILE_BYTES {
            return Err(ScenarioError::TooLarge { path: owned() });
        }
        let text = fs::read_to_string(path).map_err(read)?;
        Scenario::parse(&text).map_err(|reason| ScenarioError::Parse {
            path: owned(),
            reason,
        })
    }

    /// Reads the text of a scenario.
    ///
    /// # Errors
    /// Names what is wrong first.
    pub fn parse(text: &str) -> Result<Scenario, ScenarioParseError> {
        let written: Written = toml_edit::de::from_str(text)?;
        let links = written.links.len();
        if !(1..=MAX_LINKS).contains(&links) {
            return Err(ScenarioParseError::Links { count: links });
        }
        bounded("duration", written.duration, MAX_DURATION)?;
        let mut events = Vec::new();
        for (event, WrittenEvent { at, link, verb }) in (1..).zip(written.events) {
            if !(1..=links).contains(&link) {
                return Err(ScenarioParseError::NoLink { event, link, links });
            }
            bounded("an event's `at`", at, written.duration)?;
            events.push(Event { at, link, verb });
        }
        events.sort_by_key(|event| event.at);
        for (number, transfer) in (1..).zip(&written.transfers) {
            check_transfer(number, transfer, written.duration)?;
        }
        Ok(Scenario {
            links: LinkSpecs(written.links),
            duration: written.duration,
            seed: written.seed,
            events,
            transfers: written.transfers,
        })
    }
}

fn check_transfer(
    number: usize,
    transfer: &Transfer,
    duration: Duration,
) -> Result<(), ScenarioParseError> {
    if !transfer.at.is_zero() {
        bounded("a transfer's `at`", transfer.at, duration)?;
    }
    if let Some(every) = transfer.every {
        bounded("a transfer's `every`", every, duration)?;
    }
    // Counted no further than it matters.
    let begins = transfer.begins(duration).take(MAX_FLOWS as usize + 1);
    let flows = u64::from(transfer.flows) * begins.count() as u64;
    if !(1..=u64::from(MAX_FLOWS)).contains(&flows) {
        let transfer = number;
        return Err(ScenarioParseError::Flows { transfer, flows });
    }
    Ok(())
}

fn bounded(what: &'static str, time: Duration, most: Duration) -> Result<(), ScenarioParseError> {
    if time.is_zero() || time > most {
        return Err(ScenarioParseError::Time { what, time, most });
    }
    Ok(())
}

fn one() -> u32 {
    1
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    read_duration(&text).map_err(serde::de::Error::custom)
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    time(deserializer).map(Some)
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    let text = String::deserialize(deserializer)?;
    read_rate(&text).map(Some).map_err(serde::de::Error::custom)
}

fn verb<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Verb, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

fn links<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LinkSpec>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .zip(1..)
        .map(|(text, number)| {
            text.parse()
                .map_err(|reason| serde::de::Error::custom(format!("link {number}: {reason}")))
        })
        .collect()
}
