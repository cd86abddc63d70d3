//! Kernel functions that schedulers may call (net/mptcp/bpf.c of the trees that have the hook).

use super::{SOCK, SUBFLOW, Type};

/// A kernel function: what an object's declaration of it is compared with.
#[derive(Debug)]
pub struct Kfunc {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub params: &'static [Type],
    /// What it gives.
    pub result: Type,
}

const MSK: Type = Type::Ptr(&Type::Struct("mptcp_sock"));
const DATA: Type = Type::Ptr(&Type::Struct("mptcp_sched_data"));
const ITERATOR: Type = Type::Ptr(&Type::Struct("bpf_iter_mptcp_subflow"));
const ANY: Type = Type::Ptr(&Type::Void);

const fn kfunc(name: &'static str, params: &'static [Type], result: Type) -> Kfunc {
    Kfunc {
        name,
        params,
        result,
    }
}

/// Every kernel function that is modelled.
pub static KFUNCS: &[Kfunc] = &[
    kfunc(
        "mptcp_subflow_set_scheduled",
        &[SUBFLOW, Type::Bool],
        Type::Void,
    ),
    kfunc("bpf_mptcp_subflow_ctx_by_pos", &[DATA, Type::U32], SUBFLOW),
    kfunc("bpf_mptcp_subflow_ctx", &[SOCK], SUBFLOW),
    kfunc("bpf_mptcp_subflow_tcp_sock", &[SUBFLOW], SOCK),
    // An older form takes `struct mptcp_sock *`: a pointer to a structure as well, so it fits.
    kfunc("bpf_iter_mptcp_subflow_new", &[ITERATOR, SOCK], Type::Int),
    kfunc("bpf_iter_mptcp_subflow_next", &[ITERATOR], SUBFLOW),
    kfunc("bpf_iter_mptcp_subflow_destroy", &[ITERATOR], Type::Void),
    kfunc("mptcp_subflow_active", &[SUBFLOW], Type::Bool),
    kfunc("mptcp_set_timeout", &[SOCK], Type::Void),
    kfunc("mptcp_wnd_end", &[MSK], Type::U64),
    kfunc("tcp_stream_memory_free", &[SOCK, Type::Int], Type::Bool),
    kfunc("bpf_sk_stream_memory_free", &[SOCK], Type::Bool),
    kfunc("bpf_mptcp_subflow_queues_empty", &[SOCK], Type::Bool),
    kfunc("mptcp_pm_subflow_chk_stale", &[MSK, SOCK], Type::Void),
    kfunc("bpf_rdonly_cast", &[ANY, Type::U32], ANY),
    // As some trees of 2023 and of 2026 have it.
    kfunc("bpf_mptcp_wnd_end", &[MSK], Type::U64),
    kfunc("bpf_mptcp_snd_nxt", &[MSK], Type::U64),
    kfunc("bpf_mptcp_set_timeout", &[MSK], Type::Void),
];

/// The number of a function in [`KFUNCS`]: a constant, as [`super::member`] is.
///
/// # Panics
/// There is no such function.
pub const fn number(name: &str) -> usize {
    let mut index = 0;
    while index < KFUNCS.len() {
        if super::same(KFUNCS[index].name, name) {
            return index;
        }
        index += 1;
    }
    panic!("the model has no such function")
}
