//! The keeper: process 1 of a lab. It builds the nodes and links, starts what
//! runs in them, and does what it is asked on its control socket until it is
//! asked to end. With it ends everything: it is the first process of its
//! process namespace.
//!
//! | module | what it is for |
//! |---|---|
//! | `children` | the lab's processes, and burying them |
//! | `network` | cables, addresses, routes |
//! | `links` | the links and their emulation |
//! | `guywire` | router and server, set up by their own commands |
//! | `control` | the control socket |
//! | `timetable` | what a scenario makes happen |

mod children;
mod control;
mod guywire;
mod links;
mod network;
mod timetable;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use guywire_net::namespace::{current_netns, run_in_netns};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use self::children::{Children, wait_for_line};
use self::links::Links;
use self::network::Network;
use self::timetable::Timetable;
use crate::enter::{enter_arguments, search_path};
use crate::launch::{die_with_parent, report};
use crate::place::Place;
use crate::plan::{Plan, Progress};
use crate::spec::LinkSpecs;
use crate::topology::Node;

/// The keeper's main; returns when the lab was asked to end.
///
/// # Errors
/// In words; reported to whoever starts the lab as well.
pub fn main(directory: &Path) -> Result<()> {
    let run = || {
        die_with_parent().context("cannot tie the keeper to its launcher")?;
        own_mounts().context("cannot keep the lab's mounts to itself")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(keep(directory))
    };
    run().inspect_err(|error| report(&Progress::Failed(format!("{error:#}"))))
}

/// What the lab mounts is seen by the lab only, and /proc shows its processes.
fn own_mounts() -> io::Result<()> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Some containers forbid a fresh /proc; the lab works with the old one,
    // only `ps` in a node shows the host's processes.
    let _ = mount("proc", "/proc", "proc", flags, None);
    Ok(())
}

async fn keep(directory: &Path) -> Result<()> {
    let place = Place::of_directory(directory)?;
    let plan: Plan =
        serde_json::from_slice(&fs::read(place.plan())?).context("cannot read the lab's plan")?;
    let specs: LinkSpecs = plan.links.parse()?;
    let children = Children::default();
    tokio::spawn(children.clone().reap());
    let mut lab = Lab::build(place, children, &specs, plan.seed).await?;
    let warning = if plan.guywire {
        guywire::start(&mut lab, &plan).await?
    } else {
        guywire::without(&lab)?;
        None
    };
    control::serve(lab, Timetable::new(plan.events, plan.transfers), warning).await
}

/// A lab under the keeper's hands.
struct Lab {
    place: Place,
    children: Children,
    /// The processes that hold the nodes.
    holders: BTreeMap<Node, u32>,
    network: Network,
    links: Links,
    /// The processes that last, by role.
    services: BTreeMap<&'static str, u32>,
    since: Instant,
}

impl Lab {
    /// Builds the nodes, joins them, and starts the internet host.
    async fn build(place: Place, children: Children, specs: &LinkSpecs, seed: u64) -> Result<Lab> {
        report(&Progress::Step("making the nodes".into()));
        let executable = executable()?;
        symlink(&executable, place.bin().join("guywire"))
            .context("cannot put guywire into PATH")?;
        let mut holders = BTreeMap::new();
        let mut namespaces = Vec::new();
        for node in Node::ALL {
            let holder = start_holder(&place, &children, node, specs.0.len())?;
            holders.insert(node, holder);
            namespaces.push((node, netns_of(holder)?));
        }
        report(&Progress::Step("laying the links".into()));
        let network = Network::new(namespaces).await?;
        network.join_nodes().await?;
        let links = Links::build(&network, specs, seed).await?;
        let services = BTreeMap::new();
        let mut lab = Lab {
            place,
            children,
            holders,
            network,
            links,
            services,
            since: Instant::now(),
        };
        let count = lab.links.count().to_string();
        let ready = lab.start(
            "internet",
            Node::Internet,
            &["guywire", "lab", "internet", "--links", &count],
        )?;
        if !wait_for_line(ready) {
            bail!(
                "the internet host did not start: {}",
                lab.log_text("internet")
            );
        }
        Ok(lab)
    }

    /// A command that becomes `program` in a node.
    fn command<S: AsRef<OsStr>>(&self, node: Node, program: &[S]) -> Result<Command> {
        let mut command = Command::new(executable()?);
        command
            .args(enter_arguments(self.holders[&node], program))
            .env("PATH", search_path(&self.place))
            .current_dir("/");
        Ok(command)
    }

    /// Starts a process that lasts, its messages in a file of its own.
    fn start<S: AsRef<OsStr>>(
        &mut self,
        role: &'static str,
        node: Node,
        program: &[S],
    ) -> Result<Option<std::process::ChildStdout>> {
        let log = self.log(role);
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = self.command(node, program)?;
        command.stdout(Stdio::piped()).stderr(file);
        let (pid, output) = self
            .children
            .service(role, &log.to_string_lossy(), &mut command)
            .with_context(|| format!("cannot start {role}"))?;
        self.services.insert(role, pid);
        Ok(output)
    }

    fn log(&self, role: &str) -> PathBuf {
        self.place.logs().join(format!("{role}.log"))
    }

    /// What a process said, to be part of an error.
    fn log_text(&self, role: &str) -> String {
        fs::read_to_string(self.log(role))
            .unwrap_or_default()
            .trim()
            .to_owned()
    }
}

fn executable() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this executable")
}

fn start_holder(place: &Place, children: &Children, node: Node, links: usize) -> Result<u32> {
    let log = place.logs().join(format!("node-{node}.log"));
    let mut command = Command::new(executable()?);
    command
        .args(["lab", "holder", "--links", &links.to_string()])
        .arg(place.directory())
        .arg(node.name())
        .stdout(Stdio::piped())
        .stderr(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?);
    let (pid, ready) = children.service(node.name(), &log.to_string_lossy(), &mut command)?;
    if !wait_for_line(ready) {
        bail!(
            "node {node} did not start: {}",
            fs::read_to_string(&log).unwrap_or_default().trim()
        );
    }
    Ok(pid)
}

/// A process's network namespace. Not by /proc: that may be the host's, which
/// has other numbers.
fn netns_of(pid: u32) -> Result<OwnedFd> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("a process has a number")?;
    let process = pidfd_open(pid, PidfdFlags::empty()).context("a node ended at once")?;
    Ok(run_in_netns(process.as_fd(), current_netns)??)
}
