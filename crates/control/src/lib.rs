//! Control: everything about Guywire that is not data. Configuration, what a server knows of its routers, and the
//! supervisors that own rules, routes and listeners and keep a data worker running.
//!
//! - [`client`]: the commands' end of the control socket.
//! - [`config`]: the two configuration files.
//! - [`dns`]: questions passed on to resolvers.
//! - [`invitation`]: the line that lets a router join.
//! - [`store`]: keys, routers, invitations.
//! - [`supervisor`]: runs a router or a server and its control socket.
//! - [`worker`]: what a supervisor and its worker say to each other.

pub mod client;
pub mod config;
pub mod dns;
pub mod invitation;
pub mod store;
pub mod supervisor;
#[cfg(test)]
mod testing;
pub mod worker;

/// Where state lives unless the configuration or `--state` says otherwise.
pub const STATE_DIR: &str = "/var/lib/guywire";
/// Where sockets and process ids live unless the configuration or `--run` says otherwise.
pub const RUN_DIR: &str = "/run/guywire";
