//! What is transferred, for people who have no scenario file: `down`, `short:100kB`, `mix`, ...

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use guywire_lab::scenario::{Transfer, TransferDirection};
use guywire_lab::spec::{Rate, read_rate};

/// How often a short transfer begins.
const SHORT_EVERY: Duration = Duration::from_millis(500);
/// The paced stream of a mix: a video call and more.
const MIX_RATE: &str = "5mbit";
/// The short transfers of a mix: what a page loads.
const MIX_BYTES: u64 = 100_000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workload {
    /// One download, as fast as it goes.
    Down,
    /// One upload, as fast as it goes.
    Up,
    /// One download of so many bytes.
    Once(u64),
    /// Downloads of so many bytes, one after another.
    Short(u64),
    /// A download at a pace.
    Paced(Rate),
    /// A download, short ones, and a paced upload.
    Mix,
}

impl Workload {
    /// As a scenario tells it.
    pub fn transfers(&self) -> Vec<Transfer> {
        match self {
            Workload::Down => vec![endless(TransferDirection::Down)],
            Workload::Up => vec![endless(TransferDirection::Up)],
            Workload::Once(bytes) => vec![Transfer {
                bytes: Some(*bytes),
                ..endless(TransferDirection::Down)
            }],
            Workload::Short(bytes) => vec![Transfer {
                bytes: Some(*bytes),
                every: Some(SHORT_EVERY),
                ..endless(TransferDirection::Down)
            }],
            Workload::Paced(rate) => vec![Transfer {
                rate: Some(*rate),
                ..endless(TransferDirection::Down)
            }],
            Workload::Mix => {
                let rate = read_rate(MIX_RATE).ok();
                let paced = Transfer {
                    rate,
                    ..endless(TransferDirection::Up)
                };
                let parts = [Workload::Down, Workload::Short(MIX_BYTES)];
                let transfers = parts.iter().flat_map(Workload::transfers);
                transfers.chain([paced]).collect()
            }
        }
    }
}

fn endless(direction: TransferDirection) -> Transfer {
    Transfer {
        direction,
        at: Duration::ZERO,
        bytes: None,
        flows: 1,
        rate: None,
        every: None,
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Workload, String> {
        match text.split_once(':') {
            None if text == "down" => Ok(Workload::Down),
            None if text == "up" => Ok(Workload::Up),
            None if text == "mix" => Ok(Workload::Mix),
            Some(("once", bytes)) => read_bytes(bytes).map(Workload::Once),
            Some(("short", bytes)) => read_bytes(bytes).map(Workload::Short),
            Some(("paced", rate)) => match read_rate(rate) {
                Ok(rate) => Ok(Workload::Paced(rate)),
                Err(why) => Err(why.to_string()),
            },
            _ => Err(format!(
                "{text:?} is no workload; there are `down`, `up`, `once:2MB`, `short:100kB`, `paced:5mbit` and `mix`"
            )),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workload::Down => f.write_str("down"),
            Workload::Up => f.write_str("up"),
            Workload::Once(bytes) => write!(f, "once:{bytes}B"),
            Workload::Short(bytes) => write!(f, "short:{bytes}B"),
            Workload::Paced(rate) => write!(f, "paced:{rate}"),
            Workload::Mix => f.write_str("mix"),
        }
    }
}

/// Reads a size such as `100kB`, `2MB` or `1500B`.
///
/// # Errors
/// A text that says what is wrong.
pub fn read_bytes(text: &str) -> Result<u64, String> {
    let units = [("kB", 1_000), ("MB", 1_000_000), ("B", 1)];
    let read = units.iter().find_map(|(unit, factor)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*factor).filter(|&bytes| bytes > 0)
    });
    read.ok_or_else(|| format!("{text:?} is not a size such as `100kB` or `2MB`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_read_and_shown() {
        for (text, transfers) in [
            ("down", 1),
            ("up", 1),
            ("once:2000B", 1),
            ("short:2000B", 1),
            ("paced:5mbit", 1),
            ("mix", 3),
        ] {
            let workload: Workload = text.parse().expect(text);
            assert_eq!(workload.to_string(), text);
            assert_eq!(workload.transfers().len(), transfers);
        }
        assert_eq!(read_bytes("2MB"), Ok(2_000_000));
        for wrong in [
            "", "short", "short:", "short:0B", "short:5", "paced:x", "mix:1",
        ] {
            let error = wrong.parse::<Workload>().expect_err(wrong);
            assert!(error.contains('`'), "{error}");
        }
    }
}
