//! Asking a lab's keeper. Plain blocking code, because commands that enter a
//! lab may have one thread only.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::place::{LabName, Place};
use crate::processes;
use crate::protocol::{LabStatus, LinkStatus, LinkVerb, MAX_LINE, Reply, Request};

/// How long the keeper may take; links that come and go take milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why the keeper gave no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It cannot be spoken to.
    #[error(
        "cannot speak with the keeper of lab {lab}: {reason}; `guywire lab down --name {lab}` ends it"
    )]
    Socket {
        /// The lab.
        lab: LabName,
        /// What the kernel said.
        reason: io::Error,
    },
    /// Its answer cannot be read.
    #[error("the keeper of lab {lab} is of another version: {reason}; start the lab anew")]
    Version {
        /// The lab.
        lab: LabName,
        /// What is wrong with the answer.
        reason: serde_json::Error,
    },
    /// It refuses.
    #[error("{0}")]
    Refused(String),
}

/// Asks the keeper of a lab.
///
/// # Errors
/// See [`ClientError`].
pub fn ask<T: DeserializeOwned>(place: &Place, request: &Request) -> Result<T, ClientError> {
    let lab = || place.name().clone();
    let line =
        exchange(place, request).map_err(|reason| ClientError::Socket { lab: lab(), reason })?;
    let version = |reason| ClientError::Version { lab: lab(), reason };
    match serde_json::from_str(&line).map_err(version)? {
        Reply::Ok(value) => serde_json::from_value(value).map_err(version),
        Reply::Error(text) => Err(ClientError::Refused(text)),
    }
}

fn exchange(place: &Place, request: &Request) -> io::Result<String> {
    let mut stream = UnixStream::connect(place.socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let line = serde_json::json!(request).to_string() + "\n";
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut answer)?;
    Ok(answer)
}

/// Asks how a lab is, with process ids as this process sees them.
///
/// # Errors
/// See [`ClientError`].
pub fn status(place: &Place) -> Result<LabStatus, ClientError> {
    let mut status: LabStatus = ask(place, &Request::Status)?;
    let seen = processes::by_inner_id(place);
    let translate = |pid: &mut Option<u32>| *pid = pid.and_then(|inner| seen.get(&inner).copied());
    status.processes.values_mut().for_each(translate);
    status
        .nodes
        .iter_mut()
        .for_each(|node| translate(&mut node.pid));
    Ok(status)
}

/// Asks how a lab's links are.
///
/// # Errors
/// See [`ClientError`].
pub fn links(place: &Place) -> Result<Vec<LinkStatus>, ClientError> {
    ask(place, &Request::Links)
}

/// Does something to a link.
///
/// # Errors
/// See [`ClientError`].
pub fn link(place: &Place, link: &str, verb: &LinkVerb) -> Result<LinkStatus, ClientError> {
    ask(
        place,
        &Request::Link {
            link: link.into(),
            verb: verb.to_string(),
        },
    )
}

/// Tells the keeper to end the lab.
///
/// # Errors
/// See [`ClientError`].
pub fn end(place: &Place) -> Result<(), ClientError> {
    ask(place, &Request::Down)
}
