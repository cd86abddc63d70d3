//! Less power for the worker: capabilities given up for good, and who is
//! killed first when memory runs out.

use std::fs;
use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

/// Gives up every capability of the calling thread, and of every program it
/// starts, whoever owns it (`no_new_privs`). Call it before other threads
/// exist: each has capabilities of its own.
///
/// What still works without: everything in sockets and descriptors that were
/// passed in, binding new sockets to a device once, and reading the files of
/// one's own user id.
///
/// # Errors
/// What the kernel says; nothing here needs a privilege. Refuses (`Other`)
/// to believe in success while a capability is left.
pub fn drop_all() -> io::Result<()> {
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    let nothing = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, nothing)?;
    let left = capabilities(None)?;
    if left.permitted.is_empty() && left.effective.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "capabilities {:#x} could not be given up",
        left.permitted.bits()
    )))
}

/// Whether the calling thread may change the network of its namespace.
///
/// # Errors
/// What the kernel says.
pub fn has_net_admin() -> io::Result<bool> {
    Ok(capabilities(None)?
        .effective
        .contains(CapabilitySet::NET_ADMIN))
}

/// Whether every thread of this process has given up everything.
///
/// # Errors
/// When /proc cannot be read.
pub fn all_threads_powerless() -> io::Result<bool> {
    for thread in fs::read_dir("/proc/self/task")? {
        let status = match fs::read_to_string(thread?.path().join("status")) {
            Ok(status) => status,
            // It ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let permitted = status
            .lines()
            .find_map(|line| line.strip_prefix("CapPrm:"))
            .map(str::trim);
        if permitted.is_none_or(|bits| !bits.trim_start_matches('0').is_empty()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Sets how likely the kernel is to kill this process when memory runs out,
/// from -1000 (never) to 1000 (first). `Ok(false)`: not permitted, which is
/// usual for lowering it without CAP_SYS_RESOURCE.
///
/// # Errors
/// `InvalidInput` outside of that range; what writing /proc says.
pub fn set_oom_score_adj(score: i32) -> io::Result<bool> {
    if !(-1000..=1000).contains(&score) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("oom score adjustment {score} is not within -1000 to 1000"),
        ));
    }
    match fs::write("/proc/self/oom_score_adj", score.to_string()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{NatRules, NftError, install_nat};
    use crate::testing::fresh_netns;
    use std::process::Command;

    /// On a thread of its own, which the other tests do not share.
    #[test]
    fn a_thread_without_capabilities_can_change_nothing() {
        let Some(netns) = fresh_netns() else { return };
        crate::namespace::run_in_netns(&netns, || {
            assert!(has_net_admin().unwrap());
            drop_all().unwrap();
            assert!(!has_net_admin().unwrap());
            let rules = NatRules {
                wan: vec![],
                lan: vec![],
                closed: false,
            };
            let error = install_nat(&rules).unwrap_err();
            assert!(matches!(error, NftError::NotPermitted { .. }), "{error}");
            // Root's programs would have everything again, were it not for no_new_privs.
            let status = Command::new("cat")
                .arg("/proc/self/status")
                .output()
                .unwrap();
            let status = String::from_utf8(status.stdout).unwrap();
            assert!(status.contains("CapPrm:\t0000000000000000"), "{status}");
            assert!(!all_threads_powerless().unwrap());
        })
        .unwrap();
    }

    #[test]
    fn the_oom_score_goes_up_without_privilege() {
        let text = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        let old: i32 = text.trim().parse().unwrap();
        assert!(set_oom_score_adj((old + 1).min(1000)).unwrap());
        set_oom_score_adj(old).unwrap();
        assert!(set_oom_score_adj(1001).is_err());
    }
}
