//! The router's settings: the table, as written, resolved, and a first file for `router join`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

use super::check::Check;
use super::schedulers::{
    CLASS, ClassConfig, SCHEDULERS, WrittenBudget, WrittenClass, check_classes,
};
use super::schema::{Absent, ByteSize, Kind, Schema, Section, Setting, parse_network};
use super::{ConfigError, read};
use crate::worker::{Budget, Priority, SecretText, ServerPeer};

/// All settings of router.toml.
pub static ROUTER: Schema = Schema {
    command: "router",
    sections: &[
        TOP, SERVER, LAN, LINK, CLASS, CAPTURE, DNS, SCHEDULERS, LIMITS,
    ],
};

const TOP: Section = Section {
    name: "",
    repeated: None,
    text: "General settings; they come before the first section.",
    settings: &[
        Setting {
            key: "name",
            kind: Kind::Name,
            default: Absent::Is("\"router\""),
            text: "The router's name on its server, for logs and status pages; `router join` writes it.",
        },
        Setting {
            key: "scheduler",
            kind: Kind::Scheduler,
            default: Absent::Is("\"default\""),
            text: "Decides which links carry the next piece of a connection, both ways: `default` (all links, fastest delivery \
                   first), `redundant` (every piece on every link), and others; `guywire sched list` shows them. \
                   `guywire sched use` chooses another while the router runs; that choice lasts, and comes before this one.",
        },
        Setting {
            key: "state_dir",
            kind: Kind::Path,
            default: Absent::Is("\"/var/lib/guywire\""),
            text: "Directory of the router's key. It must survive reboots. `--state` overrides it.",
        },
        Setting {
            key: "run_dir",
            kind: Kind::Path,
            default: Absent::Is("\"/run/guywire\""),
            text: "Directory of the control socket and of process ids. It may vanish at a reboot. `--run` overrides it.",
        },
    ],
};

const SERVER: Section = Section {
    name: "server",
    repeated: None,
    text: "The server at the far end, as `router join` got it from the invitation.",
    settings: &[
        Setting {
            key: "addresses",
            kind: Kind::List(&Kind::Socket, 1, 16),
            default: Absent::Required,
            text: "Where the server listens. A link uses an IPv4 or an IPv6 address, whichever it reaches.",
        },
        Setting {
            key: "public_key",
            kind: Kind::Key,
            default: Absent::Required,
            text: "The server's public key. A server with any other key is refused.",
        },
        Setting {
            key: "tag_key",
            kind: Kind::Key,
            default: Absent::Required,
            text: "Secret that lets the server tell its routers from strangers before it spends work on them.",
        },
    ],
};

const LAN: Section = Section {
    name: "lan",
    repeated: None,
    text: "The side whose traffic is bonded.",
    settings: &[Setting {
        key: "devices",
        kind: Kind::List(&Kind::Device, 1, 32),
        default: Absent::Required,
        text: "Devices of the LAN. TCP connections that enter here for public addresses go through Guywire.",
    }],
};

const LINK: Section = Section {
    name: "link",
    repeated: Some((1, 16)),
    text: "A WAN. Its number, from 1, is its position in the file.",
    settings: &[
        Setting {
            key: "name",
            kind: Kind::Name,
            default: Absent::Else("the device's name"),
            text: "Its name in logs and status. Names must differ.",
        },
        Setting {
            key: "device",
            kind: Kind::Device,
            default: Absent::Required,
            text: "Its network device. Addresses and routes are the system's business; they may come and go.",
        },
        Setting {
            key: "priority",
            kind: Kind::Choice(&["normal", "backup"]),
            default: Absent::Is("\"normal\""),
            text: "`backup`: used only while no normal link works.",
        },
        Setting {
            key: "cost",
            kind: Kind::Integer(0, 1_000_000),
            default: Absent::Is("0"),
            text: "What a byte costs here, relative to other links; schedulers may prefer cheaper links. No unit.",
        },
        Setting {
            key: "congestion",
            kind: Kind::Name,
            default: Absent::Else(
                "BBR where the kernel has it, since it keeps its rate on links with loss; else the kernel's own",
            ),
            text: "TCP congestion control on this link, such as `bbr`, `cubic`, `reno`.",
        },
        Setting {
            key: "metered",
            kind: Kind::Flag,
            default: Absent::Is("false"),
            text: "Data costs money here: probe an idle link every 30 s instead of every 400 ms.",
        },
    ],
};

const CAPTURE: Section = Section {
    name: "capture",
    repeated: None,
    text: "What of the LAN's traffic is taken. Private, local and multicast destinations never are.",
    settings: &[
        Setting {
            key: "bypass",
            kind: Kind::List(&Kind::Network, 0, 1024),
            default: Absent::Is("[]"),
            text: "Destinations that stay outside Guywire: they leave as the system's routes say. To reach services on the \
                   server's own address from the LAN, put it here: through Guywire the server refuses itself.",
        },
        Setting {
            key: "reject_quic",
            kind: Kind::Flag,
            default: Absent::Is("true"),
            text: "Refuse UDP to port 443, so that browsers use TCP, which is bonded. Other UDP leaves by the best link.",
        },
        Setting {
            key: "fail",
            kind: Kind::Choice(&["open", "closed"]),
            default: Absent::Is("\"open\""),
            text: "When Guywire cannot work (it crashes again and again): `open`, the LAN uses the best link unbonded; \
                   `closed`, nothing leaves the LAN unless it is bonded.",
        },
    ],
};

const DNS: Section = Section {
    name: "dns",
    repeated: None,
    text: "Names for the LAN: the router answers on port 53, the server asks its resolvers.",
    settings: &[
        Setting {
            key: "enabled",
            kind: Kind::Flag,
            default: Absent::Is("true"),
            text: "Answer the LAN's DNS questions. Switch it off where another program on the router owns port 53. While \
                   Guywire fails open, the resolvers of the router's own /etc/resolv.conf are asked.",
        },
        Setting {
            key: "addresses",
            kind: Kind::List(&Kind::Address, 0, 8),
            default: Absent::Else("all addresses of the LAN devices, without link-local ones"),
            text: "Addresses of the router on which it answers.",
        },
    ],
};

pub(super) const LIMITS: Section = Section {
    name: "limits",
    repeated: None,
    text: "Bounds of one session.",
    settings: &[
        Setting {
            key: "session_memory",
            kind: Kind::Size(ByteSize::mib(4), ByteSize::mib(4096)),
            default: Absent::Is("\"64 MiB\""),
            text: "Most memory for data on its way, at this end, in each direction. Fast long links need 2 x rate x round trip: 1 Gbit/s at 100 ms \
                   is 25 MB. Less memory slows connections down, it never breaks them.",
        },
        Setting {
            key: "max_flows",
            kind: Kind::Integer(16, 65_536),
            default: Absent::Is("4096"),
            text: "Most connections at one time; further ones are refused. Each costs two file descriptors' worth of kernel memory, and needs 8 kB of `session_memory`: \
                   10,000 need 80 MiB.",
        },
    ],
};

#[derive(Deserialize)]
struct Written {
    name: Option<String>,
    scheduler: Option<String>,
    state_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    server: WrittenServer,
    lan: WrittenLan,
    link: Vec<WrittenLink>,
    #[serde(default)]
    class: Vec<WrittenClass>,
    #[serde(default)]
    schedulers: WrittenBudget,
    #[serde(default)]
    capture: WrittenCapture,
    #[serde(default)]
    dns: WrittenDns,
    #[serde(default)]
    limits: WrittenLimits,
}

#[derive(Deserialize)]
struct WrittenServer {
    addresses: Vec<SocketAddr>,
    public_key: String,
    tag_key: String,
}

#[derive(Deserialize)]
struct WrittenLan {
    devices: Vec<String>,
}

#[derive(Deserialize)]
struct WrittenLink {
    name: Option<String>,
    device: String,
    priority: Option<Priority>,
    cost: Option<u32>,
    congestion: Option<String>,
    metered: Option<bool>,
}

#[derive(Deserialize, Default)]
struct WrittenCapture {
    #[serde(default)]
    bypass: Vec<String>,
    reject_quic: Option<bool>,
    fail: Option<Fail>,
}

#[derive(Deserialize, Default)]
struct WrittenDns {
    enabled: Option<bool>,
    addresses: Option<Vec<IpAddr>>,
}

#[derive(Deserialize, Default)]
pub(super) struct WrittenLimits {
    session_memory: Option<ByteSize>,
    max_flows: Option<u32>,
}

impl WrittenLimits {
    pub(super) fn resolve(&self) -> (ByteSize, u32) {
        (
            self.session_memory.unwrap_or(ByteSize::mib(64)),
            self.max_flows.unwrap_or(4096),
        )
    }
}

/// A router's configuration, complete and valid.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterConfig {
    /// The router's name.
    pub name: String,
    /// Name of the scheduler.
    pub scheduler: String,
    /// Traffic with a scheduler of its own.
    pub classes: Vec<ClassConfig>,
    /// What schedulers may take.
    pub budget: Budget,
    /// Directory of the key.
    pub state_dir: PathBuf,
    /// Directory of sockets and process ids.
    pub run_dir: PathBuf,
    /// The server.
    pub server: ServerPeer,
    /// Devices of the LAN; at least one, none of them a link's.
    pub lan: Vec<String>,
    /// The links; at least one, names and devices differ.
    pub links: Vec<LinkConfig>,
    /// What is captured.
    pub capture: Capture,
    /// Whether DNS is answered.
    pub dns: bool,
    /// Where it is answered; `None`: on all addresses of the LAN devices.
    pub dns_addresses: Option<Vec<IpAddr>>,
    /// Bound on buffered data.
    pub session_memory: ByteSize,
    /// Bound on flows.
    pub max_flows: u32,
}

/// A configured link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// Its position in the file, from 1.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// Its device.
    pub device: String,
    /// When it is used.
    pub priority: Priority,
    /// Relative cost of a byte.
    pub cost: u32,
    /// Congestion control, if not the default.
    pub congestion: Option<String>,
    /// Probe rarely.
    pub metered: bool,
}

/// What of the LAN's traffic is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Destinations that are not.
    pub bypass: Vec<IpNet>,
    /// Refuse UDP 443.
    pub reject_quic: bool,
    /// What happens when Guywire cannot work.
    pub fail: Fail,
}

/// What happens to the LAN when Guywire cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fail {
    /// It uses the best link, unbonded.
    Open,
    /// It is cut off.
    Closed,
}

impl RouterConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, or why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let next = "`guywire router join LINE` writes one";
        Self::parse(path, &read(path, next)?)
    }

    /// Checks the text of a file; `path` is for the errors.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut check = Check::new(path, text, &ROUTER)?;
        let written: Written = check.read()?;
        let config = resolve(written);
        config.cross_check(&mut check);
        check.finish()?;
        Ok(config)
    }

    fn cross_check(&self, check: &mut Check<'_>) {
        let lan: HashSet<&str> = self.lan.iter().map(String::as_str).collect();
        let (mut names, mut devices) = (HashSet::new(), HashSet::new());
        for (index, link) in self.links.iter().enumerate() {
            if !names.insert(&link.name) {
                let what = format!("two links are named \"{}\"; rename one", link.name);
                check.problem_at("link", index, "name", what);
            }
            if !devices.insert(&link.device) {
                let what = format!(
                    "two links use the device \"{}\"; a link needs one of its own",
                    link.device
                );
                check.problem_at("link", index, "device", what);
            }
            if lan.contains(link.device.as_str()) {
                let what = format!(
                    "\"{}\" is also in `lan.devices`; remove it from one of the two",
                    link.device
                );
                check.problem_at("link", index, "device", what);
            }
        }
        check_classes(&self.classes, check);
    }
}

fn resolve(written: Written) -> RouterConfig {
    let (session_memory, max_flows) = written.limits.resolve();
    let links = (1..).zip(written.link).map(|(id, link)| LinkConfig {
        id,
        name: link.name.unwrap_or_else(|| link.device.clone()),
        device: link.device,
        priority: link.priority.unwrap_or_default(),
        cost: link.cost.unwrap_or(0),
        congestion: link.congestion,
        metered: link.metered.unwrap_or(false),
    });
    RouterConfig {
        name: written.name.unwrap_or_else(|| "router".into()),
        scheduler: written.scheduler.unwrap_or_else(|| "default".into()),
        classes: written
            .class
            .into_iter()
            .map(WrittenClass::resolve)
            .collect(),
        budget: written.schedulers.resolve(),
        state_dir: written.state_dir.unwrap_or_else(|| crate::STATE_DIR.into()),
        run_dir: written.run_dir.unwrap_or_else(|| crate::RUN_DIR.into()),
        server: ServerPeer {
            addresses: written.server.addresses,
            public_key: written.server.public_key,
            tag_key: SecretText(written.server.tag_key),
        },
        lan: written.lan.devices,
        links: links.collect(),
        capture: Capture {
            bypass: written
                .capture
                .bypass
                .iter()
                .filter_map(|net| parse_network(net))
                .collect(),
            reject_quic: written.capture.reject_quic.unwrap_or(true),
            fail: written.capture.fail.unwrap_or(Fail::Open),
        },
        dns: written.dns.enabled.unwrap_or(true),
        dns_addresses: written.dns.addresses,
        session_memory,
        max_flows,
    }
}

/// What `router join` knows when it writes a first configuration.
#[derive(Debug, Clone)]
pub struct NewRouter {
    /// The router's name on the server.
    pub name: String,
    /// The server.
    pub server: ServerPeer,
    /// Devices of the LAN.
    pub lan: Vec<String>,
    /// Devices of the links.
    pub wan: Vec<String>,
    /// Destinations outside Guywire.
    pub bypass: Vec<IpNet>,
    /// The scheduler, if not the default.
    pub scheduler: Option<String>,
    /// The state directory, if not the default; absolute.
    pub state_dir: Option<PathBuf>,
    /// The run directory, if not the default; absolute.
    pub run_dir: Option<PathBuf>,
}

impl NewRouter {
    /// The file, in TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::from(
            "# Written by `guywire router join`. It holds a secret (server.tag_key): keep its mode 0600.\n\
             # `guywire router config --explain` describes every key.\n\n",
        );
        let quoted = |text: &str| toml_edit::Value::from(text).to_string();
        let list = |texts: Vec<String>| {
            format!(
                "[{}]",
                texts
                    .iter()
                    .map(|text| quoted(text))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        };
        let addresses = self
            .server
            .addresses
            .iter()
            .map(SocketAddr::to_string)
            .collect();
        let _ = writeln!(out, "name = {}", quoted(&self.name));
        if let Some(scheduler) = &self.scheduler {
            let _ = writeln!(out, "scheduler = {}", quoted(scheduler));
        }
        out += &super::directories(self.state_dir.as_deref(), self.run_dir.as_deref());
        let _ = writeln!(out, "\n[server]\naddresses = {}", list(addresses));
        let _ = writeln!(out, "public_key = {}", quoted(&self.server.public_key));
        let _ = writeln!(out, "tag_key = {}", quoted(&self.server.tag_key));
        let _ = writeln!(out, "\n[lan]\ndevices = {}", list(self.lan.clone()));
        for device in &self.wan {
            let _ = writeln!(
                out,
                "\n[[link]]\nname = {}\ndevice = {}",
                quoted(device),
                quoted(device)
            );
        }
        if !self.bypass.is_empty() {
            let nets = self.bypass.iter().map(IpNet::to_string).collect();
            let _ = writeln!(out, "\n[capture]\nbypass = {}", list(nets));
        }
        out
    }
}
