//! Deterministic simulation of Guywire: a router's session and a server's, as they are, over
//! modelled TCP subflows and emulated links, under a virtual clock.
//!
//! [`run`] draws the network of a seed and plays it; [`replay`] plays any [`network::Network`]. After
//! every step the sessions' own invariants are checked, and an oracle knows where a reset is allowed.
//! [`measure`] plays it without these checks and tells how fast, how evenly and in which order bytes came.
//! Equal seeds give equal runs, and the seed is in every [`Failure`].
//!
//! | module | what it is for |
//! |---|---|
//! | [`network`] | what one network is: links, faults, programs |
//! | [`draw`] | draws a network from a seed |
//! | [`scenario`] | reads it from a scenario of the lab |
//! | [`tcp`] | one direction of a TCP connection, close to the kernel's |
//! | `world` | clock, links, subflows, drivers, programs |
//! | [`oracle`] | what may happen and what must not |
//! | [`measured`] | what was measured of a network |
//! | [`plot`] | the same as an SVG |
//! | [`workload`] | what is transferred, without a scenario |
//! | `counted` | counts what a scheduler does |
//! | [`sweep`] | many seeds, on all cores |
//! | [`schedulers`] | the same with every scheduler |
//! | [`trial`] | a scheduler beside `default`, over links like those that people have |
//! | [`states`] | random states for a scheduler to decide in, hostile ones among them |
//! | [`twins`] | whether BPF schedulers and their native twins decide alike |

#![forbid(unsafe_code)]

mod counted;
pub mod draw;
pub mod measured;
pub mod network;
pub mod oracle;
pub mod plot;
pub mod scenario;
pub mod schedulers;
pub mod states;
pub mod sweep;
pub mod tcp;
pub mod trial;
pub mod twins;
pub mod workload;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub use measured::Measured;
use network::Network;
pub use oracle::{Ejected, Failure, Outcome, Seen, Trouble};
use world::World;

/// Plays the network of a seed.
///
/// # Errors
/// What went wrong, with the seed.
pub fn run(seed: u64) -> Result<Outcome, Failure> {
    replay(&draw::network(seed))
}

/// Plays a network, and checks everything.
///
/// # Errors
/// What went wrong, with the network's seed.
pub fn replay(network: &Network) -> Result<Outcome, Failure> {
    play(network, |world| {
        world.play()?;
        Ok(world.outcome())
    })
}

/// Plays a network until its end and measures it: much faster, since nothing is checked that need not be.
///
/// # Errors
/// What went wrong, with the network's seed.
pub fn measure(network: &Network) -> Result<Measured, Failure> {
    let (scheduler, counts) = counted::counted(&network.scheduler);
    let network = Network {
        scheduler,
        ..network.clone()
    };
    play(&network, |world| {
        world.meter(counts);
        world.play_through()?;
        Ok(world.measured())
    })
}

fn play<'a, T>(
    network: &'a Network,
    how: impl FnOnce(&mut World<'a>) -> Result<T, Trouble>,
) -> Result<T, Failure> {
    let fails = |at: Duration, trouble: Trouble| Failure {
        seed: network.seed,
        class: network.class,
        at,
        trouble,
    };
    let mut world = World::new(network).map_err(|trouble| fails(Duration::ZERO, trouble))?;
    let played = catch_unwind(AssertUnwindSafe(|| how(&mut world)));
    let played = played.unwrap_or_else(|panic| Err(Trouble::Panic(panic_text(&*panic))));
    played.map_err(|trouble| fails(world.elapsed(), trouble))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no text".to_owned())
}
