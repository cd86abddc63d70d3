//! `cargo xtask check`: everything that can be judged without running Guywire.
//!
//! [`STEPS`] is the whole list. Each step prints one line with its time and verdict, and what it
//! found where it failed. All steps run, so that one run shows everything there is to mend.

mod licences;
mod purity;
mod references;
mod size;
mod toolchain;
mod words;

use std::time::Instant;

use anyhow::Result;

/// Options of `cargo xtask check`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Install cargo-deny first where it is missing (it is optional).
    #[arg(long)]
    install: bool,
    /// Run only the steps of these names.
    #[arg(value_name = "STEP")]
    only: Vec<String>,
}

/// What a step came to.
enum Finding {
    /// All is well; a remark, or nothing.
    Good(String),
    /// Something is to be mended: what, a line each.
    Bad(String),
    /// It could not run here, and why.
    Skipped(String),
}

impl Finding {
    /// Good with `remark` where there are no `complaints`, else bad with all of them.
    fn of(complaints: &[String], remark: String) -> Self {
        if complaints.is_empty() {
            Self::Good(remark)
        } else {
            Self::Bad(complaints.join("\n"))
        }
    }
}

struct Step {
    name: &'static str,
    run: fn(&Arguments) -> Result<Finding>,
}

/// The steps, quickest first.
const STEPS: &[Step] = &[
    Step {
        name: "format",
        run: |_| toolchain::format(),
    },
    Step {
        name: "words",
        run: |_| words::check(),
    },
    Step {
        name: "references",
        run: |_| references::check(),
    },
    Step {
        name: "sizes",
        run: |_| size::check(),
    },
    Step {
        name: "licences",
        run: |_| licences::check(),
    },
    Step {
        name: "purity",
        run: |_| purity::check(),
    },
    Step {
        name: "clippy",
        run: |_| toolchain::clippy(),
    },
    Step {
        name: "fuzz",
        run: |_| toolchain::fuzz(),
    },
    Step {
        name: "documentation",
        run: |_| toolchain::documentation(),
    },
    Step {
        name: "cargo-deny",
        run: |arguments| toolchain::deny(arguments.install),
    },
];

/// Runs the steps; true where none is bad.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
    if let Some(unknown) = arguments
        .only
        .iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        anyhow::bail!(
            "there is no step `{unknown}`; the steps are {}",
            known.join(", ")
        );
    }
    let wanted = |step: &&Step| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == step.name)
    };
    let mut good = true;
    for step in STEPS.iter().filter(wanted) {
        let start = Instant::now();
        let finding =
            (step.run)(arguments).unwrap_or_else(|error| Finding::Bad(format!("{error:#}")));
        let (verdict, text) = match &finding {
            Finding::Good(text) => ("ok", text),
            Finding::Bad(text) => ("FAILED", text),
            Finding::Skipped(text) => ("skipped", text),
        };
        let seconds = start.elapsed().as_secs_f64();
        let mut lines = text.lines();
        if let Finding::Bad(_) = finding {
            good = false;
            println!("{:<14} {seconds:>6.1} s  {verdict}", step.name);
        } else {
            let remark = lines.next().unwrap_or_default();
            println!("{:<14} {seconds:>6.1} s  {verdict:<8} {remark}", step.name);
        }
        lines.for_each(|line| println!("    {line}"));
    }
    Ok(good)
}
