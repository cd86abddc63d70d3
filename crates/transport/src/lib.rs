//! Subflows: TCP connections under TLS 1.3 with raw public keys, bound to links.
//!
//! Where to look:
//!
//! | module | what for |
//! |---|---|
//! | [`key`] | private and public keys, key files |
//! | [`tag`] | the keyed tag in the SNI that lets a server refuse strangers cheaply |
//! | [`tls`] | TLS of both ends: `connect`, `accept` |
//! | [`dial`] | TCP connections bound to a link, with the socket options of a subflow |
//! | [`hello`] | the HELLO of both ends, after which a subflow counts as authenticated |
//! | [`enrol`] | invitations and the protocol that redeems them |

pub mod dial;
pub mod enrol;
pub mod hello;
pub mod key;
pub mod tag;
pub mod tls;
