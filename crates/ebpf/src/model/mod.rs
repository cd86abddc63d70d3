//! The kernel as schedulers see it here: the structures, functions and helpers that are modelled.
//!
//! [`STRUCTS`] is the one table of fields. Objects are relocated against its BTF ([`btf`]), so their
//! code carries these offsets; whoever runs it lays out memory by the same rows ([`offset_of`]). What
//! is not in the table cannot be read. Names and meaning are the kernel's (net/mptcp/protocol.h,
//! include/net/sock.h, include/linux/tcp.h of Linux 6.18); offsets are ours, but for two things that
//! objects rely on: a `sock` opens `tcp_sock` and `mptcp_sock`, so that casts are free, and the flags
//! of a subflow are bits 0 to 19 of one word, because compilers put their masks into the code.

mod describe;
pub mod kfuncs;

use std::sync::LazyLock;

use crate::btf::Btf;

/// A structure: its members by offset, without overlap.
#[derive(Debug)]
pub struct Struct {
    /// Its tag in C.
    pub name: &'static str,
    /// Bytes.
    pub size: u32,
    /// What it has.
    pub members: &'static [Member],
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// Its name in C.
    pub name: &'static str,
    /// What it is.
    pub of: Type,
    /// First byte; of a [`Type::Bit`] that of its word.
    pub offset: u32,
    /// Whether a scheduler may write it (the kernel's `bpf_mptcp_sched_btf_struct_access`).
    pub writable: bool,
}

/// The types that members, parameters and results have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// Nothing.
    Void,
    /// `bool`.
    Bool,
    /// `char`.
    Char,
    /// `u8`.
    U8,
    /// `u16` and `__be16`.
    U16,
    /// `u32` and `__be32`.
    U32,
    /// `u64`.
    U64,
    /// `int`.
    Int,
    /// `unsigned long`.
    ULong,
    /// That bit of a `u32`.
    Bit(u8),
    /// A pointer.
    Ptr(&'static Type),
    /// A structure, by name; one that [`STRUCTS`] lacks can only be pointed to.
    Struct(&'static str),
    /// So many of something.
    Array(&'static Type, u32),
    /// A callback that takes so many pointers.
    Callback(u8),
}

const fn field(name: &'static str, of: Type, offset: u32) -> Member {
    Member {
        name,
        of,
        offset,
        writable: false,
    }
}

const fn writable(name: &'static str, of: Type, offset: u32) -> Member {
    Member {
        name,
        of,
        offset,
        writable: true,
    }
}

const SOCK: Type = Type::Ptr(&Type::Struct("sock"));
const SUBFLOW: Type = Type::Ptr(&Type::Struct("mptcp_subflow_context"));
const LIST: Type = Type::Ptr(&Type::Struct("list_head"));
/// Where the flags of a subflow are.
const FLAGS: u32 = 24;

/// Every structure that is modelled.
pub static STRUCTS: &[Struct] = &[
    Struct {
        name: "list_head",
        size: 16,
        members: &[field("next", LIST, 0), field("prev", LIST, 8)],
    },
    Struct {
        name: "rb_root",
        size: 8,
        members: &[field("rb_node", Type::Ptr(&Type::Struct("rb_node")), 0)],
    },
    Struct {
        name: "sock_common",
        size: 16,
        members: &[
            field("skc_daddr", Type::U32, 0),
            field("skc_rcv_saddr", Type::U32, 4),
            field("skc_dport", Type::U16, 12),
            field("skc_num", Type::U16, 14),
        ],
    },
    Struct {
        name: "sock",
        size: 48,
        members: &[
            field("__sk_common", Type::Struct("sock_common"), 0),
            field("sk_wmem_queued", Type::Int, 16),
            field("sk_sndbuf", Type::Int, 20),
            field("sk_pacing_rate", Type::ULong, 24),
            field("tcp_rtx_queue", Type::Struct("rb_root"), 32),
        ],
    },
    Struct {
        name: "inet_sock",
        size: 64,
        members: &[
            field("sk", Type::Struct("sock"), 0),
            field("tos", Type::U8, 48),
            field("inet_saddr", Type::U32, 52),
            field("inet_sport", Type::U16, 56),
        ],
    },
    Struct {
        name: "inet_connection_sock",
        size: 64,
        members: &[field("icsk_inet", Type::Struct("inet_sock"), 0)],
    },
    Struct {
        name: "tcp_sock",
        size: 80,
        members: &[
            field("inet_conn", Type::Struct("inet_connection_sock"), 0),
            field("write_seq", Type::U32, 64),
            field("snd_nxt", Type::U32, 68),
            field("srtt_us", Type::U32, 72),
            field("mss_cache", Type::U32, 76),
        ],
    },
    Struct {
        name: "mptcp_pm_data",
        size: 8,
        members: &[
            // Renamed in 2025; both names are read.
            field("subflows", Type::U8, 0),
            field("extra_subflows", Type::U8, 1),
        ],
    },
    Struct {
        name: "mptcp_sock",
        size: 120,
        members: &[
            field("sk", Type::Struct("inet_connection_sock"), 0),
            field("snd_nxt", Type::U64, 64),
            writable("snd_burst", Type::Int, 72),
            field("conn_list", Type::Struct("list_head"), 80),
            field("pm", Type::Struct("mptcp_pm_data"), 96),
            field("first", SOCK, 104),
        ],
    },
    Struct {
        name: "mptcp_subflow_context",
        size: 56,
        members: &[
            field("node", Type::Struct("list_head"), 0),
            writable("avg_pacing_rate", Type::ULong, 16),
            field("request_mptcp", Type::Bit(0), FLAGS),
            field("request_bkup", Type::Bit(2), FLAGS),
            field("backup", Type::Bit(11), FLAGS),
            field("stale", Type::Bit(19), FLAGS),
            // Schedulers of 2023 set it themselves.
            writable("scheduled", Type::Bool, 28),
            field("remote_id", Type::U8, 29),
            field("stale_count", Type::U8, 30),
            field("subflow_id", Type::U32, 32),
            field("tcp_sock", SOCK, 40),
        ],
    },
    Struct {
        name: "mptcp_sched_data",
        size: 72,
        members: &[
            field("reinject", Type::Bool, 0),
            field("subflows", Type::U8, 1),
            field("contexts", Type::Array(&SUBFLOW, 8), 8),
        ],
    },
    Struct {
        // Private to net/mptcp/protocol.c; schedulers have it on their stack and relocate it all the same.
        name: "subflow_send_info",
        size: 16,
        members: &[field("ssk", SOCK, 0), field("linger_time", Type::U64, 8)],
    },
    Struct {
        name: "bpf_iter_mptcp_subflow",
        size: 16,
        members: &[field("__opaque", Type::Array(&Type::U64, 2), 0)],
    },
    Struct {
        name: "mptcp_sched_ops",
        size: 64,
        members: &[
            field("get_subflow", Type::Callback(2), 0),
            field("get_send", Type::Callback(1), 8),
            field("get_retrans", Type::Callback(1), 16),
            field("name", Type::Array(&Type::Char, 16), 24),
            field("init", Type::Callback(1), 40),
            field("release", Type::Callback(1), 48),
        ],
    },
];

/// The structure of that name.
pub const fn structure(name: &str) -> Option<&'static Struct> {
    let mut index = 0;
    while index < STRUCTS.len() {
        if same(STRUCTS[index].name, name) {
            return Some(&STRUCTS[index]);
        }
        index += 1;
    }
    None
}

/// A member of a structure: a constant, so that a name that is not in the table does not compile.
///
/// # Panics
/// There is no such structure, or it has no such member.
pub const fn member(structure_name: &str, name: &str) -> &'static Member {
    let Some(found) = structure(structure_name) else {
        panic!("the model has no such structure");
    };
    let mut index = 0;
    while index < found.members.len() {
        if same(found.members[index].name, name) {
            return &found.members[index];
        }
        index += 1;
    }
    panic!("the structure has no such member")
}

/// The first byte of a member.
///
/// # Panics
/// There is no such structure, or it has no such member.
pub const fn offset_of(structure_name: &str, name: &str) -> u32 {
    member(structure_name, name).offset
}

/// Comparison of strings, in constants.
const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// The model's types as BTF: what objects are relocated against.
pub fn btf() -> &'static Btf {
    static BTF: LazyLock<Btf> = LazyLock::new(describe::describe);
    &BTF
}

#[cfg(test)]
mod tests;
