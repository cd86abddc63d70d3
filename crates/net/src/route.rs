//! Devices, addresses, routes and rules of one network namespace, over
//! rtnetlink.
//!
//! [`Netlink`] is a handle to the namespace in which it was opened; it can be
//! cloned and used from any task. Requests of one handle run one after the
//! other, because the kernel allows one dump per socket at a time.
//!
//! | file | what |
//! |---|---|
//! | device.rs | list, make, move, configure devices |
//! | address.rs | addresses of devices |
//! | table.rs | routes |
//! | rule.rs | rules that choose the table |
//! | policy.rs | the routes and rules of Guywire itself, and their clean-up |
//! | watch.rs | hear of changes |

mod address;
mod device;
mod policy;
mod rule;
mod table;
mod watch;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use futures::StreamExt;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use thiserror::Error;
use tokio::runtime::Handle as Runtime;
use tokio::sync::Mutex;

use crate::namespace::run_in_netns;

pub use address::Address;
pub use device::Device;
pub use policy::{LinkTable, PROTOCOL, TproxyPolicy};
pub use rule::{Family, Rule};
pub use table::{DefaultHops, Hop, MAIN_TABLE, Route, RouteKind};
pub use watch::{Change, Changes};

/// Dumps that the kernel calls inconsistent are repeated this often.
const DUMP_ATTEMPTS: u32 = 4;

/// Why a request about devices, addresses, routes or rules failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// No socket, or the namespace cannot be entered.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// No such device in this namespace.
    #[error("no device named {0:?} in this network namespace")]
    NoDevice(String),
    /// The name can be no device's.
    #[error("device name {0:?} must have 1 to 15 bytes, without slash, space or colon")]
    BadName(String),
    /// The kernel refused a request.
    #[error("cannot {action}: {source}")]
    Refused {
        /// What was asked, as in "add address 10.0.1.2/24 to wan1".
        action: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The connection task ended, with its runtime.
    #[error("cannot {action}: the netlink connection is closed")]
    Closed {
        /// What was asked.
        action: String,
    },
}

impl NetlinkError {
    /// The kernel's error number, where it is the kernel that refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    fn is(&self, errno: i32) -> bool {
        self.errno() == Some(errno)
    }
}

/// A handle to the devices, addresses, routes and rules of one network namespace.
#[derive(Debug, Clone)]
pub struct Netlink {
    /// One request at a time; the socket itself lives in a task of its own.
    connection: Arc<Mutex<rtnetlink::Handle>>,
}

impl Netlink {
    /// Opens a handle to the calling thread's network namespace. Must be
    /// called inside a tokio runtime, which then serves it.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn new() -> Result<Self, NetlinkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
        tokio::spawn(connection);
        Ok(Self {
            connection: Arc::new(Mutex::new(handle)),
        })
    }

    /// Opens a handle to another network namespace, as [`Netlink::new`] does
    /// for the own one. Afterwards it is used from anywhere.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn in_netns(netns: impl AsFd) -> Result<Self, NetlinkError> {
        let runtime = Runtime::current();
        run_in_netns(netns, || {
            let _inside = runtime.enter();
            Self::new()
        })
        .map_err(NetlinkError::Open)?
    }

    /// Sends a request that changes something and waits for its ack.
    async fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        action: impl FnOnce() -> String,
    ) -> Result<(), NetlinkError> {
        match self.exchange(message, flags | NLM_F_ACK).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.into_error(action())),
        }
    }

    /// Adds something that must not be there yet.
    async fn create(
        &self,
        message: RouteNetlinkMessage,
        action: impl FnOnce() -> String,
    ) -> Result<(), NetlinkError> {
        self.change(message, NLM_F_CREATE | NLM_F_EXCL, action)
            .await
    }

    /// Lists everything a request matches; repeats what changed meanwhile.
    async fn dump(
        &self,
        message: RouteNetlinkMessage,
        what: &str,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let mut attempt = 1;
        loop {
            match self.exchange(message.clone(), NLM_F_DUMP).await {
                Ok((_, true)) if attempt < DUMP_ATTEMPTS => attempt += 1,
                Ok((found, _)) => return Ok(found),
                Err(failure) => return Err(failure.into_error(format!("list {what}"))),
            }
        }
    }

    /// One request and everything that answers it; `true` when a dump was
    /// interrupted by a change.
    async fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(Vec<RouteNetlinkMessage>, bool), Failure> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut handle = self.connection.lock().await;
        let mut answers = handle.request(request).map_err(|_| Failure::Closed)?;
        let mut found = Vec::new();
        let mut interrupted = false;
        while let Some(answer) = answers.next().await {
            interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => found.push(inner),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(Failure::Kernel(error.to_io()));
                }
                _ => {}
            }
        }
        Ok((found, interrupted))
    }
}

/// What can go wrong with an exchange, before it is said what it was for.
enum Failure {
    Kernel(io::Error),
    Closed,
}

impl Failure {
    fn into_error(self, action: String) -> NetlinkError {
        match self {
            Self::Kernel(source) => NetlinkError::Refused { action, source },
            Self::Closed => NetlinkError::Closed { action },
        }
    }
}

#[cfg(test)]
mod tests;
