//! Key files: PEM (`BEGIN PRIVATE KEY`), mode 0600.
//!
//! A key file is created whole or not at all and never overwritten: losing a server's key would
//! mean enrolling every router again. One that others can read is refused, as ssh does.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;

use super::{PrivateKey, PrivateKeyError};
use crate::durable::{sync_parent, write_new};

/// Longest key file that is read; ours have 119 bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// A key file could not be read or written.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// There is a key already; it was not touched.
    #[error(
        "the key file {} exists already and is never overwritten; move it away first if it is to be replaced",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read the file.
    #[error(
        "the key file {0} can be read by others (mode {mode:04o}); run: chmod 600 {0}",
        path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is too long to be a key.
    #[error("the key file {} is longer than {MAX_FILE_BYTES} bytes: it is no key file", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// No `BEGIN PRIVATE KEY` block.
    #[error("the key file {} holds no PEM block \"PRIVATE KEY\"", path.display())]
    NoPem {
        /// The file.
        path: PathBuf,
    },
    /// The block is not an Ed25519 key.
    #[error("the key file {} is unusable: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PrivateKeyError,
    },
    /// The operating system refused.
    #[error("cannot {step} the key file {}: {source}", path.display())]
    Io {
        /// `read`, `create`, ...
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl PrivateKey {
    /// Reads a key file.
    ///
    /// # Errors
    /// Names the file; for one that others can read the text ends in the `chmod` to run.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io {
            step: "read",
            path: path.to_owned(),
            source,
        };
        // Mode and contents of the same open file, so that nobody swaps it in between.
        let file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(KeyFileError::Readable { path, mode });
        }
        let mut text = Vec::new();
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(io)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            let path = path.to_owned();
            return Err(KeyFileError::TooLong { path });
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| KeyFileError::NoPem {
            path: path.to_owned(),
        })?;
        PrivateKey::from_pkcs8(der.secret_pkcs8_der()).map_err(|source| KeyFileError::Key {
            path: path.to_owned(),
            source,
        })
    }

    /// Writes a new key file of mode 0600, whole or not at all, also across a power cut.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] rather than replacing a file; otherwise the step that failed.
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let temporary = temporary_beside(path);
        let written = write_new(&temporary, self.to_pem().as_bytes())
            .map_err(|source| ("create", source))
            // A hard link, unlike a rename, fails if the name is taken.
            .and_then(|()| fs::hard_link(&temporary, path).map_err(|source| ("create", source)))
            .and_then(|()| sync_parent(path).map_err(|source| ("sync the directory of", source)));
        // Also after a failure; it may be missing then, which is no second error.
        let _ = fs::remove_file(&temporary);
        written.map_err(|(step, source)| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::AlreadyExists => KeyFileError::Exists { path },
                _ => KeyFileError::Io { step, path, source },
            }
        })
    }

    /// Reads the key file, or makes a new key and writes it where there is none yet.
    ///
    /// # Errors
    /// As [`PrivateKey::load`] and [`PrivateKey::save`].
    pub fn load_or_create(path: &Path) -> Result<Self, KeyFileError> {
        match Self::load(path) {
            Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let key = Self::generate().map_err(|source| KeyFileError::Key {
            path: path.to_owned(),
            source,
        })?;
        match key.save(path) {
            Ok(()) => Ok(key),
            // Another process was faster; its key is as good.
            Err(KeyFileError::Exists { .. }) => Self::load(path),
            Err(error) => Err(error),
        }
    }

    fn to_pem(&self) -> String {
        format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64.encode(&self.to_pkcs8())
        )
    }
}

/// A name beside `path` that no other process of this machine uses.
fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own for each test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("guywire-key-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_saved_key_is_private_and_loads_again() {
        let folder = Folder::new("saved");
        let path = folder.0.join("server.key");
        let key = PrivateKey::generate().unwrap();
        key.save(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600);
        assert_eq!(
            PrivateKey::load(&path).unwrap().public_key(),
            key.public_key()
        );
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let folder = Folder::new("twice");
        let path = folder.0.join("server.key");
        let first = PrivateKey::load_or_create(&path).unwrap();
        let error = PrivateKey::generate().unwrap().save(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        let again = PrivateKey::load_or_create(&path).unwrap();
        assert_eq!(again.public_key(), first.public_key());
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_cure() {
        let folder = Folder::new("open");
        let path = folder.0.join("server.key");
        PrivateKey::generate().unwrap().save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = PrivateKey::load(&path).unwrap_err().to_string();
        assert!(error.contains("mode 0640"), "{error}");
        assert!(
            error.ends_with(&format!("run: chmod 600 {}", path.display())),
            "{error}"
        );
    }

    #[test]
    fn other_files_are_no_keys() {
        let folder = Folder::new("other");
        let path = folder.0.join("server.key");
        assert!(matches!(
            PrivateKey::load(&path),
            Err(KeyFileError::Io { .. })
        ));
        for (contents, name) in [
            (b"hello".to_vec(), "NoPem"),
            (vec![b'x'; 20_000], "TooLong"),
            (
                b"-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n".to_vec(),
                "Key",
            ),
        ] {
            write_new(&path, &contents).unwrap();
            let error = PrivateKey::load(&path).unwrap_err();
            assert!(format!("{error:?}").starts_with(name), "{error:?}");
        }
    }
}
