//! `cargo xtask show NAME`: the figures Guywire promises, measured in the lab.
//!
//! A figure is one small file in [`figures`], listed in [`figures::ALL`]. It drives the release
//! binary through the same commands that people use and hands back a [`report::Report`]: what was
//! measured, the bound, the verdict. Where the machine or the emulator was too busy the figure is
//! void ([`machine`]): measure again, do not believe it.

mod figures;
mod machine;
mod report;

use std::path::PathBuf;

use anyhow::{Result, bail};
use figures::Figure;
use report::{Report, Verdict};
use xtask::lab::{Lab, THREE_LINKS};

use crate::{command, workspace};

/// Options of `cargo xtask show`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The figure; none lists them, `all` measures all.
    name: Option<String>,
    /// Print only the result, as JSON.
    #[arg(long)]
    json: bool,
    /// Fewer and shorter measurements: to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
}

/// What a figure needs to know.
struct Run {
    binary: PathBuf,
    quick: bool,
    json: bool,
}

impl Run {
    /// A lab over the three unequal links.
    fn three_links(&self, purpose: &str) -> Result<Lab> {
        Lab::up(&self.binary, purpose, THREE_LINKS)
    }

    /// `full`, or `quick` where a short run was asked for.
    fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Tells a person who waits what is going on.
    fn say(&self, text: impl std::fmt::Display) {
        if !self.json {
            eprintln!("  {text}");
        }
    }
}

/// Measures; true where every figure holds.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let Some(name) = &arguments.name else {
        list();
        return Ok(true);
    };
    let wanted: Vec<&Figure> = figures::ALL
        .iter()
        .filter(|figure| name == "all" || figure.name == name)
        .collect();
    if wanted.is_empty() {
        let names: Vec<&str> = figures::ALL.iter().map(|figure| figure.name).collect();
        bail!(
            "there is no figure `{name}`; there are {}, and `all`",
            names.join(", ")
        );
    }
    let mut build = command::cargo();
    build.current_dir(workspace::root()).args([
        "build",
        "--release",
        "--quiet",
        "--package",
        "guywire",
    ]);
    if !command::passes(&mut build)? {
        bail!("the release binary does not build");
    }
    let run = Run {
        binary: workspace::target_directory()?.join("release/guywire"),
        quick: arguments.quick,
        json: arguments.json,
    };
    let mut good = true;
    for figure in wanted {
        run.say(format_args!("{}: {}", figure.name, figure.shows));
        let mut report = Report::new(figure.name, figure.shows);
        (figure.measure)(&run, &mut report)?;
        good &= report.verdict() == Verdict::Holds;
        if arguments.json {
            println!("{}", report.json());
        } else {
            println!("{report}");
        }
    }
    Ok(good)
}

fn list() {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    for figure in figures::ALL {
        table.add_row([figure.name, figure.shows]);
    }
    println!("{table}");
}
