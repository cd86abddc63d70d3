//! Where a server listens, as people write it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// Longest host name (RFC 1035 section 2.3.4).
pub const MAX_HOST: usize = 253;

/// The port of servers that name none.
pub const DEFAULT_PORT: u16 = 443;

/// Where a server listens: a host name or an IP address, and a port. Written `host:port`,
/// `192.0.2.1:443` or `[2001:db8::1]:443`; read also without the port, which is then 443.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// A text is no [`HostPort`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostPortError {
    /// The host is neither a name nor an address.
    #[error("{host:?} is neither a host name nor an IP address")]
    Host {
        /// The text in its place.
        host: String,
    },
    /// The port is no port.
    #[error("{port:?} is no port: must be 1 to 65535")]
    Port {
        /// The text in its place.
        port: String,
    },
}

impl HostPort {
    /// Checks and takes over a host, without brackets, and a port.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn new(host: &str, port: u16) -> Result<Self, HostPortError> {
        if port == 0 {
            let port = port.to_string();
            return Err(HostPortError::Port { port });
        }
        if host.parse::<IpAddr>().is_err() && !is_host_name(host) {
            let host = host.chars().take(MAX_HOST + 8).collect();
            return Err(HostPortError::Host { host });
        }
        let host = host.to_owned();
        Ok(Self { host, port })
    }

    /// The host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Letters, digits, hyphens, underscores and dots; the last label is not all digits, or it would
/// be a misspelt address.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= MAX_HOST
        && host.split('.').all(label)
        && !last.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let bare_v6 = text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
        let (host, port) = match text.rsplit_once(':') {
            _ if bare_v6 => (text, None),
            // The colon is within the brackets of an address without a port.
            Some(_) if text.ends_with(']') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bracketed {
            Some(inside) if inside.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => inside,
            // An IPv6 address with a port needs brackets, else its end would be the port.
            None if !host.contains(':') || bare_v6 => host,
            _ => {
                let host = host.chars().take(MAX_HOST + 8).collect();
                return Err(HostPortError::Host { host });
            }
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port.parse().map_err(|_| HostPortError::Port {
                port: port.chars().take(16).collect(),
            })?,
        };
        Self::new(host, port)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, written) in [
            ("vps.example.net", "vps.example.net:443"),
            ("vps.example.net:8443", "vps.example.net:8443"),
            ("192.0.2.1", "192.0.2.1:443"),
            ("192.0.2.1:1", "192.0.2.1:1"),
            ("2001:db8::7", "[2001:db8::7]:443"),
            ("[2001:db8::7]", "[2001:db8::7]:443"),
            ("[2001:db8::7]:8443", "[2001:db8::7]:8443"),
            ("server", "server:443"),
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), written);
        }
        for bad in [
            "",
            ":443",
            "a b:443",
            "host:0",
            "host:65536",
            "host:",
            "-x:1",
            "192.0.2.300:443",
            "[192.0.2.1]:443",
            "[host]:443",
            "2001:db8::7:x",
            "x..y",
            "a:b:443",
            "[::1",
            "::1]:4",
        ] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
    }

    pub(crate) fn any_address() -> impl Strategy<Value = HostPort> {
        let host = prop_oneof![
            "[a-z][a-z0-9]{0,20}(\\.[a-z][a-z0-9]{0,9}){0,3}",
            any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
            any::<std::net::Ipv6Addr>().prop_map(|ip| ip.to_string()),
        ];
        (host, 1u16..).prop_map(|(host, port)| HostPort::new(&host, port).unwrap())
    }

    proptest! {
        #[test]
        fn addresses_round_trip(address in any_address()) {
            prop_assert_eq!(address.to_string().parse::<HostPort>().unwrap(), address);
        }
    }
}
