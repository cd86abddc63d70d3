//! The line that enrols a router: `guywire1:` and base64url.
//!
//! ```text
//! body     = address count u8 (1 to 8), addresses, server key [u8; 32], secret [u8; 16],
//!            name length u8, name, checksum [u8; 4]
//! address  = host length u8, host, port u16 (big-endian)
//! checksum = the first 4 bytes of SHA-256 over what precedes it
//! ```
//!
//! The checksum tells a line that was damaged on its way from one that the server does not know.
//! The digit in the prefix is the version; a body that goes on after the name is a mistake.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;
use thiserror::Error;

use super::{HostPort, HostPortError, InvitationSecret, RouterName, RouterNameError, SECRET_BYTES};
use crate::key::{PUBLIC_KEY_BYTES, PublicKey};

/// What every invitation begins with.
pub const PREFIX: &str = "guywire1:";

/// Most addresses in an invitation.
pub const MAX_ADDRESSES: usize = 8;

/// Longest line that is looked at; the longest that can be made has 2,855 characters.
const MAX_LINE: usize = 4096;

const CHECKSUM: usize = 4;

/// Everything a router needs to enrol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Where the server listens, to be tried in this order; 1 to 8.
    pub addresses: Vec<HostPort>,
    /// The key that it has to show.
    pub server_key: PublicKey,
    /// What is redeemed.
    pub secret: InvitationSecret,
    /// The name that the router is to have.
    pub name: RouterName,
}

/// A line is no invitation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvitationError {
    /// Something else.
    #[error(
        "an invitation begins with \"{PREFIX}\"; copy the whole line that `guywire server invite` printed"
    )]
    Prefix,
    /// One of a later version.
    #[error("this invitation was made by a newer Guywire; update this router first")]
    Newer,
    /// Much too long.
    #[error("the invitation has {length} characters, at most {MAX_LINE} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// A character that no invitation has, or characters missing at the end.
    #[error("the invitation is damaged near character {position}; copy it again")]
    Character {
        /// Where, counted from 1 in the line without blanks.
        position: usize,
    },
    /// Mistyped, or cut off.
    #[error("the invitation is mistyped or cut off (its checksum does not match); copy it again")]
    Checksum,
    /// The checksum is right, the contents are not.
    #[error("the invitation ends before or within its {field}")]
    Short {
        /// The field.
        field: &'static str,
    },
    /// There is more than there should be.
    #[error("the invitation has {bytes} bytes too many")]
    Surplus {
        /// How many.
        bytes: usize,
    },
    /// No address, or too many.
    #[error("the invitation has {count} addresses, must be 1 to {MAX_ADDRESSES}")]
    Addresses {
        /// How many.
        count: usize,
    },
    /// An address that is none.
    #[error("the invitation names a bad address: {0}")]
    Address(#[from] HostPortError),
    /// A name that is none.
    #[error("the invitation names a bad router name: {0}")]
    Name(#[from] RouterNameError),
}

impl Invitation {
    /// An invitation; the one way to be sure that its line can be read.
    ///
    /// # Errors
    /// [`InvitationError::Addresses`].
    pub fn new(
        addresses: Vec<HostPort>,
        server_key: PublicKey,
        secret: InvitationSecret,
        name: RouterName,
    ) -> Result<Self, InvitationError> {
        check_count(addresses.len())?;
        Ok(Self {
            addresses,
            server_key,
            secret,
            name,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let addresses = &self.addresses[..self.addresses.len().min(MAX_ADDRESSES)];
        let mut body = vec![addresses.len() as u8];
        for address in addresses {
            // Hosts have at most 253 bytes, names at most 32.
            body.push(address.host().len() as u8);
            body.extend_from_slice(address.host().as_bytes());
            body.extend_from_slice(&address.port().to_be_bytes());
        }
        body.extend_from_slice(&self.server_key.0);
        body.extend_from_slice(self.secret.as_bytes());
        body.push(self.name.as_str().len() as u8);
        body.extend_from_slice(self.name.as_str().as_bytes());
        body.extend_from_slice(&checksum(&body));
        body
    }

    fn decode(bytes: &[u8]) -> Result<Self, InvitationError> {
        let (body, sum) = bytes
            .split_last_chunk::<CHECKSUM>()
            .ok_or(InvitationError::Checksum)?;
        if checksum(body) != *sum {
            return Err(InvitationError::Checksum);
        }
        let mut rest = body;
        let count = usize::from(take(&mut rest, 1, "address count")?[0]);
        check_count(count)?;
        let mut addresses = Vec::with_capacity(count);
        for _ in 0..count {
            let host = take_text(&mut rest, "host")?;
            let port = take_array(&mut rest, "port")?;
            addresses.push(HostPort::new(&host, u16::from_be_bytes(port))?);
        }
        let server_key = PublicKey(take_array::<PUBLIC_KEY_BYTES>(&mut rest, "server key")?);
        let secret = take_array::<SECRET_BYTES>(&mut rest, "secret")?;
        let name = take_text(&mut rest, "name")?.parse()?;
        if !rest.is_empty() {
            return Err(InvitationError::Surplus { bytes: rest.len() });
        }
        let secret = InvitationSecret::from_bytes(secret);
        Self::new(addresses, server_key, secret, name)
    }
}

fn check_count(count: usize) -> Result<(), InvitationError> {
    if (1..=MAX_ADDRESSES).contains(&count) {
        Ok(())
    } else {
        Err(InvitationError::Addresses { count })
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&digest(&SHA256, body).as_ref()[..CHECKSUM]);
    sum
}

fn take<'a>(
    rest: &mut &'a [u8],
    bytes: usize,
    field: &'static str,
) -> Result<&'a [u8], InvitationError> {
    let (taken, after) = rest
        .split_at_checked(bytes)
        .ok_or(InvitationError::Short { field })?;
    *rest = after;
    Ok(taken)
}

fn take_array<const N: usize>(
    rest: &mut &[u8],
    field: &'static str,
) -> Result<[u8; N], InvitationError> {
    let mut out = [0; N];
    out.copy_from_slice(take(rest, N, field)?);
    Ok(out)
}

/// A text after its length; what is no UTF-8 is refused by whoever parses it.
fn take_text(rest: &mut &[u8], field: &'static str) -> Result<String, InvitationError> {
    let [length] = take_array(rest, field)?;
    let text = take(rest, length.into(), field)?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&self.encode()))
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(line: &str) -> Result<Self, InvitationError> {
        if line.len() > MAX_LINE {
            let length = line.len();
            return Err(InvitationError::TooLong { length });
        }
        // A line that a terminal or a mail has wrapped is still good.
        let line: String = line.split_whitespace().collect();
        let Some(text) = line.strip_prefix(PREFIX) else {
            return Err(of_other_prefix(&line));
        };
        let bytes =
            BASE64URL_NOPAD
                .decode(text.as_bytes())
                .map_err(|e| InvitationError::Character {
                    position: PREFIX.len() + e.position + 1,
                })?;
        Self::decode(&bytes)
    }
}

fn of_other_prefix(line: &str) -> InvitationError {
    let version = line
        .strip_prefix("guywire")
        .and_then(|rest| rest.split_once(':'))
        .and_then(|(digits, _)| digits.parse::<u32>().ok());
    match version {
        Some(2..) => InvitationError::Newer,
        _ => InvitationError::Prefix,
    }
}

#[cfg(test)]
mod tests;
