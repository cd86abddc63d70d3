//! The emulator's thread: reads what has arrived, lets every direction decide,
//! sends what is due, sleeps.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::time::{ClockId, clock_gettime};

use super::config::DirectionConfig;
use super::counters::DropCause;
use super::direction::{Direction, Gate, Released, Verdict};
use super::pool::{Frame, Pool};
use super::socket::{self, PacketSocket, SEND_BATCH};
use super::time::Time;
use super::{DirectionStatus, EmulatorError, EmulatorStatus, LinkStatus};
use crate::spec::LinkState;

/// How long packets are let gather while there is traffic, at most. Arrival
/// times come from the kernel, so this moves no departure; it only bunches what
/// is released within it. Chosen by measurement on 2 cores: 170 Mbit/s cost
/// 0.21 of a core with 200 us, 0.14 with 500 us.
const LONGEST_TURN: Duration = Duration::from_micros(500);
/// The same, at least: on a link without delay this is all that is added.
const SHORTEST_TURN: Duration = Duration::from_micros(50);
/// A turn is this small a part of the shortest delay.
const TURNS_IN_DELAY: u32 = 20;
/// The most frames read from one end before the others have their turn.
const RECEIVE_BATCH: usize = 256;
/// Bytes of a frame that the rate does not count.
const ETHERNET_HEADER: usize = 14;
/// The most buffers over all links: 512 MiB.
const MAX_BUFFERS: usize = 262_144;

/// What the handle asks for; it knows which links there are. A reply that
/// nobody waits for any more is no error.
pub(super) enum Command {
    /// Take up a link.
    Add(Box<Link>),
    /// Give up a link. Its ends are handed back, because closing their sockets
    /// takes milliseconds that the other links cannot spare.
    Remove(String, SyncSender<Option<Ends>>),
    /// Go on with other properties, `(down, up)`.
    Configure(String, Box<(DirectionConfig, DirectionConfig)>),
    /// Change its state.
    State(String, LinkState),
    /// Tell about everything.
    Status(SyncSender<EmulatorStatus>),
    /// End.
    Stop,
}

/// Both ends of a link.
pub(super) type Ends = Box<(End, End)>;

/// A link with its sockets.
#[derive(Debug)]
pub(super) struct Link {
    name: String,
    state: LinkState,
    /// The end at the router, where `up` begins.
    router: End,
    /// The end at the server, where `down` begins.
    server: End,
    down: Direction<Frame>,
    up: Direction<Frame>,
}

/// One end of a link.
#[derive(Debug)]
pub(super) struct End {
    socket: PacketSocket,
    /// When it was last found empty: what is found next has arrived later.
    empty_at: Time,
}

impl Link {
    /// A link between two devices of the calling thread's network namespace.
    pub(super) fn open(
        name: &str,
        devices: (&str, &str),
        configs: (DirectionConfig, DirectionConfig),
        seed: u64,
    ) -> Result<Link, EmulatorError> {
        let now = monotonic();
        let open = |device: &str| {
            PacketSocket::open(device)
                .map(|socket| End {
                    socket,
                    empty_at: now,
                })
                .map_err(|reason| EmulatorError::Device {
                    link: name.to_string(),
                    device: device.to_string(),
                    reason,
                })
        };
        Ok(Link {
            name: name.to_string(),
            state: LinkState::Up,
            router: open(devices.0)?,
            server: open(devices.1)?,
            down: Direction::new(configs.0, seed, now),
            up: Direction::new(configs.1, !seed, now),
        })
    }

    fn set_state(&mut self, state: LinkState) {
        let (down, up) = match state {
            LinkState::Up => (Gate::Open, Gate::Open),
            LinkState::Down => (Gate::Down, Gate::Down),
            LinkState::SilentIn => (Gate::Silent, Gate::Open),
            LinkState::SilentOut => (Gate::Open, Gate::Silent),
            LinkState::Silent => (Gate::Silent, Gate::Silent),
        };
        self.state = state;
        self.down.set_gate(down);
        self.up.set_gate(up);
    }

    fn status(&mut self) -> LinkStatus {
        let (router, server) = (self.router.socket.missed(), self.server.socket.missed());
        self.up.count_drops(DropCause::Missed, router);
        self.down.count_drops(DropCause::Missed, server);
        let status = |direction: &Direction<Frame>| DirectionStatus {
            counters: *direction.counters(),
            in_flight_packets: direction.packets_in_flight() as u64,
        };
        LinkStatus {
            name: self.name.clone(),
            state: self.state,
            down: status(&self.down),
            up: status(&self.up),
        }
    }
}

/// Everything the thread has.
pub(super) struct Engine {
    links: Vec<Link>,
    pool: Pool,
    commands: Receiver<Command>,
    /// Readable when there are commands.
    wake: Arc<OwnedFd>,
    /// How long packets are let gather now.
    turn: Duration,
}

impl Engine {
    pub(super) fn new(commands: Receiver<Command>, wake: Arc<OwnedFd>) -> Engine {
        Engine {
            links: Vec::new(),
            pool: Pool::new(MAX_BUFFERS),
            commands,
            wake,
            turn: LONGEST_TURN,
        }
    }

    /// Runs until it is told to stop or nobody is left to tell.
    pub(super) fn run(mut self) -> io::Result<()> {
        socket::prefer_this_thread();
        loop {
            let received = self.receive();
            self.release();
            let commanded = self.sleep(received)?;
            if commanded && !self.obey() {
                return Ok(());
            }
        }
    }

    /// Takes in what has arrived at all ends; whether there was anything.
    fn receive(&mut self) -> bool {
        let mut received = false;
        for link in &mut self.links {
            let Link {
                router,
                server,
                down,
                up,
                ..
            } = link;
            received |= receive_from(router, up, &mut self.pool);
            received |= receive_from(server, down, &mut self.pool);
        }
        received
    }

    /// Sends what is due.
    fn release(&mut self) {
        for link in &mut self.links {
            release_to(&link.server.socket, &mut link.up, &mut self.pool);
            release_to(&link.router.socket, &mut link.down, &mut self.pool);
        }
    }

    /// Sleeps until there is something to do; whether there are commands.
    fn sleep(&self, received: bool) -> io::Result<bool> {
        let mut polled = vec![PollFd::new(&self.wake, PollFlags::IN)];
        let timeout = if received {
            // Traffic: what arrives within the turn is taken together.
            Some(self.turn)
        } else {
            let ends = self
                .links
                .iter()
                .flat_map(|link| [&link.router, &link.server]);
            polled.extend(ends.map(|end| PollFd::new(&end.socket, PollFlags::IN)));
            let releases = self
                .links
                .iter()
                .flat_map(|link| [link.up.next_release(), link.down.next_release()]);
            releases.flatten().min().map(|next| next - monotonic())
        };
        let timeout = timeout.map(|time| Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ends = self
            .links
            .iter()
            .flat_map(|link| [&link.router, &link.server]);
        for (end, poll) in ends.zip(polled.iter().skip(1)) {
            if poll.revents().contains(PollFlags::ERR) {
                end.socket.clear_error();
            }
        }
        Ok(polled[0].revents().contains(PollFlags::IN))
    }

    /// Does what was asked for; `false` means to end.
    fn obey(&mut self) -> bool {
        // Before the commands: a wake for a later one must not be lost.
        let _ = rustix::io::read(self.wake.as_fd(), &mut [0; 8]);
        loop {
            use std::sync::mpsc::TryRecvError;
            match self.commands.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Ok(command) => self.execute(command),
                Err(TryRecvError::Empty) => {
                    self.turn = turn(&self.links);
                    return true;
                }
            }
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Add(link) => self.links.push(*link),
            Command::Remove(name, reply) => {
                let _ = reply.send(self.remove(&name));
            }
            Command::Configure(name, configs) => {
                let now = monotonic();
                if let Some(link) = self.link(&name) {
                    link.down.reconfigure(now, configs.0);
                    link.up.reconfigure(now, configs.1);
                }
            }
            Command::State(name, state) => {
                if let Some(link) = self.link(&name) {
                    link.set_state(state);
                }
            }
            Command::Status(reply) => {
                let _ = reply.send(self.status());
            }
            Command::Stop => {}
        }
    }

    fn link(&mut self, name: &str) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.name == name)
    }

    fn remove(&mut self, name: &str) -> Option<Ends> {
        let index = self.links.iter().position(|link| link.name == name)?;
        let link = self.links.remove(index);
        let frames = link.down.into_packets().chain(link.up.into_packets());
        frames.for_each(|frame| self.pool.give(frame));
        Some(Box::new((link.router, link.server)))
    }

    fn status(&mut self) -> EmulatorStatus {
        let (buffers, buffers_in_use) = self.pool.usage();
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        EmulatorStatus {
            links: self.links.iter_mut().map(Link::status).collect(),
            buffers,
            buffers_in_use,
            cpu_seconds: duration(cpu).as_secs_f64(),
        }
    }
}

/// How long packets may gather without being noticed on the shortest link.
fn turn(links: &[Link]) -> Duration {
    links
        .iter()
        .flat_map(|link| [link.up.config().delay, link.down.config().delay])
        .min()
        .map_or(LONGEST_TURN, |delay| {
            (delay / TURNS_IN_DELAY).clamp(SHORTEST_TURN, LONGEST_TURN)
        })
}

/// Takes in what has arrived at one end; whether there was anything.
fn receive_from(end: &mut End, direction: &mut Direction<Frame>, pool: &mut Pool) -> bool {
    let now = monotonic();
    // Wall-clock stamps are translated; the bounds hold whatever it does.
    let wall_ahead = duration(clock_gettime(ClockId::Realtime)).saturating_sub(now - Time::ZERO);
    let mut latest = end.empty_at;
    for count in 0..RECEIVE_BATCH {
        let taken = end.socket.receive(|arrival| {
            let stamp = Time::ZERO + arrival.wall_clock.saturating_sub(wall_ahead);
            latest = stamp.clamp(latest, now.max(latest));
            take_in(&arrival, latest, direction, pool);
        });
        if taken.is_none() {
            end.empty_at = now;
            return count > 0;
        }
    }
    end.empty_at = latest;
    true
}

/// Copies one frame and offers it.
fn take_in(
    arrival: &socket::Arrival<'_>,
    now: Time,
    direction: &mut Direction<Frame>,
    pool: &mut Pool,
) {
    if arrival.incomplete {
        direction.count_drops(DropCause::Offload, 1);
        return;
    }
    let Some(frame) = pool.take(arrival.bytes.len()) else {
        direction.count_drops(DropCause::Memory, 1);
        return;
    };
    let size = arrival.bytes.len().saturating_sub(ETHERNET_HEADER) as u32;
    pool.bytes_mut(&frame).copy_from_slice(arrival.bytes);
    if let Verdict::Dropped(_, frame) = direction.offer(now, size, frame) {
        pool.give(frame);
    }
}

/// Sends what is due of one direction, in batches.
fn release_to(socket: &PacketSocket, direction: &mut Direction<Frame>, pool: &mut Pool) {
    let mut batch: [Option<Frame>; SEND_BATCH] = [const { None }; SEND_BATCH];
    loop {
        let mut count = 0;
        let now = monotonic();
        while count < SEND_BATCH {
            match direction.pop_due(now) {
                Some(Released::Deliver(frame)) => {
                    batch[count] = Some(frame);
                    count += 1;
                }
                Some(Released::Dropped(frame)) => pool.give(frame),
                None => break,
            }
        }
        let unsent = send_all(socket, &batch[..count], pool);
        direction.count_drops(DropCause::Unsent, unsent);
        for frame in &mut batch[..count] {
            frame.take().into_iter().for_each(|frame| pool.give(frame));
        }
        if count < SEND_BATCH {
            return;
        }
    }
}

/// Sends a batch; how many frames were not taken.
fn send_all(socket: &PacketSocket, batch: &[Option<Frame>], pool: &Pool) -> u64 {
    let (mut rest, mut unsent) = (batch, 0);
    while !rest.is_empty() {
        match socket.send(rest.iter().flatten().map(|frame| pool.bytes(frame))) {
            Ok(sent) if sent > 0 => rest = &rest[sent.min(rest.len())..],
            // The first frame was refused; the next may pass.
            Ok(_) | Err(_) => {
                unsent += 1;
                rest = &rest[1..];
            }
        }
    }
    unsent
}

/// The time since the machine started, as CLOCK_MONOTONIC has it.
pub(super) fn monotonic() -> Time {
    Time::ZERO + duration(clock_gettime(ClockId::Monotonic))
}

fn duration(time: Timespec) -> Duration {
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}
