//! Control: everything about Guywire that is not data. Configuration, what a server knows of its routers, and the
//! supervisors that own rules, routes and listeners and keep a data worker running.
//!
//! - [`config`]: the two configuration files.
//! - [`store`]: keys, routers, invitations.
//! - [`worker`]: what a supervisor and its worker say to each other.

pub mod config;
pub mod store;
#[cfg(test)]
mod testing;
pub mod worker;

/// Where state lives unless the configuration or `--state` says otherwise.
pub const STATE_DIR: &str = "/var/lib/guywire";
/// Where sockets and process ids live unless the configuration or `--run` says otherwise.
pub const RUN_DIR: &str = "/run/guywire";
