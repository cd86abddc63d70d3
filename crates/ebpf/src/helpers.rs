//! The helpers that programs may call, by the kernel's numbers (include/uapi/linux/bpf.h,
//! `___BPF_FUNC_MAPPER`). What they do is in [`crate::machine`].

/// One helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Helper {
    /// Its number in a call instruction.
    pub number: i32,
    /// The kernel's name for it.
    pub name: &'static str,
    /// How many arguments it reads, from r1 on; all helpers return something.
    pub arguments: u8,
}

pub(crate) const MAP_LOOKUP_ELEM: i32 = 1;
pub(crate) const MAP_UPDATE_ELEM: i32 = 2;
pub(crate) const MAP_DELETE_ELEM: i32 = 3;
pub(crate) const KTIME_GET_NS: i32 = 5;
pub(crate) const TRACE_PRINTK: i32 = 6;
pub(crate) const GET_PRANDOM_U32: i32 = 7;
pub(crate) const SK_STORAGE_GET: i32 = 107;
pub(crate) const SK_STORAGE_DELETE: i32 = 108;
pub(crate) const PROBE_READ_KERNEL: i32 = 113;
pub(crate) const SKC_TO_TCP6_SOCK: i32 = 136;
pub(crate) const SKC_TO_TCP_SOCK: i32 = 137;

const fn helper(number: i32, name: &'static str, arguments: u8) -> Helper {
    Helper {
        number,
        name,
        arguments,
    }
}

/// Every helper there is.
pub const HELPERS: &[Helper] = &[
    helper(MAP_LOOKUP_ELEM, "map_lookup_elem", 2),
    helper(MAP_UPDATE_ELEM, "map_update_elem", 4),
    helper(MAP_DELETE_ELEM, "map_delete_elem", 2),
    helper(KTIME_GET_NS, "ktime_get_ns", 0),
    // What its format takes is in r3 to r5, or is not.
    helper(TRACE_PRINTK, "trace_printk", 2),
    helper(GET_PRANDOM_U32, "get_prandom_u32", 0),
    helper(SK_STORAGE_GET, "sk_storage_get", 4),
    helper(SK_STORAGE_DELETE, "sk_storage_delete", 2),
    helper(PROBE_READ_KERNEL, "probe_read_kernel", 3),
    helper(SKC_TO_TCP6_SOCK, "skc_to_tcp6_sock", 1),
    helper(SKC_TO_TCP_SOCK, "skc_to_tcp_sock", 1),
];

/// The helper of this number.
pub fn by_number(number: i32) -> Option<&'static Helper> {
    HELPERS.iter().find(|helper| helper.number == number)
}

/// All of them, for messages.
pub(crate) fn names() -> String {
    let names: Vec<String> = HELPERS
        .iter()
        .map(|helper| format!("{} ({})", helper.number, helper.name))
        .collect();
    names.join(", ")
}
