//! Development commands of Guywire, run as `cargo xtask COMMAND`.
//!
//! - [`check`]: everything that can be judged without running Guywire.
//! - [`test`]: every test, with the system packages they want named or installed.
//! - [`show`]: the figures Guywire promises, measured in the lab.
//!
//! One script serves people and CI: `.ci/run` calls these commands and nothing else.

mod check;
mod command;
mod show;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development commands of Guywire")]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Judge the source: format, clippy, documentation, licences, purity, sizes, words.
    Check(check::Arguments),
    /// Run every test, end to end too, and count passes, failures and skips.
    Test(test::Arguments),
    /// Measure one promised figure in the lab and judge it by its bound.
    Show(show::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Subcommands::Check(arguments) => check::run(&arguments),
        Subcommands::Test(arguments) => test::run(&arguments),
        Subcommands::Show(arguments) => show::run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
