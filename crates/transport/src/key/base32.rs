//! The text form of 32-byte keys and of secrets: lower-case base32 without padding.
//!
//! Decoding is strict (one text per value), so keys can be compared as text.

use data_encoding::{BASE32_NOPAD, DecodeKind};
use thiserror::Error;

/// A text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyTextError {
    /// The length is wrong: something was cut off or added.
    #[error("a {what} has {expected} characters, this text has {got} characters")]
    Length {
        /// What was expected, in the field's words.
        what: &'static str,
        /// Characters of a whole one.
        expected: usize,
        /// Characters given.
        got: usize,
    },
    /// A character outside `a-z2-7`, or a last character that no encoder writes.
    #[error("a {what} consists of a-z and 2-7: the character at position {position} is wrong")]
    Character {
        /// What was expected, in the field's words.
        what: &'static str,
        /// Where, counted from 1.
        position: usize,
    },
}

/// Writes `bytes` in lower-case base32.
pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

/// Reads exactly `N` bytes from lower-case base32; `what` names the thing in errors.
pub(crate) fn decode<const N: usize>(
    what: &'static str,
    text: &str,
) -> Result<[u8; N], KeyTextError> {
    let expected = BASE32_NOPAD.encode_len(N);
    // Counted in characters, as a person would; bytes and characters agree for all valid texts.
    let got = text.chars().count();
    if got != expected {
        return Err(KeyTextError::Length {
            what,
            expected,
            got,
        });
    }
    if let Some(at) = text
        .chars()
        .position(|c| !matches!(c, 'a'..='z' | '2'..='7'))
    {
        return Err(KeyTextError::Character {
            what,
            position: at + 1,
        });
    }
    let upper = text.to_ascii_uppercase();
    let mut out = [0; N];
    match BASE32_NOPAD.decode_mut(upper.as_bytes(), &mut out) {
        Ok(_) => Ok(out),
        // The alphabet and the length are right, so only the last character's spare bits are left.
        Err(partial) => Err(KeyTextError::Character {
            what,
            position: match partial.error.kind {
                DecodeKind::Trailing | DecodeKind::Length => expected,
                DecodeKind::Symbol | DecodeKind::Padding => partial.error.position + 1,
            },
        }),
    }
}
