//! `cargo xtask show NAME`: the figures Guywire promises, measured in the lab.
//!
//! A figure is one small file in [`figures`], listed in [`figures::ALL`]. It drives the release
//! binary through the same commands that people use and hands back a [`report::Report`]: what was
//! measured, the bound, the verdict. Where the machine or the emulator was too busy the figure is
//! void ([`machine`]): measure again, do not believe it.

mod figures;
mod goodput;
mod machine;
mod report;
mod sample;
mod simulated;

use std::path::PathBuf;
use std::str::FromStr;

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
    /// Folders with sources of schedulers, for `compat`; Guywire's own if none is named.
    #[arg(value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Where headers are that those sources want and lack, for `compat`.
    #[arg(long, value_name = "DIR")]
    include: Vec<PathBuf>,
    /// Print only the result, as JSON.
    #[arg(long)]
    json: bool,
    /// Fewer and shorter measurements: to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Measure only the Nth of M shares of a figure that has many parts, such as `2/5`.
    #[arg(long, value_name = "N/M", default_value = "1/1")]
    part: Part,
    /// Measure this binary instead of building one; what else is needed is taken from beside it, if it is
    /// there.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// One of several equal shares of a long figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    /// Which one, from 1.
    number: usize,
    /// Of how many.
    of: usize,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = text.split_once('/').and_then(|(number, of)| {
            let (number, of) = (number.parse().ok()?, of.parse().ok()?);
            (1..=of).contains(&number).then_some(Self { number, of })
        });
        part.ok_or_else(|| format!("{text:?} is no part; 2/5 is the second of five"))
    }
}

impl Part {
    /// The items of this share: every `of`th, from the `number`th on.
    fn share<T>(self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        let mine = items.into_iter().skip(self.number - 1);
        mine.step_by(self.of).collect()
    }
}

/// What a figure needs to know.
struct Run {
    binary: PathBuf,
    /// Somebody gave the binary: it was not built for this.
    is_given: bool,
    quick: bool,
    json: bool,
    part: Part,
    /// Folders with sources of schedulers.
    folders: Vec<PathBuf>,
    /// Folders with headers for them.
    include: Vec<PathBuf>,
}

impl Run {
    /// A lab over the three unequal links.
    fn three_links(&self, purpose: &str) -> Result<Lab> {
        Lab::up(&self.binary, purpose, THREE_LINKS)
    }

    /// The program of `package`: from beside the binary that was given, or built.
    fn program(&self, package: &str) -> Result<PathBuf> {
        let beside = self.binary.with_file_name(package);
        if self.is_given && beside.is_file() {
            return Ok(beside);
        }
        self.say(format_args!("building {package}"));
        build(package)
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
    let binary = match &arguments.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => build("guywire")?,
    };
    let run = Run {
        binary,
        is_given: arguments.binary.is_some(),
        quick: arguments.quick,
        json: arguments.json,
        part: arguments.part,
        folders: arguments.folders.clone(),
        include: arguments.include.clone(),
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

/// Builds the release binary of `package` and tells where it is.
fn build(package: &str) -> Result<PathBuf> {
    let mut build = command::cargo();
    let words = ["build", "--release", "--quiet", "--package", package];
    build.current_dir(workspace::root()).args(words);
    if !command::passes(&mut build)? {
        bail!("the release binary of {package} does not build");
    }
    Ok(workspace::target_directory()?.join("release").join(package))
}

fn list() {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    for figure in figures::ALL {
        table.add_row([figure.name, figure.shows]);
    }
    println!("{table}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_everything_once() {
        let second: Part = "2/3".parse().expect("it is one");
        assert_eq!(second.share(1..=7), [2, 5]);
        let all: Part = "1/1".parse().expect("it is one");
        assert_eq!(all.share(1..=3), [1, 2, 3]);
        for wrong in ["0/3", "4/3", "1", "a/b", ""] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }
}
