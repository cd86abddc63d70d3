//! Configuration: TOML as written, checked against one table of settings, then resolved.
//!
//! One definition of every setting ([`Setting`]) feeds the check of unknown keys, types and bounds, the text of
//! `guywire router config --explain`, and docs/configuration.md. A file that does not fit gets *all* its errors at
//! once, each with line, column and the next step. What a [`RouterConfig`] or [`ServerConfig`] holds is valid.
//!
//! - `schema`: kinds of values and how one is checked.
//! - `check`: a document against a schema, with positions.
//! - `router`, `server`: their settings, as written and resolved.
//! - `explain`: the texts for people.

mod check;
mod explain;
mod router;
mod schedulers;
mod schema;
mod server;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use explain::{explain, markdown};
pub use router::{Capture, Fail, LinkConfig, NewRouter, ROUTER, RouterConfig};
pub use schedulers::ClassConfig;
pub(crate) use schema::parse_resolver;
pub use schema::{Absent, ByteSize, Kind, Schema, Section, Setting, is_name, schedulers};
pub use server::{NewServer, SERVER, ServerConfig};

/// Longest configuration file that is read, in bytes.
pub const MAX_CONFIG: u64 = 1 << 20;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}; {next}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
        /// The next step.
        next: String,
    },
    /// The file can be read and is wrong.
    #[error("{}", Problem::list(path, problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it, in the order of the file; at least one.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, and the next step.
    pub text: String,
}

impl Problem {
    fn at(text: &str, offset: usize, problem: String) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or("").chars().count() + 1,
            text: problem,
        }
    }

    fn list(path: &Path, problems: &[Self]) -> String {
        let lines: Vec<String> = problems
            .iter()
            .map(|problem| {
                format!(
                    "{}:{}:{}: {}",
                    path.display(),
                    problem.line,
                    problem.column,
                    problem.text
                )
            })
            .collect();
        lines.join("\n")
    }
}

/// Reads a file of at most [`MAX_CONFIG`] bytes.
fn read(path: &Path, next: &str) -> Result<String, ConfigError> {
    use std::io::Read as _;
    let fail = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
        next: next.to_owned(),
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_CONFIG + 1)
        .read_to_string(&mut text)
        .map_err(fail)?;
    if text.len() as u64 > MAX_CONFIG {
        let problem = Problem::at(
            &text,
            0,
            format!("the file is longer than {MAX_CONFIG} bytes; shorten it"),
        );
        return Err(ConfigError::Wrong {
            path: path.to_owned(),
            problems: vec![problem],
        });
    }
    Ok(text)
}

/// The settings of the two directories, where they are not the default.
fn directories(state: Option<&Path>, run: Option<&Path>) -> String {
    let line = |key: &str, path: &Path| {
        let text = path.display().to_string();
        format!("{key} = {}\n", toml_edit::Value::from(text))
    };
    let state = state.map(|path| line("state_dir", path));
    let run = run.map(|path| line("run_dir", path));
    state.into_iter().chain(run).collect()
}
