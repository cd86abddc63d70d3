//! Control: everything about Guywire that is not data. Configuration, what a server knows of its routers, and the
//! supervisors that own rules, routes and listeners and keep a data worker running.
//!
//! - [`worker`]: what a supervisor and its worker say to each other.

pub mod worker;
