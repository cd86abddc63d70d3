//! Quantities of a link specification, each with its unit in the type: rates,
//! shares of loss, and the texts of both and of times. Reading is exact
//! (decimals become integers without passing through floating point), so what
//! is displayed reads back as the same value.

use std::fmt;
use std::time::Duration;

/// How fast a link sends, in bits per second, counted in IP packets (an
/// Ethernet frame without its 14-byte header).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

impl Rate {
    /// 8 kbit/s: a full packet takes 1.5 s, slower is a dead link.
    pub const MIN: Rate = Rate(8_000);
    /// 10 Gbit/s. What one machine can really emulate is less: see
    /// `late` in [`crate::emulator::DirectionStatus`].
    pub const MAX: Rate = Rate(10_000_000_000);

    /// A rate of this many bits per second, or the nearest that is allowed.
    #[must_use]
    pub fn from_bits_per_second(bits: u64) -> Rate {
        Rate(bits.clamp(Rate::MIN.0, Rate::MAX.0))
    }

    /// Bits per second.
    #[must_use]
    pub fn bits_per_second(self) -> u64 {
        self.0
    }

    /// How long sending `bytes` takes, rounded down to whole nanoseconds.
    #[must_use]
    pub fn time_for(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 8_000_000_000 / u128::from(self.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many whole bytes are sent in `time`.
    #[must_use]
    pub fn bytes_in(self, time: Duration) -> u64 {
        let bytes = u128::from(self.0) * time.as_nanos() / 8_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Reads `100mbit`, `2.5gbit`, `512kbit`, `64000bit`.
    pub(super) fn read(text: &str) -> Result<Rate, Misread> {
        let bits = read_with_unit(
            text,
            &[
                ("gbit", 1_000_000_000),
                ("mbit", 1_000_000),
                ("kbit", 1_000),
                ("bit", 1),
            ],
        )?;
        if (Rate::MIN.0..=Rate::MAX.0).contains(&bits) {
            Ok(Rate(bits))
        } else {
            Err(Misread::OutOfBounds)
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match self.0 {
            bits if bits % 1_000_000_000 == 0 => (bits / 1_000_000_000, "gbit"),
            bits if bits % 1_000_000 == 0 => (bits / 1_000_000, "mbit"),
            bits if bits % 1_000 == 0 => (bits / 1_000, "kbit"),
            bits => (bits, "bit"),
        };
        write!(f, "{count}{unit}")
    }
}

/// A share of packets that are lost, in steps of one in a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Loss(u32);

impl Loss {
    /// No packet.
    pub const NONE: Loss = Loss(0);
    /// Every packet.
    pub const ALL: Loss = Loss(1_000_000);

    /// `parts` lost of a million, at most all.
    #[must_use]
    pub const fn from_parts_per_million(parts: u32) -> Loss {
        Loss(if parts > Loss::ALL.0 {
            Loss::ALL.0
        } else {
            parts
        })
    }

    /// How many of a million are lost.
    #[must_use]
    pub fn parts_per_million(self) -> u32 {
        self.0
    }

    /// The share as a fraction between 0 and 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Loss::ALL.0)
    }

    pub(super) fn read(text: &str) -> Result<Loss, Misread> {
        let digits = text.strip_suffix('%').ok_or(Misread::NotOne)?;
        match u32::try_from(read_decimal(digits, 10_000)?) {
            Ok(parts) if parts <= Loss::ALL.0 => Ok(Loss(parts)),
            _ => Err(Misread::OutOfBounds),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        let digits = format!("{rest:04}");
        write!(f, "{whole}.{}%", digits.trim_end_matches('0'))
    }
}

/// Why a text is not the quantity it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misread {
    /// Another kind of text altogether.
    NotOne,
    /// The right kind, but beyond what is allowed.
    OutOfBounds,
}

/// Reads a time such as `20ms`, `1.5s`, `250us`; at most `longest`.
pub(super) fn read_time(text: &str, longest: Duration) -> Result<Duration, Misread> {
    let nanos = read_with_unit(
        text,
        &[
            ("ns", 1),
            ("us", 1_000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
        ],
    )?;
    let time = Duration::from_nanos(nanos);
    if time <= longest {
        Ok(time)
    } else {
        Err(Misread::OutOfBounds)
    }
}

/// Displays a time in the largest unit that keeps it whole.
pub(super) struct Time(pub(super) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (count, unit) = match nanos {
            0 => (0, "ms"),
            n if n % 1_000_000_000 == 0 => (n / 1_000_000_000, "s"),
            n if n % 1_000_000 == 0 => (n / 1_000_000, "ms"),
            n if n % 1_000 == 0 => (n / 1_000, "us"),
            n => (n, "ns"),
        };
        write!(f, "{count}{unit}")
    }
}

/// Reads a whole number, no longer than any bound here needs.
pub(super) fn read_count(text: &str) -> Result<u64, Misread> {
    read_decimal(text, 1)
}

/// Reads a byte count such as `256kB`, `3000B`, `4MB`.
pub(super) fn read_bytes(text: &str) -> Result<u64, Misread> {
    read_with_unit(text, &[("kb", 1_000), ("mb", 1_000_000), ("b", 1)])
}

/// Reads a decimal followed by one of `units`, in any case, and scales it.
/// Units that end in another one of the list must come before it.
fn read_with_unit(text: &str, units: &[(&str, u64)]) -> Result<u64, Misread> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or(Misread::NotOne)?;
    let (digits, unit) = text.split_at(split);
    let (_, scale) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or(Misread::NotOne)?;
    read_decimal(digits, *scale)
}

/// Reads `text` as a decimal and returns it times `scale`. More decimals than
/// `scale` can hold are [`Misread::NotOne`], numbers beyond 64 bits
/// [`Misread::OutOfBounds`].
fn read_decimal(text: &str, scale: u64) -> Result<u64, Misread> {
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return Err(Misread::NotOne),
        Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
        None => (text, ""),
    };
    let is_number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return Err(Misread::NotOne);
    }
    let whole: u64 = whole.parse().map_err(|_| Misread::OutOfBounds)?;
    let mut value = whole.checked_mul(scale).ok_or(Misread::OutOfBounds)?;
    let mut place = scale;
    for digit in fraction.bytes() {
        if !place.is_multiple_of(10) {
            return Err(Misread::NotOne);
        }
        place /= 10;
        value = value
            .checked_add(place * u64::from(digit - b'0'))
            .ok_or(Misread::OutOfBounds)?;
    }
    Ok(value)
}
