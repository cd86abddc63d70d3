//! What the kernel's fields hold here: source, unit and age of each.
//!
//! The tables are what fills memory before each call. [`KEPT`] names the rest: pointers, lists, and what
//! programs or kfuncs write.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use guywire_sched::{FlowView, SubflowView};

use crate::model::{self, Member, Type};

/// How old a value can be at a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// As of this decision.
    Now,
    /// Read from the kernel at most 3 ms ago while data is in flight, and advanced by our own byte
    /// counts since.
    Snapshot,
    /// It does not change.
    Fixed,
}

/// One field.
#[derive(Debug)]
pub struct Field<V: 'static> {
    /// Its structure.
    pub of: &'static str,
    /// Its name there.
    pub member: &'static str,
    /// Where its value comes from.
    pub source: &'static str,
    /// What it is counted in.
    pub unit: &'static str,
    /// How old it can be.
    pub age: Age,
    pub(super) place: Place,
    pub(super) value: V,
}

/// A value of the connection.
pub type OfFlow = fn(&FlowView<'_>) -> u64;
/// A value of a subflow, from its view and its position.
pub type OfSubflow = fn(&SubflowView, usize) -> u64;

/// Where a member is within its object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    offset: usize,
    of: Type,
}

impl Place {
    /// A member of what begins at byte `base` of the object.
    pub(super) const fn of(base: u32, member: &Member) -> Place {
        Place {
            offset: (base + member.offset) as usize,
            of: member.of,
        }
    }

    const fn size(self) -> usize {
        match self.of {
            Type::Bool | Type::Char | Type::U8 => 1,
            Type::U16 => 2,
            Type::U32 | Type::Int | Type::Bit(_) => 4,
            _ => 8,
        }
    }

    /// Whether `length` bytes from `offset` on are within it.
    pub(super) fn holds(self, offset: usize, length: usize) -> bool {
        offset >= self.offset && offset + length <= self.offset + self.size()
    }

    /// Its value; what is narrower than it is filled up with zeroes.
    pub(super) fn get(self, object: &[u8]) -> u64 {
        let mut word = [0; 8];
        word[..self.size()].copy_from_slice(&object[self.offset..][..self.size()]);
        let word = u64::from_le_bytes(word);
        match self.of {
            Type::Bit(bit) => word >> bit & 1,
            _ => word,
        }
    }

    /// Sets it; a bit of a word leaves the others as they are.
    pub(super) fn set(self, object: &mut [u8], value: u64) {
        let bytes = &mut object[self.offset..][..self.size()];
        if let Type::Bit(bit) = self.of {
            let byte = &mut bytes[usize::from(bit / 8)];
            *byte = *byte & !(1 << (bit % 8)) | (value as u8 & 1) << (bit % 8);
        } else {
            bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
        }
    }
}

/// A row: `of.member`, in what begins at byte `base` of its object.
const fn row<V>(
    (base, of, member): (u32, &'static str, &'static str),
    (source, unit, age): (&'static str, &'static str, Age),
    value: V,
) -> Field<V> {
    Field {
        of,
        member,
        source,
        unit,
        age,
        place: Place::of(base, model::member(of, member)),
        value,
    }
}

const PM: u32 = model::offset_of("mptcp_sock", "pm");
const OURS: &str =
    "its own address; 127.0.0.6 of IPv6, as in the kernel; 0.0.0.N of path N, from 1, if unknown";
const THEIRS: &str = "the other end's address, in the same way; 0 if unknown";
const OUR_PORT: &str = "its own port; 0 if unknown";
const THEIR_PORT: &str = "the other end's port; 0 if unknown";

/// What the kernel has in a socket of IPv6 for an address of IPv4 (`LOOPBACK4_IPV6`).
const IPV6: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// An address as a socket has it.
fn address(of: Option<SocketAddr>) -> Option<u64> {
    let address = match of?.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => IPV6,
    };
    Some(u32::from_le_bytes(address.octets()).into())
}

/// The own address. Programs tell subflows apart by it, so paths differ even where it was not told.
fn local_address(subflow: &SubflowView, _: usize) -> u64 {
    let by_path = || u64::from(u32::from_le_bytes([0, 0, 0, subflow.path.wrapping_add(1)]));
    address(subflow.local).unwrap_or_else(by_path)
}

fn port(of: Option<SocketAddr>) -> u16 {
    of.map_or(0, |address| address.port())
}

fn joined(flow: &FlowView<'_>) -> u64 {
    flow.subflows.len().saturating_sub(1) as u64
}

/// `struct mptcp_sock`.
pub static CONNECTION: &[Field<OfFlow>] = &[
    row(
        (0, "mptcp_sock", "snd_nxt"),
        (
            "data sequence number of the next new chunk",
            "bytes",
            Age::Now,
        ),
        |flow| flow.sent,
    ),
    row(
        (PM, "mptcp_pm_data", "subflows"),
        ("subflows shown beside the first", "subflows", Age::Now),
        joined,
    ),
    row(
        (PM, "mptcp_pm_data", "extra_subflows"),
        ("subflows shown beside the first", "subflows", Age::Now),
        joined,
    ),
    row(
        (0, "inet_sock", "tos"),
        (
            "DSCP of the packet that opened the flow, at both ends; 0 if unknown",
            "four times the DSCP",
            Age::Fixed,
        ),
        |flow| u64::from(flow.traffic.dscp) << 2,
    ),
    row(
        (0, "sock_common", "skc_daddr"),
        (
            "where the flow leads, at both ends; 127.0.0.6 of IPv6, 0 of a service of the server",
            "network order",
            Age::Fixed,
        ),
        |flow| address(flow.traffic.destination).unwrap_or(0),
    ),
    row(
        (0, "sock_common", "skc_dport"),
        (
            "the port where the flow leads, at both ends; 0 of a service of the server",
            "network order",
            Age::Fixed,
        ),
        |flow| port(flow.traffic.destination).swap_bytes().into(),
    ),
];

/// `struct mptcp_subflow_context`.
pub static CONTEXT: &[Field<OfSubflow>] = &[
    row(
        (0, "mptcp_subflow_context", "request_mptcp"),
        ("it is shown first", "", Age::Now),
        |_, position| u64::from(position == 0),
    ),
    row(
        (0, "mptcp_subflow_context", "request_bkup"),
        ("its link is a backup: both ends know", "", Age::Now),
        |subflow, _| u64::from(subflow.backup),
    ),
    row(
        (0, "mptcp_subflow_context", "backup"),
        ("its link is a backup: both ends know", "", Age::Now),
        |subflow, _| u64::from(subflow.backup),
    ),
    row(
        (0, "mptcp_subflow_context", "stale"),
        ("its path is stale; shown only if all are", "", Age::Now),
        |subflow, _| u64::from(subflow.stale),
    ),
    row(
        (0, "mptcp_subflow_context", "remote_id"),
        ("number of its path", "", Age::Fixed),
        |subflow, _| u64::from(subflow.path),
    ),
    row(
        (0, "mptcp_subflow_context", "subflow_id"),
        ("number of its path, from 1", "", Age::Fixed),
        |subflow, _| u64::from(subflow.path) + 1,
    ),
];

/// `struct tcp_sock`, which a `struct sock` opens.
pub static SOCK: &[Field<OfSubflow>] = &[
    row(
        (0, "sock_common", "skc_daddr"),
        (THEIRS, "network order", Age::Fixed),
        |subflow, _| address(subflow.remote).unwrap_or(0),
    ),
    row(
        (0, "sock_common", "skc_rcv_saddr"),
        (OURS, "network order", Age::Fixed),
        local_address,
    ),
    row(
        (0, "sock_common", "skc_dport"),
        (THEIR_PORT, "network order", Age::Fixed),
        |subflow, _| port(subflow.remote).swap_bytes().into(),
    ),
    row(
        (0, "sock_common", "skc_num"),
        (OUR_PORT, "", Age::Fixed),
        |subflow, _| port(subflow.local).into(),
    ),
    row(
        (0, "inet_sock", "inet_saddr"),
        (OURS, "network order", Age::Fixed),
        local_address,
    ),
    row(
        (0, "inet_sock", "inet_sport"),
        (OUR_PORT, "network order", Age::Fixed),
        |subflow, _| port(subflow.local).swap_bytes().into(),
    ),
    row(
        (0, "sock", "sk_wmem_queued"),
        (
            "owed, queued and in flight (tcpi_unacked x tcpi_snd_mss)",
            "bytes",
            Age::Snapshot,
        ),
        |subflow, _| subflow.in_socket(),
    ),
    row(
        (0, "sock", "sk_sndbuf"),
        (
            "sk_wmem_queued and the room there is",
            "bytes",
            Age::Snapshot,
        ),
        |subflow, _| {
            subflow
                .in_socket()
                .saturating_add(subflow.room)
                .min(i32::MAX as u64)
        },
    ),
    row(
        (0, "sock", "sk_pacing_rate"),
        ("what the subflow delivers", "bytes/s", Age::Snapshot),
        |subflow, _| subflow.rate,
    ),
    row(
        (0, "sock", "tcp_rtx_queue"),
        (
            "not NULL if anything is in flight (tcpi_unacked); it leads nowhere",
            "",
            Age::Snapshot,
        ),
        |subflow, _| u64::from(subflow.unacked > 0),
    ),
    row(
        (0, "tcp_sock", "write_seq"),
        (
            "bytes given to the subflow since it began",
            "bytes, modulo 2^32",
            Age::Now,
        ),
        |subflow, _| subflow.given,
    ),
    row(
        (0, "tcp_sock", "snd_nxt"),
        (
            "the same without what is owed or queued",
            "bytes, modulo 2^32",
            Age::Snapshot,
        ),
        |subflow, _| subflow.given.wrapping_sub(subflow.queued),
    ),
    row(
        (0, "tcp_sock", "srtt_us"),
        ("tcpi_rtt", "1/8 us", Age::Snapshot),
        |subflow, _| {
            (subflow.srtt.as_micros() as u64)
                .saturating_mul(8)
                .min(u64::from(u32::MAX))
        },
    ),
    row(
        (0, "tcp_sock", "mss_cache"),
        ("tcpi_snd_mss", "bytes", Age::Snapshot),
        |subflow, _| u64::from(subflow.mss),
    ),
];

/// What is not filled anew: structure, member, who writes it.
pub static KEPT: &[(&str, &str, &str)] = &[
    (
        "mptcp_sock",
        "snd_burst",
        "programs; what is left of a burst",
    ),
    (
        "mptcp_sock",
        "conn_list",
        "the list of subflows, in the order of their paths",
    ),
    ("mptcp_sock", "first", "the first subflow shown"),
    ("mptcp_subflow_context", "node", "the list of subflows"),
    ("mptcp_subflow_context", "avg_pacing_rate", "programs"),
    (
        "mptcp_subflow_context",
        "scheduled",
        "programs, by mptcp_subflow_set_scheduled or themselves",
    ),
    (
        "mptcp_subflow_context",
        "stale_count",
        "mptcp_pm_subflow_chk_stale",
    ),
    ("mptcp_subflow_context", "tcp_sock", "its socket"),
    (
        "mptcp_sched_data",
        "reinject",
        "whether a lost chunk goes again",
    ),
    ("mptcp_sched_data", "subflows", "subflows shown"),
    (
        "mptcp_sched_data",
        "contexts",
        "subflows shown, in the order of their paths",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::STRUCTS;

    #[test]
    fn every_field_that_programs_can_read_is_in_a_table() {
        let of_connection = CONNECTION.iter().map(|row| (row.of, row.member));
        let of_subflow = CONTEXT.iter().chain(SOCK).map(|row| (row.of, row.member));
        let kept = || KEPT.iter().map(|&(of, member, _)| (of, member));
        let mut unique = BTreeSet::new();
        for rows in [
            of_connection.chain(kept()).collect::<Vec<_>>(),
            of_subflow.chain(kept()).collect(),
        ] {
            let once: BTreeSet<_> = rows.iter().copied().collect();
            assert_eq!(once.len(), rows.len(), "a field has two rows");
            unique.extend(once);
        }
        // Parts of others, what is private to the kernel, and what programs never see in memory.
        let inner = [
            "list_head",
            "rb_root",
            "subflow_send_info",
            "bpf_iter_mptcp_subflow",
            "mptcp_sched_ops",
        ];
        let nested = |of: Type| matches!(of, Type::Struct(name) if !["list_head", "rb_root"].contains(&name));
        for it in STRUCTS.iter().filter(|it| !inner.contains(&it.name)) {
            for member in it.members.iter().filter(|member| !nested(member.of)) {
                assert!(
                    unique.contains(&(it.name, member.name)),
                    "{}.{}",
                    it.name,
                    member.name
                );
            }
        }
    }

    #[test]
    fn bits_leave_their_word_alone() {
        let bit = Place::of(0, model::member("mptcp_subflow_context", "backup"));
        let mut object = [0xff; 56];
        bit.set(&mut object, 0);
        assert_eq!(bit.get(&object), 0);
        assert_eq!(object.iter().filter(|&&byte| byte == 0xff).count(), 55);
        bit.set(&mut object, 1);
        assert_eq!(object, [0xff; 56]);
    }
}
