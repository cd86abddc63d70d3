//! Scenarios of the lab, run in simulation: the same file serves both.

use std::time::Duration;

use guywire_lab::scenario::{Scenario, TransferDirection};
use guywire_lab::spec::{LinkSpec, RateSpec};
use guywire_sched::Factory;
use thiserror::Error;

use crate::network::{Action, Class, Fault, Network, Program, ROUTER, SERVER, Talk};

/// What a transfer without a size moves: it would go on until the end of the scenario.
const UNTIL_THE_END: u64 = 64 << 20;

/// Why a scenario cannot be simulated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScenarioError {
    /// A plain cable has no properties to simulate.
    #[error("link {link} is `veth`, which has no rate to simulate; write one, such as `1gbit/1ms`")]
    Veth {
        /// The link's number, from 1.
        link: usize,
    },
    /// A trace cannot be read from a simulation.
    #[error("link {link} follows the trace {file}, which a simulation does not read; write a rate")]
    Trace {
        /// The link's number, from 1.
        link: usize,
        /// The file it names.
        file: String,
    },
    /// More links than a session shows.
    #[error("{links} links are given, a simulation takes at most 32")]
    Links {
        /// How many are given.
        links: usize,
    },
}

/// The network that a scenario describes, over which both ends use `scheduler`.
///
/// # Errors
/// [`ScenarioError`] names the link that cannot be simulated.
pub fn network(scenario: &Scenario, scheduler: Factory) -> Result<Network, ScenarioError> {
    let mut links = Vec::new();
    for (number, link) in (1..).zip(&scenario.links.0) {
        let LinkSpec::Emulated(link) = link else {
            return Err(ScenarioError::Veth { link: number });
        };
        for direction in [&link.down, &link.up] {
            if let RateSpec::Trace(file) = &direction.rate {
                let file = file.clone();
                return Err(ScenarioError::Trace { link: number, file });
            }
        }
        links.push(link.clone());
    }
    if links.len() > 32 {
        let links = links.len();
        return Err(ScenarioError::Links { links });
    }
    let faults = scenario.events.iter().map(|event| Fault {
        at: event.at,
        link: event.link - 1,
        action: Action::Verb(event.verb.clone()),
    });
    Ok(Network {
        seed: scenario.seed,
        class: Class::Steady,
        links,
        faults: faults.collect(),
        talks: talks(scenario),
        scheduler,
        memory: [256 << 20; 2],
        max_flows: 4_096,
        rate_based: true,
        ends: false,
    })
}

fn talks(scenario: &Scenario) -> Vec<Talk> {
    let mut talks = Vec::new();
    for transfer in &scenario.transfers {
        let writer = match transfer.direction {
            TransferDirection::Up => ROUTER,
            TransferDirection::Down => SERVER,
        };
        let mut programs = [Program::default(); 2];
        programs[writer].bytes = transfer.bytes.unwrap_or(UNTIL_THE_END);
        for _ in 0..transfer.flows {
            talks.push(Talk {
                // The links need a moment to be joined.
                at: transfer.at + Duration::from_millis(100),
                programs,
                ..Talk::default()
            });
        }
    }
    talks
}
