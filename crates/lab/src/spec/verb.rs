//! What can be done to a running link: take it down, silence it, bring it
//! back, change its properties.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::set::{SetError, Settings};

/// Whether a link carries packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// It does, in both directions.
    #[default]
    Up,
    /// It does not, and its devices have no carrier.
    Down,
    /// Packets towards the router vanish; nobody is told.
    SilentIn,
    /// Packets towards the server vanish; nobody is told.
    SilentOut,
    /// All packets vanish; nobody is told.
    Silent,
}

/// Something to do to a link: `up`, `down`, `silent`, `silent in`,
/// `silent out` or `set KEY=VALUE[,...]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Change whether it carries packets.
    State(LinkState),
    /// Change what it is like.
    Set(Settings),
}

/// Why a verb cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerbError {
    /// None of the verbs.
    #[error("`{verb}` is not known; verbs are down, silent [in|out], up, set KEY=VALUE[,...]")]
    Unknown {
        /// What was written.
        verb: String,
    },
    /// `set` with wrong settings.
    #[error("set: {0}")]
    Set(SetError),
}

impl FromStr for Verb {
    type Err = VerbError;

    fn from_str(text: &str) -> Result<Verb, VerbError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let state = match words.as_slice() {
            ["up"] => LinkState::Up,
            ["down"] => LinkState::Down,
            ["silent"] => LinkState::Silent,
            ["silent", "in"] => LinkState::SilentIn,
            ["silent", "out"] => LinkState::SilentOut,
            ["set", ..] => {
                let settings = text.trim_start().trim_start_matches("set");
                return settings.parse().map(Verb::Set).map_err(VerbError::Set);
            }
            _ => {
                return Err(VerbError::Unknown {
                    verb: text.to_string(),
                });
            }
        };
        Ok(Verb::State(state))
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LinkState::Up => "up",
            LinkState::Down => "down",
            LinkState::SilentIn => "silent in",
            LinkState::SilentOut => "silent out",
            LinkState::Silent => "silent",
        })
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verb::State(state) => state.fmt(f),
            Verb::Set(settings) => write!(f, "set {settings}"),
        }
    }
}
