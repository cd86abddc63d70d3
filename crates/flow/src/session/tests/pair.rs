//! A router's session and a server's, over simulated subflows, under a virtual clock.
//!
//! A subflow is modelled as two byte pipes that keep order: bytes leave at the rate of their link's
//! direction, arrive after its delay, and are acknowledged to the sending kernel when they do. A lost
//! segment arrives one round trip late and holds back what follows. While a direction is silent
//! nothing arrives; what was sent then is sent again after a timeout that doubles, as in RFC 6298.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, Bytes};
use guywire_sched::{SubflowId, Time, native};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::record::{self, Choice, ChoiceResult, Destination, FlowKind, Piece};
use crate::session::{Answer, Config, Event, Read, Session, Side};
use crate::{FlowReason, Incident, Outgoing, PathAttributes, SubflowInfo};

const SEGMENT: usize = 1448;
const SMALL_SEGMENT: usize = 1208;
const MIN_RTO: Duration = Duration::from_millis(200);
pub(super) const ROUTER: usize = 0;
pub(super) const SERVER: usize = 1;

/// A link with the same rate in both directions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) mbit: f64,
    pub(super) rtt: Duration,
    pub(super) loss: f64,
    /// Nothing that the router (0) or the server (1) sends gets through.
    pub(super) silent: [bool; 2],
    /// Full-size segments are lost, and nobody says so.
    pub(super) black_hole: bool,
    /// Connections are refused and existing ones break at once.
    pub(super) gone: bool,
}

pub(super) fn link(mbit: u64, rtt_ms: u64) -> Link {
    Link {
        mbit: mbit as f64,
        rtt: Duration::from_millis(rtt_ms),
        loss: 0.0,
        silent: [false; 2],
        black_hole: false,
        gone: false,
    }
}

#[derive(Default)]
struct Pipe {
    notsent: VecDeque<u8>,
    /// Sent and not acknowledged: segments with the time of arrival; `None` while lost in silence.
    flight: VecDeque<(Option<Time>, Vec<u8>)>,
    acks: VecDeque<(Time, usize)>,
    last_arrival: Time,
    unacked: usize,
    delivered: u64,
    bytes_acked: u64,
    retry_at: Option<Time>,
    rto: Duration,
    inbox: Vec<u8>,
}

struct Wire {
    path: u8,
    segment: usize,
    /// Pipes by sending side.
    pipes: [Pipe; 2],
    next_info: [Time; 2],
}

/// One proxied connection as the test's programs see it.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// Bytes each side still has to write; its direction ends after them if `finish`.
    pub(super) to_write: [u64; 2],
    pub(super) finish: [bool; 2],
    pub(super) written: [u64; 2],
    pub(super) read: [u64; 2],
    pub(super) ended: [bool; 2],
    pub(super) complete: [bool; 2],
    pub(super) reset: [Option<FlowReason>; 2],
    pub(super) accepted: bool,
    /// Whether a side reads at all.
    pub(super) deaf: [bool; 2],
    pub(super) last_read_at: [Time; 2],
    pub(super) longest_gap: [Duration; 2],
}

/// Where every flow leads.
pub(super) const TO: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 80);

pub(super) struct Pair {
    pub(super) now: Time,
    pub(super) seed: u64,
    rng: Pcg64Mcg,
    pub(super) links: Vec<Link>,
    /// When each direction of a link is free again, by sending side.
    link_free: Vec<[Time; 2]>,
    wires: BTreeMap<SubflowId, Wire>,
    dials: VecDeque<(Time, u8, bool)>,
    next_subflow: u32,
    pub(super) ends: [Session; 2],
    pub(super) talks: BTreeMap<u64, Talk>,
    pub(super) ejected: Vec<(usize, Incident)>,
    pub(super) may_eject: bool,
    /// What the server is asked to use and answers at once with what there is of that name.
    pub(super) results: Vec<ChoiceResult>,
    pub(super) pieces: Vec<Piece>,
    pub(super) path_events: Vec<(Time, usize, u8, crate::PathState)>,
    pub(super) steps: u64,
}

/// What position `at` of a flow's direction holds.
fn content(flow: u64, side: usize, at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9)
        .wrapping_add(flow * 31 + side as u64)
        >> 11) as u8
}

impl Pair {
    pub(super) fn new(seed: u64, links: Vec<Link>, scheduler: &str, memory: [u64; 2]) -> Pair {
        let scheduler = native(scheduler).expect("a native scheduler");
        let end = |side, mine: usize| {
            Session::new(Config {
                side,
                memory: memory[mine],
                max_flows: 1_000,
                scheduler: scheduler.into(),
                limits: Default::default(),
            })
        };
        let now = Time::from_nanos(1_000_000_000);
        let mut pair = Pair {
            now,
            seed,
            rng: Pcg64Mcg::seed_from_u64(seed),
            link_free: vec![[now; 2]; links.len()],
            wires: BTreeMap::new(),
            dials: VecDeque::new(),
            next_subflow: 0,
            ends: [end(Side::Router, ROUTER), end(Side::Server, SERVER)],
            talks: BTreeMap::new(),
            ejected: Vec::new(),
            may_eject: false,
            results: Vec::new(),
            pieces: Vec::new(),
            path_events: Vec::new(),
            steps: 0,
            links,
        };
        for side in [ROUTER, SERVER] {
            pair.ends[side].set_peer(memory[1 - side], 1_000);
        }
        for path in 0..pair.links.len() {
            pair.ends[ROUTER].add_path(now, path as u8, PathAttributes::default());
        }
        pair
    }

    /// Opens a flow over which the router's side sends `up` bytes and the server's `down`.
    pub(super) fn talk(&mut self, up: u64, down: u64) -> u64 {
        self.talk_of(FlowKind::default(), up, down)
    }

    /// The same for a flow of some kind.
    pub(super) fn talk_of(&mut self, kind: FlowKind, up: u64, down: u64) -> u64 {
        let id = self.ends[ROUTER]
            .open(self.now, Destination::Address(TO), kind)
            .expect("a flow");
        self.talks.insert(
            id,
            Talk {
                to_write: [up, down],
                finish: [true; 2],
                ..Talk::default()
            },
        );
        id
    }

    /// Runs for a time, or until `stop` says so; panics when the clock stands still.
    pub(super) fn run(&mut self, time: Duration, mut stop: impl FnMut(&Pair) -> bool) -> bool {
        let end = self.now + time;
        self.settle();
        while self.now < end {
            if stop(self) {
                return true;
            }
            self.steps += 1;
            let next = self.next_time().filter(|&at| at <= end).unwrap_or(end);
            assert!(
                self.steps < 20_000_000,
                "seed {}: too many steps",
                self.seed
            );
            self.now = self.now.max(next);
            self.step();
        }
        stop(self)
    }

    pub(super) fn run_for(&mut self, millis: u64) {
        self.run(Duration::from_millis(millis), |_| false);
    }

    /// Runs until every talk is complete at both sides.
    #[track_caller]
    pub(super) fn finish_all(&mut self, seconds: u64) {
        let done = |pair: &Pair| pair.talks.values().all(|talk| talk.complete == [true; 2]);
        let finished = self.run(Duration::from_secs(seconds), done);
        assert!(
            self.may_eject || self.ejected.is_empty(),
            "seed {}: {:?}",
            self.seed,
            self.ejected
        );
        let open: Vec<_> = self
            .talks
            .iter()
            .filter(|(_, t)| t.complete != [true; 2])
            .collect();
        assert!(
            finished,
            "seed {}: unfinished after {seconds} s: {open:?}",
            self.seed
        );
        for talk in self.talks.values() {
            assert_eq!(talk.read, [talk.written[SERVER], talk.written[ROUTER]]);
        }
    }

    fn next_time(&self) -> Option<Time> {
        let deadlines = self.ends.iter().filter_map(Session::next_deadline);
        let dials = self.dials.iter().map(|&(at, ..)| at);
        let wires = self.wires.iter().flat_map(|(&id, wire)| {
            (0..2).filter_map(move |side| {
                let pipe = &wire.pipes[side];
                let arrival = pipe.flight.iter().find_map(|(at, _)| *at);
                let info = self.ends[side].is_busy(id).then_some(wire.next_info[side]);
                let ack = pipe.acks.front().map(|&(at, _)| at);
                [arrival, info, ack, pipe.retry_at]
                    .into_iter()
                    .flatten()
                    .min()
            })
        });
        deadlines.chain(dials).chain(wires).min()
    }

    fn step(&mut self) {
        self.finish_dials();
        for id in self.wires.keys().copied().collect::<Vec<_>>() {
            for side in [ROUTER, SERVER] {
                self.move_pipe(id, side);
            }
        }
        for side in [ROUTER, SERVER] {
            let now = self.now;
            if self.ends[side].next_deadline().is_some_and(|at| at <= now) {
                self.ends[side].handle_timeout(now);
            }
        }
        self.break_gone();
        self.settle();
    }

    fn finish_dials(&mut self) {
        while self.dials.front().is_some_and(|&(at, ..)| at <= self.now) {
            let Some((_, path, small)) = self.dials.pop_front() else {
                return;
            };
            let link = self.links[path as usize];
            if link.gone || link.silent != [false; 2] {
                self.ends[ROUTER].dial_failed(self.now, path);
                continue;
            }
            let id = SubflowId(self.next_subflow);
            self.next_subflow += 1;
            self.wires.insert(
                id,
                Wire {
                    path,
                    segment: if small { SMALL_SEGMENT } else { SEGMENT },
                    pipes: Default::default(),
                    next_info: [self.now; 2],
                },
            );
            for side in [SERVER, ROUTER] {
                let info = self.info(id, side);
                self.ends[side].subflow_joined(self.now, id, path, info);
            }
        }
    }

    fn info(&self, id: SubflowId, side: usize) -> SubflowInfo {
        let wire = &self.wires[&id];
        let pipe = &wire.pipes[side];
        let link = self.links[wire.path as usize];
        SubflowInfo {
            srtt: link.rtt,
            rttvar: link.rtt / 16,
            min_rtt: link.rtt,
            cwnd: 20,
            mss: SEGMENT as u32,
            unacked: pipe.unacked.div_ceil(SEGMENT) as u32,
            in_flight: pipe.unacked.div_ceil(SEGMENT) as u32,
            notsent: pipe.notsent.len() as u64,
            delivered: pipe.delivered,
            repeated: 0,
            bytes_acked: pipe.bytes_acked,
            delivery_rate: (link.mbit * 125_000.0) as u64,
            app_limited: false,
        }
    }

    fn move_pipe(&mut self, id: SubflowId, side: usize) {
        self.send_segments(id, side);
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let link = self.links[wire.path as usize];
        let pipe = &mut wire.pipes[side];
        let mut arrived = Vec::new();
        while let Some((Some(at), _)) = pipe.flight.front() {
            if *at > now {
                break;
            }
            if let Some((_, bytes)) = pipe.flight.pop_front() {
                pipe.acks.push_back((now + link.rtt / 2, bytes.len()));
                arrived.extend(bytes);
            }
        }
        while pipe.acks.front().is_some_and(|&(at, _)| at <= now) {
            let Some((_, count)) = pipe.acks.pop_front() else {
                break;
            };
            // Acknowledgements travel the other way; cumulative, so a later one makes up.
            if link.silent[1 - side] {
                pipe.acks.push_front((now + MIN_RTO, count));
                break;
            }
            pipe.unacked -= count;
            pipe.bytes_acked += count as u64;
            pipe.delivered += 1;
            pipe.rto = MIN_RTO;
        }
        if !arrived.is_empty() {
            self.deliver(id, side, &arrived);
        }
        let due = self
            .wires
            .get(&id)
            .is_some_and(|wire| wire.next_info[side] <= now);
        if due {
            let info = self.info(id, side);
            self.ends[side].handle_info(now, id, info);
            if let Some(wire) = self.wires.get_mut(&id) {
                wire.next_info[side] = now + Duration::from_millis(2);
            }
        }
    }

    /// Moves bytes from the kernel's queue onto the link, as its rate allows.
    fn send_segments(&mut self, id: SubflowId, side: usize) {
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let link = self.links[wire.path as usize];
        let silent = link.silent[side];
        let segment = wire.segment;
        let free = &mut self.link_free[wire.path as usize][side];
        let pipe = &mut wire.pipes[side];
        if let Some(at) = pipe.retry_at.filter(|&at| at <= now) {
            let _ = at;
            pipe.retry_at = None;
            if silent || link.black_hole {
                pipe.rto = (pipe.rto * 2).min(Duration::from_secs(60));
                pipe.retry_at = Some(now + pipe.rto);
            } else {
                for (at, _) in &mut pipe.flight {
                    at.get_or_insert(now + link.rtt / 2);
                }
            }
        }
        // At most 2 ms of the link ahead: the rest is unsent.
        while *free < now + Duration::from_millis(2) && !pipe.notsent.is_empty() {
            let count = pipe.notsent.len().min(segment);
            let bytes: Vec<u8> = pipe.notsent.drain(..count).collect();
            let time = Duration::from_secs_f64(count as f64 / (link.mbit * 125_000.0));
            *free = (*free).max(now) + time;
            pipe.unacked += count;
            let silent = silent || (link.black_hole && count > SMALL_SEGMENT);
            let stuck = pipe.flight.back().is_some_and(|(at, _)| at.is_none());
            if silent || stuck {
                pipe.flight.push_back((None, bytes));
                if pipe.retry_at.is_none() {
                    pipe.rto = pipe.rto.max(MIN_RTO);
                    pipe.retry_at = Some(now + pipe.rto);
                }
                continue;
            }
            let lost = self.rng.random_bool(link.loss);
            let late = if lost { link.rtt } else { Duration::ZERO };
            let at = (*free + link.rtt / 2 + late).max(pipe.last_arrival);
            pipe.last_arrival = at;
            pipe.flight.push_back((Some(at), bytes));
        }
    }

    fn deliver(&mut self, id: SubflowId, from: usize, bytes: &[u8]) {
        let to = 1 - from;
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let mut inbox = std::mem::take(&mut wire.pipes[from].inbox);
        inbox.extend_from_slice(bytes);
        self.ends[to].handle_bytes(self.now, id, bytes.len());
        let mut rest = &inbox[..];
        while let Some(record) = record::take(&mut rest).expect("well-formed records") {
            let handled = self.ends[to].handle_record(self.now, id, record);
            assert_eq!(handled, Ok(()), "seed {}", self.seed);
        }
        let rest = rest.to_vec();
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.pipes[from].inbox = rest;
        }
    }

    fn break_gone(&mut self) {
        let gone = |wire: &Wire| self.links[wire.path as usize].gone;
        let broken: Vec<_> = self
            .wires
            .iter()
            .filter(|(_, w)| gone(w))
            .map(|(&id, _)| id)
            .collect();
        for id in broken {
            self.close(id);
        }
    }

    fn close(&mut self, id: SubflowId) {
        if self.wires.remove(&id).is_some() {
            for end in &mut self.ends {
                end.subflow_closed(self.now, id);
            }
        }
    }

    /// Serves events and programs until both ends are quiet.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for side in [ROUTER, SERVER] {
                while let Some(event) = self.ends[side].poll_event() {
                    quiet = false;
                    self.handle_event(side, event);
                }
                quiet &= !self.run_programs(side);
            }
            if quiet {
                return;
            }
        }
    }

    fn handle_event(&mut self, side: usize, event: Event) {
        let now = self.now;
        match event {
            Event::Transmit(id) => self.transmit(side, id),
            Event::Open { flow, .. } => {
                self.ends[side].accept(flow).expect("the flow is there");
                if let Some(talk) = self.talks.get_mut(&flow) {
                    talk.accepted = true;
                }
            }
            Event::Dial {
                path,
                small_segments,
            } => {
                let link = self.links[path as usize];
                let took = if link.silent == [false; 2] {
                    link.rtt * 5 / 2
                } else {
                    Duration::from_millis(1_500)
                };
                self.dials.push_back((now + took, path, small_segments));
                self.dials.make_contiguous().sort();
            }
            Event::Close(id) => self.close(id),
            Event::Complete(flow) => {
                if let Some(talk) = self.talks.get_mut(&flow) {
                    talk.complete[side] = true;
                }
            }
            Event::Reset { flow, reason } => {
                if let Some(talk) = self.talks.get_mut(&flow) {
                    talk.reset[side] = Some(reason);
                }
            }
            Event::Path { path, state } => self.path_events.push((now, side, path, state)),
            Event::Accepted(_) | Event::Readable(_) | Event::Writable(_) => {}
            Event::Ejected(incident) => self.ejected.push((side, *incident)),
            Event::Chosen(choice) => self.answer(&choice),
            Event::ObjectPiece(piece) => self.pieces.push(piece),
            Event::ChoiceResult(result) => self.results.push(result),
            Event::Ended(_) => {}
        }
    }

    /// The server wants objects, and uses what is native.
    fn answer(&mut self, choice: &Choice) {
        let answer = match (choice.hash, native(&choice.name)) {
            (Some(_), _) => Answer::Wanted,
            (None, None) => Answer::Refused("there is none".into()),
            (None, Some(native)) => Answer::Use(Some(native.into())),
        };
        self.ends[SERVER].answer_choice(self.now, choice, answer);
    }

    fn transmit(&mut self, side: usize, id: SubflowId) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let mut outgoing = Outgoing::default();
        loop {
            let before = outgoing.remaining();
            self.ends[side].poll_transmit(self.now, id, before + 65_536, &mut outgoing);
            if outgoing.remaining() == before {
                break;
            }
        }
        let out = outgoing.copy_to_bytes(outgoing.remaining());
        wire.pipes[side].notsent.extend(out);
        self.send_segments(id, side);
    }

    /// Writes and reads what is possible; returns whether anything happened.
    fn run_programs(&mut self, side: usize) -> bool {
        let mut moved = false;
        for id in self.talks.keys().copied().collect::<Vec<_>>() {
            let talk = &self.talks[&id];
            if talk.reset[side].is_some()
                || talk.complete[side]
                || (side == SERVER && !talk.accepted)
            {
                continue;
            }
            moved |= self.write_some(side, id);
            moved |= self.read_some(side, id);
        }
        moved
    }

    fn write_some(&mut self, side: usize, id: u64) -> bool {
        let (Some(talk), session) = (self.talks.get_mut(&id), &mut self.ends[side]) else {
            return false;
        };
        let left = talk.to_write[side] - talk.written[side];
        if left == 0 {
            let first = std::mem::take(&mut talk.finish[side]);
            return first && session.finish(id).is_ok();
        }
        let Ok(room) = session.writable(id) else {
            return false;
        };
        let count = (room as u64).min(left).min(65_536);
        if count == 0 {
            return false;
        }
        let from = talk.written[side];
        let bytes: Vec<u8> = (from..from + count)
            .map(|at| content(id, side, at))
            .collect();
        talk.written[side] += count;
        session.write(self.now, id, Bytes::from(bytes)).is_ok()
    }

    fn read_some(&mut self, side: usize, id: u64) -> bool {
        let (Some(talk), session) = (self.talks.get_mut(&id), &mut self.ends[side]) else {
            return false;
        };
        if talk.deaf[side] || talk.ended[side] {
            return false;
        }
        match session.read(self.now, id, 65_536) {
            Ok(Read::Bytes(bytes)) => {
                for (at, &byte) in (talk.read[side]..).zip(bytes.iter()) {
                    assert_eq!(
                        byte,
                        content(id, 1 - side, at),
                        "seed {}: flow {id} at {at}",
                        self.seed
                    );
                }
                talk.read[side] += bytes.len() as u64;
                let _ = session.consume(self.now, id, bytes.len());
                let gap = self.now.since(talk.last_read_at[side]);
                if talk.last_read_at[side] > Time::ZERO {
                    talk.longest_gap[side] = talk.longest_gap[side].max(gap);
                }
                talk.last_read_at[side] = self.now;
                true
            }
            Ok(Read::End) => {
                talk.ended[side] = true;
                true
            }
            Ok(Read::Blocked) | Err(_) => false,
        }
    }
}
