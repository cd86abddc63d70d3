//! Takes records that arrive.

use bytes::Bytes;
use guywire_sched::{SubflowId, Time};

use super::{Event, Session, Side};
use crate::control::Taken;
use crate::reason::{FlowReason, SessionReason};
use crate::record::{Control, Destination, FlowKind, PathNotice, Record};

/// A window that the other end grants counts no further than this, in bytes: what is sent and not
/// acknowledged lies in our memory, whatever the other end claims to have.
const MAX_SEND_WINDOW: u64 = 32 << 20;

impl Session {
    /// A record arrived on a subflow.
    ///
    /// # Errors
    /// The reason for which the whole session must end; the caller passes it to
    /// [`Session::close`]. Offences that concern one flow only end that flow.
    pub fn handle_record(
        &mut self,
        now: Time,
        on: SubflowId,
        record: Record,
    ) -> Result<(), SessionReason> {
        if self.ended {
            return Ok(());
        }
        match record {
            Record::Data { flow, dsn, bytes } => self.handle_data(now, flow, dsn, bytes),
            Record::Ack {
                flow,
                cumulative,
                window,
            } => self.handle_ack(now, flow, cumulative, window),
            Record::Control(number, control) => {
                if self.take_number(on, number)? {
                    self.handle_control(now, number, control)?;
                }
            }
            Record::Skipped(number) => {
                self.take_number(on, number)?;
            }
            Record::ControlAck(number) => self
                .sender
                .acknowledge(number)
                .map_err(|()| SessionReason::ControlAckOfUnsent)?,
            Record::Ping { stamp } => self.answer_ping(on, stamp),
            Record::Pong { .. } => self.handle_pong(now, on),
        }
        Ok(())
    }

    /// Bytes arrived on a subflow, whatever they are: its path lives in this direction.
    pub fn handle_bytes(&mut self, now: Time, on: SubflowId, count: usize) {
        let Some(subflow) = self.subflows.get_mut(&on) else {
            return;
        };
        subflow.received_bytes += count as u64;
        if let Some(path) = self.paths.get_mut(&subflow.path) {
            path.last_heard = now;
        }
    }

    /// Takes a control number; false if it came before.
    fn take_number(&mut self, on: SubflowId, number: u64) -> Result<bool, SessionReason> {
        let taken = self.received.take(number);
        if taken == Taken::Overrun {
            return Err(SessionReason::ControlOverrun);
        }
        if let Some(subflow) = self.subflows.get_mut(&on) {
            subflow.control_ack = true;
            self.wake(on);
        }
        Ok(taken == Taken::New || planted!(FinTwice))
    }

    fn handle_data(&mut self, now: Time, id: u64, dsn: u64, bytes: Bytes) {
        // A flow that is gone has told its end already; copies may still arrive.
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        match flow.recv.insert(dsn, bytes) {
            Ok(true) => self.data_arrived(now, id),
            // The sender has not heard of it yet: say it again.
            Ok(false) => self.note_ack(now, id),
            Err(reason) => self.offend(now, id, reason),
        }
    }

    fn data_arrived(&mut self, now: Time, id: u64) {
        self.note_ack(now, id);
        self.tell_readable(id);
        self.tell_done(id);
    }

    /// Tells the sender once that everything up to its end has arrived.
    fn tell_done(&mut self, id: u64) {
        if let Some(flow) = self.flows.get_mut(&id)
            && flow.recv.is_complete()
            && !std::mem::replace(&mut flow.done_told, true)
        {
            self.tell(Control::Done { flow: id });
        }
    }

    fn handle_ack(&mut self, now: Time, id: u64, cumulative: u64, window: u64) {
        let window = window.min(MAX_SEND_WINDOW);
        match self.acknowledge(now, id, cumulative, window) {
            Ok(relief) => {
                self.relieve(relief);
                self.watch_head(id);
                self.tell_writable(id);
                self.enqueue(id);
                self.pump(now);
            }
            Err(_) => self.offend(now, id, FlowReason::AckOfUnsent),
        }
    }

    fn handle_control(
        &mut self,
        now: Time,
        number: u64,
        control: Control,
    ) -> Result<(), SessionReason> {
        if !self.may_get(&control) {
            return Err(SessionReason::WrongSide);
        }
        if self.sender.is_exhausted() {
            return Err(SessionReason::ControlUnacked);
        }
        match control {
            Control::Open {
                flow,
                to,
                window,
                kind,
            } => return self.handle_open(now, flow, to, window, kind),
            Control::Opened { flow, window } => self.handle_opened(now, flow, window),
            Control::Refused { flow, reason } | Control::Reset { flow, reason } => {
                self.handle_reset(now, flow, reason);
            }
            Control::Fin { flow, end } => self.handle_fin(now, flow, end),
            Control::Done { flow } => self.handle_done(now, flow),
            Control::PathStatus {
                path,
                notice,
                backup,
            } => return self.handle_path_status(now, number, path, notice, backup),
            Control::Scheduler(choice) => self.handle_choice(choice),
            Control::SchedulerObject(piece) => self.events.push_back(Event::ObjectPiece(piece)),
            Control::SchedulerResult(result) => self.handle_choice_result(result),
            Control::GoAway(reason) => self.end(reason),
        }
        Ok(())
    }

    /// Whether the other end may say such a thing to this side.
    fn may_get(&self, control: &Control) -> bool {
        match control {
            Control::Open { .. } | Control::Scheduler(_) | Control::SchedulerObject(_) => {
                self.config.side == Side::Server
            }
            Control::Opened { .. } | Control::Refused { .. } | Control::SchedulerResult(_) => {
                self.config.side == Side::Router
            }
            _ => true,
        }
    }

    fn handle_open(
        &mut self,
        now: Time,
        id: u64,
        to: Destination,
        window: u64,
        kind: FlowKind,
    ) -> Result<(), SessionReason> {
        if id == 0 || !id.is_multiple_of(2) {
            return Err(SessionReason::WrongSide);
        }
        match self.opened.take(id / 2 - 1) {
            Taken::New => {}
            Taken::Repeated => return Ok(()),
            Taken::Overrun => return Err(SessionReason::FlowIdOverrun),
        }
        if self.flows.len() as u64 >= self.credit.max_flows() || !self.sender.has_room() {
            let reason = FlowReason::TooMany;
            self.tell(Control::Refused { flow: id, reason });
            return Ok(());
        }
        let mut flow = self.new_flow(now, &to, kind, window.min(MAX_SEND_WINDOW));
        flow.undecided = true;
        self.flows.insert(id, Box::new(flow));
        self.start_lending(now);
        self.events.push_back(Event::Open { flow: id, to });
        Ok(())
    }

    fn handle_opened(&mut self, now: Time, id: u64, window: u64) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if flow.opening.take().is_some() {
            self.events.push_back(Event::Accepted(id));
            self.assign_control();
        }
        self.handle_ack(now, id, 0, window);
    }

    fn handle_reset(&mut self, now: Time, id: u64, reason: FlowReason) {
        if self.config.side == Side::Server && id != 0 && id.is_multiple_of(2) {
            // Should its OPEN come later, by a slower path, it is as if it had come before.
            self.opened.take(id / 2 - 1);
        }
        if self.remove(now, id).is_some() {
            self.events.push_back(Event::Reset { flow: id, reason });
        }
    }

    fn handle_fin(&mut self, now: Time, id: u64, end: u64) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        match flow.recv.finish(end) {
            Ok(()) => {
                self.tell_readable(id);
                self.tell_done(id);
            }
            Err(reason) => self.offend(now, id, reason),
        }
    }

    fn handle_done(&mut self, now: Time, id: u64) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let everything = flow.send.written();
        if !flow.send.is_finished() || flow.send.scheduled() < everything {
            return self.offend(now, id, FlowReason::AckOfUnsent);
        }
        self.handle_ack(now, id, everything, 0);
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.send.complete();
        }
        self.complete_if_done(now, id);
    }

    fn handle_path_status(
        &mut self,
        now: Time,
        number: u64,
        path: u8,
        notice: PathNotice,
        backup: bool,
    ) -> Result<(), SessionReason> {
        if notice == PathNotice::Withdrawn && self.config.side == Side::Router {
            return Err(SessionReason::WrongSide);
        }
        self.path_notice(now, number, path, notice, backup);
        Ok(())
    }
}
