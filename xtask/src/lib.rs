//! The lab, driven through its own commands as any script would drive it.
//!
//! The figures of `cargo xtask show` and the end-to-end tests in `crates/guywire/tests` share this
//! room, so both see Guywire from outside only: the binary, its exit codes, its output. It does
//! not judge anything.
//!
//! - [`lab::Lab`]: one lab, from `lab up` to `lab down`.
//! - [`lab::fetch`]: transfers by the measuring client, and what it measured.
//! - [`lab::counters`]: what a node's kernel says: connections, bytes per device.
//! - [`lab::programs`]: strangers' programs run through it.

pub mod lab;
