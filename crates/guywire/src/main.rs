//! Guywire: one program for the router, the server, their data workers and the lab.
//!
//! `main` starts no thread and no runtime: some commands enter namespaces or drop privileges first, which only a
//! process with a single thread can do for all of itself.
//!
//! - [`cli`]: the commands; - [`worker`]: the process that moves data; - [`allocator`]: where their memory comes from.

mod allocator;
mod cli;
mod worker;

fn main() -> std::process::ExitCode {
    use_small_pages();
    cli::run()
}

/// The allocator asks for huge pages, of which a process at rest fills four hardly at all: 8 MB instead of 2. It holds
/// for what this process starts, too (PR_SET_THP_DISABLE), until that says otherwise.
fn use_small_pages() {
    // A kernel without huge pages has nothing to forbid.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
