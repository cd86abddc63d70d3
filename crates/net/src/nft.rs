//! Guywire's nftables rules, straight over netlink: no `nft` binary.
//!
//! Two tables of family inet, and nothing else is ever touched:
//! - `guywire_capture` hands the LAN's TCP to the transparent listeners. It
//!   belongs to the netlink socket that made it (flag `owner`), so it lives
//!   exactly as long as somebody holds that descriptor, kill -9 included.
//! - `guywire` masquerades what leaves uncaptured, keeps packets of broken
//!   captured connections from leaving at all, and, when closed, drops.
//!   It stays until [`remove_tables`].
//!
//! Each call replaces its whole table in one transaction of the calling
//! thread's network namespace. Needs CAP_NET_ADMIN over it.
//!
//! | file | what |
//! |---|---|
//! | expr.rs | expressions, the steps of rules |
//! | batch.rs | transactions: encoding, sending, the answer |
//! | rules.rs | the rules of both tables |

mod batch;
mod expr;
mod rules;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ipnet::IpNet;
use thiserror::Error;

use batch::{Batch, commit, inet_tables, open};

/// Table of the capture rules.
pub const CAPTURE_TABLE: &str = "guywire_capture";
/// Table of everything else.
pub const NAT_TABLE: &str = "guywire";
/// Most networks that may bypass Guywire.
pub const MAX_BYPASS: usize = 4096;
/// Most devices in one role.
pub const MAX_DEVICES: usize = 64;

/// Why rules could not be set or removed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NftError {
    /// No netlink socket for nftables.
    #[error(
        "cannot open a netlink socket for nftables: {0}; is nf_tables in this kernel (modprobe \
         nf_tables)?"
    )]
    Open(#[source] io::Error),
    /// The kernel did not take the transaction or gave no answer.
    #[error("cannot talk to nftables about table inet {table}: {source}")]
    Transport {
        /// The table.
        table: &'static str,
        /// What sending or receiving said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the transaction; nothing of it was applied.
    #[error("nftables refused table inet {table}: {source}{}", detail(.text))]
    Refused {
        /// The table.
        table: &'static str,
        /// The kernel's error number.
        #[source]
        source: io::Error,
        /// The kernel's own words, often empty.
        text: String,
    },
    /// The kernel does not know an expression or chain type that the table uses.
    #[error(
        "nftables of this kernel lacks something that table inet {table} needs ({source}); \
         install or load its modules {modules}"
    )]
    KernelLacks {
        /// The table.
        table: &'static str,
        /// The modules that the table needs.
        modules: &'static str,
        /// The kernel's error number.
        #[source]
        source: io::Error,
    },
    /// Not allowed: no CAP_NET_ADMIN, or a living process owns the table.
    #[error(
        "not permitted to change nftables table inet {table}: this needs CAP_NET_ADMIN, and a \
         table that another running guywire owns can be changed by that one only; stop it first"
    )]
    NotPermitted {
        /// The table.
        table: &'static str,
    },
    /// The tables could not be listed.
    #[error("cannot list the nftables tables: {source}")]
    List {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Too many networks or devices.
    #[error("{count} {what}, at most {max} are possible")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many are possible.
        max: usize,
    },
    /// The name can be no device's.
    #[error("device name {0:?} must have 1 to 15 bytes")]
    BadDevice(String),
}

fn detail(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" ({text})")
    }
}

impl NftError {
    fn refused(table: &'static str, (code, text): (i32, String)) -> Self {
        if code == libc::EPERM {
            return Self::NotPermitted { table };
        }
        Self::Refused {
            table,
            source: io::Error::from_raw_os_error(code),
            text,
        }
    }

    /// A table being made refers to nothing that could be absent but what the
    /// kernel itself provides.
    fn with_modules(self, modules: &'static str) -> Self {
        match self {
            Self::Refused { table, source, .. }
                if matches!(
                    source.raw_os_error(),
                    Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)
                ) =>
            {
                Self::KernelLacks {
                    table,
                    modules,
                    source,
                }
            }
            other => other,
        }
    }
}

/// Kernel modules behind the capture table, for people whose kernel lacks one.
const CAPTURE_MODULES: &str = "nft_tproxy, nft_socket, nft_fib_inet, nft_ct, nft_reject_inet";
/// Kernel modules behind the other table.
const NAT_MODULES: &str = "nft_chain_nat, nft_masq, nft_ct, nft_reject_inet";

/// What is captured, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureRules {
    /// Devices of the LAN, by name; they need not exist yet.
    pub lan: Vec<String>,
    /// The firewall mark that leads captured packets to this host; see
    /// [`crate::route::TproxyPolicy`].
    pub mark: u32,
    /// Port of the listener on 127.0.0.1, see [`crate::listen::tproxy_listener`].
    pub port4: u16,
    /// Port of the listener on ::1.
    pub port6: u16,
    /// Destinations that are left alone, beside those that always are
    /// (private, link-local, multicast and this host's own addresses).
    pub bypass: Vec<IpNet>,
    /// Refuse UDP to port 443 by ICMP, so that browsers take TCP.
    pub reject_quic: bool,
}

/// What happens to the LAN's packets that are not captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatRules {
    /// Devices of the links, by name.
    pub wan: Vec<String>,
    /// Devices of the LAN, by name.
    pub lan: Vec<String>,
    /// Let nothing of the LAN leave by a link.
    pub closed: bool,
}

/// Sets the capture rules and returns what keeps them alive: they vanish when
/// the last copy of this descriptor is closed. Without a listener on the port
/// the rules let packets pass as if they were not there.
///
/// # Errors
/// [`NftError::NotPermitted`] also while another process holds such a
/// descriptor; use [`update_capture`] with that one.
pub fn install_capture(rules: &CaptureRules) -> Result<OwnedFd, NftError> {
    let socket = open()?;
    update_capture(&socket, rules)?;
    Ok(socket)
}

/// Replaces the capture rules through the descriptor that owns them.
///
/// # Errors
/// As [`install_capture`]; the former rules then stay.
pub fn update_capture(owner: &impl AsFd, rules: &CaptureRules) -> Result<(), NftError> {
    check_devices("LAN devices", &rules.lan)?;
    if rules.bypass.len() > MAX_BYPASS {
        return Err(NftError::TooMany {
            what: "networks that bypass Guywire",
            count: rules.bypass.len(),
            max: MAX_BYPASS,
        });
    }
    commit(owner, rules::capture(rules)).map_err(|error| error.with_modules(CAPTURE_MODULES))
}

/// Sets the rules for what is not captured. They stay until [`remove_tables`].
///
/// # Errors
/// Any [`NftError`]; the former rules then stay.
pub fn install_nat(rules: &NatRules) -> Result<(), NftError> {
    check_devices("LAN devices", &rules.lan)?;
    check_devices("link devices", &rules.wan)?;
    commit(&open()?, rules::nat(rules)).map_err(|error| error.with_modules(NAT_MODULES))
}

/// Removes Guywire's tables, also those that a crash left behind, and returns
/// the names of those that were there.
///
/// # Errors
/// [`NftError::NotPermitted`] when a living process owns the capture table;
/// the other one is removed all the same.
pub fn remove_tables() -> Result<Vec<String>, NftError> {
    let present = inet_tables()?;
    let mut removed = Vec::new();
    let mut failure = None;
    for table in [NAT_TABLE, CAPTURE_TABLE] {
        if !present.iter().any(|name| name == table) {
            continue;
        }
        match commit(&open()?, Batch::deleting(table)) {
            Ok(()) => removed.push(table.to_owned()),
            // Its owner ended just now, and took it along.
            Err(NftError::Refused { source, .. })
                if source.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(removed), Err)
}

fn check_devices(what: &'static str, devices: &[String]) -> Result<(), NftError> {
    if devices.len() > MAX_DEVICES {
        return Err(NftError::TooMany {
            what,
            count: devices.len(),
            max: MAX_DEVICES,
        });
    }
    match devices.iter().find(|name| !(1..=15).contains(&name.len())) {
        Some(name) => Err(NftError::BadDevice(name.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
