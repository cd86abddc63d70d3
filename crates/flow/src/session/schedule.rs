//! Asks the schedulers, cuts chunks, and writes records.

use std::time::Duration;

use bytes::Buf;
use guywire_sched::{FlowView, MAX_SUBFLOWS, Marks, SubflowId, SubflowView, Time};
use smallvec::SmallVec;

use super::{Event, Session};
use crate::flow::{Flow, Queue};
use crate::outgoing::Outgoing;
use crate::path::Path;
use crate::record::{self, Control};
use crate::send::Relief;
use crate::subflow::{Subflow, trunk};

/// What an acknowledgement may be late before what it should cover is repeated: it waits up to 5 ms
/// at the receiver, and for its turn at both ends.
const SLACK: Duration = Duration::from_millis(20);

/// What became of an attempt to schedule one chunk.
#[derive(PartialEq, Eq)]
enum Placed {
    /// A subflow owes it now.
    Yes,
    /// The flow has nothing to schedule.
    Nothing,
    /// It must wait: nothing is marked, or everything marked is full.
    Waits,
}

impl Session {
    /// The flow may have something to schedule.
    pub(super) fn enqueue(&mut self, id: u64) {
        self.lend(id);
        if let Some(flow) = self.flows.get_mut(&id)
            && flow.send.has_work()
            && flow.queue != Queue::Waiting
        {
            if let Queue::Parked(ticket) = flow.queue {
                self.parked.remove(&ticket);
            }
            flow.queue = Queue::Waiting;
            self.waiting.push_back(id);
        }
    }

    /// Flows that had to wait are asked again.
    pub(super) fn unpark(&mut self) {
        for id in std::mem::take(&mut self.parked).into_values() {
            if let Some(flow) = self.flows.get_mut(&id) {
                flow.queue = Queue::Waiting;
                self.waiting.push_back(id);
            }
        }
    }

    /// Schedules chunk by chunk, the flows in turn, while any subflow has room.
    pub(super) fn pump(&mut self, now: Time) {
        while !self.waiting.is_empty() && self.any_room() {
            let Some(id) = self.waiting.pop_front() else {
                break;
            };
            let placed = self.place(now, id);
            let Some(flow) = self.flows.get_mut(&id) else {
                continue;
            };
            match placed {
                Placed::Yes => {
                    flow.watch.placed();
                    self.waiting.push_back(id);
                }
                Placed::Waits => {
                    flow.queue = Queue::Parked(self.next_ticket);
                    self.parked.insert(self.next_ticket, id);
                    self.next_ticket += 1;
                    self.watch(now, id);
                }
                Placed::Nothing => flow.queue = Queue::Absent,
            }
        }
    }

    fn any_room(&self) -> bool {
        self.subflows.values().any(Subflow::may_take)
    }

    /// Schedules one chunk of a flow.
    fn place(&mut self, now: Time, id: u64) -> Placed {
        let Some(flow) = self.flows.get(&id) else {
            return Placed::Nothing;
        };
        if !flow.send.has_work() {
            return Placed::Nothing;
        }
        if let Some(lost) = flow.send.first_lost() {
            if self.place_lost(now, id, lost) {
                return Placed::Yes;
            }
            let fresh = self
                .flows
                .get(&id)
                .is_some_and(|flow| flow.send.backlog() > 0 && flow.send.window_free() > 0);
            if !fresh {
                return Placed::Waits;
            }
        }
        match self.place_new(now, id) {
            true => Placed::Yes,
            false => Placed::Waits,
        }
    }

    /// Gives a lost chunk to subflows that have not sent it and are not overdue themselves.
    fn place_lost(&mut self, now: Time, id: u64, lost: (u64, u64)) -> bool {
        let shown = self.shown(id, Some(lost));
        let marks = self.ask(now, id, &shown);
        self.give(id, &shown, marks)
    }

    /// Cuts a new chunk for the subflows that the flow's scheduler marks.
    fn place_new(&mut self, now: Time, id: u64) -> bool {
        let shown = self.shown(id, None);
        let marks = self.ask(now, id, &shown);
        self.give(id, &shown, marks)
    }

    /// What a scheduler is shown for a chunk.
    pub(super) fn shown(&self, id: u64, lost: Option<(u64, u64)>) -> Shown {
        let mut views = self.views(id);
        if let (Some((dsn, _)), Some(flow)) = (lost, self.flows.get(&id)) {
            let suspect = |id| self.subflows.get(&id).is_some_and(|s| s.suspect);
            views.retain(|view| !flow.send.has_sent(dsn, view.id) && !suspect(view.id));
        }
        Shown { lost, views }
    }

    /// The marked subflows owe the chunk, unless all of them are full.
    pub(super) fn give(&mut self, id: u64, shown: &Shown, marks: Marks) -> bool {
        let Some(mut chosen) = chosen(shown.views(), marks) else {
            return false;
        };
        // What goes again goes where it was shown: another one may have sent it.
        if shown.lost.is_none() && chosen.len() > 1 {
            self.take_turns(id, &mut chosen);
        }
        let Some(flow) = self.flows.get_mut(&id) else {
            return false;
        };
        if let Some((dsn, length)) = shown.lost {
            let chosen = flow.send.owe_lost(dsn, &chosen);
            self.charge(id, length, &chosen);
            return true;
        }
        let sizes = chosen
            .iter()
            .filter_map(|subflow| self.subflows.get(subflow));
        let size = sizes.map(Subflow::chunk).min().unwrap_or(0);
        let length = flow.send.cut(size, &chosen);
        self.charge(id, length, &chosen);
        length > 0
    }

    /// The chosen subflows owe a chunk of a flow.
    fn charge(&mut self, id: u64, length: u64, chosen: &[SubflowId]) {
        for &subflow in chosen {
            if let Some(state) = self.subflows.get_mut(&subflow) {
                state.owe(id, length);
                self.wake(subflow);
            }
        }
    }

    /// Debts were taken off subflows, which may have room again for those who wait.
    pub(super) fn relieve(&mut self, relief: Relief) {
        if !relief.is_empty() {
            self.unpark();
        }
        for (subflow, bytes) in relief {
            if let Some(subflow) = self.subflows.get_mut(&subflow) {
                subflow.relieve(bytes);
            }
        }
    }

    /// The subflows a flow may use now, one a path: its own or the trunk. Those of paths that are
    /// up, or if there are none, of stale ones.
    pub(super) fn subflows_of(&self, id: u64) -> impl Iterator<Item = (SubflowId, &Subflow)> {
        let any_up = self.paths.values().any(Path::is_up);
        let flow = self.flows.get(&id);
        self.paths
            .iter()
            .filter(move |(_, path)| path.is_up() || (!any_up && !path.withdrawn))
            .filter_map(move |(&path, _)| self.subflow_on(flow?, path))
            .take(MAX_SUBFLOWS)
    }

    fn subflow_on(&self, flow: &Flow, path: u8) -> Option<(SubflowId, &Subflow)> {
        let fit = |id: &SubflowId| self.subflows.get(id).is_some_and(|s| !s.closing);
        let id = match &flow.opening {
            // Nothing may overtake the OPEN.
            Some(carriers) => carriers
                .iter()
                .copied()
                .find(|id| fit(id) && self.subflows.get(id).is_some_and(|s| s.path == path))?,
            None => match flow.own.get(&path).copied().filter(fit) {
                Some(own) if flow.copied == 0 => own,
                Some(own) => self.relief_of(own),
                None => match self.shared_on(flow, path) {
                    Some(shared) => shared,
                    None => trunk(&self.subflows, path)?,
                },
            },
        };
        Some((id, self.subflows.get(&id)?))
    }

    pub(super) fn views(&self, id: u64) -> Views {
        let view = |(subflow_id, subflow): (SubflowId, &Subflow)| {
            let path = self.paths.get(&subflow.path);
            let (queued, room) = self.offer(id, subflow);
            SubflowView {
                id: subflow_id,
                path: subflow.path,
                local: subflow.ends.map(|[own, _]| own),
                remote: subflow.ends.map(|[_, other]| other),
                srtt: subflow.info.srtt,
                rttvar: subflow.info.rttvar,
                min_rtt: subflow.info.min_rtt,
                rate: subflow.rate(),
                queued,
                room,
                mss: subflow.info.mss,
                unacked: subflow.info.unacked,
                delivered: subflow.info.delivered,
                given: subflow.sent_bytes + subflow.owed,
                backup: path.is_some_and(|path| path.attributes.backup),
                stale: path.is_some_and(|path| path.stale_since().is_some()),
            }
        };
        self.subflows_of(id).map(view).collect()
    }

    /// The driver is to ask what there is to send.
    pub(super) fn wake(&mut self, id: SubflowId) {
        if let Some(subflow) = self.subflows.get_mut(&id)
            && !std::mem::replace(&mut subflow.woken, true)
        {
            self.events.push_back(Event::Transmit(id));
        }
    }

    /// Numbers a control record and gives it to a subflow.
    pub(super) fn tell(&mut self, control: Control) {
        self.sender.push(control);
        self.assign_control();
    }

    /// Gives every control record without a carrier to the best subflow for it.
    pub(super) fn assign_control(&mut self) {
        let homeless: Vec<(u64, Option<u64>, bool)> = self
            .sender
            .homeless()
            .map(|(number, control)| {
                (
                    number,
                    flow_of(control),
                    matches!(control, Control::Open { .. }),
                )
            })
            .collect();
        for (number, flow, opens) in homeless {
            let waits_for_open = flow.filter(|_| !opens);
            let Some(id) = self.signal_carrier(waits_for_open) else {
                continue;
            };
            self.sender.assign(number, id);
            if let Some(subflow) = self.subflows.get_mut(&id) {
                subflow.control.insert(number);
                self.wake(id);
            }
        }
    }

    /// The best subflow for what must not be lost: the trunk of the fastest path that is up, a
    /// stale one only when no other is left. Of a flow that waits for the answer to its OPEN: one
    /// that carried it; while that is on its way to a better one, none.
    pub(super) fn signal_carrier(&self, flow: Option<u64>) -> Option<SubflowId> {
        let carriers = flow
            .and_then(|flow| self.flows.get(&flow))
            .and_then(|flow| flow.opening.as_ref());
        let rank = |subflow: &Subflow| {
            let path = self.paths.get(&subflow.path);
            (
                !self.is_up(subflow.path),
                subflow.suspect,
                path.is_some_and(|path| path.attributes.backup),
                subflow.info.srtt,
            )
        };
        let trunks = self
            .paths
            .keys()
            .filter_map(|&path| trunk(&self.subflows, path));
        let fit = |id: &SubflowId| self.subflows.get(id).is_some_and(|s| !s.closing);
        let best = |ids: &mut dyn Iterator<Item = SubflowId>| {
            ids.filter(fit)
                .min_by_key(|id| self.subflows.get(id).map(rank))
        };
        match carriers {
            Some(carriers) => {
                let any_up = self.paths.values().any(Path::is_up);
                let on_up = |id: &SubflowId| {
                    let subflow = self.subflows.get(id);
                    subflow.is_some_and(|subflow| self.is_up(subflow.path))
                };
                best(&mut carriers.iter().copied().filter(|id| !any_up || on_up(id)))
            }
            None => best(&mut trunks.into_iter()),
        }
    }

    /// Adds what the subflow sends next: signals first, then the chunks it owes, its flows in
    /// turn. Stops when `out` holds `enough` bytes or the subflow's queue is full; what is added must be
    /// sent. Call again until nothing is added.
    pub fn poll_transmit(&mut self, now: Time, id: SubflowId, enough: usize, out: &mut Outgoing) {
        let before = out.remaining();
        if let Some(subflow) = self.subflows.get_mut(&id) {
            subflow.woken = false;
            let mut signals = Vec::new();
            self.put_signals(now, id, &mut signals);
            out.add_signals(&signals);
            self.put_chunks(now, id, enough, out);
        }
        let written = (out.remaining() - before) as u64;
        if let Some(subflow) = self.subflows.get_mut(&id).filter(|_| written > 0) {
            subflow.queued += written;
            subflow.sent_bytes += written;
            subflow.progress.wrote(now);
            for path in self.paths.values_mut() {
                path.patience.sent(written);
            }
        }
    }

    fn put_signals(&mut self, now: Time, id: SubflowId, out: &mut Vec<u8>) {
        let Some(subflow) = self.subflows.get_mut(&id) else {
            return;
        };
        if let Some(stamp) = subflow.ping.take() {
            record::put_ping(out, stamp);
        }
        if let Some(stamp) = subflow.pong.take() {
            record::put_pong(out, stamp);
        }
        if std::mem::take(&mut subflow.control_ack) {
            record::put_control_ack(out, self.received.edge());
        }
        let mut opened = Vec::new();
        for number in std::mem::take(&mut subflow.control) {
            if let Some(control) = self.sender.send(number, id) {
                record::put_control(out, number, control);
                if let &Control::Open { flow, .. } = control {
                    opened.push(flow);
                }
            }
        }
        for flow in std::mem::take(&mut subflow.acks) {
            self.put_ack(now, flow, id, out);
        }
        self.may_follow(now, id, opened);
    }

    /// The OPENs of flows were sent on a subflow: now, and not when they were only meant to be, what must not
    /// overtake them may follow there. The other end would drop it.
    fn may_follow(&mut self, now: Time, id: SubflowId, opened: Vec<u64>) {
        if opened.is_empty() {
            return;
        }
        for flow in opened {
            if let Some(carriers) = self.flows.get_mut(&flow).and_then(|f| f.opening.as_mut()) {
                carriers.insert(id);
            }
            self.enqueue(flow);
        }
        self.assign_control();
        self.pump(now);
    }

    fn put_chunks(&mut self, now: Time, id: SubflowId, enough: usize, out: &mut Outgoing) {
        let start = out.remaining();
        let grace = self.grace(id);
        while out.remaining() < enough {
            let Some(subflow) = self.subflows.get_mut(&id) else {
                return;
            };
            let written = (out.remaining() - start) as u64;
            if subflow.queued + written >= subflow.queue_bound() {
                return;
            }
            let Some(flow_id) = subflow.turn.pop_front() else {
                return;
            };
            let Some(flow) = self.flows.get_mut(&flow_id) else {
                continue;
            };
            let due = now + subflow.arrival(written) + grace;
            if let Some((dsn, length)) = flow.send.pay(id, due) {
                let bytes = length as usize;
                out.add_header(record::data_header(flow_id, dsn, bytes), bytes);
                flow.send.give(dsn, length, out);
                flow.last_busy = now;
                subflow.relieve(length);
            }
            if flow.send.owes(id) {
                subflow.turn.push_back(flow_id);
            }
            self.watch_head(flow_id);
        }
    }

    /// How long after the expected arrival of a chunk its acknowledgement is overdue: that comes by the
    /// quickest path, and each path has the patience that it taught.
    fn grace(&self, id: SubflowId) -> Duration {
        let trips = self.subflows.values().filter(|s| self.is_up(s.path));
        let answer = trips.map(|s| s.info.srtt).min().unwrap_or_default() / 2;
        let path = self.subflows.get(&id).map(|subflow| subflow.path);
        let learned = path.and_then(|path| Some(self.paths.get(&path)?.patience.get()));
        answer + SLACK + learned.unwrap_or_default()
    }
}

/// One a path, at most [`MAX_SUBFLOWS`]. They are made for each chunk: most routers have two links.
type Views = SmallVec<[SubflowView; 2]>;

/// What a scheduler is shown for a chunk.
pub(super) struct Shown {
    /// The lost chunk that goes again, by its number and length; none for a new one.
    pub(super) lost: Option<(u64, u64)>,
    views: Views,
}

impl Shown {
    pub(super) fn views(&self) -> &[SubflowView] {
        &self.views
    }

    /// The flow as its scheduler sees it.
    pub(super) fn of<'a>(&'a self, flow: &Flow, now: Time) -> FlowView<'a> {
        let chunk = self
            .lost
            .map_or(record::MAX_BODY as u64, |(_, length)| length);
        view_of(flow, now, chunk, self.views())
    }
}

fn view_of<'a>(flow: &Flow, now: Time, chunk: u64, subflows: &'a [SubflowView]) -> FlowView<'a> {
    FlowView {
        now,
        traffic: flow.traffic,
        window_free: flow.send.window_free(),
        outstanding: flow.send.outstanding(),
        backlog: flow.send.backlog(),
        sent: flow.send.scheduled(),
        chunk: chunk.min(flow.send.backlog().max(1)),
        subflows,
    }
}

/// The marked subflows, unless every one of them is full: then the flow waits. A full one beside
/// others with room just owes the chunk.
pub(super) fn chosen(views: &[SubflowView], marks: Marks) -> Option<SmallVec<[SubflowId; 4]>> {
    let marked = || marks.iter().filter_map(|at| views.get(at));
    marked()
        .any(|view| view.room > 0)
        .then(|| marked().map(|view| view.id).collect())
}

fn flow_of(control: &Control) -> Option<u64> {
    match *control {
        Control::Open { flow, .. }
        | Control::Opened { flow, .. }
        | Control::Refused { flow, .. }
        | Control::Fin { flow, .. }
        | Control::Reset { flow, .. }
        | Control::Done { flow } => Some(flow),
        Control::PathStatus { .. }
        | Control::Scheduler(_)
        | Control::SchedulerObject(_)
        | Control::SchedulerResult(_)
        | Control::GoAway(_) => None,
    }
}
