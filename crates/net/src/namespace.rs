//! Namespaces: making them, entering them, running code inside them.
//!
//! Linux ties a network namespace to a thread, and a socket to the namespace
//! of the thread that created it. So everything here that enters one does it
//! on a fresh thread and
//! never changes the caller's own. Descriptors of namespaces keep them alive.

use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic;
use std::path::PathBuf;
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::sys;

/// The network namespace of the calling thread.
///
/// # Errors
/// What opening it under /proc says.
pub fn current_netns() -> io::Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
}

/// A fresh network namespace, its loopback device still down. It lives as
/// long as the descriptor, a process or a device peer holds it.
///
/// # Errors
/// `PermissionDenied` without CAP_SYS_ADMIN in the current user namespace.
pub fn new_netns() -> io::Result<OwnedFd> {
    on_fresh_thread(|| {
        sys::unshare(UnshareFlags::NEWNET)?;
        current_netns()
    })?
}

/// A namespace of process `pid`; `kind` is a name in /proc/PID/ns (`net`,
/// `mnt`, `user`, ...).
///
/// # Errors
/// `NotFound` when the process is gone, `PermissionDenied` when it is foreign.
pub fn namespace_of(pid: u32, kind: &str) -> io::Result<OwnedFd> {
    let path: PathBuf = ["/proc", &pid.to_string(), "ns", kind].iter().collect();
    File::open(path).map(OwnedFd::from)
}

/// Runs `work` on a fresh thread inside the network namespace `netns` and
/// returns what it returns. Sockets made inside stay in that namespace
/// wherever they are used later. A panic of `work` goes on in the caller.
///
/// # Errors
/// When no thread can be had or the namespace cannot be entered.
pub fn run_in_netns<T: Send>(netns: impl AsFd, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let netns = netns.as_fd();
    on_fresh_thread(|| {
        enter(netns, Kind::Net)?;
        Ok(work())
    })?
}

/// Runs `work` on a thread of its own and hands on its panic, if any.
fn on_fresh_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let running = thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, work)?;
        running
            .join()
            .map_or_else(|cause| panic::resume_unwind(cause), Ok)
    })
}

/// A kind of namespace that a thread or child can enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// User ids and capabilities.
    User,
    /// Devices, addresses, routes, rules, sockets.
    Net,
    /// Mounts.
    Mount,
    /// Process ids; only children made afterwards are inside.
    Pid,
    /// Host name.
    Uts,
}

/// Moves the *calling thread* into a namespace. For most purposes
/// [`run_in_netns`] is what is wanted.
///
/// # Errors
/// `InvalidInput` when `namespace` is of another kind, or the process has
/// several threads and the kind is `User`; `PermissionDenied` without
/// CAP_SYS_ADMIN over it.
pub fn enter(namespace: BorrowedFd<'_>, kind: Kind) -> io::Result<()> {
    let kind = match kind {
        Kind::User => LinkNameSpaceType::User,
        Kind::Net => LinkNameSpaceType::Network,
        Kind::Mount => LinkNameSpaceType::Mount,
        Kind::Pid => LinkNameSpaceType::ProcessID,
        Kind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
    };
    move_into_link_name_space(namespace, Some(kind)).map_err(io::Error::from)
}

/// Moves the *calling thread* (for `User`: the whole, single-threaded
/// process) into fresh namespaces of these kinds.
///
/// # Errors
/// `PermissionDenied` where the system forbids it; unprivileged callers need
/// `User` among the kinds. `InvalidInput` for `User` in a process with threads.
pub fn unshare(kinds: &[Kind]) -> io::Result<()> {
    sys::unshare(unshare_flags(kinds))
}

pub(crate) fn unshare_flags(kinds: &[Kind]) -> UnshareFlags {
    kinds
        .iter()
        .map(|kind| match kind {
            Kind::User => UnshareFlags::NEWUSER,
            Kind::Net => UnshareFlags::NEWNET,
            Kind::Mount => UnshareFlags::NEWNS,
            Kind::Pid => UnshareFlags::NEWPID,
            Kind::Uts => UnshareFlags::NEWUTS,
        })
        .collect()
}

/// Makes the process's user and group inside a fresh user namespace root: the
/// only mapping that needs no privilege. Call it right after
/// [`unshare`] with [`Kind::User`], with the ids from before it.
///
/// # Errors
/// What writing /proc/self/{setgroups,uid_map,gid_map} says.
pub fn map_root(outer_uid: u32, outer_gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {outer_uid} 1\n"))?;
    fs::write("/proc/self/gid_map", format!("0 {outer_gid} 1\n"))
}

/// Writes a kernel setting of the calling thread's network namespace, such as
/// `net.ipv4.ip_forward`. A device name with dots is written with slashes:
/// `net/ipv4/conf/eth0.5/rp_filter`.
///
/// # Errors
/// `InvalidInput` for names that are no plain path, else what the write says;
/// the text names the setting.
pub fn write_sysctl(name: &str, value: &str) -> io::Result<()> {
    let path = sysctl_path(name)?;
    fs::write(&path, value).map_err(|error| named(name, &error))
}

/// Reads a kernel setting, without the newline; see [`write_sysctl`].
///
/// # Errors
/// As [`write_sysctl`].
pub fn read_sysctl(name: &str) -> io::Result<String> {
    let path = sysctl_path(name)?;
    let text = fs::read_to_string(&path).map_err(|error| named(name, &error))?;
    Ok(text.trim_end().to_owned())
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("sysctl {name}: {error}"))
}

fn sysctl_path(name: &str) -> io::Result<PathBuf> {
    let path = if name.contains('/') {
        name.to_owned()
    } else {
        name.replace('.', "/")
    };
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("sysctl name {name:?} is no plain path"),
        ));
    }
    Ok(PathBuf::from("/proc/sys").join(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fresh_netns;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn work_runs_inside_and_the_caller_stays_outside() {
        let Some(netns) = fresh_netns() else { return };
        let before = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let inside = run_in_netns(&netns, || {
            fs::read_link("/proc/thread-self/ns/net").unwrap()
        })
        .unwrap();
        assert_ne!(before, inside);
        assert_eq!(before, fs::read_link("/proc/thread-self/ns/net").unwrap());
    }

    #[test]
    fn a_socket_stays_where_it_was_made() {
        let Some(netns) = fresh_netns() else { return };
        let listener = run_in_netns(&netns, || TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn settings_are_those_of_the_namespace() {
        let Some(netns) = fresh_netns() else { return };
        let name = "net.ipv4.ip_default_ttl";
        let outside = read_sysctl(name).unwrap();
        run_in_netns(&netns, || {
            write_sysctl(name, "33").unwrap();
            assert_eq!(read_sysctl(name).unwrap(), "33");
        })
        .unwrap();
        assert_eq!(read_sysctl(name).unwrap(), outside);
        let error = write_sysctl("net.ipv4.no_such_thing", "1").unwrap_err();
        assert!(error.to_string().contains("net.ipv4.no_such_thing"));
        assert!(write_sysctl("net/../../etc/passwd", "1").is_err());
    }

    #[test]
    fn a_panic_inside_reaches_the_caller() {
        let netns = current_netns().unwrap();
        let caught = panic::catch_unwind(|| on_fresh_thread(|| panic!("inside")));
        assert!(caught.is_err());
        drop(netns);
    }

    #[test]
    fn a_namespace_is_found_by_process() {
        let own = namespace_of(std::process::id(), "net").unwrap();
        drop(own);
        assert!(namespace_of(u32::MAX, "net").is_err());
    }
}
