//! One router with one server, over all their paths, seen from one end.
//!
//! Order of calls: any *input* or *command* with the time, then [`Session::poll_event`] until it is
//! empty; for each [`Event::Transmit`], [`Session::poll_transmit`] as far as the subflow takes bytes;
//! [`Session::handle_timeout`] when [`Session::next_deadline`] has come. The kernel's figures of a
//! subflow are wanted by [`Session::handle_info`] whenever it becomes writable and every few
//! milliseconds while [`Session::is_busy`] says so.
//!
//! | part | what it does |
//! |---|---|
//! | `records` | takes records that arrive |
//! | `schedule` | asks the schedulers, cuts chunks, writes records |
//! | `ejection` | which schedulers are in use, and what happens when the guard ejects one |
//! | `choices` | which ones the router wants of the server |
//! | `acks` | acknowledges data, grants windows |
//! | `paths` | judges paths, takes subflows in and out |
//! | `lending` | gives busy flows subflows of their own |
//! | `crowd` | has many busy flows share the subflows of a path |
//! | `invariants` | what must hold of all this, for simulations |

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use guywire_sched::guard::Limits;
use guywire_sched::{Factory, SubflowId, Time};
use thiserror::Error;

use crate::control::{ControlSender, Once};
use crate::credit::{Credit, MIN_SHARE, SendBudget};
use crate::flow::{Flow, Queue};
use crate::path::{Path, PathState};
use crate::reason::{FlowReason, SessionReason};
use crate::record::{CLASSES, Choice, ChoiceResult, Control, Destination, FlowKind, Piece};
use crate::send::{AckOfUnsent, Relief};
use crate::subflow::Subflow;
use crate::timer::{Timer, Timers};

mod acks;
mod choices;
mod crowd;
mod ejection;
mod invariants;
mod late;
mod lending;
mod paths;
mod records;
mod schedule;

pub use choices::Answer;
pub use ejection::Incident;
use ejection::Schedulers;

#[cfg(test)]
mod tests;

/// At most so many subflows a path, trunk included.
pub const MAX_SUBFLOWS_PER_PATH: usize = 6;

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Opens subflows and flows.
    Router,
    /// Accepts them.
    Server,
}

/// What a session is made with.
#[derive(Clone)]
pub struct Config {
    /// Which end this is.
    pub side: Side,
    /// Memory for everything that arrives, in bytes.
    pub memory: u64,
    /// How many flows this end permits at once; fewer if `memory` is small.
    pub max_flows: u64,
    /// Schedules what this end sends, until another is chosen.
    pub scheduler: Factory,
    /// What schedulers may do before they are ejected.
    pub limits: Limits,
}

/// What a session has to tell its driver.
#[derive(Clone, Debug)]
pub enum Event {
    /// The subflow has something to send: call [`Session::poll_transmit`].
    Transmit(SubflowId),
    /// Server: the router opened a flow. Answer with [`Session::accept`] or [`Session::refuse`].
    Open {
        /// The flow.
        flow: u64,
        /// Where it leads.
        to: Destination,
    },
    /// Router: the destination accepted.
    Accepted(u64),
    /// [`Session::read`] has something.
    Readable(u64),
    /// A writer that met a full window may write again.
    Writable(u64),
    /// Both directions are complete at both ends; the flow is gone.
    Complete(u64),
    /// The flow broke, was refused, or the session ended; it is gone.
    Reset {
        /// The flow.
        flow: u64,
        /// Why.
        reason: FlowReason,
    },
    /// Router: try to open one more subflow on the path; report by [`Session::subflow_joined`],
    /// [`Session::dial_stalled`] or [`Session::dial_failed`].
    Dial {
        /// The path.
        path: u8,
        /// Full-size segments seem to be lost on it: use small ones.
        small_segments: bool,
    },
    /// Reset the subflow's connection, then report [`Session::subflow_closed`].
    Close(SubflowId),
    /// A path changed its state.
    Path {
        /// The path.
        path: u8,
        /// Its state now.
        state: PathState,
    },
    /// Server: the router wants another scheduler for the flows of a class. Answer with
    /// [`Session::answer_choice`].
    Chosen(Choice),
    /// Server: a piece of an object. It may be one that nobody asked for.
    ObjectPiece(Piece),
    /// Router: what the server says to a choice. The last thing it says holds.
    ChoiceResult(ChoiceResult),
    /// A scheduler misbehaved: all flows that it scheduled go on with `default`.
    Ejected(Box<Incident>),
    /// The session is over; all its flows were reset.
    Ended(SessionReason),
}

/// The flow is not there (any more): its end was told by an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the flow is gone")]
pub struct Gone;

/// What [`Session::read`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next bytes in order.
    Bytes(Bytes),
    /// Nothing has arrived; [`Event::Readable`] will tell.
    Blocked,
    /// The other end finished its direction and everything was read.
    End,
}

/// What is known of a path, for status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathReport {
    /// The path.
    pub path: u8,
    /// Its state.
    pub state: PathState,
    /// Whether it is used only when nothing else is left.
    pub backup: bool,
    /// Smoothed round trip of its trunk.
    pub srtt: std::time::Duration,
    /// The least round trip of its subflows; zero while unknown.
    pub min_rtt: std::time::Duration,
    /// What its subflows deliver together, in bytes a second, as last measured.
    pub rate: u64,
    /// Its subflows.
    pub subflows: usize,
    /// Bytes sent on it by its present subflows.
    pub sent: u64,
    /// Bytes received on it by its present subflows.
    pub received: u64,
    /// Segments that its present subflows delivered.
    pub delivered: u64,
    /// Segments that its present subflows sent again.
    pub repeated: u64,
}

/// The state machine of one end of a session.
pub struct Session {
    config: Config,
    /// What flows are scheduled with; the router may choose it for both ends.
    schedulers: Schedulers,
    /// Serial number of the last choice for each class: sent by the router, taken by the server.
    chosen: BTreeMap<u8, u64>,
    /// In boxes: the nodes of a map that grows at its end are half empty.
    flows: BTreeMap<u64, Box<Flow>>,
    subflows: BTreeMap<SubflowId, Subflow>,
    paths: BTreeMap<u8, Path>,
    sender: ControlSender,
    received: Once,
    /// Ids the router opened, as the server has seen them.
    opened: Once,
    next_flow: u64,
    peer_max_flows: u64,
    credit: Credit,
    send_budget: SendBudget,
    /// The first window of every flow at the other end.
    peer_share: u64,
    /// Flows with something to schedule, in turn.
    waiting: VecDeque<u64>,
    /// Flows whose scheduler marked nothing, or whose subflows are full.
    /// By ticket: who was parked first is asked first.
    parked: BTreeMap<u64, u64>,
    next_ticket: u64,
    /// More flows are busy than could be lent a subflow each.
    crowded: bool,
    /// When every flow had last sent all it had.
    slack_at: Time,
    /// That was of late: a crowd is bounded by what its paths have proven.
    bounded: bool,
    timers: Timers,
    events: VecDeque<Event>,
    ended: bool,
    /// Bytes of data sent more than once by flows that are gone.
    repeated: u64,
    /// How often this end has held a path stale.
    alarms: u64,
}

impl Session {
    /// A session without subflows yet. What the other end permits is told by [`Session::set_peer`].
    pub fn new(config: Config) -> Session {
        Session {
            schedulers: Schedulers::new(config.scheduler.clone(), config.limits),
            chosen: BTreeMap::new(),
            flows: BTreeMap::new(),
            subflows: BTreeMap::new(),
            paths: BTreeMap::new(),
            sender: ControlSender::default(),
            received: Once::default(),
            opened: Once::default(),
            next_flow: 0,
            credit: Credit::new(config.memory, config.max_flows),
            send_budget: SendBudget::new(config.memory, config.max_flows),
            peer_max_flows: u64::MAX,
            peer_share: MIN_SHARE,
            waiting: VecDeque::new(),
            parked: BTreeMap::new(),
            next_ticket: 0,
            crowded: false,
            slack_at: Time::ZERO,
            bounded: false,
            timers: Timers::default(),
            events: VecDeque::new(),
            ended: false,
            repeated: 0,
            alarms: 0,
            config,
        }
    }

    /// How many flows are open.
    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    /// Whether the session is over.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Bytes of data this end has sent more than once.
    pub fn repeated_bytes(&self) -> u64 {
        self.repeated
            + self
                .flows
                .values()
                .map(|flow| flow.send.repeated())
                .sum::<u64>()
    }

    /// How often this end has held a path stale: what was in flight on it, or the answer to a PING, was
    /// overdue.
    pub fn alarms(&self) -> u64 {
        self.alarms
    }

    /// Bytes of flows held in memory: received and not read, sent and not acknowledged.
    pub fn held_bytes(&self) -> u64 {
        let held = |flow: &Flow| flow.recv.held() + flow.send.held();
        self.flows.values().map(|flow| held(flow)).sum()
    }

    /// What the other end said of itself in HELLO: memory for a session in bytes, permitted flows.
    pub fn set_peer(&mut self, memory: u64, max_flows: u64) {
        self.peer_max_flows = max_flows;
        let share = Credit::new(memory, max_flows).share();
        self.peer_share = share.min(self.send_budget.room(0));
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Session::handle_timeout`] is to be called, unless something happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// A deadline has come.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Ack(flow) => self.ack_timeout(now, flow),
                Timer::Head(flow) => self.head_timeout(now, flow),
                Timer::Guard(flow) => self.guard_timeout(now, flow),
                Timer::Path(path) => self.path_timeout(now, path),
                Timer::Lending => self.lending_timeout(now),
                Timer::NoPath => self.end(SessionReason::NoPath),
            }
        }
        self.pump(now);
    }

    /// Router: opens a flow; its bytes may be written at once.
    ///
    /// # Errors
    /// [`FlowReason::TooMany`] when as many flows are open as either end permits, and
    /// [`FlowReason::SessionEnded`].
    pub fn open(&mut self, now: Time, to: Destination, kind: FlowKind) -> Result<u64, FlowReason> {
        debug_assert!(self.config.side == Side::Router && kind.class < CLASSES && kind.dscp < 64);
        if self.ended {
            return Err(FlowReason::SessionEnded);
        }
        let permitted = self.credit.max_flows().min(self.peer_max_flows);
        if self.flows.len() as u64 >= permitted || !self.sender.has_room() {
            return Err(FlowReason::TooMany);
        }
        self.next_flow += 2;
        let id = self.next_flow;
        let mut flow = self.new_flow(now, &to, kind, self.peer_share);
        flow.opening = Some(Default::default());
        let window = flow.window;
        flow.recv.grant(window);
        self.flows.insert(id, Box::new(flow));
        self.tell(Control::Open {
            flow: id,
            to,
            window,
            kind,
        });
        self.start_lending(now);
        Ok(id)
    }

    fn new_flow(&mut self, now: Time, to: &Destination, kind: FlowKind, send_limit: u64) -> Flow {
        let (class, traffic) = (kind.class, to.traffic(kind.dscp));
        let growth = self.credit.first_helping();
        let window = self.credit.share() + growth;
        let scheduler = self.schedulers.of(class).instance();
        Flow::new(class, traffic, scheduler, send_limit, window, growth, now)
    }

    /// Server: the destination of a flow accepted.
    pub fn accept(&mut self, id: u64) -> Result<(), Gone> {
        let flow = self.flows.get_mut(&id).ok_or(Gone)?;
        flow.undecided = false;
        let window = flow.window;
        self.tell(Control::Opened { flow: id, window });
        self.tell_readable(id);
        Ok(())
    }

    /// Server: the destination of a flow did not accept.
    pub fn refuse(&mut self, now: Time, id: u64, reason: FlowReason) -> Result<(), Gone> {
        self.remove(now, id).ok_or(Gone)?;
        self.tell(Control::Refused { flow: id, reason });
        Ok(())
    }

    /// How many bytes may be written to the flow now. After a 0, [`Event::Writable`] tells when.
    pub fn writable(&mut self, id: u64) -> Result<usize, Gone> {
        let flow = self.flows.get_mut(&id).ok_or(Gone)?;
        let budget = self.send_budget.room(flow.send.held());
        let writable = flow.send.writable().min(budget);
        flow.write_blocked = writable == 0;
        Ok(usize::try_from(writable).unwrap_or(usize::MAX))
    }

    /// Writes to a flow: at most what [`Session::writable`] allowed.
    pub fn write(&mut self, now: Time, id: u64, bytes: Bytes) -> Result<(), Gone> {
        let flow = self.flows.get_mut(&id).ok_or(Gone)?;
        debug_assert!(bytes.len() as u64 <= flow.send.writable());
        let before = flow.send.held();
        flow.send.write(bytes);
        self.send_budget.change(before, flow.send.held());
        flow.last_busy = now;
        self.enqueue(id);
        self.pump(now);
        Ok(())
    }

    /// Takes an acknowledgement of a flow that is there.
    fn acknowledge(
        &mut self,
        now: Time,
        id: u64,
        cumulative: u64,
        window: u64,
    ) -> Result<Relief, AckOfUnsent> {
        let Some(flow) = self.flows.get_mut(&id) else {
            return Ok(Relief::new());
        };
        let before = flow.send.held();
        let relief = flow.send.acknowledge(now, cumulative, window)?;
        self.send_budget.change(before, flow.send.held());
        Ok(relief)
    }

    /// Ends the direction that this end sends.
    pub fn finish(&mut self, id: u64) -> Result<(), Gone> {
        let flow = self.flows.get_mut(&id).ok_or(Gone)?;
        if !flow.send.is_finished() {
            let end = flow.send.finish();
            self.tell(Control::Fin { flow: id, end });
        }
        Ok(())
    }

    /// Breaks a flow at both ends.
    pub fn reset(&mut self, now: Time, id: u64, reason: FlowReason) -> Result<(), Gone> {
        self.remove(now, id).ok_or(Gone)?;
        self.tell(Control::Reset { flow: id, reason });
        Ok(())
    }

    /// Breaks a flow for an offence of the other end; the local reader learns it by an event.
    fn offend(&mut self, now: Time, id: u64, reason: FlowReason) {
        if self.reset(now, id, reason).is_ok() {
            self.events.push_back(Event::Reset { flow: id, reason });
        }
    }

    /// Reads from a flow, at most `max` bytes. They count as held in memory, and their room is not
    /// granted again, until [`Session::consume`] says that they were passed on.
    pub fn read(&mut self, now: Time, id: u64, max: usize) -> Result<Read, Gone> {
        let flow = self.flows.get_mut(&id).ok_or(Gone)?;
        flow.read_told = false;
        if let Some(bytes) = flow.recv.read(max) {
            return Ok(Read::Bytes(bytes));
        }
        if !flow.recv.is_drained() {
            return Ok(Read::Blocked);
        }
        self.complete_if_done(now, id);
        Ok(Read::End)
    }

    /// So many of the bytes that were read were passed on.
    pub fn consume(&mut self, now: Time, id: u64, count: usize) -> Result<(), Gone> {
        let flow = self.flows.get_mut(&id).ok_or(Gone)?;
        flow.recv.consume(count as u64);
        self.after_read(now, id);
        self.complete_if_done(now, id);
        Ok(())
    }

    /// Ends the session: tells the other end where that is possible and resets all flows.
    pub fn close(&mut self, reason: SessionReason) {
        if !self.ended {
            self.tell(Control::GoAway(reason));
            self.end(reason);
        }
    }

    fn end(&mut self, reason: SessionReason) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        for flow in std::mem::take(&mut self.flows).into_keys() {
            let reason = FlowReason::SessionEnded;
            self.events.push_back(Event::Reset { flow, reason });
        }
        self.timers = Timers::default();
        self.events.push_back(Event::Ended(reason));
    }

    fn tell_readable(&mut self, id: u64) {
        if let Some(flow) = self.flows.get_mut(&id)
            && !flow.undecided
            && flow.recv.is_readable()
            && !std::mem::replace(&mut flow.read_told, true)
        {
            self.events.push_back(Event::Readable(id));
        }
    }

    fn tell_writable(&mut self, id: u64) {
        if let Some(flow) = self.flows.get_mut(&id)
            && flow.write_blocked
            && flow
                .send
                .writable()
                .min(self.send_budget.room(flow.send.held()))
                > 0
        {
            flow.write_blocked = false;
            self.events.push_back(Event::Writable(id));
        }
    }

    fn complete_if_done(&mut self, now: Time, id: u64) {
        if self.flows.get(&id).is_some_and(|flow| flow.is_complete()) {
            self.remove(now, id);
            self.events.push_back(Event::Complete(id));
        }
    }

    /// Takes a flow out of every table.
    fn remove(&mut self, now: Time, id: u64) -> Option<()> {
        let flow = self.flows.remove(&id)?;
        if !planted!(CreditNotGivenBack) {
            self.credit.give_back(flow.growth);
        }
        self.send_budget.change(flow.send.held(), 0);
        self.repeated += flow.send.repeated();
        for (subflow, bytes) in flow.send.debts() {
            if let Some(subflow) = self.subflows.get_mut(&subflow) {
                subflow.relieve(bytes);
            }
        }
        for subflow in self.subflows.values_mut() {
            subflow.turn.retain(|&other| other != id);
            subflow.acks.remove(&id);
            if subflow.lent_to == Some(id) {
                subflow.lent_to = None;
            }
        }
        self.timers.set(Timer::Ack(id), None);
        self.timers.set(Timer::Head(id), None);
        self.timers.set(Timer::Guard(id), None);
        if let Queue::Parked(ticket) = flow.queue {
            self.parked.remove(&ticket);
        }
        if flow.opening.is_some() {
            // What waited for a carrier of its OPEN may go anywhere now.
            self.assign_control();
        }
        self.unpark();
        self.pump(now);
        Some(())
    }
}
