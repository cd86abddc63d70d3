//! What a server keeps: its keys, the routers it lets in, the invitations it gave out.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use guywire_transport::enrol::{InvitationSecret, Refusal, RouterName};
use guywire_transport::key::{PrivateKey, PublicKey};
use guywire_transport::tag::TagKey;
use serde::{Deserialize, Serialize};

use super::{FileError, StoreError, files};
use crate::worker::{AuthorisedRouter, Enrolled, SecretText};

/// Most invitations that are neither used nor expired.
const MAX_INVITATIONS: usize = 1000;
/// A used or expired invitation is kept this long, so that whoever presents it gets to know why it fails.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// The files of a server, in its state directory.
#[derive(Debug, Clone)]
pub struct ServerStore {
    directory: PathBuf,
}

/// An invitation as it is kept: of the secret only the hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationRecord {
    /// The name that the router will have.
    pub name: String,
    /// SHA-256 of the secret, in hexadecimal.
    pub secret_sha256: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it stops to be valid, in seconds since 1970 by this server's clock.
    pub expires: u64,
    /// Who used it, if somebody did.
    pub used: Option<Use>,
}

/// That an invitation was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The public key that was registered.
    pub public_key: String,
}

/// A router as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RouterRecord {
    name: String,
    public_key: String,
    joined: u64,
}

/// A fresh invitation. The secret exists nowhere else.
#[derive(Debug, Clone)]
pub struct NewInvitation {
    /// The name that the router will have.
    pub name: RouterName,
    /// The secret.
    pub secret: InvitationSecret,
    /// When it stops to be valid, in seconds since 1970.
    pub expires: u64,
    /// A router of this name exists; the one that joins takes its place.
    pub replaces: bool,
}

/// Why an invitation is not accepted: for the server's log. The router hears the [`Refusal`].
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// No such secret.
    #[error("the invitation is not known here")]
    Unknown,
    /// Another key used it.
    #[error("the invitation for \"{name}\" was used by another router")]
    Used {
        /// The name it was for.
        name: String,
    },
    /// Too old.
    #[error("the invitation for \"{name}\" expired {ago} s ago")]
    Expired {
        /// The name it was for.
        name: String,
        /// Seconds since then.
        ago: u64,
    },
    /// The public key is none.
    #[error("not a public key: {0}")]
    BadKey(String),
    /// The store failed.
    #[error("the registration cannot be stored: {0}")]
    Store(#[from] StoreError),
}

impl RedeemError {
    /// What the router is told.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Unknown | Self::BadKey(_) => Refusal::Unknown,
            Self::Used { .. } => Refusal::Used,
            Self::Expired { .. } => Refusal::Expired,
            Self::Store(_) => Refusal::Busy,
        }
    }
}

impl From<FileError> for RedeemError {
    fn from(error: FileError) -> Self {
        Self::Store(error.into())
    }
}

impl ServerStore {
    /// Opens the store, making the server's keys where they are missing. The flag says whether the key is new.
    ///
    /// # Errors
    /// A file or directory cannot be read or made.
    pub fn create(directory: &Path) -> Result<(Self, bool), StoreError> {
        let store = Self {
            directory: directory.to_owned(),
        };
        files::private_dir(directory)?;
        files::private_dir(&store.routers_dir())?;
        files::private_dir(&store.invitations_dir())?;
        let new = !store.key_path().exists();
        PrivateKey::load_or_create(&store.key_path())?;
        if !store.tag_path().exists() {
            let key = TagKey::generate().map_err(|_| StoreError::Random)?;
            files::write(&store.tag_path(), format!("{key}\n").as_bytes())?;
        }
        Ok((store, new))
    }

    /// Opens the store of a server that was initialised.
    ///
    /// # Errors
    /// [`StoreError::NotInitialised`] when there is no key.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let store = Self {
            directory: directory.to_owned(),
        };
        if !store.key_path().exists() {
            return Err(StoreError::NotInitialised(store.key_path()));
        }
        Ok(Self::create(directory)?.0)
    }

    /// The server's private key.
    ///
    /// # Errors
    /// The file cannot be read, or others may read it.
    pub fn private_key(&self) -> Result<PrivateKey, StoreError> {
        Ok(PrivateKey::load(&self.key_path())?)
    }

    /// The keys of the SNI tags, newest first; the first is given to new routers.
    ///
    /// # Errors
    /// The file cannot be read or holds something else.
    pub fn tag_keys(&self) -> Result<Vec<SecretText>, StoreError> {
        let path = self.tag_path();
        let text = files::read(&path)?;
        let keys = text.split_whitespace().map(|line| {
            let checked: Result<TagKey, _> = line.parse();
            checked
                .map(|key| SecretText(key.to_string()))
                .map_err(|error| error.to_string())
        });
        let wrong = |reason| StoreError::TagKey {
            path: path.clone(),
            reason,
        };
        let keys = keys.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        if keys.is_empty() {
            Err(wrong("it is empty".into()))
        } else {
            Ok(keys)
        }
    }

    /// The routers that may connect, by name. A damaged file is reported and harms no other router.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn routers(&self) -> Result<Vec<AuthorisedRouter>, StoreError> {
        let records = records::<RouterRecord>(&self.routers_dir())?;
        let routers = records.into_iter().map(|(_, router)| router);
        Ok(routers
            .map(|router| AuthorisedRouter {
                name: router.name,
                public_key: router.public_key,
            })
            .collect())
    }

    /// The invitations that are kept, open or not.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn invitations(&self) -> Result<Vec<InvitationRecord>, StoreError> {
        Ok(records(&self.invitations_dir())?
            .into_iter()
            .map(|(_, invitation)| invitation)
            .collect())
    }

    /// Makes an invitation for a router of this name, valid for `lifetime` from `now` on.
    ///
    /// # Errors
    /// Too many invitations are open, or the file cannot be written.
    pub fn invite(
        &self,
        name: RouterName,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<NewInvitation, StoreError> {
        let now = seconds_since_1970(now);
        self.prune(now)?;
        let secret = InvitationSecret::generate().map_err(|_| StoreError::Random)?;
        let hash = hash(&secret);
        let expires = now.saturating_add(lifetime.as_secs());
        let record = InvitationRecord {
            name: name.to_string(),
            secret_sha256: hash.clone(),
            created: now,
            expires,
            used: None,
        };
        self.save(&self.invitation_path(&hash), &record)?;
        let replaces = self.router_path(name.as_str()).exists();
        Ok(NewInvitation {
            name,
            secret,
            expires,
            replaces,
        })
    }

    /// Registers the public key of whoever presents an invitation's secret. The invitation is marked as used, on disk,
    /// before the router is: a crash in between lets no second key in. The key that used it may do so again (its answer
    /// may have been lost), which also mends what such a crash left undone.
    ///
    /// # Errors
    /// The invitation is unknown, used by another key or expired, the key is none, or the store fails.
    pub fn redeem(
        &self,
        secret: &str,
        public_key: &str,
        now: SystemTime,
    ) -> Result<Enrolled, RedeemError> {
        let now = seconds_since_1970(now);
        let public_key: PublicKey = public_key
            .parse()
            .map_err(|error| RedeemError::BadKey(format!("{error}")))?;
        let public_key = public_key.to_string();
        let hash = hash(&secret.parse().map_err(|_| RedeemError::Unknown)?);
        let path = self.invitation_path(&hash);
        let mut invitation: InvitationRecord = match read_record(&path) {
            Ok(record) => record,
            Err(error) if error.is_missing() => return Err(RedeemError::Unknown),
            Err(error) => return Err(error.into()),
        };
        // The file's name holds half of the hash; this is the whole of it.
        if invitation.secret_sha256 != hash {
            return Err(RedeemError::Unknown);
        }
        let name = invitation.name.clone();
        match &invitation.used {
            Some(used) if used.public_key != public_key => return Err(RedeemError::Used { name }),
            None if now >= invitation.expires => {
                return Err(RedeemError::Expired {
                    name,
                    ago: now - invitation.expires,
                });
            }
            _ => {}
        }
        let tag_key = self.tag_keys()?.swap_remove(0);
        if invitation.used.is_none() {
            invitation.used = Some(Use {
                at: now,
                public_key: public_key.clone(),
            });
            self.save(&path, &invitation)?;
        }
        self.forget_key(&public_key, &name)?;
        self.save(
            &self.router_path(&name),
            &RouterRecord {
                name: name.clone(),
                public_key,
                joined: now,
            },
        )?;
        Ok(Enrolled { name, tag_key })
    }

    /// A key names one router: where it is registered under another name, that is the past.
    fn forget_key(&self, public_key: &str, keep: &str) -> Result<(), StoreError> {
        for (path, router) in records::<RouterRecord>(&self.routers_dir())? {
            if router.public_key == public_key && router.name != keep {
                files::remove(&path)?;
            }
        }
        Ok(())
    }

    fn prune(&self, now: u64) -> Result<(), StoreError> {
        let mut open = 0;
        for (path, invitation) in records::<InvitationRecord>(&self.invitations_dir())? {
            let ended = invitation.used.map_or(invitation.expires, |used| used.at);
            if ended.saturating_add(KEEP.as_secs()) < now {
                files::remove(&path)?;
            } else if ended > now {
                open += 1;
            }
        }
        if open >= MAX_INVITATIONS {
            Err(StoreError::TooManyInvitations(open))
        } else {
            Ok(())
        }
    }

    fn save<T: Serialize>(&self, path: &Path, record: &T) -> Result<(), FileError> {
        let wrong = |error| FileError {
            action: "write",
            path: path.to_owned(),
            source: std::io::Error::other(error),
        };
        let mut text = serde_json::to_vec_pretty(record).map_err(wrong)?;
        text.push(b'\n');
        files::write(path, &text)
    }

    fn key_path(&self) -> PathBuf {
        self.directory.join("server.key")
    }

    fn tag_path(&self) -> PathBuf {
        self.directory.join("tag.key")
    }

    fn routers_dir(&self) -> PathBuf {
        self.directory.join("routers")
    }

    fn invitations_dir(&self) -> PathBuf {
        self.directory.join("invitations")
    }

    /// Names come from a [`RouterName`] by way of an invitation, and are safe as file names.
    fn router_path(&self, name: &str) -> PathBuf {
        self.routers_dir().join(format!("{name}.json"))
    }

    fn invitation_path(&self, hash: &str) -> PathBuf {
        self.invitations_dir()
            .join(format!("{}.json", &hash[..hash.len() / 2]))
    }
}

fn records<T: for<'de> Deserialize<'de>>(directory: &Path) -> Result<Vec<(PathBuf, T)>, FileError> {
    let mut found = Vec::new();
    for path in files::json_files(directory)? {
        match read_record(&path) {
            Ok(record) => found.push((path, record)),
            Err(error) => tracing::warn!("{error}; the file is skipped: repair or remove it"),
        }
    }
    Ok(found)
}

fn read_record<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, FileError> {
    let text = files::read(path)?;
    serde_json::from_str(&text).map_err(|error| FileError {
        action: "read",
        path: path.to_owned(),
        source: error.into(),
    })
}

fn hash(secret: &InvitationSecret) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref())
}

/// A time as it is stored.
pub(crate) fn seconds_since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
