//! The command line: what there is, and where each command lives.

mod config;
mod join;
mod lab;
mod output;
mod places;
mod router;
mod sched;
mod server;
mod sim;
mod status;
mod worker;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Exit code of `status` when nothing runs, as service managers use it.
const EXIT_NOT_RUNNING: u8 = 3;

/// Bonds several Internet links into one, between a router and a server.
#[derive(Debug, Parser)]
#[command(name = "guywire", version, max_term_width = 100)]
#[command(
    after_help = "GUYWIRE_LOG sets what is logged: error, warn, info (default), debug, trace."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The router: on the premises, where the links are.
    #[command(subcommand)]
    Router(router::RouterCommand),
    /// The server: at the far end, with a public address.
    #[command(subcommand)]
    Server(server::ServerCommand),
    /// Packet schedulers.
    #[command(subcommand)]
    Sched(sched::SchedCommand),
    /// What schedulers would do: transfers over simulated links, as a table, JSON or a plot.
    Sim(sim::Sim),
    /// A whole Guywire on this machine: client, router, emulated links, server, Internet.
    Lab(lab::LabCommand),
    /// The data worker; a supervisor starts it.
    #[command(hide = true)]
    Worker,
}

/// Parses the command line and runs the command.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    let result = match cli.command {
        Command::Router(command) => command.run(),
        Command::Server(command) => command.run(),
        Command::Sched(command) => command.run(),
        Command::Sim(command) => command.run(),
        Command::Lab(command) => command.run(),
        Command::Worker => worker::run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("guywire: {error:#}");
        ExitCode::FAILURE
    })
}

/// Logs to standard error, so that standard output is for results only.
fn start_log() {
    let filter = EnvFilter::try_from_env("GUYWIRE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// A runtime on the calling thread: all that a supervisor or a command needs.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| anyhow::anyhow!("cannot start a runtime: {error}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
