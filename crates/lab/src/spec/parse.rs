//! Reads link specifications: splits them into parts, turns each part into a
//! [`Setting`] and applies it to a fresh link, so that a specification and
//! `set` cannot mean different things.

use super::set::{Change, Setting, Side, apply};
use super::units::{Misread, Rate, read_time};
use super::{DirectionSpec, EmulatedLink, LinkSpec, LinkSpecs, MAX_DELAY, MAX_LINKS};
use super::{MAX_ROUND_TRIP, set};

/// The parts a link may have, for error texts.
const ALLOWED: &str = "a rate (`100mbit`), a round trip (`20ms`), `loss0.5%`, `burst1%x10`, \
     `jitter5ms`, `reorder`, `queue200ms`, `queue64p`, `queue256kB`, `red`, `largest1280B`, \
     `trace:FILE`, \
     each also with `down` or `up` in front, or `veth` alone";

/// Why a list of links cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Nothing was given.
    #[error("no link is given; write for example `100mbit/20ms,50mbit/60ms`")]
    Empty,
    /// More links than a lab can have.
    #[error("{count} links are given, at most {MAX_LINKS} are allowed")]
    TooMany {
        /// How many were given.
        count: usize,
    },
    /// One of the links is wrong.
    #[error("link {link}: {reason}")]
    Link {
        /// Its number, from 1.
        link: usize,
        /// What is wrong with it.
        reason: PartError,
    },
}

/// Why one link, or one setting of it, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// The link has no text.
    #[error("it is empty; allowed are {ALLOWED}")]
    Empty,
    /// A part that is none of the known ones.
    #[error("part `{part}` is not known; allowed are {ALLOWED}")]
    Unknown {
        /// The part as written.
        part: String,
    },
    /// A known part whose value is something else.
    #[error("part `{part}`: `{value}` is not {expected}")]
    Value {
        /// The part as written.
        part: String,
        /// The value in it.
        value: String,
        /// What would be one, with an example.
        expected: &'static str,
    },
    /// A value beyond its bounds.
    #[error("part `{part}`: {value} is out of bounds, {bounds}")]
    Bounds {
        /// The part as written.
        part: String,
        /// The value in it.
        value: String,
        /// What is allowed, with its subject.
        bounds: &'static str,
    },
    /// A property given twice for the same direction.
    #[error("part `{part}` says again what `{earlier}` said; give one of them")]
    Twice {
        /// The second part.
        part: String,
        /// The first one.
        earlier: String,
    },
    /// Neither rate nor trace.
    #[error("it has no rate {side}; add one such as `{example}`, or `trace:FILE`")]
    NoRate {
        /// The direction in words.
        side: &'static str,
        /// A part that would do.
        example: &'static str,
    },
    /// `veth` among other parts.
    #[error("`veth` is a link without emulation and takes no other parts")]
    VethParts,
}

/// Reads a whole list.
pub(super) fn links(text: &str) -> Result<LinkSpecs, SpecError> {
    if text.trim().is_empty() {
        return Err(SpecError::Empty);
    }
    let count = text.split(',').count();
    if count > MAX_LINKS {
        return Err(SpecError::TooMany { count });
    }
    text.split(',')
        .zip(1..)
        .map(|(part, number)| {
            link(part).map_err(|reason| SpecError::Link {
                link: number,
                reason,
            })
        })
        .collect::<Result<_, _>>()
        .map(LinkSpecs)
}

/// Reads one link.
pub(super) fn link(text: &str) -> Result<LinkSpec, PartError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(PartError::Empty);
    }
    if text == "veth" {
        return Ok(LinkSpec::Veth);
    }
    let mut link = EmulatedLink {
        down: DirectionSpec::default(),
        up: DirectionSpec::default(),
    };
    let mut seen: Vec<(&str, Setting)> = Vec::new();
    for part in split(text) {
        if part == "veth" {
            return Err(PartError::VethParts);
        }
        let setting = read_part(part)?;
        if let Some((earlier, _)) = seen.iter().find(|(_, other)| other.repeats(&setting)) {
            return Err(PartError::Twice {
                part: part.to_string(),
                earlier: (*earlier).to_string(),
            });
        }
        apply(&setting, &mut link);
        seen.push((part, setting));
    }
    require_rate(&seen)?;
    Ok(LinkSpec::Emulated(link))
}

/// Splits a link at its slashes, except those of a trace's file name.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let begins_trace = ["trace:", "downtrace:", "uptrace:"]
            .iter()
            .any(|name| rest.starts_with(name));
        let end = if begins_trace {
            ["/trace:", "/downtrace:", "/uptrace:"]
                .iter()
                .filter_map(|name| rest.find(name))
                .min()
        } else {
            rest.find('/')
        };
        let Some(end) = end else {
            parts.push(rest);
            return parts;
        };
        parts.push(&rest[..end]);
        rest = &rest[end + 1..];
    }
}

/// A link without a rate in some direction would be at the slowest there is.
fn require_rate(seen: &[(&str, Setting)]) -> Result<(), PartError> {
    let has = |side: Side| {
        seen.iter().any(|(_, setting)| {
            matches!(setting.change, Change::Rate(_) | Change::Trace(_))
                && setting.side.overlaps(side)
        })
    };
    let (side, example) = match (has(Side::Down), has(Side::Up)) {
        (true, true) => return Ok(()),
        (false, false) => ("", "100mbit"),
        (false, true) => ("towards the router", "down100mbit"),
        (true, false) => ("towards the server", "up20mbit"),
    };
    Err(PartError::NoRate { side, example })
}

/// Reads one part.
fn read_part(part: &str) -> Result<Setting, PartError> {
    let (side, rest) = Side::strip(part);
    let change = match rest.as_bytes() {
        [first, ..] if first.is_ascii_digit() => read_bare(part, side, rest)?,
        _ => read_named(part, rest)?,
    };
    Ok(Setting { side, change })
}

/// Reads a part that is a number with a unit: a rate or a time.
fn read_bare(part: &str, side: Side, text: &str) -> Result<Change, PartError> {
    if text.to_ascii_lowercase().ends_with("bit") {
        return set::rate(part, text).map(Change::Rate);
    }
    let (longest, bounds) = match side {
        Side::Both => (MAX_ROUND_TRIP, "a round trip is at most 10s"),
        Side::Down | Side::Up => (MAX_DELAY, "a one-way delay is at most 5s"),
    };
    match (read_time(text, longest), side) {
        (Ok(time), Side::Both) => Ok(Change::RoundTrip(time)),
        (Ok(time), Side::Down | Side::Up) => Ok(Change::Delay(time)),
        (Err(Misread::NotOne), _) => Err(PartError::Value {
            part: part.to_string(),
            value: text.to_string(),
            expected: "a rate such as `100mbit` nor a time such as `20ms`",
        }),
        (Err(Misread::OutOfBounds), _) => Err(PartError::Bounds {
            part: part.to_string(),
            value: text.to_string(),
            bounds,
        }),
    }
}

/// Reads a part that begins with its name.
fn read_named(part: &str, rest: &str) -> Result<Change, PartError> {
    let named = |name: &str| rest.strip_prefix(name);
    if rest == "reorder" {
        Ok(Change::Reorder(true))
    } else if rest == "red" {
        Ok(Change::Red(true))
    } else if let Some(value) = named("trace:") {
        set::trace(part, value).map(Change::Trace)
    } else if let Some(value) = named("loss") {
        set::loss(part, value).map(Change::Loss)
    } else if let Some(value) = named("burst") {
        set::burst(part, value).map(Change::Loss)
    } else if let Some(value) = named("jitter") {
        set::jitter(part, value).map(Change::Jitter)
    } else if let Some(value) = named("largest") {
        set::largest(part, value).map(Change::Largest)
    } else if let Some(value) = named("queue") {
        set::queue(part, value).map(Change::Queue)
    } else {
        Err(PartError::Unknown {
            part: part.to_string(),
        })
    }
}

/// The text of an error about a value, whichever of the two it is.
pub(super) fn misread(
    part: &str,
    value: &str,
    why: Misread,
    expected: &'static str,
    bounds: &'static str,
) -> PartError {
    let (part, value) = (part.to_string(), value.to_string());
    match why {
        Misread::NotOne => PartError::Value {
            part,
            value,
            expected,
        },
        Misread::OutOfBounds => PartError::Bounds {
            part,
            value,
            bounds,
        },
    }
}

/// Reads a rate and names its bounds when it is beyond them.
pub(super) fn rate(part: &str, value: &str) -> Result<Rate, PartError> {
    Rate::read(value).map_err(|why| {
        misread(
            part,
            value,
            why,
            "a rate such as `100mbit`, `1gbit` or `512kbit`",
            "a rate is 8kbit to 10gbit",
        )
    })
}
