//! Keys: who a router or a server is.
//!
//! Every end has one Ed25519 key pair. The public half *is* its identity: TLS carries it as a raw
//! public key (RFC 7250), there are no certificates, no names and no dates in it, so nothing
//! expires on a router whose clock is wrong.
//!
//! A public key is written in **lower-case base32 without padding, 52 characters** (RFC 4648
//! alphabet `a-z2-7`), and in no other form. Base32 rather than base64: a double click selects all
//! of it, it cannot begin with `-` and be taken for an option, and it is safe in file names.
//!
//! Key files are in [`mod@file`]; what a key may do is decided in [`crate::tls`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use thiserror::Error;

pub(crate) mod base32;
pub mod file;

pub use base32::KeyTextError;
pub use file::KeyFileError;

/// The DER of a SubjectPublicKeyInfo for Ed25519 up to the key itself (RFC 8410 section 4):
/// SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING (no unused bits) }.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Bytes of an Ed25519 public key.
pub const PUBLIC_KEY_BYTES: usize = 32;

/// Bytes of an Ed25519 key as SubjectPublicKeyInfo.
pub const SPKI_BYTES: usize = SPKI_PREFIX.len() + PUBLIC_KEY_BYTES;

/// The public half of a key pair: the identity of a router or a server.
///
/// Any 32 bytes make a value; whether they are a point on the curve shows when a signature is
/// verified with them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; PUBLIC_KEY_BYTES]);

impl PublicKey {
    /// The key as the SubjectPublicKeyInfo that TLS carries (RFC 7250 section 3).
    pub fn to_spki(&self) -> [u8; SPKI_BYTES] {
        let mut spki = [0; SPKI_BYTES];
        spki[..SPKI_PREFIX.len()].copy_from_slice(&SPKI_PREFIX);
        spki[SPKI_PREFIX.len()..].copy_from_slice(&self.0);
        spki
    }

    /// Reads a SubjectPublicKeyInfo; `None` unless it is an Ed25519 key in exactly the form that
    /// [`PublicKey::to_spki`] writes.
    pub fn from_spki(spki: &[u8]) -> Option<Self> {
        let key = spki.strip_prefix(&SPKI_PREFIX)?;
        Some(Self(key.try_into().ok()?))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32::encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        base32::decode("public key", text).map(Self)
    }
}

/// A private key could not be made or read.
#[derive(Debug, Error)]
pub enum PrivateKeyError {
    /// The operating system gave no randomness, or the crypto library failed its own test.
    #[error("cannot generate an Ed25519 key: the crypto library reports a failure")]
    Generate,
    /// The bytes are no Ed25519 key in PKCS#8.
    #[error("not an Ed25519 private key in PKCS#8 form ({bytes} bytes): {reason}")]
    Parse {
        /// How many bytes were given.
        bytes: usize,
        /// What the crypto library says.
        reason: String,
    },
}

/// The private half of a key pair. Clones share one copy; `Debug` shows only the public half.
#[derive(Clone)]
pub struct PrivateKey(Arc<Ed25519KeyPair>);

impl PrivateKey {
    /// Makes a new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`PrivateKeyError::Generate`] if there is none.
    pub fn generate() -> Result<Self, PrivateKeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| PrivateKeyError::Generate)?;
        Ok(Self(Arc::new(pair)))
    }

    /// Reads PKCS#8 DER, version 1 (RFC 8410, as OpenSSL writes it) or 2 (with the public key).
    ///
    /// # Errors
    /// [`PrivateKeyError::Parse`] with the crypto library's reason.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, PrivateKeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|e| {
            PrivateKeyError::Parse {
                bytes: der.len(),
                reason: e.to_string(),
            }
        })?;
        Ok(Self(Arc::new(pair)))
    }

    /// The key as PKCS#8 DER, version 1: the form that `openssl pkey` reads. Secret.
    ///
    /// # Panics
    /// Never in practice: a held key pair can always be encoded.
    pub fn to_pkcs8(&self) -> Vec<u8> {
        self.0
            .to_pkcs8v1()
            .expect("an Ed25519 key pair that was generated or parsed has a PKCS#8 encoding")
            .as_ref()
            .to_vec()
    }

    /// The public half.
    ///
    /// # Panics
    /// Never in practice: an Ed25519 public key is 32 bytes.
    pub fn public_key(&self) -> PublicKey {
        let bytes = self.0.public_key().as_ref();
        PublicKey(
            bytes
                .try_into()
                .expect("an Ed25519 public key is 32 bytes (RFC 8032)"),
        )
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_survives_pkcs8() {
        let key = PrivateKey::generate().unwrap();
        let again = PrivateKey::from_pkcs8(&key.to_pkcs8()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
    }

    /// The example of RFC 8410 section 10.3, and the public key that section 10.1 gives for it.
    #[test]
    fn the_key_of_rfc_8410_is_read() {
        let der = data_encoding::HEXLOWER
            .decode(
                b"302e020100300506032b657004220420d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842",
            )
            .unwrap();
        let key = PrivateKey::from_pkcs8(&der).unwrap();
        let spki = data_encoding::HEXLOWER
            .decode(b"302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1")
            .unwrap();
        assert_eq!(key.public_key().to_spki().as_slice(), spki);
        assert_eq!(key.to_pkcs8(), der);
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = PrivateKey::generate().unwrap();
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("PrivateKey(of {})", key.public_key()));
    }

    #[test]
    fn rubbish_is_no_private_key() {
        let error = PrivateKey::from_pkcs8(b"rubbish").unwrap_err().to_string();
        assert!(
            error.starts_with("not an Ed25519 private key in PKCS#8 form (7 bytes)"),
            "{error}"
        );
    }

    #[test]
    fn only_the_documented_text_form_is_read() {
        let key = PublicKey([7; 32]);
        let text = key.to_string();
        assert_eq!(text.len(), 52);
        assert!(text.to_uppercase().parse::<PublicKey>().is_err());
        let short = text[..51].parse::<PublicKey>().unwrap_err().to_string();
        assert!(short.contains("51 characters"), "{short}");
        let odd = format!("{}1", &text[..51])
            .parse::<PublicKey>()
            .unwrap_err()
            .to_string();
        assert!(odd.contains("position 52"), "{odd}");
    }

    proptest! {
        #[test]
        fn text_and_spki_round_trip(bytes: [u8; 32]) {
            let key = PublicKey(bytes);
            prop_assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
            prop_assert_eq!(PublicKey::from_spki(&key.to_spki()), Some(key));
        }

        #[test]
        fn any_text_is_refused_or_canonical(text in "\\PC{0,60}") {
            if let Ok(key) = text.parse::<PublicKey>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }

        #[test]
        fn any_spki_is_refused_or_canonical(spki in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(key) = PublicKey::from_spki(&spki) {
                prop_assert_eq!(key.to_spki().to_vec(), spki);
            }
        }
    }
}
