//! What Guywire is measured with, and no part of it. `cargo xtask show` runs it in the lab's nodes.
//!
//! - [`relay`]: a bare TLS relay, for `cargo xtask show cpu`.
//! - [`probe`]: a service on the router and who asks it, for `cargo xtask show ejections`.
//! - [`strangers`]: a flood of connections that are refused, for `cargo xtask show strangers`.

mod probe;
mod relay;
mod strangers;

use anyhow::{Context, Result};
use clap::Parser;

/// What Guywire is measured with, and no part of it.
#[derive(Debug, Parser)]
enum Instrument {
    /// A bare TLS relay in Guywire's place
    #[command(subcommand)]
    Relay(relay::End),
    /// Connections that the server refuses, at a steady rate
    Strangers(strangers::Flood),
    /// A service that answers at once
    Echo(probe::Echo),
    /// How soon it answers
    Probe(probe::Probe),
}

fn main() -> Result<()> {
    let instrument = Instrument::parse();
    // As many threads as the data worker of Guywire has.
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    match instrument {
        Instrument::Relay(end) => runtime.block_on(relay::run(end)),
        Instrument::Strangers(flood) => runtime.block_on(strangers::run(flood)),
        Instrument::Echo(echo) => runtime.block_on(probe::echo(echo)),
        Instrument::Probe(probe) => runtime.block_on(probe::probe(probe)),
    }
}
