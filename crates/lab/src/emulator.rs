//! The link emulator: what a provider's line does to packets, between two
//! devices of one network namespace.
//!
//! ```text
//!   router                      namespace of the emulator                     core
//!   wanN <─veth─> rN [packet socket] <─ Direction ─> [packet socket] sN <─veth─> wanN
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`Direction`] (`direction`, `sending`, `faults`) | one direction as a state machine without sockets or clocks |
//! | `config`, `counters` | what it is told and what it counts |
//! | `engine`, `pool`, `socket` | the one thread that runs all links on real frames |
//! | [`Emulator`] | the handle to it |
//!
//! Frames of every kind pass alike, ARP and IPv6 neighbour discovery too. The
//! sending ends (`wanN` on both sides) must have segmentation, receive and
//! checksum offloads off, else frames arrive that no line could carry; they
//! are dropped and counted. The devices `rN` and `sN` should have no addresses.
//!
//! The thread takes no part in carrier: a link that is `down` here only drops
//! everything; whoever owns the devices takes their carrier away.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use guywire_net::namespace::{current_netns, run_in_netns};
use rustix::event::{EventfdFlags, eventfd};
use serde::{Deserialize, Serialize};

use crate::spec::{EmulatedLink, LinkState, Settings};
use crate::trace::TraceError;

mod config;
mod counters;
mod direction;
mod engine;
mod faults;
mod pool;
mod sending;
mod socket;
#[cfg(test)]
mod tests;
mod time;

pub use config::{DirectionConfig, MAX_PACKETS_IN_FLIGHT, QueueLimit, RateSource};
pub use counters::{Counters, DropCause, Drops};
pub use direction::{Direction, Gate, LATE, Released, Verdict};
pub use time::Time;

use engine::{Command, Engine, Link};

/// A running emulator. Dropping it stops it.
#[derive(Debug)]
pub struct Emulator {
    /// Where the devices are.
    netns: OwnedFd,
    commands: Sender<Command>,
    /// Wakes the thread after a command was sent.
    wake: Arc<OwnedFd>,
    /// What each link is like; held while one is added, changed or removed.
    links: Mutex<BTreeMap<String, EmulatedLink>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// A link to emulate.
#[derive(Clone, Debug)]
pub struct EmulatedDevices {
    /// Its name in status and errors: `wan1`.
    pub name: String,
    /// The device whose peer the router has: `r1`.
    pub router_end: String,
    /// The device whose peer the far side has: `s1`.
    pub server_end: String,
    /// What is between them.
    pub spec: EmulatedLink,
    /// Seed of everything that happens by chance.
    pub seed: u64,
}

/// Why the emulator does not do what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// The thread or what it needs cannot be had.
    #[error("cannot start the link emulator: {0}")]
    Start(io::Error),
    /// A device cannot be opened.
    #[error(
        "link {link}: cannot open a packet socket on device {device}: {reason}; \
         it takes CAP_NET_RAW in the namespace of the device"
    )]
    Device {
        /// The link.
        link: String,
        /// The device.
        device: String,
        /// What the system says.
        reason: io::Error,
    },
    /// Its trace cannot be read.
    #[error("link {link}: {reason}")]
    Trace {
        /// The link.
        link: String,
        /// What is wrong.
        reason: TraceError,
    },
    /// There is one already.
    #[error("link {link} exists already; remove it first")]
    Exists {
        /// The link.
        link: String,
    },
    /// There is none.
    #[error("there is no emulated link {link}; there are: {}", existing.join(", "))]
    Missing {
        /// The link asked for.
        link: String,
        /// The links that are there.
        existing: Vec<String>,
    },
    /// The thread has ended.
    #[error("the link emulator has stopped")]
    Stopped,
}

/// What the emulator tells about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmulatorStatus {
    /// All links, in the order they were added.
    pub links: Vec<LinkStatus>,
    /// Packet buffers made so far, of 2 kB each.
    pub buffers: usize,
    /// How many of them hold a packet.
    pub buffers_in_use: usize,
    /// Processor time of the emulator's thread, in seconds. It contains most of
    /// what the receiving namespaces' network stacks do.
    pub cpu_seconds: f64,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Its name.
    pub name: String,
    /// Whether it carries packets.
    pub state: LinkState,
    /// Towards the router.
    pub down: DirectionStatus,
    /// Towards the server.
    pub up: DirectionStatus,
}

/// One direction of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionStatus {
    /// What has been counted since the link was added.
    #[serde(flatten)]
    pub counters: Counters,
    /// Packets under way now.
    pub in_flight_packets: u64,
}

impl Emulator {
    /// Starts an emulator without links for devices in the network namespace
    /// of the calling thread.
    ///
    /// # Errors
    /// [`EmulatorError::Start`].
    pub fn spawn() -> Result<Emulator, EmulatorError> {
        current_netns()
            .map_err(EmulatorError::Start)
            .and_then(Emulator::spawn_in)
    }

    /// Starts an emulator for devices in the network namespace `netns`.
    ///
    /// # Errors
    /// [`EmulatorError::Start`].
    pub fn spawn_in(netns: OwnedFd) -> Result<Emulator, EmulatorError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = eventfd(0, flags).map_err(|error| EmulatorError::Start(error.into()))?;
        let wake = Arc::new(wake);
        let (commands, receiver) = mpsc::channel();
        let engine = Engine::new(receiver, Arc::clone(&wake));
        let thread = thread::Builder::new()
            .name("emulator".to_string())
            .spawn(move || engine.run())
            .map_err(EmulatorError::Start)?;
        Ok(Emulator {
            netns,
            commands,
            wake,
            links: Mutex::default(),
            thread: Some(thread),
        })
    }

    /// Begins to emulate a link. Its state is `up`.
    ///
    /// # Errors
    /// When there is one of that name, a trace cannot be read or a device
    /// cannot be opened.
    pub fn add(&self, link: &EmulatedDevices) -> Result<(), EmulatorError> {
        let mut links = self.lock();
        let name = &link.name;
        if links.contains_key(name) {
            return Err(EmulatorError::Exists { link: name.clone() });
        }
        let configs = resolve(name, &link.spec)?;
        let devices = (link.router_end.as_str(), link.server_end.as_str());
        let opened = run_in_netns(self.netns.as_fd(), || {
            Link::open(name, devices, configs, link.seed)
        })
        .map_err(EmulatorError::Start)??;
        self.send(Command::Add(Box::new(opened)))?;
        links.insert(name.clone(), link.spec.clone());
        Ok(())
    }

    /// Gives a link up; what was under way is lost. Takes some milliseconds.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn remove(&self, name: &str) -> Result<(), EmulatorError> {
        let mut links = self.lock();
        require(&links, name)?;
        drop(self.ask(|reply| Command::Remove(name.to_string(), reply))?);
        links.remove(name);
        Ok(())
    }

    /// Changes properties of a running link and returns what it is like now.
    /// Packets in its queue leave at the new rate.
    ///
    /// # Errors
    /// When there is no such link or a trace cannot be read; nothing changes
    /// then.
    pub fn set(&self, name: &str, settings: &Settings) -> Result<EmulatedLink, EmulatorError> {
        let mut links = self.lock();
        let mut spec = require(&links, name)?.clone();
        settings.apply(&mut spec);
        let configs = Box::new(resolve(name, &spec)?);
        self.send(Command::Configure(name.to_string(), configs))?;
        links.insert(name.to_string(), spec.clone());
        Ok(spec)
    }

    /// Takes a link down, silences it or brings it back, for packets under way
    /// too.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn set_state(&self, name: &str, state: LinkState) -> Result<(), EmulatorError> {
        let links = self.lock();
        require(&links, name)?;
        self.send(Command::State(name.to_string(), state))
    }

    /// What a link is like.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn spec(&self, name: &str) -> Result<EmulatedLink, EmulatorError> {
        require(&self.lock(), name).cloned()
    }

    /// All links and their counters.
    ///
    /// # Errors
    /// [`EmulatorError::Stopped`].
    pub fn status(&self) -> Result<EmulatorStatus, EmulatorError> {
        self.ask(Command::Status)
    }

    /// Ends the thread and says what it died of, if it did.
    ///
    /// # Errors
    /// When the thread had ended before by an error of the system.
    pub fn stop(mut self) -> Result<(), EmulatorError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), EmulatorError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        // A thread that has ended takes no commands; its result says why.
        let _ = self.send(Command::Stop);
        match thread.join() {
            Ok(result) => result.map_err(EmulatorError::Start),
            Err(_) => Err(EmulatorError::Stopped),
        }
    }

    fn send(&self, command: Command) -> Result<(), EmulatorError> {
        self.commands
            .send(command)
            .map_err(|_| EmulatorError::Stopped)?;
        rustix::io::write(&self.wake, &1u64.to_ne_bytes()).map_err(|_| EmulatorError::Stopped)?;
        Ok(())
    }

    fn ask<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Result<T, EmulatorError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.send(command(reply))?;
        answer.recv().map_err(|_| EmulatorError::Stopped)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, EmulatedLink>> {
        // Every change of the map is a single insert or remove.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Whoever wants to know how it ended calls `stop`.
        let _ = self.end();
    }
}

fn require<'a>(
    links: &'a BTreeMap<String, EmulatedLink>,
    name: &str,
) -> Result<&'a EmulatedLink, EmulatorError> {
    links.get(name).ok_or_else(|| EmulatorError::Missing {
        link: name.to_string(),
        existing: links.keys().cloned().collect(),
    })
}

fn resolve(
    name: &str,
    spec: &EmulatedLink,
) -> Result<(DirectionConfig, DirectionConfig), EmulatorError> {
    DirectionConfig::resolve_link(spec).map_err(|reason| EmulatorError::Trace {
        link: name.to_string(),
        reason,
    })
}
