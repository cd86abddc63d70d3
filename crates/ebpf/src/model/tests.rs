//! The tables are consistent, and BTF says the same as they do.

use super::*;
use crate::btf::{Btf, Kind};

/// Bytes of a value.
fn size_of(of: Type) -> u32 {
    match of {
        Type::Void => 0,
        Type::Bool | Type::Char | Type::U8 => 1,
        Type::U16 => 2,
        Type::U32 | Type::Int | Type::Bit(_) => 4,
        Type::U64 | Type::ULong | Type::Ptr(_) | Type::Callback(_) => 8,
        Type::Struct(name) => structure(name).map_or(0, |found| found.size),
        Type::Array(element, len) => size_of(*element) * len,
    }
}

#[test]
fn members_are_in_order_aligned_and_apart() {
    for it in STRUCTS {
        let mut end = 0;
        for member in it.members {
            let name = format!("{}.{}", it.name, member.name);
            let size = size_of(member.of);
            let is_bit = matches!(member.of, Type::Bit(_));
            assert!(
                member.offset >= end || is_bit && member.offset + size == end,
                "{name} overlaps"
            );
            assert_eq!(
                member.offset % size.clamp(1, 8).next_power_of_two(),
                0,
                "{name} is not aligned"
            );
            end = member.offset + size;
        }
        assert!(
            end <= it.size && it.size % 4 == 0,
            "{} is longer than it says",
            it.name
        );
    }
}

#[test]
fn btf_says_what_the_table_says() {
    let btf = Btf::parse(&btf().to_bytes()).expect("our own");
    assert_eq!(&btf, super::btf());
    for it in STRUCTS {
        let described = btf.iter().find_map(|(id, of)| match &of.kind {
            Kind::Struct(composite) if btf.name(id) == it.name => Some(composite),
            _ => None,
        });
        let described = described.expect(it.name);
        assert_eq!(described.size, it.size);
        for (member, of) in it.members.iter().zip(&described.members) {
            assert_eq!(btf.text(of.name), member.name);
            assert_eq!(
                of.bit_offset / 32 * 4,
                member.offset / 4 * 4,
                "{}",
                member.name
            );
            assert_eq!(btf.size(of.of), Some(size_of(member.of)), "{}", member.name);
        }
    }
}

#[test]
fn a_sock_opens_what_is_cast_to_it() {
    assert_eq!(offset_of("tcp_sock", "inet_conn"), 0);
    assert_eq!(offset_of("mptcp_sock", "sk"), 0);
    assert_eq!(offset_of("inet_connection_sock", "icsk_inet"), 0);
    assert_eq!(offset_of("inet_sock", "sk"), 0);
    assert_eq!(offset_of("sock", "__sk_common"), 0);
}
