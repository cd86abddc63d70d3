//! Enrolment: how an unknown router becomes a known one, with one line of text.
//!
//! The server's administrator makes an [`Invitation`] and gives its line to whoever sets the
//! router up. The line names the server's addresses and key, so the router knows that it talks to
//! the right server before it says anything; its secret is redeemed once, over TLS with ALPN
//! `guywire-enrol/1`, for the key that the router has just proven to hold. Back come the router's
//! name and the server's tag key ([`crate::tag`]).
//!
//! **Redeeming is idempotent per key:** an answer can be lost, so whoever decides says yes again
//! to a used secret that comes from the very key that used it, and [`Refusal::Used`] to any other.
//!
//! This is the one door that is open to strangers: messages are tiny and bounded ([`wire`]), and
//! attempts are limited per address before the handshake costs anything ([`limit`]).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand;
use thiserror::Error;

use crate::key::base32;
use crate::key::{KeyTextError, PublicKey};
use crate::tag::{NoRandomness, TagKey};

pub mod address;
mod exchange;
pub mod invitation;
pub mod limit;
pub mod wire;

pub use address::{HostPort, HostPortError};
pub use exchange::{EnrolError, ServeEnrolError, enrol_client, serve_enrol};
pub use invitation::{Invitation, InvitationError};

/// Longest router name, bytes.
pub const MAX_ROUTER_NAME: usize = 32;

/// Bytes of an invitation's secret: 128 bits, beyond guessing at any rate.
pub const SECRET_BYTES: usize = 16;

/// The name of a router at its server: 1 to 32 of `a-z A-Z 0-9 - _ .`, the first a letter or
/// digit. Safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouterName(String);

/// A text is no router name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{name:?} is no router name: 1 to {MAX_ROUTER_NAME} letters, digits, '-', '_' or '.', beginning with a letter or digit"
)]
pub struct RouterNameError {
    /// The text, cut to a few characters more than are allowed.
    pub name: String,
}

impl RouterName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RouterName {
    type Err = RouterNameError;

    fn from_str(name: &str) -> Result<Self, RouterNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins && name.len() <= MAX_ROUTER_NAME && name.chars().all(allowed) {
            return Ok(Self(name.to_owned()));
        }
        Err(RouterNameError {
            name: name.chars().take(MAX_ROUTER_NAME + 8).collect(),
        })
    }
}

impl fmt::Display for RouterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret of an invitation. `Debug` hides it; `Display` writes it: 26 characters of lower-case
/// base32.
#[derive(Clone, PartialEq, Eq)]
pub struct InvitationSecret([u8; SECRET_BYTES]);

impl InvitationSecret {
    /// Makes a new secret.
    ///
    /// # Errors
    /// [`NoRandomness`] if the operating system has none.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = [0; SECRET_BYTES];
        rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(bytes))
    }

    /// The secret of these bytes.
    pub fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes. Store their hash, not them.
    pub fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }
}

impl fmt::Display for InvitationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32::encode(&self.0))
    }
}

impl fmt::Debug for InvitationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationSecret(hidden)")
    }
}

impl FromStr for InvitationSecret {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        base32::decode("invitation secret", text).map(Self)
    }
}

/// What a router asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolRequest {
    /// The invitation's secret.
    pub secret: InvitationSecret,
    /// The name it would like; the server may give another.
    pub name: Option<RouterName>,
}

/// What the server decides about: a request and the key that it is to be tied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The router's key, which it has proven to hold.
    pub key: PublicKey,
    /// What it asks for.
    pub request: EnrolRequest,
}

/// What an enrolled router is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Its name at the server.
    pub name: RouterName,
    /// The server's tag key.
    pub tag_key: TagKey,
}

/// Why a server refuses. The text forms are `unknown`, `used`, `expired`, `busy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No such invitation was ever made here, or it was withdrawn.
    Unknown,
    /// Another key has used it.
    Used,
    /// It is too old, by the server's clock.
    Expired,
    /// The server cannot decide now.
    Busy,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Used, Self::Expired, Self::Busy];

    /// The text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Busy => "busy",
        }
    }

    /// A sentence for people, ending in the next step.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Unknown => {
                "the server does not know this invitation; \
                 run `guywire server invite NAME` there for a new one"
            }
            Self::Used => {
                "this invitation was used by another router; \
                 run `guywire server invite NAME` on the server for a new one"
            }
            Self::Expired => {
                "this invitation has expired; \
                 run `guywire server invite NAME` on the server for a new one"
            }
            Self::Busy => "the server cannot decide now; try again in a minute",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text is no [`Refusal`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a refusal is one of unknown, used, expired, busy")]
pub struct RefusalTextError;

impl FromStr for Refusal {
    type Err = RefusalTextError;

    fn from_str(text: &str) -> Result<Self, RefusalTextError> {
        Self::ALL
            .into_iter()
            .find(|refusal| refusal.as_str() == text)
            .ok_or(RefusalTextError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn router_names_are_safe_file_names() {
        for good in ["a", "home-1", "Box_2.lan", &"x".repeat(32)] {
            assert_eq!(good.parse::<RouterName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            "-x",
            "_x",
            "a/b",
            "ä",
            "a b",
            &"x".repeat(33),
        ] {
            assert!(bad.parse::<RouterName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_are_hidden_and_round_trip() {
        let secret = InvitationSecret::generate().unwrap();
        assert_eq!(format!("{secret:?}"), "InvitationSecret(hidden)");
        let text = secret.to_string();
        assert_eq!(text.len(), 26);
        assert!(text.parse::<InvitationSecret>().unwrap() == secret);
    }

    #[test]
    fn refusals_round_trip() {
        for refusal in Refusal::ALL {
            assert_eq!(refusal.to_string().parse(), Ok(refusal));
        }
        assert!("no".parse::<Refusal>().is_err());
    }
}
