//! The Linux edges of Guywire: everything that only this kernel's interfaces
//! can do, behind small safe functions. No policy lives here, and nothing
//! above this crate talks netlink.
//!
//! | module | what it is for |
//! |---|---|
//! | [`caps`] | capabilities given up, memory priority |
//! | [`ethtool`] | offloads of a device |
//! | [`tcp`] | TCP_INFO and the socket options of subflows and client connections |
//! | [`fdpass`] | descriptors over Unix sockets |
//! | [`namespace`] | network and other namespaces: make, enter, run inside; sysctl |
//! | [`nft`] | the capture table and the NAT table, over netlink |
//! | [`listen`] | transparent listeners, DNS sockets, TCP listeners |
//! | [`route`] | devices, addresses, routes, rules, over rtnetlink; hearing of changes |

pub mod caps;
pub mod ethtool;
pub mod fdpass;
pub mod listen;
pub mod namespace;
pub mod nft;
pub mod route;
mod sys;
pub mod tcp;
#[cfg(test)]
mod testing;
