//! The endless pseudo-random stream that the internet host serves.
//!
//! Every `/bytes/N` is the first N bytes of one and the same stream, so any
//! prefix (a download that was stopped after some seconds, an upload of any
//! length) has a known SHA-256, and a byte that arrives at a wrong place is
//! found out. Producing it costs one pass of XOR over a fixed block, hashing
//! keeps a state per block so that no prefix is hashed twice.

use std::sync::{Mutex, PoisonError};

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;
use sha2::{Digest, Sha256};

/// Words in the block that repeats, masked differently each time (1 MiB).
const BLOCK_WORDS: usize = 1 << 17;

/// Bytes in that block.
const BLOCK: u64 = (BLOCK_WORDS * 8) as u64;

/// The longest body `/bytes/N` sends and `/sink` takes, in bytes (1 TiB).
pub const MAX_BYTES: u64 = 1 << 40;

/// The longest prefix whose SHA-256 is computed, in bytes (64 GiB).
pub const MAX_HASHED: u64 = 1 << 36;

/// The stream: the block it is made of and the hash states reached so far.
pub struct Content {
    /// Pseudo-random words, the same on every machine.
    base: Vec<u64>,
    /// `states[k]` has hashed the first k blocks; grows as prefixes are asked for.
    states: Mutex<Vec<Sha256>>,
}

impl Default for Content {
    fn default() -> Self {
        Content::new()
    }
}

impl Content {
    /// Prepares the block (1 MiB of memory, about a millisecond).
    pub fn new() -> Content {
        // Any constant does; a fixed one lets both ends produce the same stream.
        let mut random = Pcg64Mcg::new(0x6775_7977_6972_6521);
        Content {
            base: (0..BLOCK_WORDS).map(|_| random.next_u64()).collect(),
            states: Mutex::new(vec![Sha256::new()]),
        }
    }

    /// Fills `out` with the bytes of the stream that start at `offset`.
    pub fn fill(&self, offset: u64, out: &mut [u8]) {
        let mut word = offset / 8;
        let mut rest = out;
        let skip = (offset % 8) as usize;
        if skip > 0 {
            let bytes = self.word(word).to_le_bytes();
            let take = rest.len().min(8 - skip);
            let (head, tail) = rest.split_at_mut(take);
            head.copy_from_slice(&bytes[skip..skip + take]);
            rest = tail;
            word += 1;
        }
        while rest.len() >= 8 {
            let start = (word % BLOCK_WORDS as u64) as usize;
            let words = (BLOCK_WORDS - start).min(rest.len() / 8);
            let mask = mask_of(word / BLOCK_WORDS as u64);
            let (run, tail) = rest.split_at_mut(words * 8);
            let source = &self.base[start..start + words];
            for (to, from) in run.as_chunks_mut::<8>().0.iter_mut().zip(source) {
                *to = (from ^ mask).to_le_bytes();
            }
            rest = tail;
            word += words as u64;
        }
        let last = self.word(word).to_le_bytes();
        let length = rest.len();
        rest.copy_from_slice(&last[..length]);
    }

    /// The SHA-256 of the first `length` bytes, in hexadecimal.
    ///
    /// Runs for about a second per 400 MB never hashed before, so callers on
    /// a runtime move it to a blocking thread; `length` is at most
    /// [`MAX_HASHED`].
    pub fn sha256(&self, length: u64) -> String {
        let length = length.min(MAX_HASHED);
        let blocks = (length / BLOCK) as usize;
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let mut piece = vec![0; BLOCK as usize];
        while states.len() <= blocks {
            let done = states.len() - 1;
            let mut next = states[done].clone();
            self.fill(done as u64 * BLOCK, &mut piece);
            next.update(&piece);
            states.push(next);
        }
        let mut last = states[blocks].clone();
        drop(states);
        piece.truncate((length % BLOCK) as usize);
        self.fill(blocks as u64 * BLOCK, &mut piece);
        last.update(&piece);
        hex(&last.finalize())
    }

    fn word(&self, index: u64) -> u64 {
        let block = index / BLOCK_WORDS as u64;
        self.base[(index % BLOCK_WORDS as u64) as usize] ^ mask_of(block)
    }
}

/// The SHA-256 of a body as it arrives; or none, where nobody asks and its price would be measured too.
pub struct BodyHash(Option<Sha256>);

impl BodyHash {
    /// Of a body that begins now.
    pub fn new(wanted: bool) -> BodyHash {
        BodyHash(wanted.then(Sha256::new))
    }

    /// Adds what arrived.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(state) = &mut self.0 {
            state.update(bytes);
        }
    }

    /// What it is, in hexadecimal.
    pub fn finish(self) -> Option<String> {
        self.0.map(|state| hex(&state.finalize()))
    }
}

/// Lower-case hexadecimal of a digest.
fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Spreads a block's number over 64 bits (the finaliser of splitmix64), so
/// that neighbouring blocks differ in every byte.
fn mask_of(block: u64) -> u64 {
    let mut z = block.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_bytes() {
        let content = Content::new();
        let mut whole = vec![0; 3 * BLOCK as usize + 77];
        content.fill(0, &mut whole);
        for (offset, length) in [
            (0, 1),
            (1, 7),
            (3, 64),
            (8, 8),
            (13, 3),
            (1_048_570, 40),
            (2_000_003, 1_100_001),
        ] {
            let mut cut = vec![0; length];
            content.fill(offset as u64, &mut cut);
            assert_eq!(
                cut,
                whole[offset..offset + length],
                "offset {offset}, length {length}"
            );
        }
    }

    #[test]
    fn blocks_differ() {
        let content = Content::new();
        let mut first = vec![0; 64];
        let mut second = vec![0; 64];
        content.fill(0, &mut first);
        content.fill(BLOCK, &mut second);
        assert!(first.iter().zip(&second).filter(|(a, b)| a == b).count() < 8);
    }

    #[test]
    fn hashes_match_a_plain_pass_in_any_order() {
        let content = Content::new();
        for length in [3 * BLOCK + 5, 0, 1, BLOCK, BLOCK - 1, 2 * BLOCK + 9] {
            let mut bytes = vec![0; length as usize];
            content.fill(0, &mut bytes);
            assert_eq!(
                content.sha256(length),
                hex(&Sha256::digest(&bytes)),
                "length {length}"
            );
        }
    }
}
