//! The two messages of `guywire-enrol/1`, encoded and decoded without I/O.
//!
//! ```text
//! message = length u16 (of the body, at most 512), body
//! request = secret [u8; 16], name length u8 (0: no wish), name
//! answer  = 0 u8, name length u8, name, tag key [u8; 32]     enrolled
//!         | 1 u8, reason u8 (1 unknown, 2 used, 3 expired, 4 busy)     refused
//! ```
//!
//! Big-endian. What follows these fields within a body is ignored, so later versions append.

use thiserror::Error;

use super::{EnrolRequest, Enrolled, InvitationSecret, Refusal, RouterName, RouterNameError};
use crate::tag::TagKey;

/// Longest body, bytes. Ours have at most 66; the rest is room for later fields.
pub const MAX_BODY: usize = 512;

const ENROLLED: u8 = 0;
const REFUSED: u8 = 1;

/// Bytes are not the message that was expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The announced length is out of bounds.
    #[error("a message of {length} bytes was announced, at most {MAX_BODY} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// The body ends within a field.
    #[error("the message ends before or within its {field}")]
    Short {
        /// The field.
        field: &'static str,
    },
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] RouterNameError),
    /// Neither enrolled nor refused.
    #[error("the answer has kind {kind}, must be {ENROLLED} or {REFUSED}")]
    Kind {
        /// Its kind.
        kind: u8,
    },
    /// A reason that this version does not know.
    #[error("the server refused for reason {reason}, which this version does not know")]
    Reason {
        /// Its number.
        reason: u8,
    },
}

/// The server's answer.
pub type Answer = Result<Enrolled, Refusal>;

/// Checks an announced body length.
///
/// # Errors
/// [`WireError::TooLong`].
pub fn decode_length(prefix: [u8; 2]) -> Result<usize, WireError> {
    let length = usize::from(u16::from_be_bytes(prefix));
    if length > MAX_BODY {
        return Err(WireError::TooLong { length });
    }
    Ok(length)
}

fn message(body: &[u8]) -> Vec<u8> {
    // Our bodies have at most 66 bytes.
    let mut out = (body.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

fn put_name(body: &mut Vec<u8>, name: &str) {
    // A router name has at most 32 bytes.
    body.push(name.len() as u8);
    body.extend_from_slice(name.as_bytes());
}

/// The whole message of a request.
pub fn encode_request(request: &EnrolRequest) -> Vec<u8> {
    let mut body = request.secret.as_bytes().to_vec();
    put_name(
        &mut body,
        request.name.as_ref().map_or("", RouterName::as_str),
    );
    message(&body)
}

/// Reads the body of a request.
///
/// # Errors
/// Names the field that is missing or wrong.
pub fn decode_request(mut body: &[u8]) -> Result<EnrolRequest, WireError> {
    let secret = InvitationSecret::from_bytes(take_array(&mut body, "secret")?);
    let name = take_name(&mut body)?;
    let name = match name.as_str() {
        "" => None,
        name => Some(name.parse()?),
    };
    Ok(EnrolRequest { secret, name })
}

/// The whole message of an answer.
pub fn encode_answer(answer: &Answer) -> Vec<u8> {
    let mut body = Vec::new();
    match answer {
        Ok(enrolled) => {
            body.push(ENROLLED);
            put_name(&mut body, enrolled.name.as_str());
            body.extend_from_slice(enrolled.tag_key.as_bytes());
        }
        Err(refusal) => body.extend_from_slice(&[REFUSED, reason_number(*refusal)]),
    }
    message(&body)
}

/// Reads the body of an answer.
///
/// # Errors
/// Names the field that is missing or wrong.
pub fn decode_answer(mut body: &[u8]) -> Result<Answer, WireError> {
    match take_array(&mut body, "kind")? {
        [ENROLLED] => {
            let name = take_name(&mut body)?.parse()?;
            let tag_key = TagKey::from_bytes(take_array(&mut body, "tag key")?);
            Ok(Ok(Enrolled { name, tag_key }))
        }
        [REFUSED] => {
            let [reason] = take_array(&mut body, "reason")?;
            let refusal = Refusal::ALL
                .into_iter()
                .find(|refusal| reason_number(*refusal) == reason)
                .ok_or(WireError::Reason { reason })?;
            Ok(Err(refusal))
        }
        [kind] => Err(WireError::Kind { kind }),
    }
}

fn reason_number(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::Unknown => 1,
        Refusal::Used => 2,
        Refusal::Expired => 3,
        Refusal::Busy => 4,
    }
}

fn take_array<const N: usize>(body: &mut &[u8], field: &'static str) -> Result<[u8; N], WireError> {
    let (taken, rest) = body.split_first_chunk().ok_or(WireError::Short { field })?;
    *body = rest;
    Ok(*taken)
}

fn take_name(body: &mut &[u8]) -> Result<String, WireError> {
    let [length] = take_array(body, "length of the name")?;
    let (name, rest) = body
        .split_at_checked(length.into())
        .ok_or(WireError::Short { field: "name" })?;
    *body = rest;
    // A name that is no ASCII is refused when it is parsed.
    Ok(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_name() -> impl Strategy<Value = RouterName> {
        "[a-zA-Z0-9][a-zA-Z0-9._-]{0,31}".prop_map(|name| name.parse().unwrap())
    }

    fn body(message: &[u8]) -> &[u8] {
        let length = decode_length([message[0], message[1]]).unwrap();
        assert_eq!(length, message.len() - 2);
        &message[2..]
    }

    #[test]
    fn the_form_on_the_wire_stays() {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let request = EnrolRequest {
            secret: InvitationSecret::from_bytes([0xcd; 16]),
            name: Some("box".parse().unwrap()),
        };
        let secret = "cd".repeat(16);
        assert_eq!(
            hex(&encode_request(&request)),
            format!("0014{secret}03626f78")
        );
        let answer = Ok(Enrolled {
            name: "box".parse().unwrap(),
            tag_key: TagKey::from_bytes([0xef; 32]),
        });
        let key = "ef".repeat(32);
        assert_eq!(hex(&encode_answer(&answer)), format!("00250003626f78{key}"));
        assert_eq!(hex(&encode_answer(&Err(Refusal::Used))), "00020102");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(
            decode_length([0xff, 0xff]),
            Err(WireError::TooLong { length: 65_535 })
        );
        assert_eq!(
            decode_request(&[0; 15]),
            Err(WireError::Short { field: "secret" })
        );
        let mut traversal = vec![0; 16];
        put_name(&mut traversal, "../x");
        assert!(matches!(
            decode_request(&traversal),
            Err(WireError::Name(_))
        ));
        assert_eq!(decode_answer(&[7]), Err(WireError::Kind { kind: 7 }));
        assert_eq!(decode_answer(&[1, 9]), Err(WireError::Reason { reason: 9 }));
        // An enrolled router has a name.
        assert!(decode_answer(&[0; 40]).is_err());
    }

    proptest! {
        #[test]
        fn requests_round_trip(secret: [u8; 16], name in proptest::option::of(any_name()), more in 0usize..9) {
            let request = EnrolRequest { secret: InvitationSecret::from_bytes(secret), name };
            let message = encode_request(&request);
            let mut longer = body(&message).to_vec();
            longer.extend(vec![7; more]);
            prop_assert_eq!(decode_request(&longer), Ok(request));
        }

        #[test]
        fn answers_round_trip(name in any_name(), key: [u8; 32], refusal in 0usize..4, yes: bool) {
            let answer = if yes {
                Ok(Enrolled { name, tag_key: TagKey::from_bytes(key) })
            } else {
                Err(Refusal::ALL[refusal])
            };
            prop_assert_eq!(decode_answer(body(&encode_answer(&answer))), Ok(answer));
        }

        #[test]
        fn any_bytes_are_handled(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(request) = decode_request(&bytes) {
                prop_assert_eq!(decode_request(body(&encode_request(&request))), Ok(request));
            }
            if let Ok(answer) = decode_answer(&bytes) {
                prop_assert_eq!(decode_answer(body(&encode_answer(&answer))), Ok(answer));
            }
        }
    }
}
