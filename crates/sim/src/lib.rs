//! Deterministic simulation of Guywire: a router's session and a server's, as they are, over
//! modelled TCP subflows and emulated links, under a virtual clock.
//!
//! [`run`] draws the network of a seed and plays it; [`replay`] plays any [`network::Network`]. After
//! every step the sessions' own invariants are checked, and an oracle knows where a reset is allowed.
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
//! | [`sweep`] | many seeds, on all cores |
//! | [`schedulers`] | the same with every scheduler |
//! | [`twins`] | whether BPF schedulers and their native twins decide alike |

#![forbid(unsafe_code)]

pub mod draw;
pub mod network;
pub mod oracle;
pub mod scenario;
pub mod schedulers;
pub mod sweep;
pub mod tcp;
pub mod twins;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use network::Network;
pub use oracle::{Ejected, Failure, Outcome, Seen, Trouble};

/// Plays the network of a seed.
///
/// # Errors
/// What went wrong, with the seed.
pub fn run(seed: u64) -> Result<Outcome, Failure> {
    replay(&draw::network(seed))
}

/// Plays a network.
///
/// # Errors
/// What went wrong, with the network's seed.
pub fn replay(network: &Network) -> Result<Outcome, Failure> {
    let mut world = world::World::new(network);
    let played = catch_unwind(AssertUnwindSafe(|| world.play()));
    let trouble = match played {
        Ok(Ok(())) => return Ok(world.outcome()),
        Ok(Err(trouble)) => trouble,
        Err(panic) => Trouble::Panic(panic_text(&*panic)),
    };
    Err(Failure {
        seed: network.seed,
        class: network.class,
        at: world.elapsed(),
        trouble,
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no text".to_owned())
}
