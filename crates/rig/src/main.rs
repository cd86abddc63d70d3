//! What Guywire is measured with, and no part of it. `cargo xtask show` runs it in the lab's nodes.
//!
//! - [`relay`]: a bare TLS relay, for `cargo xtask show cpu`.
//! - [`strangers`]: a flood of connections that are refused, for `cargo xtask show strangers`.

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
    }
}
