//! What the driver of a subflow does at each end, as `guywire-transport` does it: hands records to
//! the kernel, reads its figures, passes on what arrives; and the kernel's part around TCP.

use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf, Bytes};
use guywire_flow::record::{self, Record};
use guywire_flow::{Event, Outgoing, SubflowId, Time};

use super::links::Packet;
use super::{ENDS, Errand, World};
use crate::network::{ROUTER, SERVER};
use crate::oracle::{Ejected, Trouble};
use crate::tcp::{
    Acknowledgement, Congestion, MSS, RECORD, Receiver, SMALL_MSS, Sender, Transmission,
};

/// The kernel's figures are not read more often than this, and while data is in flight not less often
/// than an eighth of the round trip or [`INFO_AGE`].
const INFO_SPACING: Duration = Duration::from_millis(1);
const INFO_AGE: Duration = Duration::from_millis(3);
/// How long a thread takes at most from room in a socket until it writes, for it is woken, and others have their turn.
const WAKE: Duration = Duration::from_micros(200);
/// How late the kernel may look at the clock when something has arrived.
const NOTICE: Duration = Duration::from_micros(100);
/// A dial that has not succeeded by then is given up.
const DIAL_PATIENCE: Duration = Duration::from_millis(1_500);
/// How long a router without the device takes to fail.
const NO_DEVICE: Duration = Duration::from_millis(2);
/// A connection on which nothing is heard for so long breaks, unless the other end's kernel would answer
/// TCP's keep-alive.
const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// Bytes of the router's HELLO; the server's precedes it and is part of the handshake.
const HELLO: usize = 100;

/// A connection, seen from both its ends.
pub(super) struct Subflow {
    pub(super) path: usize,
    pub(super) ends: [End; 2],
}

/// One end of a connection.
pub(super) struct End {
    /// The connection exists here.
    pub(super) open: bool,
    /// The session here knows of it.
    joined: bool,
    sender: Sender,
    receiver: Receiver,
    /// The beginning of a record.
    partial: Vec<u8>,
    /// When a packet arrived last.
    heard_at: Time,
    /// When the figures are wanted, while data is in flight.
    info_at: Option<Time>,
    info_was: Time,
    /// The kernel holds as much unsent as the session allows; it tells when there is less.
    full: Option<u64>,
    /// When a timer of it comes next, if that is known.
    next: Option<Time>,
}

impl Subflow {
    /// When a timer of it comes.
    pub(super) fn next_time(&mut self) -> Time {
        let open = self.ends.iter_mut().filter(|end| end.open);
        let times = open.map(End::next_time);
        times.min().unwrap_or(Time::from_nanos(u64::MAX))
    }
}

impl End {
    fn next_time(&mut self) -> Time {
        let compute = || {
            let timers = [
                self.sender.next_timeout(),
                self.info_at,
                self.receiver.due(),
            ];
            let silence = self.heard_at + KEEP_ALIVE;
            timers.into_iter().flatten().fold(silence, Time::min)
        };
        *self.next.get_or_insert_with(compute)
    }
}

impl World<'_> {
    pub(super) fn handle_event(&mut self, side: usize, event: Event) -> Result<(), Trouble> {
        match event {
            Event::Transmit(id) => self.signal(side, id),
            Event::Dial {
                path,
                small_segments,
            } => self.dial(path.into(), small_segments),
            Event::Close(id) => self.close(side, id),
            Event::Path { path, state } => self.note_path(side, path, state),
            Event::Chosen(_) | Event::ObjectPiece(_) | Event::ChoiceResult(_) => {}
            Event::Ejected(incident) => self.ejected.push(Ejected {
                end: ENDS[side],
                at: self.elapsed(),
                reason: incident.offence.reason,
                text: incident.offence.text,
            }),
            Event::Ended(reason) => self.session_ended(side, reason)?,
            other => self.program_event(side, other)?,
        }
        Ok(())
    }

    fn end(&mut self, side: usize, id: SubflowId) -> Option<&mut End> {
        let end = &mut self.subflows.get_mut(&id)?.ends[side];
        end.next = None;
        end.open.then_some(end)
    }

    fn dial(&mut self, path: usize, small: bool) {
        let link = &self.links[path];
        let errand = match (link.gone, link.works()) {
            (true, _) => (self.now + NO_DEVICE, Errand::GiveUp(path)),
            (false, false) => (self.now + DIAL_PATIENCE, Errand::GiveUp(path)),
            // TCP's round trip and TLS's, with the server's HELLO.
            (false, true) => {
                let took = 2 * link.spec.round_trip();
                (self.now + took, Errand::Dialled(path, self.now, small))
            }
        };
        self.agenda.insert(errand);
    }

    /// A handshake is through at the router, if the link has worked all the while.
    pub(super) fn dialled(&mut self, path: usize, began: Time, small: bool) {
        let link = &self.links[path];
        if link.works_since.is_none_or(|since| since > began) {
            let at = self.now.max(began + DIAL_PATIENCE);
            self.agenda.insert((at, Errand::GiveUp(path)));
            return;
        }
        let trip = link.spec.round_trip().max(Duration::from_millis(1));
        let (now, trip) = (self.now, trip + self.by_chance(NOTICE));
        let id = SubflowId(self.next_subflow);
        self.next_subflow += 1;
        let algorithm = self.network.algorithm;
        let mss = if small { SMALL_MSS } else { MSS };
        let end = || End {
            open: true,
            joined: false,
            sender: Sender::new(now, (trip, mss), Congestion::new(algorithm, now, trip)),
            receiver: Receiver::default(),
            partial: Vec::new(),
            heard_at: now,
            info_at: None,
            info_was: now,
            full: None,
            next: None,
        };
        let mut ends = [end(), end()];
        ends[ROUTER].joined = true;
        ends[ROUTER]
            .sender
            .write(now, Bytes::from_static(&[0; HELLO]));
        let info = ends[ROUTER].sender.info();
        self.subflows.insert(id, Subflow { path, ends });
        self.ends[ROUTER].subflow_joined(now, id, path as u8, info);
        self.push(ROUTER, id);
    }

    /// The session has something to send on a subflow.
    fn signal(&mut self, side: usize, id: SubflowId) {
        let now = self.now;
        let Some(end) = self.end(side, id) else {
            return;
        };
        match now.since(end.info_was) >= INFO_SPACING {
            true => self.refresh(side, id),
            false => self.fill(side, id),
        }
    }

    /// Reads the kernel's figures for the session, then hands over what it has to send.
    fn refresh(&mut self, side: usize, id: SubflowId) {
        let now = self.now;
        let Some(end) = self.end(side, id) else {
            return;
        };
        end.info_was = now;
        let info = end.sender.info();
        self.ends[side].handle_info(now, id, info);
        self.fill(side, id);
    }

    fn fill(&mut self, side: usize, id: SubflowId) {
        let now = self.now;
        let mut outgoing = Outgoing::default();
        loop {
            let before = outgoing.remaining();
            self.ends[side].poll_transmit(now, id, before + 65_536, &mut outgoing);
            if outgoing.remaining() == before {
                break;
            }
        }
        let busy = self.ends[side].is_busy(id);
        let bound = self.ends[side].room_wanted(id);
        let Some(end) = self.end(side, id) else {
            return;
        };
        while outgoing.has_remaining() {
            let length = sealed(&outgoing);
            end.sender.write(now, outgoing.copy_to_bytes(length));
        }
        let age = (end.sender.info().srtt / 8).clamp(INFO_SPACING, INFO_AGE);
        end.info_at = busy.then(|| end.info_was.max(now) + age);
        end.full = bound.filter(|&bound| end.sender.notsent() >= bound);
        self.push(side, id);
    }

    /// Puts on the link what TCP lets pass now.
    fn push(&mut self, side: usize, id: SubflowId) {
        let now = self.now;
        let Some(subflow) = self.subflows.get_mut(&id) else {
            return;
        };
        let path = subflow.path;
        while let Some(segment) = self
            .end(side, id)
            .and_then(|end| end.sender.poll_segment(now))
        {
            self.offer(side, path, Packet::Segment(id, segment));
        }
    }

    /// After TCP moved: sends, and if there is room again, has the session asked.
    fn moved(&mut self, side: usize, id: SubflowId) {
        self.push(side, id);
        let roomy = |end: &mut End| {
            let notsent = end.sender.notsent();
            end.full.take_if(|bound| notsent < *bound).is_some()
        };
        if !self.end(side, id).is_some_and(roomy) {
            return;
        }
        let woken = self.now + self.by_chance(WAKE);
        if let Some(end) = self.end(side, id) {
            end.info_at = Some(end.info_at.map_or(woken, |at| at.min(woken)));
        }
    }

    /// Runs the timers of subflows that have come.
    pub(super) fn run_subflows(&mut self) {
        let now = self.now;
        let due = self.subflows.iter_mut();
        let due = due.filter_map(|(&id, subflow)| (subflow.next_time() <= now).then_some(id));
        for id in due.collect::<Vec<_>>() {
            for side in [ROUTER, SERVER] {
                self.run_timers(side, id);
            }
        }
    }

    fn run_timers(&mut self, side: usize, id: SubflowId) {
        let now = self.now;
        let Some(end) = self.end(side, id) else {
            return;
        };
        if end.heard_at + KEEP_ALIVE <= now {
            end.heard_at = now;
            let subflow = &self.subflows[&id];
            if !self.links[subflow.path].works() || !subflow.ends[1 - side].open {
                return self.break_end(side, id);
            }
        }
        let Some(end) = self.end(side, id) else {
            return;
        };
        if end.receiver.due().is_some_and(|at| at <= now) {
            let ack = end.receiver.acknowledge();
            let path = self.subflows[&id].path;
            self.offer(side, path, Packet::Ack(id, ack));
        }
        let Some(end) = self.end(side, id) else {
            return;
        };
        if end.sender.next_timeout().is_some_and(|at| at <= now) {
            let timeouts = end.sender.timeouts();
            end.sender.handle_timeout(now);
            let timed_out = end.sender.timeouts() > timeouts;
            let broken = end.sender.is_broken();
            self.seen.timeouts += u64::from(timed_out);
            if broken {
                return self.break_end(side, id);
            }
            self.moved(side, id);
        }
        if self
            .end(side, id)
            .is_some_and(|end| end.info_at.is_some_and(|at| at <= now))
        {
            self.refresh(side, id);
        }
    }

    pub(super) fn take_ack(&mut self, at: usize, id: SubflowId, ack: &Acknowledgement) {
        let now = self.now;
        let noticed = self.by_chance(NOTICE);
        if let Some(end) = self.end(at, id) {
            end.heard_at = now;
            end.sender.handle_ack(now, noticed, ack);
            self.moved(at, id);
        }
    }

    pub(super) fn take_segment(
        &mut self,
        at: usize,
        id: SubflowId,
        segment: &Transmission,
    ) -> Result<(), Trouble> {
        let now = self.now;
        let Some(end) = self.end(at, id) else {
            return Ok(());
        };
        end.heard_at = now;
        let ack = end.receiver.handle_segment(now, segment);
        let arrived = end.receiver.cumulative();
        if let Some(ack) = ack {
            let path = self.subflows[&id].path;
            self.offer(at, path, Packet::Ack(id, ack));
        }
        // What was sent lies at the sender until it has arrived, whatever became of that end.
        while let Some(bytes) = self
            .subflows
            .get_mut(&id)
            .and_then(|subflow| subflow.ends[1 - at].sender.take(arrived))
        {
            self.read_bytes(at, id, &bytes)?;
        }
        Ok(())
    }

    /// What a TLS record held has arrived.
    fn read_bytes(&mut self, at: usize, id: SubflowId, bytes: &Bytes) -> Result<(), Trouble> {
        let now = self.now;
        let Some(end) = self.end(at, id) else {
            return Ok(());
        };
        if !end.joined {
            // The first one is the router's HELLO.
            end.joined = true;
            let info = end.sender.info();
            let path = self.subflows[&id].path as u8;
            self.ends[SERVER].subflow_joined(now, id, path, info);
            return Ok(());
        }
        let mut partial = std::mem::take(&mut end.partial);
        self.ends[at].handle_bytes(now, id, bytes.len());
        if partial.is_empty()
            && let Some(record) = record::whole_data(bytes)
        {
            return self.take_record(at, id, record);
        }
        partial.extend_from_slice(bytes);
        let mut rest = &partial[..];
        while let Some(record) = record::take(&mut rest).map_err(|e| refused(at, &e))? {
            self.take_record(at, id, record)?;
        }
        let taken = partial.len() - rest.len();
        partial.drain(..taken);
        if let Some(end) = self.end(at, id) {
            end.partial = partial;
        }
        Ok(())
    }

    fn take_record(&mut self, at: usize, id: SubflowId, record: Record) -> Result<(), Trouble> {
        self.note_record(at, &record);
        let handled = self.ends[at].handle_record(self.now, id, record);
        handled.map_err(|reason| refused(at, &reason))
    }

    /// An end gives a connection up; the other hears of it if the link lets it.
    fn close(&mut self, side: usize, id: SubflowId) {
        let Some(path) = self.subflows.get(&id).map(|s| s.path) else {
            return;
        };
        if self.end(side, id).is_some() {
            self.offer(side, path, Packet::Reset(id));
            self.break_end(side, id);
        }
    }

    /// A connection is no more at one end.
    pub(super) fn break_end(&mut self, side: usize, id: SubflowId) {
        let now = self.now;
        let Some(end) = self.end(side, id) else {
            return;
        };
        end.open = false;
        let joined = end.joined;
        if self.subflows[&id].ends.iter().all(|end| !end.open) {
            self.subflows.remove(&id);
        }
        if joined {
            self.ends[side].subflow_closed(now, id);
        }
    }

    /// Every connection over a link.
    pub(super) fn connections(&self, path: usize) -> Vec<SubflowId> {
        let on = self.subflows.iter().filter(|(_, s)| s.path == path);
        on.map(|(&id, _)| id).collect()
    }
}

fn refused(at: usize, reason: &dyn std::fmt::Display) -> Trouble {
    Trouble::Refused {
        end: ENDS[at],
        reason: reason.to_string(),
    }
}

/// How much of it goes into the next TLS record: signals by themselves, else what there is.
fn sealed(outgoing: &Outgoing) -> usize {
    let mut slices = [IoSlice::new(&[]); 16];
    let count = outgoing.chunks_vectored(&mut slices);
    let length: usize = slices[..count].iter().map(|slice| slice.len()).sum();
    length.min(RECORD)
}
