//! Settings of schedulers: classes of traffic, and what schedulers may cost.

use std::collections::HashSet;

use serde::Deserialize;

use super::check::Check;
use super::schema::{Absent, Kind, Section, Setting, parse_network};
use crate::worker::{Budget, ClassRule};

pub(super) const CLASS: Section = Section {
    name: "class",
    repeated: Some((0, 15)),
    text: "Traffic with a scheduler of its own, for example redundant for SSH. A connection belongs to the first class of \
           which it meets everything that is given.",
    settings: &[
        Setting {
            key: "name",
            kind: Kind::Name,
            default: Absent::Required,
            text: "Its name, for `guywire sched use --class NAME`. Names must differ.",
        },
        Setting {
            key: "scheduler",
            kind: Kind::Scheduler,
            default: Absent::Else("the one of all other traffic"),
            text: "Its scheduler.",
        },
        Setting {
            key: "ports",
            kind: Kind::List(&Kind::Integer(1, 65_535), 1, 64),
            default: Absent::Else("any"),
            text: "Destination ports.",
        },
        Setting {
            key: "sources",
            kind: Kind::List(&Kind::Network, 1, 64),
            default: Absent::Else("any"),
            text: "Addresses and networks of the LAN that the connection comes from.",
        },
        Setting {
            key: "dscp",
            kind: Kind::List(&Kind::Integer(0, 63), 1, 64),
            default: Absent::Else("any"),
            text: "Values of DSCP in the connection's first packet.",
        },
    ],
};

/// What a scheduler may take.
pub(super) const SHARE: Setting = Setting {
    key: "share",
    kind: Kind::Integer(1, 100),
    default: Absent::Is("20"),
    text: "Percent of a processor that the schedulers of one session may take together; a scheduler that takes more is \
           ejected. Those built into Guywire take less than 5.",
};

/// What a call of a scheduler may take.
pub(super) const INSTRUCTIONS: Setting = Setting {
    key: "instructions",
    kind: Kind::Integer(1_000, 10_000_000),
    default: Absent::Is("100000"),
    text: "Instructions that one decision of a BPF scheduler may take; one that needs more is ejected. The dearest of \
           Linux's own needs 400 with eight links.",
};

/// A router's section.
pub(super) const SCHEDULERS: Section = Section {
    name: "schedulers",
    repeated: None,
    text: "What schedulers may cost before they are ejected.",
    settings: &[SHARE, INSTRUCTIONS],
};

/// A class as written.
#[derive(Deserialize)]
pub(super) struct WrittenClass {
    name: String,
    scheduler: Option<String>,
    #[serde(default)]
    ports: Vec<u16>,
    #[serde(default)]
    sources: Vec<String>,
    #[serde(default)]
    dscp: Vec<u8>,
}

/// What schedulers may cost, as written, at either end.
#[derive(Deserialize, Default)]
pub(super) struct WrittenBudget {
    share: Option<u8>,
    instructions: Option<u64>,
}

impl WrittenBudget {
    pub(super) fn resolve(&self) -> Budget {
        Budget::new(self.share, self.instructions)
    }
}

/// Traffic with a scheduler of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassConfig {
    /// Its name.
    pub name: String,
    /// Its scheduler; `None`: as all other traffic.
    pub scheduler: Option<String>,
    /// What belongs to it.
    pub rule: ClassRule,
}

impl WrittenClass {
    pub(super) fn resolve(self) -> ClassConfig {
        let networks = self.sources.iter().filter_map(|net| parse_network(net));
        ClassConfig {
            rule: ClassRule {
                ports: self.ports,
                sources: networks.collect(),
                dscp: self.dscp,
            },
            name: self.name,
            scheduler: self.scheduler,
        }
    }
}

/// Finds names that are used twice, and classes of everything.
pub(super) fn check_classes(classes: &[ClassConfig], check: &mut Check<'_>) {
    let mut names = HashSet::new();
    for (index, class) in classes.iter().enumerate() {
        if !names.insert(&class.name) {
            let what = format!("two classes are named \"{}\"; rename one", class.name);
            check.problem_at("class", index, "name", what);
        }
        if class.rule == ClassRule::default() {
            let what = format!(
                "class \"{}\" has no `ports`, `sources` or `dscp`, and so would be all traffic: that is the `scheduler` \
                     at the top of the file",
                class.name
            );
            check.problem_at("class", index, "name", what);
        }
    }
}
