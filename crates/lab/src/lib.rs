//! A whole Guywire on one machine: client, router, any number of emulated
//! links, server and internet host, each in namespaces of its own, without
//! root where the kernel allows it.
//!
//! | module | what it is for |
//! |---|---|
//! | [`spec`], [`trace`], [`emulator`] | what a link is like: the written form, mahimahi traces, the real thing |
//! | [`topology`] | which nodes there are, and every address |
//! | [`place`], [`plan`] | where a lab lives on disk, and what it shall be |
//! | [`launch`], [`forbidden`] | starting a lab and ending it; why a system refuses |
//! | [`keeper`], [`holder`] | its first process, and the ones that hold its nodes |
//! | [`enter`], [`processes`] | running programs in a node; the lab's processes as the host sees them |
//! | [`protocol`], [`client`] | what is said to the keeper, and saying it |
//! | [`internet`] | the internet host: web server and name server |
//! | [`fetch`] | the measuring client |
//! | [`story`] | the story that `guywire lab` tells |
//! | [`measure`] | bytes over time and the longest pause of a transfer |

pub mod client;
pub mod emulator;
pub mod enter;
pub mod fetch;
pub mod forbidden;
pub mod holder;
pub mod internet;
pub mod keeper;
pub mod launch;
pub mod measure;
pub mod place;
pub mod plan;
pub mod processes;
pub mod protocol;
pub mod scenario;
pub mod spec;
pub mod story;
pub mod topology;
pub mod trace;
