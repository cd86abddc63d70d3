//! `guywire router ...`.

use std::process::ExitCode;

use clap::Subcommand;
use guywire_control::config::ROUTER;
use guywire_control::supervisor::{WorkerCommand, clean, run_router};

use super::config::ConfigCommand;
use super::join::JoinArgs;
use super::output::print;
use super::places::Places;
use super::{runtime, status};

#[derive(Debug, Subcommand)]
pub(super) enum RouterCommand {
    /// Run the router in the foreground, until SIGINT or SIGTERM.
    Run {
        #[command(flatten)]
        places: Places,
    },
    /// Join a server: register this router with the line that `guywire server invite` printed, and write its
    /// configuration.
    Join(JoinArgs),
    /// Show the running router: links, paths, flows.
    Status {
        #[command(flatten)]
        places: Places,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what a killed router left behind: its firewall tables, rules, routes and data worker.
    Clean {
        #[command(flatten)]
        places: Places,
    },
    /// Check the configuration, or explain every setting.
    Config {
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        command: ConfigCommand,
    },
}

impl RouterCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run { places } => {
                let config = places.router()?;
                runtime()?.block_on(run_router(config, WorkerCommand::own()))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Join(args) => runtime()?.block_on(args.run()),
            Self::Status { places, json } => {
                runtime()?.block_on(status::show(places.router_socket(), json))
            }
            Self::Clean { places } => {
                let removed = runtime()?.block_on(clean(&places.router_run_dir()))?;
                let text = match removed.is_empty() {
                    true => "nothing to remove\n".to_owned(),
                    false => removed
                        .iter()
                        .map(|what| format!("removed {what}\n"))
                        .collect(),
                };
                print(&text)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Config { places, command } => command.run(&ROUTER, || {
                places.router()?;
                Ok(places.router_config().display().to_string())
            }),
        }
    }
}
