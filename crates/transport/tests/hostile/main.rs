//! Hostile peers against a real server and a real router, over TCP and TLS on loopback: whatever
//! they send, they are cut off with a named reason, and others go on.

mod against_router;
mod against_server;
mod house;
mod peer;
mod strangers;
