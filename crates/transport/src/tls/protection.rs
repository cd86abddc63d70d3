//! Record protection of TLS 1.3 (RFC 8446, section 5), without I/O: for subflows, once rustls has done the handshake and
//! told the keys.
//!
//! rustls would do this too, but it copies what arrives into a buffer of its own and hands it out in another: a tenth of
//! all CPU time (`docs/performance.md`). Here a record is opened into where it stays, and sealed where it is written from.
//!
//! It is what a subflow needs of TLS and no more: application data, and the alerts that end a connection. Keys are not
//! updated: after [`MAX_RECORDS`] another connection has to take over.

use std::io::IoSlice;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use bytes::Buf;
use rustls::ConnectionTrafficSecrets;
use thiserror::Error;

/// Bytes before the protected part of a record.
pub const HEADER: usize = 5;
/// The most that a record carries, in bytes.
pub const MAX_CONTENT: usize = 1 << 14;
/// The longest record that is made here, in bytes.
pub const MAX_SEALED: usize = HEADER + MAX_CONTENT + 1 + TAG;
/// So many records are sealed with one key, a third of what AES-GCM allows at their full length (RFC 8446, section 5.5):
/// 137 GB.
pub const MAX_RECORDS: u64 = 1 << 23;

const TAG: usize = 16;
/// Lengths of the protected part: its type and tag at least, and what RFC 8446 (section 5.2) allows for padding.
const PROTECTED: std::ops::RangeInclusive<usize> = 1 + TAG..=MAX_CONTENT + 256;

const ALERT: u8 = 21;
const APPLICATION_DATA: u8 = 23;
/// `warning`, as close_notify is sent, and close_notify itself.
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// What is wrong with a record, or why none can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// Nothing may come unprotected after the handshake.
    #[error("a TLS record of type {0} that is not protected")]
    Unprotected(u8),
    /// Shorter than an empty record, or longer than the longest.
    #[error(
        "a TLS record with {0} bytes; there must be {least} to {most}",
        least = PROTECTED.start(),
        most = PROTECTED.end()
    )]
    Length(usize),
    /// It was not sealed with the key or is not the next record.
    #[error(
        "a TLS record that was changed on the way, or was not sealed with this connection's key"
    )]
    Forged,
    /// Nothing but padding, or data without a byte, of which anybody could send any number.
    #[error("a TLS record without content")]
    Empty,
    /// A message of the handshake, such as KeyUpdate, or something unknown.
    #[error("protected content of type {0}, which has no place on a subflow")]
    Content(u8),
    /// The other end gave up.
    #[error("the other end ended TLS with alert {0}")]
    Alert(u8),
    /// See [`MAX_RECORDS`].
    #[error("{MAX_RECORDS} TLS records were sealed with one key; another connection takes over")]
    Worn,
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// At least one byte.
    Data,
    /// Nothing comes any more.
    Closed,
}

/// Opens the records of one direction, in order.
#[derive(Debug)]
pub struct Opener(Key);

/// Seals the records of one direction.
#[derive(Debug)]
pub struct Sealer(Key);

/// A direction's key.
#[derive(Debug)]
struct Key {
    aead: LessSafeKey,
    iv: [u8; NONCE_LEN],
    /// The number of the next record.
    number: u64,
}

impl Key {
    /// The keys of a direction, and the number of its next record, as rustls tells them.
    fn new((number, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Key, rustls::Error> {
        use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
        let (algorithm, key, iv) = match &secrets {
            Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(rustls::Error::General("an unknown cipher".into())),
        };
        let unusable = |what: &str| rustls::Error::General(format!("an unusable {what}"));
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| unusable("key"))?;
        let iv = iv.as_ref().try_into().map_err(|_| unusable("nonce"))?;
        Ok(Key {
            aead: LessSafeKey::new(key),
            iv,
            number,
        })
    }

    /// RFC 8446, section 5.3.
    fn nonce(&self) -> Nonce {
        let mut nonce = self.iv;
        let number = self.number.to_be_bytes();
        for (byte, number) in nonce[NONCE_LEN - number.len()..].iter_mut().zip(number) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

/// The length of the record at the front of `bytes`, header included; `None` while that is not known.
///
/// # Errors
/// [`Fault::Unprotected`] and [`Fault::Length`].
pub fn length(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    // The version means nothing (RFC 8446, section 5.1).
    let Some(&[kind, _, _, high, low]) = bytes.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    match kind {
        APPLICATION_DATA if PROTECTED.contains(&length) => Ok(Some(HEADER + length)),
        APPLICATION_DATA => Err(Fault::Length(length)),
        kind => Err(Fault::Unprotected(kind)),
    }
}

impl Opener {
    /// For the records of a direction, from its next one on, as rustls tells them.
    ///
    /// # Errors
    /// If the keys are of an unknown kind.
    pub fn new(from_rustls: (u64, ConnectionTrafficSecrets)) -> Result<Opener, rustls::Error> {
        Key::new(from_rustls).map(Opener)
    }

    /// Opens the next record, whose length [`length`] told, into `content`, which has its content alone afterwards.
    ///
    /// # Errors
    /// The connection is of no use after any.
    pub fn open(&mut self, record: &[u8], content: &mut Vec<u8>) -> Result<Opened, Fault> {
        let parts = record.split_first_chunk::<HEADER>();
        let parts =
            parts.and_then(|(header, rest)| Some((header, rest.split_last_chunk::<TAG>()?)));
        let (header, (protected, tag)) = parts.ok_or(Fault::Length(record.len()))?;
        content.resize(protected.len(), 0);
        let (aead, nonce) = (&self.0.aead, self.0.nonce());
        aead.open_separate_gather(nonce, Aad::from(header), protected, tag, content)
            .map_err(|_| Fault::Forged)?;
        self.0.number += 1;
        let kind_at = content.iter().rposition(|&byte| byte != 0);
        let kind_at = kind_at.ok_or(Fault::Empty)?;
        let kind = content[kind_at];
        content.truncate(kind_at);
        match (kind, &content[..]) {
            (APPLICATION_DATA, []) => Err(Fault::Empty),
            (APPLICATION_DATA, long) if long.len() > MAX_CONTENT => Err(Fault::Length(long.len())),
            (APPLICATION_DATA, _) => Ok(Opened::Data),
            (ALERT, &[_, alert]) if alert == CLOSE_NOTIFY[1] => Ok(Opened::Closed),
            (ALERT, &[_, alert]) => Err(Fault::Alert(alert)),
            (kind, _) => Err(Fault::Content(kind)),
        }
    }
}

impl Sealer {
    /// See [`Opener::new`].
    ///
    /// # Errors
    /// If the keys are of an unknown kind.
    pub fn new(from_rustls: (u64, ConnectionTrafficSecrets)) -> Result<Sealer, rustls::Error> {
        Key::new(from_rustls).map(Sealer)
    }

    /// Seals what `data` shows, at most [`MAX_CONTENT`], and adds it to `into` as one record. There must be some.
    ///
    /// # Errors
    /// [`Fault::Worn`].
    pub fn seal(&mut self, data: &mut impl Buf, into: &mut Vec<u8>) -> Result<(), Fault> {
        let mut parts = [IoSlice::new(&[]); 32];
        let count = data.chunks_vectored(&mut parts);
        let mut room = MAX_CONTENT;
        self.record(APPLICATION_DATA, into, |into| {
            for part in &parts[..count] {
                let taken = &part[..part.len().min(room)];
                into.extend_from_slice(taken);
                room -= taken.len();
            }
        })?;
        data.advance(MAX_CONTENT - room);
        Ok(())
    }

    /// Adds the record to `into` that says that nothing comes any more.
    ///
    /// # Errors
    /// [`Fault::Worn`].
    pub fn close(&mut self, into: &mut Vec<u8>) -> Result<(), Fault> {
        self.record(ALERT, into, |into| into.extend_from_slice(&CLOSE_NOTIFY))
    }

    fn record(
        &mut self,
        kind: u8,
        into: &mut Vec<u8>,
        content: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Fault> {
        if self.0.number >= MAX_RECORDS {
            return Err(Fault::Worn);
        }
        let start = into.len();
        into.extend_from_slice(&[0; HEADER]);
        content(into);
        into.push(kind);
        let length = into.len() - start - HEADER + TAG;
        let [.., high, low] = length.to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        into[start..start + HEADER].copy_from_slice(&header);
        let (nonce, aad) = (self.0.nonce(), Aad::from(header));
        let plain = &mut into[start + HEADER..];
        let tag = self.0.aead.seal_in_place_separate_tag(nonce, aad, plain);
        // It fails for what is far longer than a record only.
        into.extend_from_slice(tag.map_err(|_| Fault::Length(length))?.as_ref());
        self.0.number += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use rustls::crypto::cipher::{AeadKey, Iv};

    use super::*;

    fn keys(number: u64) -> (u64, ConnectionTrafficSecrets) {
        let (key, iv) = (AeadKey::from([7; 32]), Iv::from([9; NONCE_LEN]));
        (number, ConnectionTrafficSecrets::Aes256Gcm { key, iv })
    }

    fn pair(number: u64) -> (Sealer, Opener) {
        let sealer = Sealer::new(keys(number)).expect("keys");
        (sealer, Opener::new(keys(number)).expect("keys"))
    }

    fn sealed(sealer: &mut Sealer, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        let add = |into: &mut Vec<u8>| into.extend_from_slice(content);
        sealer.record(kind, &mut record, add).expect("a record");
        record
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened_in_order(
            pieces in prop::collection::vec((1..40_000_usize, any::<u8>()), 1..6),
            number in 0..MAX_RECORDS - 100,
        ) {
            let (mut sealer, mut opener) = pair(number);
            let (mut wire, mut sent, mut received) = (Vec::new(), Vec::new(), Vec::new());
            for (length, byte) in pieces {
                let mut data = Bytes::from(vec![byte; length]);
                sent.extend_from_slice(&data);
                while data.has_remaining() {
                    sealer.seal(&mut data, &mut wire).expect("not worn");
                }
            }
            sealer.close(&mut wire).expect("not worn");
            let (mut rest, mut content) = (&wire[..], Vec::new());
            loop {
                let next = length(rest).expect("a record").expect("a header");
                prop_assert!(next <= MAX_SEALED);
                let (record, after) = rest.split_at(next);
                rest = after;
                match opener.open(record, &mut content).expect("sealed with its key") {
                    Opened::Data => received.extend_from_slice(&content),
                    Opened::Closed => break,
                }
            }
            prop_assert!(rest.is_empty());
            prop_assert!(received == sent);
        }

        #[test]
        fn a_changed_record_is_no_record(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let (mut sealer, mut opener) = pair(0);
            let mut record = sealed(&mut sealer, APPLICATION_DATA, b"what was said");
            let at = at.index(record.len());
            record[at] ^= 1_u8 << bit;
            let told = length(&record);
            let opened = opener.open(&record, &mut Vec::new());
            prop_assert!(told != Ok(Some(record.len())) || opened == Err(Fault::Forged));
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let (_, mut opener) = pair(0);
            let told = length(&bytes).ok().flatten();
            prop_assert!(told.is_none_or(|told| told > HEADER + TAG));
            prop_assert!(opener.open(&bytes, &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn records_come_once_and_in_order() {
        let (mut sealer, mut opener) = pair(5);
        let [first, second] = [b"1", b"2"].map(|s| sealed(&mut sealer, APPLICATION_DATA, s));
        let mut content = Vec::new();
        assert_eq!(opener.open(&second, &mut content), Err(Fault::Forged));
        assert_eq!(opener.open(&first, &mut content), Ok(Opened::Data));
        assert_eq!(content, b"1");
        assert_eq!(opener.open(&first, &mut content), Err(Fault::Forged));
    }

    #[test]
    fn what_has_no_place_on_a_subflow_is_named() {
        let padded = [&b"padded"[..], &[APPLICATION_DATA], &[0; 100]].concat();
        let long = vec![1; MAX_CONTENT + 1];
        let cases: [(u8, &[u8], Result<Opened, Fault>); 8] = [
            (APPLICATION_DATA, b"data", Ok(Opened::Data)),
            (0, &padded, Ok(Opened::Data)),
            (APPLICATION_DATA, b"", Err(Fault::Empty)),
            (0, b"\0\0", Err(Fault::Empty)),
            (APPLICATION_DATA, &long, Err(Fault::Length(long.len()))),
            // KeyUpdate.
            (22, &[24, 0, 0, 1, 0], Err(Fault::Content(22))),
            // bad_record_mac, and close_notify at last.
            (ALERT, &[2, 20], Err(Fault::Alert(20))),
            (ALERT, &[2, 0], Ok(Opened::Closed)),
        ];
        let (mut sealer, mut opener) = pair(0);
        for (kind, content, expected) in cases {
            let record = sealed(&mut sealer, kind, content);
            let opened = opener.open(&record, &mut vec![1; 50]);
            assert_eq!(opened, expected, "type {kind}, {} bytes", content.len());
        }
    }

    #[test]
    fn lengths_are_bounded_before_anything_arrives() {
        let header = |kind, length: u16| [&[kind, 3, 3][..], &length.to_be_bytes()].concat();
        assert_eq!(length(&header(23, 17)[..4]), Ok(None));
        assert_eq!(length(&header(23, 17)), Ok(Some(22)));
        assert_eq!(length(&header(23, 16_640)), Ok(Some(16_645)));
        assert_eq!(length(&header(23, 16)), Err(Fault::Length(16)));
        assert_eq!(length(&header(23, 16_641)), Err(Fault::Length(16_641)));
        assert_eq!(length(&header(20, 1)), Err(Fault::Unprotected(20)));
    }

    #[test]
    fn a_key_is_given_up_before_it_is_worn() {
        let (mut sealer, _) = pair(MAX_RECORDS - 1);
        let mut into = Vec::new();
        assert_eq!(sealer.seal(&mut &b"last"[..], &mut into), Ok(()));
        let length = into.len();
        assert_eq!(sealer.seal(&mut &b"next"[..], &mut into), Err(Fault::Worn));
        assert_eq!(into.len(), length);
    }
}
