//! What a lab shall be: written by the command that starts it, read by its keeper.

use serde::{Deserialize, Serialize};

/// A lab to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its links, as [`crate::spec::LinkSpecs`] reads them.
    pub links: String,
    /// The scheduler the router uses; its own default if none is named.
    pub scheduler: Option<String>,
    /// Whether Guywire runs on router and server. Without it the router is a
    /// plain multi-WAN box that masquerades.
    pub guywire: bool,
}

/// How far the keeper got; one JSON object per line on its standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It begins a step, in words.
    Step(String),
    /// The lab is complete, with a warning if something is not as it should be.
    Ready(Option<String>),
    /// It could not be built.
    Failed(String),
}
