//! `guywire sched ...`.

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use data_encoding::HEXLOWER_PERMISSIVE;
use guywire_control::client::Client;
use guywire_ebpf::kernel::Bare;
use guywire_ebpf::{Insn, Machine, Program};
use guywire_lab::spec::LinkSpecs;
use guywire_sim::trial::{self, Course};

use super::output::print;
use super::places::Places;
use super::runtime;
use running::{End, UseArgs};

pub(super) mod check;
mod compare;
mod like_here;
mod list;
mod running;

/// Which links a scheduler is tried on, beside those that are the same for all.
#[derive(Debug, Args)]
pub(super) struct Over {
    /// On links like these too, such as `100mbit/20ms,50mbit/60ms/loss0.5%`
    #[arg(long, value_name = "SPEC")]
    links: Option<LinkSpecs>,
    /// On links like those of the router that runs here too: rates, round trips and losses as measured
    #[arg(long, conflicts_with = "links")]
    like_here: bool,
    #[command(flatten)]
    places: Places,
}

impl Over {
    fn courses(&self) -> anyhow::Result<Vec<Course>> {
        let mut courses = trial::fixed();
        if self.like_here {
            let client = Client::new(self.places.router_socket());
            let links = runtime()?.block_on(like_here::links(&client))?;
            courses.extend(trial::over(&links));
        }
        courses.extend(self.links.as_ref().map(trial::over).unwrap_or_default());
        Ok(courses)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum SchedCommand {
    /// Show the schedulers there are, and which of them are in use
    List {
        /// Print what a running router or server says, as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        end: End,
    },
    /// Tell what a scheduler does, when to use it, and when it hurts
    Explain {
        /// Its name
        name: String,
    },
    /// Say whether a scheduler can be relied on: load it, and try it beside `default` over simulated links
    ///
    /// Fails when the verdict is `refused`.
    Check {
        /// The name of one that is built in, or an object file
        #[arg(value_name = "NAME|OBJ")]
        what: String,
        #[command(flatten)]
        over: Over,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what every scheduler that is built in makes of simulated links
    Compare {
        #[command(flatten)]
        over: Over,
        /// Print the table as Markdown
        #[arg(long)]
        markdown: bool,
    },
    /// Schedule the traffic of the running router with another one, both ways, without touching its connections
    ///
    /// An object is checked first. The choice lasts, and comes before the configuration.
    Use(UseArgs),
    /// Let a scheduler be used again that was ejected
    Pardon {
        /// Its name, or at least 8 digits of its hash
        scheduler: String,
        #[command(flatten)]
        end: End,
    },
    /// Show which schedulers were ejected or refused, and why
    Incidents {
        /// So many, the last ones
        #[arg(long, value_name = "N", default_value_t = 5)]
        last: usize,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        end: End,
    },
    /// Show decisions as they are made
    Trace {
        /// End after so many seconds
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
        #[command(flatten)]
        end: End,
    },
    /// Run raw eBPF instructions, so that a conformance suite can drive the machine.
    ///
    /// Instructions are read from standard input as hexadecimal bytes; r0 is printed as a hexadecimal
    /// number. Blanks do not count. A program that is refused or faults is an error.
    ExecRaw {
        /// Memory as hexadecimal bytes: the program finds its address in r1, its length in r2.
        #[arg(default_value = "")]
        memory: String,
        /// Instructions that it may take.
        #[arg(long, default_value_t = 100_000)]
        fuel: u64,
    },
}

impl SchedCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List { json, end } => {
                let client = end.client();
                print(&runtime()?.block_on(async {
                    match json {
                        true => list::json(&client).await,
                        false => list::list(&client).await,
                    }
                })?)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Use(args) => runtime()?.block_on(args.run()),
            Self::Pardon { scheduler, end } => {
                runtime()?.block_on(running::pardon(&end.client(), scheduler))
            }
            Self::Incidents { last, json, end } => {
                runtime()?.block_on(running::incidents(&end.client(), last, json))
            }
            Self::Trace { seconds, end } => {
                runtime()?.block_on(running::trace(&end.client(), seconds))
            }
            Self::Explain { name } => {
                print(&list::explain(&name)?)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Check { what, over, json } => check::run(&what, &over.courses()?, json),
            Self::Compare { over, markdown } => {
                print(&compare::table(&over.courses()?, markdown)?)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::ExecRaw { memory, fuel } => {
                let mut code = String::new();
                std::io::stdin()
                    .read_to_string(&mut code)
                    .context("cannot read the instructions from standard input")?;
                print(&format!("{:x}\n", exec_raw(&code, &memory, fuel)?))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Runs `code` on `memory`, both hexadecimal, and tells r0.
fn exec_raw(code: &str, memory: &str, fuel: u64) -> anyhow::Result<u64> {
    let bytes = bytes(code).context("the instructions on standard input")?;
    let (slots, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        let length = bytes.len();
        return Err(anyhow!(
            "{length} bytes are no instructions: each has 8 bytes"
        ));
    }
    let code: Vec<Insn> = slots.iter().copied().map(Insn::from_le_bytes).collect();
    let mut memory = self::bytes(memory).context("the memory")?;
    let program = Arc::new(Program::raw(&code)?);
    let finished = Machine::new(program).run_raw(&mut memory, &mut Bare, fuel)?;
    Ok(finished.value)
}

/// Reads hexadecimal bytes, blanks or not.
fn bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    let digits: String = text.split_whitespace().collect();
    HEXLOWER_PERMISSIVE
        .decode(digits.as_bytes())
        .map_err(|error| anyhow!("these are no hexadecimal bytes: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_on_its_memory() {
        // r0 = *(u8 *)(r1 + 1); r0 += r2; exit
        let code = "71 10 01 00 00 00 00 00  0f 20 00 00 00 00 00 00\n95 00 00 00 00 00 00 00";
        assert_eq!(exec_raw(code, "10 aB", 10).unwrap(), 0xad);
        let fault = exec_raw(code, "10", 10).unwrap_err().to_string();
        assert!(
            fault.contains("byte 1 of the context, which has 1"),
            "{fault}"
        );
    }

    #[test]
    fn says_what_is_wrong() {
        let refused = exec_raw("bf 70 00 00 00 00 00 00", "", 10).unwrap_err();
        assert!(refused.to_string().contains("`r0 = r7`"), "{refused}");
        let cut = exec_raw("95 00", "", 10).unwrap_err();
        assert!(cut.to_string().contains("2 bytes"), "{cut}");
        let garbage = format!("{:#}", exec_raw("x", "", 10).unwrap_err());
        assert!(garbage.contains("standard input"), "{garbage}");
    }
}
