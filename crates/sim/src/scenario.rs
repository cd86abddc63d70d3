//! Scenarios of the lab, run in simulation: the same file serves both.

use std::time::Duration;

use guywire_lab::scenario::{Scenario, TransferDirection};
use guywire_lab::spec::{EmulatedLink, LinkSpec};
use guywire_sched::Factory;
use thiserror::Error;

use crate::network::{Action, Algorithm, Class, Fault, Network, Program, ROUTER, SERVER, Talk};

/// The links are joined before anything of the scenario happens, as in the lab: so long, and some
/// round trips of the longest link.
const JOINING: Duration = Duration::from_secs(1);
const JOINING_TRIPS: u32 = 5;
/// A paced program writes what so long is worth at a time, as the lab's does.
const PACE: Duration = Duration::from_millis(10);
/// Memory of a session at each end, and the flows that it permits: what routers and servers have unless
/// they are configured otherwise.
const MEMORY: u64 = 64 << 20;
const MAX_FLOWS: u64 = 4_096;

/// Why a scenario cannot be simulated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScenarioError {
    /// A plain cable has no properties to simulate.
    #[error("link {link} is `veth`, which has no rate to simulate; write one, such as `1gbit/1ms`")]
    Veth {
        /// The link's number, from 1.
        link: usize,
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
        links.push(link.clone());
    }
    if links.len() > 32 {
        let links = links.len();
        return Err(ScenarioError::Links { links });
    }
    let trips = links.iter().map(EmulatedLink::round_trip);
    let begin = JOINING + JOINING_TRIPS * trips.max().unwrap_or_default();
    let faults = scenario.events.iter().map(|event| Fault {
        at: begin + event.at,
        link: event.link - 1,
        action: Action::Verb(event.verb.clone()),
    });
    Ok(Network {
        seed: scenario.seed,
        class: Class::Steady,
        links,
        faults: faults.collect(),
        talks: talks(scenario, begin),
        scheduler,
        memory: [MEMORY; 2],
        max_flows: MAX_FLOWS,
        algorithm: Algorithm::default(),
        ends: false,
        begin,
        until: Some(begin + scenario.duration),
        pings: None,
    })
}

fn talks(scenario: &Scenario, begin: Duration) -> Vec<Talk> {
    let mut talks = Vec::new();
    for transfer in &scenario.transfers {
        let writer = match transfer.direction {
            TransferDirection::Up => ROUTER,
            TransferDirection::Down => SERVER,
        };
        let mut programs = [Program::default(); 2];
        // Without a size it goes on until the end.
        programs[writer].bytes = transfer.bytes.unwrap_or(u64::MAX);
        programs[writer].pace = transfer.rate.map(|rate| (rate.bytes_in(PACE).max(1), PACE));
        for at in transfer.begins(scenario.duration) {
            let talk = Talk {
                at: begin + at,
                programs,
                ..Talk::default()
            };
            talks.extend(std::iter::repeat_n(talk, transfer.flows as usize));
        }
    }
    talks
}
