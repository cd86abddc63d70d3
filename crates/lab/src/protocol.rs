//! What is said on the keeper's control socket: a request and its reply, each
//! one line of JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::emulator::DirectionStatus;
use crate::spec::{Verb, VerbError};
use crate::topology::Node;

/// The longest line either side reads, in bytes.
pub const MAX_LINE: u64 = 1 << 20;

/// What the keeper is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How the lab is; answered with [`LabStatus`].
    Status,
    /// How its links are; answered with a list of [`LinkStatus`].
    Links,
    /// The process id, inside the lab, of what holds a node's namespaces.
    Holder(Node),
    /// Do something to a link; answered with its [`LinkStatus`].
    Link {
        /// Its name.
        link: String,
        /// What to do: a [`LinkVerb`] as text.
        verb: String,
    },
    /// End the lab. The answer comes before the end.
    Down,
}

/// What the keeper answers: the value asked for, or why not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is so.
    Ok(serde_json::Value),
    /// It is not, in words.
    Error(String),
}

/// Something to do to a link: what [`Verb`] knows, and what needs its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkVerb {
    /// Silence it, pull its cable, change its emulation, or bring it back.
    Emulation(Verb),
    /// The router's device disappears.
    Remove,
    /// The router's device comes back.
    Add,
    /// The router gets another address, as after a new DHCP lease.
    Address(IpNet),
}

/// Why a verb cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkVerbError {
    /// None of the verbs.
    #[error(
        "{verb:?} is no verb for a link; there are down, silent [in|out], up, remove, add, \
         address ADDRESS/PREFIX, set KEY=VALUE[,...]"
    )]
    Unknown {
        /// What was written.
        verb: String,
    },
    /// `address` without one.
    #[error("{text:?} is no address with a prefix length; 10.0.1.77/24 is one")]
    Address {
        /// What was written.
        text: String,
    },
    /// `set` with wrong settings.
    #[error(transparent)]
    Emulation(VerbError),
}

impl FromStr for LinkVerb {
    type Err = LinkVerbError;

    fn from_str(text: &str) -> Result<LinkVerb, LinkVerbError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["remove"] => Ok(LinkVerb::Remove),
            ["add"] => Ok(LinkVerb::Add),
            ["address", address] => {
                address
                    .parse()
                    .map(LinkVerb::Address)
                    .map_err(|_| LinkVerbError::Address {
                        text: (*address).into(),
                    })
            }
            _ => text
                .parse()
                .map(LinkVerb::Emulation)
                .map_err(|error| match error {
                    VerbError::Unknown { verb } => LinkVerbError::Unknown { verb },
                    error => LinkVerbError::Emulation(error),
                }),
        }
    }
}

impl fmt::Display for LinkVerb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkVerb::Emulation(verb) => verb.fmt(f),
            LinkVerb::Remove => f.write_str("remove"),
            LinkVerb::Add => f.write_str("add"),
            LinkVerb::Address(address) => write!(f, "address {address}"),
        }
    }
}

/// A whole lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabStatus {
    /// Its name.
    pub name: String,
    /// Where its files are.
    pub directory: String,
    /// Seconds since it was complete.
    pub uptime_seconds: f64,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
    /// Its links.
    pub links: Vec<LinkStatus>,
    /// Process ids by role, as the host sees them (as the lab does, in the
    /// keeper's own answer); none for what does not run.
    pub processes: BTreeMap<String, Option<u32>>,
    /// Processes that ended although they should not have.
    pub ended: Vec<EndedProcess>,
    /// What the router's supervisor says, if it can be asked.
    pub router: Option<serde_json::Value>,
    /// What the server's supervisor says, if it can be asked.
    pub server: Option<serde_json::Value>,
}

impl fmt::Display for LabStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "lab {}, up for {:.0} s, files in {}",
            self.name, self.uptime_seconds, self.directory
        )?;
        writeln!(f, "\nlinks")?;
        for link in &self.links {
            writeln!(f, "  {link}")?;
        }
        writeln!(f, "\nnodes")?;
        for node in &self.nodes {
            let addresses: Vec<String> = node.addresses.iter().map(IpNet::to_string).collect();
            writeln!(f, "  {:<8}  {}", node.name.name(), addresses.join("  "))?;
        }
        writeln!(f, "\nprocesses")?;
        for (role, pid) in &self.processes {
            let pid = pid.map_or_else(|| "not running".into(), |pid| pid.to_string());
            writeln!(f, "  {role:<17}  {pid}")?;
        }
        for process in &self.ended {
            writeln!(
                f,
                "  {} ended, {}; its last words are in {}",
                process.role, process.how, process.log
            )?;
        }
        for (name, status) in [("router", &self.router), ("server", &self.server)] {
            if let Some(status) = status {
                writeln!(
                    f,
                    "\n{name}: {} flows; more by `guywire lab exec --name {} {name} -- guywire {name} status`",
                    status["flows"], self.name
                )?;
                show_paths(f, status)?;
            }
        }
        Ok(())
    }
}

/// The paths in what a supervisor says, a line each.
fn show_paths(f: &mut fmt::Formatter<'_>, status: &serde_json::Value) -> fmt::Result {
    for path in status["paths"].as_array().into_iter().flatten() {
        let word = |key: &str| path[key].as_str().unwrap_or("?").to_owned();
        let round_trip = path["srtt_us"].as_f64().unwrap_or(0.0) / 1e3;
        writeln!(
            f,
            "  {:<6}  {:<10}  {round_trip:.1} ms, {} connections",
            word("link"),
            word("state"),
            path["subflows"],
        )?;
    }
    Ok(())
}

impl fmt::Display for LinkStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<6}  {:<10}  {}", self.name, self.state, self.spec)?;
        for (direction, passed) in [("down", &self.down), ("up", &self.up)] {
            if let Some(passed) = passed {
                let counters = &passed.counters;
                let (bytes, drops) = (counters.bytes as f64 / 1e6, counters.drops.total());
                write!(f, "  {direction} {bytes:.1} MB, {drops} dropped")?;
            }
        }
        Ok(())
    }
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: Node,
    /// The process that holds its namespaces.
    pub pid: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Its name, which is its device's on the router too.
    pub name: String,
    /// What it is like now.
    pub spec: String,
    /// How it is: `up`, `down`, `silent`, `silent in`, `silent out`, or
    /// `removed`.
    pub state: String,
    /// The router's addresses on it.
    pub addresses: Vec<IpNet>,
    /// Towards the router; unknown for a link without emulation.
    pub down: Option<DirectionStatus>,
    /// Away from the router; unknown for a link without emulation.
    pub up: Option<DirectionStatus>,
}

/// A process that ended although it should not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedProcess {
    /// Its role.
    pub role: String,
    /// How it ended, in words.
    pub how: String,
    /// Where its output is.
    pub log: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_display_and_read_back() {
        let verbs = [
            "down",
            "silent",
            "silent in",
            "up",
            "remove",
            "add",
            "address 10.0.1.9/24",
            "set rate=5mbit",
        ];
        for text in verbs {
            let verb: LinkVerb = text.parse().expect(text);
            assert_eq!(verb.to_string(), text);
        }
    }

    #[test]
    fn wrong_verbs_are_told_the_right_ones() {
        let error = "explode".parse::<LinkVerb>().unwrap_err().to_string();
        assert!(
            error.contains("silent [in|out]") && error.contains("remove, add"),
            "{error}"
        );
        let error = "address 10.0.1.9"
            .parse::<LinkVerb>()
            .unwrap_err()
            .to_string();
        assert!(error.contains("prefix length"), "{error}");
        assert!("set".parse::<LinkVerb>().is_err());
    }
}
