//! What a lab shall be: written by the command that starts it, read by its keeper.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::internet::content::MAX_BYTES;
use crate::scenario::{self, Scenario, TransferDirection};
use crate::spec::LinkSpecs;

/// A lab to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its links, as [`crate::spec::LinkSpecs`] reads them.
    pub links: String,
    /// The scheduler the router uses; its own default if none is named.
    pub scheduler: Option<String>,
    /// Whether the server takes schedulers' objects from the router.
    pub objects: bool,
    /// How many connections both ends permit, and memory for as many; their own defaults if nothing is said.
    pub flows: Option<u32>,
    /// Whether Guywire runs on router and server. Without it the router is a
    /// plain multi-WAN box that masquerades.
    pub guywire: bool,
    /// Seed of everything that happens by chance.
    pub seed: u64,
    /// What happens to the links once the lab is complete, sorted by time.
    pub events: VecDeque<PlannedEvent>,
    /// What the client transfers once the lab is complete.
    pub transfers: Vec<PlannedTransfer>,
}

/// Something that happens to a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedEvent {
    /// When, from the moment the lab is complete.
    pub at: Duration,
    /// The link's name.
    pub link: String,
    /// What happens: a [`crate::protocol::LinkVerb`] as text.
    pub verb: String,
}

/// Something the client transfers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTransfer {
    /// When, from the moment the lab is complete.
    pub at: Duration,
    /// What the measuring client (`guywire lab fetch`) is told.
    pub arguments: Vec<String>,
}

impl Plan {
    /// A lab with these links, in which nothing happens by itself.
    pub fn new(links: &LinkSpecs) -> Plan {
        Plan {
            links: links.to_string(),
            scheduler: None,
            objects: false,
            flows: None,
            guywire: true,
            seed: 0,
            events: VecDeque::new(),
            transfers: Vec::new(),
        }
    }

    /// A lab in which a scenario is played.
    pub fn play(scenario: &Scenario) -> Plan {
        let event = |event: &scenario::Event| PlannedEvent {
            at: event.at,
            link: format!("wan{}", event.link),
            verb: event.verb.to_string(),
        };
        let planned = |transfer: &scenario::Transfer| -> Vec<PlannedTransfer> {
            let begins = transfer.begins(scenario.duration);
            let at = |at| PlannedTransfer {
                at,
                arguments: arguments(transfer, scenario.duration.saturating_sub(at)),
            };
            begins.map(at).collect()
        };
        Plan {
            seed: scenario.seed,
            events: scenario.events.iter().map(event).collect(),
            transfers: scenario.transfers.iter().flat_map(planned).collect(),
            ..Plan::new(&scenario.links)
        }
    }
}

/// How the measuring client is told to do a scenario's transfer, which has
/// `left` until the scenario's end.
fn arguments(transfer: &scenario::Transfer, left: Duration) -> Vec<String> {
    let mut arguments = vec![
        "--json".to_owned(),
        "--count".into(),
        transfer.flows.to_string(),
    ];
    if transfer.bytes.is_none() {
        arguments.extend(["--seconds".into(), left.as_secs_f64().to_string()]);
    }
    let bytes = transfer.bytes.unwrap_or(MAX_BYTES);
    match (transfer.direction, transfer.rate) {
        (TransferDirection::Down, None) => {
            arguments.push(format!("http://internet/bytes/{bytes}"));
        }
        (TransferDirection::Down, Some(rate)) => {
            arguments.push(format!("http://internet/bytes/{bytes}?rate={rate}"));
        }
        (TransferDirection::Up, rate) => {
            if let Some(rate) = rate {
                arguments.extend(["--rate".into(), rate.to_string()]);
            }
            arguments.extend([
                "--upload".into(),
                bytes.to_string(),
                "http://internet/sink".into(),
            ]);
        }
    }
    arguments
}

/// How far the keeper got; one JSON object per line on its standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It begins a step, in words.
    Step(String),
    /// The lab is complete, with a warning if something is not as it should be.
    Ready(Option<String>),
    /// It could not be built.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_becomes_a_plan() {
        let text = r#"
            links = ["100mbit/20ms", "veth"]
            duration = "30s"
            seed = 7
            [[transfers]]
            direction = "down"
            at = "1s"
            flows = 3
            [[transfers]]
            direction = "up"
            bytes = 1000
            rate = "5mbit"
            every = "12s"
            [[events]]
            at = "10s"
            link = 2
            verb = "down"
        "#;
        let plan = Plan::play(&Scenario::parse(text).unwrap());
        assert_eq!((plan.links.as_str(), plan.seed), ("100mbit/20ms,veth", 7));
        let event = PlannedEvent {
            at: Duration::from_secs(10),
            link: "wan2".into(),
            verb: "down".into(),
        };
        assert_eq!(plan.events, [event]);
        let arguments: Vec<String> = plan
            .transfers
            .iter()
            .map(|transfer| transfer.arguments.join(" "))
            .collect();
        assert_eq!(
            arguments[0],
            "--json --count 3 --seconds 29 http://internet/bytes/1099511627776"
        );
        assert_eq!(arguments.len(), 4, "the second is repeated");
        assert_eq!(
            arguments[1],
            "--json --count 1 --rate 5mbit --upload 1000 http://internet/sink"
        );
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }
}
