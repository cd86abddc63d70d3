//! Supervisors: one process for a router, one for a server, small and never waiting for the data worker.
//!
//! A supervisor owns what needs privilege: nftables rules, policy routes, listening sockets, keys and invitations. It
//! starts a worker, passes it descriptors and starts the next one when it dies; rules and listeners stay meanwhile, so
//! that connections wait instead of failing. It removes everything of its own when it is told to stop. When it is
//! killed, the worker goes on, and the next supervisor takes it over with all that it holds; where that cannot be, it
//! removes what the earlier one left.
//!
//! - `router`, `server`: [`run_router`], [`run_server`]; `links`, `capture`: the router's links and listeners;
//!   `plain_dns`: names while a router fails open; `registrar`: the server's invitations.
//! - `frame`: what both have in common; `keeper`: one worker after the other; `restart`: when the next one starts;
//!   `watchdog`: when one counts as hung; `adopt`: the worker of a supervisor that was killed.
//! - `schedulers`: which ones are to be used, and which are not any more; `journal`: incidents on disk;
//!   `history`: what passed lately.
//! - `process`, `lock`: processes and who may run; `socket`, `status`: what is told to others.
//! - `clean`: [`clean`], for what nobody owns any more.

mod adopt;
mod capture;
mod clean;
mod frame;
mod history;
mod journal;
mod keeper;
mod links;
mod lock;
mod plain_dns;
mod process;
mod registrar;
mod restart;
mod router;
mod schedulers;
mod server;
mod socket;
mod status;
mod watchdog;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use guywire_net::nft::NftError;
use guywire_net::route::NetlinkError;

use crate::store::{FileError, StoreError};

pub use clean::clean;
pub use lock::LockError;
pub use process::{SpawnError, WorkerCommand};
pub use restart::{RestartPolicy, Verdict};
pub use router::run_router;
pub use schedulers::{
    ChoiceRequest, Chosen, ClassAnswer, MAX_QUARANTINED, MAX_TRIAL, Quarantined, UseRequest,
    class_label,
};
pub use server::run_server;
pub use socket::{
    ErrorAnswer, InviteAnswer, InviteRequest, PardonRequest, SchedulersAnswer, TraceAnswer,
    TraceRequest, socket_path,
};
pub use status::{Incident, State, Status, WorkerProcess};

/// Role of a router, as in file names and status.
pub const ROUTER_ROLE: &str = "router";
/// Role of a server, as in file names and status.
pub const SERVER_ROLE: &str = "server";

/// Why a supervisor cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Another one runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file of the run directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key or another file of the state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {next}", next = next_for_listen(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The LAN's DNS cannot be answered on an address.
    #[error("cannot answer DNS on {address}: {source}; {next}", next = next_for_dns(source))]
    Dns {
        /// The address and port 53.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// No listener for captured connections.
    #[error(
        "cannot open a transparent listener: {0}; run it as root, with TPROXY in the kernel (nft_tproxy)"
    )]
    Transparent(#[source] io::Error),
    /// Devices, addresses, routes or rules.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// nftables.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// Signals cannot be handled.
    #[error("cannot handle signals: {0}")]
    Signals(#[source] io::Error),
    /// No descriptors left.
    #[error("cannot duplicate a listener: {0}; raise the limit of open files")]
    Descriptors(#[source] io::Error),
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

fn next_for_listen(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "stop the program that has it (`ss -lntup` names it), or configure another address"
        }
        io::ErrorKind::PermissionDenied => "run it as root, or give it CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; correct the configuration"
        }
        _ => "correct the configuration",
    }
}

fn next_for_dns(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another name server has the port (`ss -lntup` names it): stop it there, or set `dns.enabled = false`"
        }
        io::ErrorKind::PermissionDenied => "run it as root",
        _ => "correct `dns.addresses`, or set `dns.enabled = false`",
    }
}

/// Where the process of a role's worker is recorded.
fn record_path(run_dir: &Path, role: &str) -> PathBuf {
    run_dir.join(format!("{role}.worker"))
}
