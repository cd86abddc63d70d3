//! `guywire router config` and `guywire server config`: check a file, or explain every setting.

use std::process::ExitCode;

use clap::Args;
use guywire_control::config::{Schema, explain, markdown};

use super::output::print;

/// What to do with the configuration.
#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    /// Describe every setting: value, bounds, default, and what it is for
    #[arg(long)]
    explain: bool,
    /// The same as tables in Markdown
    #[arg(long, conflicts_with = "explain")]
    markdown: bool,
}

impl ConfigCommand {
    /// Explains, or checks the file with `check`, which returns its name.
    pub(super) fn run(
        &self,
        schema: &Schema,
        check: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<ExitCode> {
        if self.explain {
            print(&explain(schema))?;
        } else if self.markdown {
            print(&markdown(schema))?;
        } else {
            print(&format!("{} is valid\n", check()?))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
