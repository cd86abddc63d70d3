//! What supervisor and worker say of schedulers.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Decisions are reported for so long after they were asked for.
pub const TRACE_FOR: Duration = Duration::from_secs(3);

/// Which scheduler: two of one name may differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SchedulerId {
    /// Its name.
    pub name: String,
    /// SHA-256 of its object, hexadecimal; none for a native one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

impl SchedulerId {
    /// Whether people may mean this one by `word`: its name, or at least 8 digits of its hash.
    #[must_use]
    pub fn is_meant_by(&self, word: &str) -> bool {
        let hash = self.hash.as_deref().unwrap_or_default();
        self.name == word || (word.len() >= 8 && hash.starts_with(word))
    }
}

impl fmt::Display for SchedulerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.hash.as_deref().and_then(|hash| hash.get(..8)) {
            Some(digits) => write!(f, " ({digits})"),
            None => Ok(()),
        }
    }
}

/// What schedulers may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Percent of a processor, all of a session together.
    pub share: u8,
    /// Instructions of one decision.
    pub instructions: u64,
}

impl Budget {
    pub(crate) fn new(share: Option<u8>, instructions: Option<u64>) -> Self {
        Self {
            share: share.unwrap_or(20),
            instructions: instructions.unwrap_or(100_000),
        }
    }
}

/// What schedules which flows of a router.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SchedulerSetup {
    /// The classes, in the order in which they are tried.
    pub classes: Vec<ClassSetup>,
    /// What schedules them. A class that is not named is scheduled as class 0, and that with `default`.
    pub chosen: Vec<ChosenScheduler>,
    /// Hashes of the objects that travel with this message, as files.
    pub fds: Vec<String>,
}

/// A class of flows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassSetup {
    /// From 1; 0 is what belongs to no class.
    pub id: u8,
    /// What belongs to it.
    pub rule: ClassRule,
}

/// What belongs to a class: what meets every list that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClassRule {
    /// Destination ports.
    pub ports: Vec<u16>,
    /// Where the client is.
    pub sources: Vec<IpNet>,
    /// DSCP of the connection's first packet.
    pub dscp: Vec<u8>,
}

impl ClassRule {
    /// Whether a connection belongs to it.
    pub fn takes(&self, source: IpAddr, port: u16, dscp: u8) -> bool {
        (self.ports.is_empty() || self.ports.contains(&port))
            && (self.sources.is_empty() || self.sources.iter().any(|net| net.contains(&source)))
            && (self.dscp.is_empty() || self.dscp.contains(&dscp))
    }
}

/// What schedules the flows of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenScheduler {
    /// The class.
    pub class: u8,
    /// The scheduler.
    pub id: SchedulerId,
    /// Of several that are marked each takes the next chunk, as in the kernel.
    pub in_turn: bool,
    /// What its maps hold at first.
    pub maps: Vec<MapSetting>,
}

/// A value for a map of a scheduler; both parts hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapSetting {
    /// The map.
    pub map: String,
    /// The key's bytes.
    pub key: String,
    /// The value's bytes.
    pub value: String,
}

/// What schedules the flows of a class in a session just now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerReport {
    /// The other end: the router's name on a server, `server` on a router.
    pub session: String,
    /// The class.
    pub class: u8,
    /// What schedules them at this end.
    pub here: SchedulerId,
    /// What the server was asked to use (router).
    pub asked: Option<SchedulerId>,
    /// What the server said to that (router); `None` while it has said nothing.
    pub answer: Option<Answer>,
    /// Decisions at this end.
    pub decisions: u64,
}

/// What a server said to a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Answer {
    /// It uses it.
    InUse,
    /// It does not use it.
    Refused {
        /// Why.
        text: String,
    },
    /// It used it, and ejected it.
    Ejected {
        /// Name of the reason.
        reason: String,
        /// What happened.
        text: String,
    },
}

/// A scheduler was ejected: what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ejection {
    /// The scheduler.
    pub scheduler: SchedulerId,
    /// The other end of the session.
    pub session: String,
    /// Name of the reason.
    pub reason: String,
    /// What happened.
    pub text: String,
    /// The flow in which it happened.
    pub flow: u64,
    /// The instruction at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pc: Option<usize>,
    /// The instructions around it, a line each.
    pub listing: Vec<String>,
    /// Its last decisions, oldest first.
    pub decisions: Vec<TracedDecision>,
    /// The session's paths, a line each.
    pub paths: Vec<String>,
    /// What it printed last.
    pub log: Vec<String>,
}

/// A decision of a scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedDecision {
    /// The other end of the session.
    pub session: String,
    /// The class.
    pub class: u8,
    /// Counts the decisions of the class, from 0.
    pub number: u64,
    /// Microseconds since the session began.
    pub at_us: u64,
    /// The flow.
    pub flow: u64,
    /// The question was where lost data goes again, not where the next goes.
    pub retrans: bool,
    /// The paths that were shown.
    pub shown: Vec<u8>,
    /// Those of them that were marked.
    pub marked: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_takes_what_meets_all_its_lists() {
        let rule = ClassRule {
            ports: vec![22, 2222],
            sources: vec!["192.168.1.0/24".parse().unwrap()],
            dscp: vec![46],
        };
        let (inside, outside) = ([192, 168, 1, 7].into(), [192, 168, 2, 7].into());
        assert!(rule.takes(inside, 22, 46));
        assert!(!rule.takes(inside, 80, 46));
        assert!(!rule.takes(outside, 22, 46));
        assert!(!rule.takes(inside, 2222, 0));
        assert!(ClassRule::default().takes(outside, 1, 0));
    }

    #[test]
    fn people_name_a_scheduler_by_name_or_hash() {
        let id = SchedulerId {
            name: "mine".into(),
            hash: Some("0123456789abcdef".into()),
        };
        assert!(id.is_meant_by("mine") && id.is_meant_by("01234567"));
        assert!(!id.is_meant_by("0123456") && !id.is_meant_by("12345678"));
        assert_eq!(id.to_string(), "mine (01234567)");
    }
}
