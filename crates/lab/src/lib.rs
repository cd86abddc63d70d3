//! A whole Guywire on one machine: client, router, any number of emulated
//! links, server and internet host, each in namespaces of its own, without
//! root where the kernel allows it.
//!
//! | module | what it is for |
//! |---|---|
//! | [`spec`], [`trace`] | what a link is like: the written form, mahimahi traces |
//! | [`internet`] | the internet host: web server and name server |
//! | [`fetch`] | the measuring client |
//! | [`measure`] | bytes over time and the longest pause of a transfer |

pub mod fetch;
pub mod internet;
pub mod measure;
pub mod spec;
pub mod trace;
