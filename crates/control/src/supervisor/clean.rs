//! Removing what nobody owns any more.

use std::path::Path;

use guywire_net::nft;
use guywire_net::route::Netlink;

use super::adopt::door_path;
use super::frame::Claim;
use super::lock::NamespaceLock;
use super::socket::socket_path;
use super::{ROUTER_ROLE, SupervisorError};
use crate::store::files;

/// Removes what a killed router left behind: its data worker, nftables tables, rules, routes and sockets; only
/// what is ours. Says in words what it removed.
///
/// # Errors
/// A router runs with this run directory, or the kernel refuses.
pub async fn clean(run_dir: &Path) -> Result<Vec<String>, SupervisorError> {
    let mut removed = Vec::new();
    let claim = match run_dir.is_dir() {
        true => Some(Claim::take(run_dir, ROUTER_ROLE).await?),
        false => None,
    };
    let _namespace = match &claim {
        Some(_) => None,
        None => Some(NamespaceLock::take()?),
    };
    if let Some(claim) = &claim {
        let ended = claim.end_worker()?;
        removed.extend(ended.map(|pid| format!("data worker, process {pid}")));
        for socket in [
            socket_path(run_dir, ROUTER_ROLE),
            door_path(run_dir, ROUTER_ROLE),
        ] {
            if socket.exists() {
                files::remove(&socket)?;
                removed.push(format!("socket {}", socket.display()));
            }
        }
    }
    removed.extend(remove_rules(&Netlink::new()?).await?);
    Ok(removed)
}

/// Removes tables, policy rules and routes of ours from this network namespace.
pub(super) async fn remove_rules(netlink: &Netlink) -> Result<Vec<String>, SupervisorError> {
    let mut removed: Vec<String> = nft::remove_tables()?
        .iter()
        .map(|table| format!("nftables table {table}"))
        .collect();
    removed.extend(netlink.remove_ours().await?);
    Ok(removed)
}
