//! The allocator, mimalloc.
//!
//! The C library's gives memory back and takes it again with every batch, a page fault for each 4 kB: a tenth of all
//! CPU time (docs/performance.md).

#![allow(unsafe_code)]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives the kernel back what the calling thread has freed and what no thread uses.
///
/// By itself mimalloc looks for what it has kept long enough only when something is allocated: a process that waits
/// keeps tens of megabytes.
pub(crate) fn give_back() {
    // SAFETY: mi_collect may be called at any time, from any thread; it only takes what is free.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
