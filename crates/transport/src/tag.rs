//! The tag in the SNI: how a server tells its routers from strangers before it signs anything.
//!
//! A TLS 1.3 server signs before it knows its client: a handshake costs it about 140 us of a core,
//! whoever asks (measured on a 2026 cloud machine). So a router puts into the server name what only
//! a holder of the *tag key* can make, and a server drops a ClientHello without a good tag
//! unanswered, for about 13 us. The name is
//!
//! ```text
//! base32( nonce (10 bytes) || mac (16 bytes) || generation (4 bytes, big-endian) ) ".guywire.invalid"
//! mac = the first 16 bytes of HMAC-SHA256(tag key, "guywire/1 sni tag" || nonce || generation)
//! ```
//!
//! in lower-case base32 without padding: one DNS label of 48 characters. `invalid` is reserved
//! (RFC 2606), so no such name ever resolves. *Generation* is the generation of the server's
//! worker that the router wants to reach (0: any), readable before TLS starts so that a raw socket
//! can be handed to the worker that owns the session.
//!
//! **One tag key per server**, given to every router at enrolment. With a key for each router the
//! server would compute one HMAC per router for every ClientHello (or the name would have to say
//! whose it is, and make routers traceable by whoever watches). The tag is no authentication: a
//! router that gives its tag key away lets strangers cost the server handshakes again, nothing
//! else; who may have a session is decided by keys alone ([`crate::tls`]). A server accepts a few
//! tag keys at a time so that one can be replaced.
//!
//! A tag can be replayed by whoever sees it (no clock is used, routers have none at start). The
//! same holds for it: it buys handshakes, nothing else.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hmac, rand};
use data_encoding::BASE32_NOPAD;
use thiserror::Error;

use crate::key::KeyTextError;
use crate::key::base32;

/// What every tagged server name ends in.
pub const SUFFIX: &str = ".guywire.invalid";

/// Bytes of a tag key.
pub const TAG_KEY_BYTES: usize = 32;

/// Binds the HMAC to this use, should the key ever get another.
const CONTEXT: &[u8] = b"guywire/1 sni tag";

const NONCE: usize = 10;
const MAC: usize = 16;
const GENERATION: usize = 4;
const TAG: usize = NONCE + MAC + GENERATION;

/// Characters of the label that carries the tag; 30 bytes need no padding.
const LABEL: usize = TAG * 8 / 5;

/// A server name carries no good tag.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TagError {
    /// The name is not of the form of a tag at all: a stranger, not a router.
    #[error("the server name is no tag: it is not {LABEL} characters of base32 and \"{SUFFIX}\"")]
    Shape,
    /// The form is right, the HMAC is not: made with another tag key.
    #[error(
        "the tag was not made with this server's tag key; enrol the router again if the key was replaced"
    )]
    Mac,
}

/// The key that makes and verifies tags. `Debug` hides it, `Display` writes it: 52 characters of
/// lower-case base32, for files of mode 0600 and the enrolment connection only.
#[derive(Clone, PartialEq, Eq)]
pub struct TagKey([u8; TAG_KEY_BYTES]);

impl TagKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`NoRandomness`] if the operating system has none.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = [0; TAG_KEY_BYTES];
        rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(bytes))
    }

    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; TAG_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes of the key. Secret.
    pub fn as_bytes(&self) -> &[u8; TAG_KEY_BYTES] {
        &self.0
    }

    /// Makes a fresh server name that asks for the worker of `generation`, 0 for any.
    ///
    /// # Errors
    /// [`NoRandomness`] if the operating system has none.
    pub fn make(&self, generation: u32) -> Result<String, NoRandomness> {
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce).map_err(|_| NoRandomness)?;
        Ok(self.name_of(nonce, generation))
    }

    /// Checks a server name against this key; the generation it asks for, 0 for any.
    ///
    /// # Errors
    /// Says whether the name is no tag or one of another key.
    pub fn verify(&self, name: &str) -> Result<u32, TagError> {
        let tag = Tag::parse(name)?;
        self.matches(&tag)
            .then_some(tag.generation)
            .ok_or(TagError::Mac)
    }

    fn name_of(&self, nonce: [u8; NONCE], generation: u32) -> String {
        let mut tag = Vec::with_capacity(TAG);
        tag.extend_from_slice(&nonce);
        tag.extend_from_slice(&self.mac(&nonce, generation));
        tag.extend_from_slice(&generation.to_be_bytes());
        base32::encode(&tag) + SUFFIX
    }

    fn matches(&self, tag: &Tag) -> bool {
        verify_slices_are_equal(&self.mac(&tag.nonce, tag.generation), &tag.mac).is_ok()
    }

    fn mac(&self, nonce: &[u8; NONCE], generation: u32) -> [u8; MAC] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        context.update(CONTEXT);
        context.update(nonce);
        context.update(&generation.to_be_bytes());
        let full = context.sign();
        let mut mac = [0; MAC];
        mac.copy_from_slice(&full.as_ref()[..MAC]);
        mac
    }
}

impl fmt::Display for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32::encode(&self.0))
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey(hidden)")
    }
}

impl FromStr for TagKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        base32::decode("tag key", text).map(Self)
    }
}

/// The operating system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

/// Checks a server name against all tag keys that a server accepts, newest first; the generation
/// asked for, 0 for any. Costs one HMAC per key, and none for a name that is no tag.
///
/// # Errors
/// As [`TagKey::verify`]; without any key every tag is one of another key.
pub fn verify_any(keys: &[TagKey], name: &str) -> Result<u32, TagError> {
    let tag = Tag::parse(name)?;
    keys.iter()
        .any(|key| key.matches(&tag))
        .then_some(tag.generation)
        .ok_or(TagError::Mac)
}

/// The generation that a server name asks for, **without** checking its HMAC: what decides where a
/// raw socket goes before TLS starts. Whoever then accepts it verifies.
///
/// # Errors
/// [`TagError::Shape`] if the name is no tag.
pub fn generation_wanted(name: &str) -> Result<u32, TagError> {
    Tag::parse(name).map(|tag| tag.generation)
}

/// A tag as read from a server name, not yet verified.
struct Tag {
    nonce: [u8; NONCE],
    mac: [u8; MAC],
    generation: u32,
}

impl Tag {
    /// Case is ignored, as in all host names.
    fn parse(name: &str) -> Result<Self, TagError> {
        let upper = name.to_ascii_uppercase();
        let label = upper
            .strip_suffix(&SUFFIX.to_ascii_uppercase())
            .filter(|label| label.len() == LABEL)
            .ok_or(TagError::Shape)?;
        let mut bytes = [0; TAG];
        BASE32_NOPAD
            .decode_mut(label.as_bytes(), &mut bytes)
            .map_err(|_| TagError::Shape)?;
        let (nonce, rest) = bytes.split_first_chunk().ok_or(TagError::Shape)?;
        let (mac, rest) = rest.split_first_chunk().ok_or(TagError::Shape)?;
        let generation = rest.try_into().map_err(|_| TagError::Shape)?;
        Ok(Self {
            nonce: *nonce,
            mac: *mac,
            generation: u32::from_be_bytes(generation),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> TagKey {
        TagKey([byte; TAG_KEY_BYTES])
    }

    #[test]
    fn names_are_host_names_and_never_repeat() {
        let one = key(1).make(0).unwrap();
        let two = key(1).make(0).unwrap();
        assert_ne!(one, two);
        let label = one.strip_suffix(SUFFIX).unwrap();
        assert_eq!(label.len(), 48);
        assert!(rustls::pki_types::DnsName::try_from(one.as_str()).is_ok());
    }

    /// A fixed example, so that the wire form cannot change unnoticed. The HMAC was computed with
    /// Python's `hmac` module.
    #[test]
    fn the_form_on_the_wire_stays() {
        assert_eq!(
            key(1).name_of([2; NONCE], 7),
            "aibaeaqcaibaeaqcgo7ucgq5aubefmox4cpgqm2knyaaaaah.guywire.invalid"
        );
    }

    #[test]
    fn other_names_are_no_tags() {
        let good = key(1).make(0).unwrap();
        let label = good.strip_suffix(SUFFIX).unwrap().to_owned();
        for name in [
            "".to_owned(),
            "example.com".to_owned(),
            SUFFIX.to_owned(),
            label.clone(),
            format!("{}{SUFFIX}", &label[1..]),
            format!("a{label}{SUFFIX}"),
            format!("1{}{SUFFIX}", &label[1..]),
            format!("{good}."),
        ] {
            assert_eq!(key(1).verify(&name), Err(TagError::Shape), "{name}");
        }
    }

    #[test]
    fn one_of_several_keys_is_enough_and_none_is_not() {
        let name = key(2).make(9).unwrap();
        assert_eq!(verify_any(&[key(1), key(2)], &name), Ok(9));
        assert_eq!(verify_any(&[key(1)], &name), Err(TagError::Mac));
        assert_eq!(verify_any(&[], &name), Err(TagError::Mac));
        assert_eq!(generation_wanted(&name), Ok(9));
    }

    #[test]
    fn debug_hides_the_key() {
        assert_eq!(format!("{:?}", key(3)), "TagKey(hidden)");
    }

    proptest! {
        #[test]
        fn a_tag_verifies_with_its_key_only(a: [u8; 32], b: [u8; 32], nonce: [u8; NONCE], generation: u32) {
            prop_assume!(a != b);
            let name = TagKey(a).name_of(nonce, generation);
            prop_assert_eq!(TagKey(a).verify(&name), Ok(generation));
            prop_assert_eq!(TagKey(a).verify(&name.to_ascii_uppercase()), Ok(generation));
            prop_assert_eq!(TagKey(b).verify(&name), Err(TagError::Mac));
        }

        #[test]
        fn a_changed_tag_is_refused(nonce: [u8; NONCE], generation: u32, at in 0..LABEL, by in 1u8..32) {
            let mut name = key(1).name_of(nonce, generation).into_bytes();
            let alphabet = b"abcdefghijklmnopqrstuvwxyz234567";
            let old = alphabet.iter().position(|c| *c == name[at]).unwrap();
            name[at] = alphabet[(old + usize::from(by)) % 32];
            let name = String::from_utf8(name).unwrap();
            prop_assert_eq!(key(1).verify(&name), Err(TagError::Mac));
        }

        #[test]
        fn any_name_is_handled(name in "\\PC{0,80}", label in "[a-z2-7]{40,56}") {
            let _ = key(1).verify(&name);
            let _ = key(1).verify(&(label + SUFFIX));
        }

        #[test]
        fn the_text_form_round_trips(bytes: [u8; 32]) {
            let key = TagKey(bytes);
            prop_assert!(key.to_string().parse::<TagKey>().unwrap() == key);
        }
    }
}
