//! What survives a reboot: keys, and what a server knows of its routers and invitations.
//!
//! Plain files, one for each thing, mode 0600 in directories of mode 0700, each written beside its place, synced and
//! renamed. The supervisor of a server is the only one that redeems; `server init` and `server invite` may write while
//! it runs, since they only add files.
//!
//! - `files`: private directories and atomic writes.
//! - `server`: [`ServerStore`].

pub mod files;
mod server;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use guywire_transport::key::{KeyFileError, PrivateKey};

pub use files::FileError;
pub(crate) use server::seconds_since_1970;
pub use server::{InvitationRecord, NewInvitation, RedeemError, ServerStore};

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory of the store.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The server has no key yet.
    #[error("{path} does not exist; `guywire server init` makes it", path = .0.display())]
    NotInitialised(PathBuf),
    /// The tag key's file holds something else.
    #[error("{path} holds no tag key ({reason}); restore it from a backup", path = path.display())]
    TagKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// Too many invitations are open.
    #[error("{0} invitations are open, the most there may be; remove some from STATE/invitations")]
    TooManyInvitations(usize),
}

/// The router's private key: the one in `state_dir/router.key`, or a new one there.
///
/// # Errors
/// The file cannot be read or written, or others may read it.
pub fn router_key(state_dir: &Path) -> Result<PrivateKey, StoreError> {
    files::private_dir(state_dir)?;
    Ok(PrivateKey::load_or_create(&state_dir.join("router.key"))?)
}
