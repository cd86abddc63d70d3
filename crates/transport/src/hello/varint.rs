//! QUIC's variable-length integers (RFC 9000 section 16), as record headers use them.
//!
//! The two highest bits of the first byte say how long the number is: 1, 2, 4 or 8 bytes.
//! Longer forms than needed are read, as QUIC does; written is always the shortest.

/// The largest number that fits: 2^62 - 1.
pub(super) const MAX: u64 = (1 << 62) - 1;

/// Appends `value`, which must not exceed [`MAX`]; the two highest bits of a larger one are lost.
pub(super) fn put(out: &mut Vec<u8>, value: u64) {
    debug_assert!(value <= MAX, "{value} does not fit a varint");
    match value {
        0..0x40 => out.push(value as u8),
        0x40..0x4000 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..0x4000_0000 => {
            out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes());
        }
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Reads a number from the start of `bytes`: its value and length, or `None` if more bytes are
/// needed.
pub(super) fn get(bytes: &[u8]) -> Option<(u64, usize)> {
    let length = 1 << (bytes.first()? >> 6);
    let mut value = u64::from(bytes[0] & 0x3f);
    for byte in bytes.get(1..length)? {
        value = value << 8 | u64::from(*byte);
    }
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of RFC 9000 appendix A.1.
    #[test]
    fn the_examples_of_rfc_9000() {
        let rows: [(&[u8], u64); 5] = [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ];
        for (bytes, value) in rows {
            assert_eq!(get(bytes), Some((value, bytes.len())));
            for cut in 0..bytes.len() {
                assert_eq!(get(&bytes[..cut]), None);
            }
        }
    }

    proptest! {
        #[test]
        fn round_trip(value in 0..=MAX, shift in 0u32..62) {
            for value in [value, value >> shift] {
                let mut bytes = Vec::new();
                put(&mut bytes, value);
                prop_assert_eq!(get(&bytes), Some((value, bytes.len())));
            }
        }
    }
}
