//! The lab, driven through its own commands as any script would drive it.
//!
//! The figures of `cargo xtask show` and the end-to-end tests in `crates/guywire/tests` share this
//! room, so both see Guywire from outside only: the binary, its exit codes, its output. It does
//! not judge anything.
//!
//! - [`find_program`]: whether a stranger's program is there to be run.
//! - [`lab::Lab`]: one lab, from `lab up` to `lab down`.
//! - [`lab::fetch`]: transfers by the measuring client, and what it measured.
//! - [`lab::counters`]: what a node's kernel says: connections, bytes per device.
//! - [`lab::service`]: programs that last, run in a node.
//! - [`lab::processes`]: what the kernel says of processes: time, memory, descriptors.
//! - [`lab::programs`]: strangers' programs run through it.
//! - [`lab::strangers`]: routers that are not let in.

pub mod lab;

use std::path::PathBuf;

/// Where `program` is found in `PATH` or in the system directories, which `PATH` of ordinary
/// users leaves out.
#[must_use]
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Whether this process runs as root.
#[must_use]
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // `/proc/self` belongs to the effective user.
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
