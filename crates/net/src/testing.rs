//! What this crate's tests share: namespaces, or a printed reason to skip.

use std::os::fd::OwnedFd;

use crate::namespace::new_netns;

/// A fresh network namespace, or `None` after printing why the test is skipped.
pub(crate) fn fresh_netns() -> Option<OwnedFd> {
    match new_netns() {
        Ok(netns) => Some(netns),
        Err(error) => {
            eprintln!("skipped: no network namespace can be made here: {error}");
            None
        }
    }
}

/// A runtime for tests that talk netlink.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built")
}
