//! Making invitations: what `guywire server invite` prints, whether it asks the running server or writes by itself.

use std::time::{Duration, SystemTime};

use guywire_transport::enrol::invitation::InvitationError;
use guywire_transport::enrol::{HostPort, Invitation, RouterNameError};

use crate::store::{ServerStore, StoreError};
use crate::supervisor::InviteAnswer;

/// The longest life of an invitation: it is a secret that lies about in chats and mails.
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why there is no invitation.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] RouterNameError),
    /// It would live too short or too long.
    #[error("an invitation cannot be valid for {secs} s, only for 1 s to {most} s (30 days)", most = MAX_LIFETIME.as_secs())]
    Lifetime {
        /// Seconds asked for.
        secs: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server's addresses do not fit an invitation.
    #[error("{0}; correct `address` in the server's configuration")]
    Line(#[from] InvitationError),
}

/// Makes an invitation for a router, valid for `lifetime` from `now` on by this machine's clock.
///
/// # Errors
/// Name or lifetime are out of bounds, or the store fails.
pub fn invite(
    store: &ServerStore,
    addresses: Vec<HostPort>,
    name: &str,
    lifetime: Duration,
    now: SystemTime,
) -> Result<InviteAnswer, InviteError> {
    let name = name.parse()?;
    if lifetime.is_zero() || lifetime > MAX_LIFETIME {
        return Err(InviteError::Lifetime {
            secs: lifetime.as_secs(),
        });
    }
    let server_key = store.private_key()?.public_key();
    let new = store.invite(name, lifetime, now)?;
    let line = Invitation::new(addresses, server_key, new.secret, new.name)?.to_string();
    Ok(InviteAnswer {
        line,
        expires: new.expires,
        replaces: new.replaces,
    })
}
