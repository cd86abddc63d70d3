//! Subflows: TCP connections under TLS 1.3 with raw public keys, bound to links.
//!
//! Where to look:
//!
//! | module | what for |
//! |---|---|
//! | [`key`] | private and public keys, key files |
//! | [`durable`] | files that survive a power cut |
//! | [`tag`] | the keyed tag in the SNI that lets a server refuse strangers cheaply |
//! | [`tls`] | TLS of both ends: `connect`, `accept` |
//! | [`dial`] | TCP connections bound to a link, with the socket options of a subflow |
//! | [`hello`] | the HELLO of both ends, after which a subflow counts as authenticated |
//! | [`enrol`] | invitations and the protocol that redeems them |
//! | [`session`], [`flow`] | a session that runs, and one of its flows |
//! | [`subflow`] | the task of one subflow |
//! | [`router`], [`server`] | the two ends: who dials, who accepts, which session is whose |
//! | `inbox` | what a subflow has received, record by record |
//! | `inflow` | how fast the other end may tell what carries little |
//! | `pool` | memory for what is large and comes again and again |
//! | `lobby` | strangers in their handshake: bounded, the oldest goes first |
//! | [`relay()`] | joins a local connection and a flow |

pub mod dial;
pub mod durable;
pub mod enrol;
pub mod flow;
pub mod hello;
mod inbox;
mod inflow;
pub mod key;
mod lobby;
mod pool;
mod relay;
pub mod router;
pub mod server;
pub mod session;
pub mod subflow;
pub mod tag;
pub mod tls;

pub use relay::relay;
