//! The process that holds a node: its network and mount namespaces live as
//! long as it does. It sees the machine's files, except for a few of its own.
//!
//! A node has its own /etc/hosts, /etc/resolv.conf and name service switch;
//! router and server also their own /etc/guywire, /var/lib/guywire and
//! /run/guywire, so that every command of Guywire works there as on a machine
//! of its own.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use guywire_net::namespace::{Kind, unshare};
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_move};

use crate::place::Place;
use crate::topology::{Node, hosts_file, resolv_conf};

/// Where caching name services listen: they would answer for the host.
const NAME_CACHES: [&str; 2] = ["/run/nscd", "/var/run/nscd"];

/// What the name service switch says in a node: no service of the host's.
const NAME_SWITCH: &str =
    "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n";

/// A node has not the files it should.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {reason}", path.display())]
pub struct HolderError {
    /// What was tried.
    action: &'static str,
    /// On what.
    path: PathBuf,
    /// What the kernel said.
    reason: io::Error,
}

fn failed<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> HolderError {
    let path = path.to_owned();
    move |reason| HolderError {
        action,
        path,
        reason: reason.into(),
    }
}

/// Makes the node's namespaces around this process, which must have one
/// thread only, and gives it its files. Only [`hold`] is left to do.
///
/// # Errors
/// See [`HolderError`].
pub fn prepare(place: &Place, node: Node, links: usize) -> Result<(), HolderError> {
    unshare(&[Kind::Mount, Kind::Net])
        .map_err(failed("make namespaces for", Path::new(node.name())))?;
    let own = place.node(node.name());
    let etc = own.join("etc");
    fs::create_dir_all(&etc).map_err(failed("create", &etc))?;
    let files = [
        ("hosts", hosts_file(node, links)),
        ("resolv.conf", resolv_conf(node)),
        ("nsswitch.conf", NAME_SWITCH.to_owned()),
    ];
    for (name, text) in files {
        let file = etc.join(name);
        fs::write(&file, text).map_err(failed("write", &file))?;
        provide(&own, &file, &Path::new("/etc").join(name))?;
    }
    if matches!(node, Node::Router | Node::Server) {
        for (name, parent) in [("config", "/etc"), ("state", "/var/lib"), ("run", "/run")] {
            let directory = own.join(name);
            fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
            provide(&own, &directory, &Path::new(parent).join("guywire"))?;
        }
    }
    for cache in NAME_CACHES
        .map(Path::new)
        .into_iter()
        .filter(|cache| cache.is_dir())
    {
        mount("none", cache, "tmpfs", MountFlags::empty(), None).map_err(failed("hide", cache))?;
    }
    // /sys shows the devices of the namespace that mounted it. Not every
    // container allows a fresh one, and few programs look.
    let _ = mount(
        "sysfs",
        "/sys",
        "sysfs",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    );
    Ok(())
}

/// Does nothing, for ever.
pub fn hold() -> ! {
    loop {
        std::thread::park();
    }
}

/// Puts `source`, a file or directory, in the place of `target`.
fn provide(own: &Path, source: &Path, target: &Path) -> Result<(), HolderError> {
    if !target.exists() {
        make_mount_point(own, source.is_dir(), target)?;
    }
    mount_bind(source, target).map_err(failed("mount over", target))
}

/// Makes something to mount on, without leaving a trace on the machine: the
/// directory around it is replaced by one in memory, with a link to each
/// thing of the old one.
fn make_mount_point(own: &Path, directory: bool, target: &Path) -> Result<(), HolderError> {
    let parent = target.parent().unwrap_or(target);
    let marker = parent.join(SHADOWED);
    if !marker.exists() {
        shadow(own, parent)?;
    }
    match directory {
        true => fs::create_dir(target).map_err(failed("create", target)),
        false => fs::write(target, "").map_err(failed("create", target)),
    }
}

/// In a shadowed directory, what was there before.
const SHADOWED: &str = ".host";

fn shadow(own: &Path, directory: &Path) -> Result<(), HolderError> {
    let name = directory.to_string_lossy().replace('/', "-");
    let stage = own.join(format!("shadow{name}"));
    fs::create_dir_all(&stage).map_err(failed("create", &stage))?;
    mount(
        "none",
        &stage,
        "tmpfs",
        MountFlags::empty(),
        Some(c"mode=755"),
    )
    .map_err(failed("mount on", &stage))?;
    let before = stage.join(SHADOWED);
    fs::create_dir(&before).map_err(failed("create", &before))?;
    mount_bind_recursive(directory, &before).map_err(failed("mount on", &before))?;
    let entries = fs::read_dir(directory).map_err(failed("list", directory))?;
    for entry in entries {
        let name = entry.map_err(failed("list", directory))?.file_name();
        let (from, to) = (directory.join(SHADOWED).join(&name), stage.join(&name));
        symlink(from, &to).map_err(failed("link", &to))?;
    }
    mount_move(&stage, directory).map_err(failed("mount over", directory))
}
