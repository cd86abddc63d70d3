//! The server's settings: the table, as written, resolved, and a first file for `server init`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use guywire_transport::enrol::HostPort;
use guywire_transport::enrol::invitation::MAX_ADDRESSES;
use ipnet::IpNet;
use serde::Deserialize;

use super::check::Check;
use super::router::{LIMITS, WrittenLimits};
use super::schedulers::{INSTRUCTIONS, SHARE, WrittenBudget};
use super::schema::{
    Absent, ByteSize, Kind, Schema, Section, Setting, parse_network, parse_resolver,
};
use super::{ConfigError, read};
use crate::worker::Budget;

/// All settings of server.toml.
pub static SERVER: Schema = Schema {
    command: "server",
    sections: &[TOP, DNS, POLICY, SCHEDULERS, LIMITS],
};

const TOP: Section = Section {
    name: "",
    repeated: None,
    text: "General settings; they come before the first section.",
    settings: &[
        Setting {
            key: "listen",
            kind: Kind::List(&Kind::Socket, 1, 16),
            default: Absent::Is("[\"0.0.0.0:443\", \"[::]:443\"]"),
            text: "Addresses and ports for routers, all families by default. Port 443 passes most firewalls.",
        },
        Setting {
            key: "address",
            kind: Kind::List(&Kind::HostPort, 1, MAX_ADDRESSES),
            default: Absent::Required,
            text: "How routers reach this server from the Internet; it goes into invitations. One for IPv4 and one for IPv6 is best.",
        },
        Setting {
            key: "state_dir",
            kind: Kind::Path,
            default: Absent::Is("\"/var/lib/guywire\""),
            text: "Directory of the server's key, its routers and invitations. It must survive reboots. `--state` overrides it.",
        },
        Setting {
            key: "run_dir",
            kind: Kind::Path,
            default: Absent::Is("\"/run/guywire\""),
            text: "Directory of the control socket and of process ids. It may vanish at a reboot. `--run` overrides it.",
        },
    ],
};

const DNS: Section = Section {
    name: "dns",
    repeated: None,
    text: "Who answers the DNS questions of the routers' LANs.",
    settings: &[Setting {
        key: "resolvers",
        kind: Kind::List(&Kind::Resolver, 1, 8),
        default: Absent::Else("those of /etc/resolv.conf when the server starts"),
        text: "Resolvers that the server asks over UDP and TCP; the port is 53 unless given.",
    }],
};

const POLICY: Section = Section {
    name: "policy",
    repeated: None,
    text: "Where routers may connect to. By default every public address, and not: the server itself, loopback, private, \
           link-local, multicast, v4-mapped and NAT64 ranges, and port 25.",
    settings: &[
        Setting {
            key: "allow",
            kind: Kind::List(&Kind::Network, 0, 1024),
            default: Absent::Is("[]"),
            text: "Networks that are allowed although they are refused by default.",
        },
        Setting {
            key: "allow_ports",
            kind: Kind::List(&Kind::Integer(1, 65_535), 0, 64),
            default: Absent::Is("[]"),
            text: "Ports that are allowed although they are refused by default: 25, which is refused since one infected \
                   machine in the LAN is enough to get the server's address listed as a source of spam.",
        },
    ],
};

const SCHEDULERS: Section = Section {
    name: "schedulers",
    repeated: None,
    text: "Which schedulers routers may choose for what the server sends them: any that is built in, and of the routers \
           named here also BPF objects of their own. Those run in the metered machine, under the same guard as at the router.",
    settings: &[
        Setting {
            key: "objects_from",
            kind: Kind::List(&Kind::Name, 0, 1024),
            default: Absent::Is("[]"),
            text: "Names of the routers that may send objects.",
        },
        SHARE,
        INSTRUCTIONS,
    ],
};

#[derive(Deserialize)]
struct Written {
    listen: Option<Vec<SocketAddr>>,
    address: Vec<String>,
    state_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    #[serde(default)]
    dns: WrittenDns,
    #[serde(default)]
    policy: WrittenPolicy,
    #[serde(default)]
    schedulers: WrittenSchedulers,
    #[serde(default)]
    limits: WrittenLimits,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenSchedulers {
    objects_from: Vec<String>,
    #[serde(flatten)]
    budget: WrittenBudget,
}

#[derive(Deserialize, Default)]
struct WrittenDns {
    resolvers: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenPolicy {
    allow: Vec<String>,
    allow_ports: Vec<u16>,
}

/// A server's configuration, complete and valid.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Where routers are listened for; at least one.
    pub listen: Vec<SocketAddr>,
    /// How routers reach the server; 1 to 8.
    pub address: Vec<HostPort>,
    /// Directory of key, routers and invitations.
    pub state_dir: PathBuf,
    /// Directory of sockets and process ids.
    pub run_dir: PathBuf,
    /// Resolvers; `None`: those of /etc/resolv.conf.
    pub resolvers: Option<Vec<SocketAddr>>,
    /// Destinations that are allowed in addition.
    pub allow: Vec<IpNet>,
    /// Destination ports that are allowed in addition.
    pub allow_ports: Vec<u16>,
    /// Names of the routers that may send schedulers of their own.
    pub objects_from: Vec<String>,
    /// What the schedulers of a session may take.
    pub budget: Budget,
    /// Bound on buffered data of a session.
    pub session_memory: ByteSize,
    /// Bound on flows of a session.
    pub max_flows: u32,
}

impl ServerConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, or why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let next = "`guywire server init` writes one";
        Self::parse(path, &read(path, next)?)
    }

    /// Checks the text of a file; `path` is for the errors.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut check = Check::new(path, text, &SERVER)?;
        let written: Written = check.read()?;
        Ok(resolve(written))
    }
}

fn resolve(written: Written) -> ServerConfig {
    let (session_memory, max_flows) = written.limits.resolve();
    let resolvers = written.dns.resolvers;
    ServerConfig {
        listen: written.listen.unwrap_or_else(default_listen),
        address: written
            .address
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
        state_dir: written.state_dir.unwrap_or_else(|| crate::STATE_DIR.into()),
        run_dir: written.run_dir.unwrap_or_else(|| crate::RUN_DIR.into()),
        resolvers: resolvers.map(|list| {
            list.iter()
                .filter_map(|text| parse_resolver(text))
                .collect()
        }),
        allow: written
            .policy
            .allow
            .iter()
            .filter_map(|net| parse_network(net))
            .collect(),
        allow_ports: written.policy.allow_ports,
        objects_from: written.schedulers.objects_from,
        budget: written.schedulers.budget.resolve(),
        session_memory,
        max_flows,
    }
}

fn default_listen() -> Vec<SocketAddr> {
    vec![
        (std::net::Ipv4Addr::UNSPECIFIED, 443).into(),
        (std::net::Ipv6Addr::UNSPECIFIED, 443).into(),
    ]
}

/// What `server init` knows when it writes a first configuration.
#[derive(Debug, Clone, Default)]
pub struct NewServer {
    /// How routers reach the server.
    pub address: Vec<HostPort>,
    /// Where it listens; empty for the default.
    pub listen: Vec<SocketAddr>,
    /// The state directory, if not the default; absolute.
    pub state_dir: Option<PathBuf>,
    /// The run directory, if not the default; absolute.
    pub run_dir: Option<PathBuf>,
    /// Names of the routers that may send schedulers of their own.
    pub objects_from: Vec<String>,
}

impl NewServer {
    /// The file, in TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::from(
            "# Written by `guywire server init`. `guywire server config --explain` describes every key.\n\n",
        );
        let list = |texts: Vec<String>| {
            let quoted: Vec<String> = texts
                .iter()
                .map(|text| toml_edit::Value::from(text).to_string())
                .collect();
            format!("[{}]", quoted.join(", "))
        };
        let _ = writeln!(
            out,
            "# How routers reach this server; it goes into invitations.\naddress = {}",
            list(self.address.iter().map(HostPort::to_string).collect())
        );
        if !self.listen.is_empty() {
            let _ = writeln!(
                out,
                "listen = {}",
                list(self.listen.iter().map(SocketAddr::to_string).collect())
            );
        }
        out += &super::directories(self.state_dir.as_deref(), self.run_dir.as_deref());
        if !self.objects_from.is_empty() {
            let names = list(self.objects_from.clone());
            let _ = writeln!(out, "\n[schedulers]\nobjects_from = {names}");
        }
        out
    }
}
