//! What the loader hands to the machine: code without open references.
//!
//! References are written as the kernel writes them (include/uapi/linux/bpf.h, `BPF_PSEUDO_*`):
//!
//! | instruction | `src` | meaning |
//! |---|---|---|
//! | `lddw` | 1 | map number `imm` of [`Object::maps`] |
//! | `lddw` | 2 | address of byte `imm` of the next slot in the value of map number `imm` |
//! | `call` | 0 | helper number `imm` |
//! | `call` | 1 | the function at this instruction + 1 + `imm` |
//! | `call` | 2 | kfunc number `imm` of [`Object::kfuncs`] |
//! | `call` | 0, `imm` [`POISON`] + n | what could not be resolved: reason n of [`Object::poison`] |

use crate::Insn;

/// First helper number that stands for something unresolved (libbpf's own value, `relo_core.c`).
pub const POISON: i32 = 195_896_080;

/// A scheduler, loaded and resolved.
#[derive(Debug, Clone)]
pub struct Object {
    /// Name of the scheduler: 1 to 15 characters of `[A-Za-z0-9_.]`.
    pub name: String,
    /// Which form of `mptcp_sched_ops` it was built for.
    pub generation: Generation,
    /// The licence it declares.
    pub license: String,
    /// SHA-256 of the file: what quarantine and incidents name.
    pub hash: [u8; 32],
    /// All functions, one after the other.
    pub code: Vec<Insn>,
    /// Where each function stands in [`Self::code`], in its order.
    pub functions: Vec<Function>,
    /// Which functions are called for what.
    pub callbacks: Callbacks,
    /// Its maps, the sections `.data`, `.bss` and `.rodata` included.
    pub maps: Vec<MapSpec>,
    /// Names of the kernel functions it calls.
    pub kfuncs: Vec<String>,
    /// Why each poisoned instruction could not be resolved.
    pub poison: Vec<String>,
}

/// Which form of the interface an object was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// `get_subflow(msk, data)`, subflows by position or by the open-coded iterator (1 and 2).
    GetSubflow,
    /// `get_send(msk[, data])` and `get_retrans(msk[, data])` (2b and 3).
    GetSend,
}

/// One function: `start` to `end`, counted in instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its symbol.
    pub name: String,
    /// The section it came from.
    pub section: String,
    /// First instruction.
    pub start: usize,
    /// One past the last instruction.
    pub end: usize,
}

/// Numbers in [`Object::functions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Callbacks {
    /// Once, when a flow takes the scheduler.
    pub init: Option<usize>,
    /// Once, when the flow lets go of it.
    pub release: Option<usize>,
    /// For each new chunk: `get_send`, or `get_subflow` of the older form.
    pub get_send: usize,
    /// For a chunk that must go again; without it `get_send` is asked.
    pub get_retrans: Option<usize>,
}

/// One map as the object declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapSpec {
    /// Its symbol, or the section's name.
    pub name: String,
    /// What it is.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries it holds (0 for per-socket storage).
    pub max_entries: u32,
    /// Whether the program may write to it (`.rodata` is read-only).
    pub writable: bool,
    /// Whether it is declared to be filled by the user (libbpf's pinning by name).
    pub settable: bool,
    /// First content of a section's single value; empty: zeroes.
    pub initial: Vec<u8>,
}

/// The kinds of maps the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_HASH`.
    Hash,
    /// `BPF_MAP_TYPE_ARRAY`, sections too.
    Array,
    /// `BPF_MAP_TYPE_LRU_HASH`: full, it forgets the entry that was used longest ago.
    LruHash,
    /// `BPF_MAP_TYPE_SK_STORAGE`: one value for each socket that asks.
    SkStorage,
}
