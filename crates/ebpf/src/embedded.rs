//! The BPF schedulers that Guywire brings along, as objects (`bpf/` in the repository).

use sha2::{Digest as _, Sha256};

/// A scheduler that is built in.
#[derive(Debug, Clone, Copy)]
pub struct Embedded {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// The object file.
    pub object: &'static [u8],
    /// Its page: overview, typical use, when it hurts, whether it is ready for production.
    pub page: &'static str,
}

macro_rules! embedded {
    ($($name:literal),*) => {
        &[$(Embedded {
            name: $name,
            object: include_bytes!(concat!("../../../bpf/", $name, "/", $name, ".bpf.o")),
            page: include_str!(concat!("../../../bpf/", $name, "/README.md")),
        }),*]
    };
}

/// All of them, the simplest first.
pub const EMBEDDED: &[Embedded] = embedded![
    "bpf_first",
    "bpf_bkup",
    "bpf_rr",
    "bpf_red",
    "bpf_burst",
    "bpf_minrtt",
    "bpf_weight",
    "bpf_blest",
    "bpf_early"
];

/// The one of this name.
pub fn find(name: &str) -> Option<&'static Embedded> {
    EMBEDDED.iter().find(|embedded| embedded.name == name)
}

impl Embedded {
    /// SHA-256 of the object file, as of every object.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.object).into()
    }
}
