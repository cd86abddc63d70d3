//! Variable-length integers of QUIC (RFC 9000, section 16): 1, 2, 4 or 8 bytes, up to 2^62 - 1.

use bytes::BufMut;

/// The largest value a varint carries.
pub const MAX: u64 = (1 << 62) - 1;

/// Appends `value`, which must not exceed [`MAX`].
pub fn put(out: &mut impl BufMut, value: u64) {
    match value {
        0..0x40 => out.put_u8(value as u8),
        0x40..0x4000 => out.put_u16(value as u16 | 0x4000),
        0x4000..0x4000_0000 => out.put_u32(value as u32 | 0x8000_0000),
        _ => {
            debug_assert!(value <= MAX);
            out.put_u64((value & MAX) | 0xc000_0000_0000_0000);
        }
    }
}

/// How many bytes [`put`] appends for `value`.
pub fn length(value: u64) -> usize {
    match value {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        _ => 8,
    }
}

/// Takes a varint from the front of `input`; `None` if `input` ends inside it.
pub fn take(input: &mut &[u8]) -> Option<u64> {
    let first = *input.first()?;
    let length = 1 << (first >> 6);
    let (bytes, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(
        bytes[1..]
            .iter()
            .fold(u64::from(first & 0x3f), |value, &byte| {
                value << 8 | u64::from(byte)
            }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_9000() {
        let table: [(u64, &[u8]); 4] = [
            (37, &[0x25]),
            (15_293, &[0x7b, 0xbd]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (
                151_288_809_941_952_652,
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
            ),
        ];
        for (value, bytes) in table {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(length(value), bytes.len());
            assert_eq!(take(&mut &bytes[..]), Some(value));
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(value in 0..=MAX, cut in 0_usize..8) {
            let mut out = Vec::new();
            put(&mut out, value);
            let short = &out[..cut.min(out.len() - 1)];
            prop_assert_eq!(take(&mut &short[..]), None);
            let mut input = &out[..];
            prop_assert_eq!(take(&mut input), Some(value));
            prop_assert!(input.is_empty());
        }
    }
}
