//! Kinds of values: what each accepts, how it is described, and why a value does not fit.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use guywire_transport::enrol::HostPort;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};
use toml_edit::Value;

/// All settings of a configuration file.
#[derive(Debug)]
pub struct Schema {
    /// `router` or `server`: what `guywire` command it belongs to.
    pub command: &'static str,
    /// The sections, the first one being the top of the file.
    pub sections: &'static [Section],
}

/// A table of the file, or an array of tables.
#[derive(Debug)]
pub struct Section {
    /// Its name; empty for the top of the file.
    pub name: &'static str,
    /// Written as `[[name]]`: how many there may be; otherwise `None`.
    pub repeated: Option<(usize, usize)>,
    /// What it is for.
    pub text: &'static str,
    /// Its settings.
    pub settings: &'static [Setting],
}

/// A key of a section.
#[derive(Debug)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// What a value looks like, with its bounds.
    pub kind: Kind,
    /// What holds when the key is missing.
    pub default: Absent,
    /// What it does, in which unit, and why the default is what it is.
    pub text: &'static str,
}

/// What holds when a key is missing.
#[derive(Debug, Clone, Copy)]
pub enum Absent {
    /// It must not be missing.
    Required,
    /// This value, as written in TOML.
    Is(&'static str),
    /// What the sentence says.
    Else(&'static str),
}

/// What a value looks like.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds, both inclusive.
    Integer(i64, i64),
    /// A number of bytes within bounds, both inclusive: an integer, or text such as `"64 MiB"`.
    Size(ByteSize, ByteSize),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// 1 to 63 of `a-z`, `A-Z`, `0-9`, `-`, `_`, `.`, beginning with a letter or digit.
    Name,
    /// The name of a native scheduler.
    Scheduler,
    /// A network device: 1 to 15 bytes without `/` and white space.
    Device,
    /// An address and port, such as `198.51.100.10:443` or `[2001:db8::1]:443`.
    Socket,
    /// An address or host name, perhaps with a port (default 443).
    HostPort,
    /// An address and perhaps a port (default 53).
    Resolver,
    /// An address without port.
    Address,
    /// An address or a network, such as `203.0.113.0/24`.
    Network,
    /// An absolute path.
    Path,
    /// A key in text form (52 characters of base32).
    Key,
    /// Several values, with their least and greatest number.
    List(&'static Kind, usize, usize),
}

impl Kind {
    /// Checks a value; the error says what it is, what it should be, and has no subject.
    pub(super) fn check(&self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Self::Flag, Value::Boolean(_)) => Ok(()),
            (Self::Integer(low, high), Value::Integer(number)) => {
                let number = *number.value();
                if (*low..=*high).contains(&number) {
                    return Ok(());
                }
                Err(format!("is {number}, allowed is {self}"))
            }
            (Self::Size(low, high), Value::Integer(number)) => {
                let size = u64::try_from(*number.value())
                    .map_err(|_| format!("is negative, allowed is {self}"))?;
                check_size(ByteSize(size), *low, *high)
            }
            (Self::Size(low, high), Value::String(text)) => {
                check_size(text.value().parse()?, *low, *high)
            }
            // The parts of a list are checked one by one, each with its own position.
            (Self::List(_, least, most), Value::Array(array)) => {
                if (*least..=*most).contains(&array.len()) {
                    return Ok(());
                }
                Err(format!(
                    "has {} entries, allowed are {least} to {most}",
                    array.len()
                ))
            }
            (_, Value::String(text)) if self.is_text() => self.check_text(text.value()),
            _ => Err(format!(
                "is {} {}, needed is {self}",
                article(value.type_name()),
                value.type_name()
            )),
        }
    }

    fn is_text(&self) -> bool {
        !matches!(
            self,
            Self::Flag | Self::Integer(..) | Self::Size(..) | Self::List(..)
        )
    }

    fn check_text(&self, text: &str) -> Result<(), String> {
        let fits = match self {
            Self::Choice(words) => words.contains(&text),
            Self::Name => is_name(text),
            Self::Scheduler => schedulers().any(|name| name == text),
            Self::Device => is_device(text),
            Self::Socket => text
                .parse::<SocketAddr>()
                .is_ok_and(|address| address.port() != 0),
            Self::HostPort => text.parse::<HostPort>().is_ok(),
            Self::Resolver => parse_resolver(text).is_some(),
            Self::Address => text.parse::<IpAddr>().is_ok(),
            Self::Network => parse_network(text).is_some(),
            Self::Path => text.starts_with('/') && !text.contains('\0'),
            Self::Key => is_key(text),
            Self::Flag | Self::Integer(..) | Self::Size(..) | Self::List(..) => false,
        };
        if fits {
            Ok(())
        } else {
            Err(format!("is {text:?}, needed is {self}"))
        }
    }
}

fn check_size(size: ByteSize, low: ByteSize, high: ByteSize) -> Result<(), String> {
    if (low..=high).contains(&size) {
        return Ok(());
    }
    Err(format!("is {size}, allowed is {low} to {high}"))
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o']) {
        "an"
    } else {
        "a"
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Integer(low, high) => write!(f, "a whole number from {low} to {high}"),
            Self::Size(low, high) => write!(f, "bytes, such as \"64 MiB\", from {low} to {high}"),
            Self::Choice(words) => write!(f, "one of \"{}\"", words.join("\", \"")),
            Self::Name => f.write_str("a name of 1 to 63 letters, digits, `-`, `_` or `.`"),
            Self::Scheduler => write!(
                f,
                "one of \"{}\"",
                schedulers().collect::<Vec<_>>().join("\", \"")
            ),
            Self::Device => f.write_str("the name of a network device, such as \"eth0\""),
            Self::Socket => f.write_str(
                "an address and port, such as \"198.51.100.10:443\" or \"[2001:db8::1]:443\"",
            ),
            Self::HostPort => f.write_str(
                "an address or host name, perhaps with a port, such as \"198.51.100.10:443\"",
            ),
            Self::Resolver => {
                f.write_str("an address, perhaps with a port, such as \"203.0.113.1\"")
            }
            Self::Address => f.write_str("an IP address"),
            Self::Network => f.write_str("an IP address or network, such as \"203.0.113.0/24\""),
            Self::Path => f.write_str("an absolute path"),
            Self::Key => f.write_str("a key: 52 of the characters a-z and 2-7"),
            Self::List(kind, least, most) => {
                write!(f, "a list of {least} to {most} entries, each {kind}")
            }
        }
    }
}

/// Names of the schedulers that are built in: native ones, and BPF objects.
pub fn schedulers() -> impl Iterator<Item = &'static str> {
    let native = guywire_sched::NATIVE.iter().map(|native| native.name);
    let bpf = guywire_ebpf::embedded::EMBEDDED.iter().map(|it| it.name);
    native.chain(bpf)
}

/// Whether a text may name a link.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// As the kernel's `dev_valid_name`.
fn is_device(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0')
}

fn is_key(text: &str) -> bool {
    text.len() == 52
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
}

/// A resolver: an address, perhaps with a port.
pub(crate) fn parse_resolver(text: &str) -> Option<SocketAddr> {
    let plain = text
        .parse::<IpAddr>()
        .ok()
        .map(|address| SocketAddr::new(address, 53));
    plain
        .or_else(|| text.parse().ok())
        .filter(|address| address.port() != 0)
}

/// A network, or an address as a network of one. Host bits are cut off.
pub(super) fn parse_network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        .map(|net| net.trunc())
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(
    /// Bytes.
    pub u64,
);

const UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

impl ByteSize {
    /// So many times 1,048,576 bytes.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
}

impl std::str::FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "is {text:?}, needed is a number of bytes such as \"64 MiB\" (B, kB, KiB, MB, MiB, GB, GiB)"
            )
        };
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim();
        let factor = match UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        {
            Some((_, factor)) => *factor,
            None if unit.is_empty() => 1,
            None => return Err(wrong()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, factor) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{} {name}", self.0 / factor);
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self(number)),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}
