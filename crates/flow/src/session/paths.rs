//! Judges paths by what their subflows show, and takes subflows in and out.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use guywire_sched::{SubflowId, Time};

use super::{Event, MAX_SUBFLOWS_PER_PATH, PathReport, Session, Side};
use crate::path::{Path, PathAttributes, PathState};
use crate::record::{Control, PathNotice};
use crate::subflow::{Subflow, SubflowInfo, trunk};
use crate::timer::Timer;

/// A session without any path keeps its flows for so long.
const PATIENCE: Duration = Duration::from_secs(300);

impl Session {
    /// There is such a path. The router dials it; one that it had withdrawn is there again. The server
    /// learns of it by HELLO, of later changes by PATH_STATUS.
    pub fn add_path(&mut self, now: Time, id: u8, attributes: PathAttributes) {
        let known = self.paths.contains_key(&id);
        if known && self.config.side == Side::Server {
            return;
        }
        let path = self
            .paths
            .entry(id)
            .or_insert_with(|| Path::new(attributes, now));
        let changed = path.attributes != attributes;
        path.attributes = attributes;
        if std::mem::replace(&mut path.withdrawn, false) || changed {
            path.dialled = None;
            self.tell_path(id, PathNotice::Up);
            self.path_changed(now, id);
        }
        self.schedule_path(now, id);
    }

    /// Router: the link of a path is gone. Its subflows are given up.
    pub fn withdraw_path(&mut self, now: Time, id: u8) {
        let Some(path) = self.paths.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut path.withdrawn, true) {
            return;
        }
        self.close_subflows(id, None);
        self.abandon_path(now, id);
        self.tell_path(id, PathNotice::Withdrawn);
        self.path_changed(now, id);
    }

    /// The addresses of a subflow that has joined, its own end's and the other's: schedulers see them.
    pub fn set_ends(&mut self, id: SubflowId, ends: [SocketAddr; 2]) {
        if let Some(subflow) = self.subflows.get_mut(&id) {
            subflow.ends = Some(ends);
        }
    }

    /// A subflow was authenticated on a path. `info` holds what its handshake showed.
    pub fn subflow_joined(&mut self, now: Time, id: SubflowId, on: u8, info: SubflowInfo) {
        let path = self
            .paths
            .entry(on)
            .or_insert_with(|| Path::new(PathAttributes::default(), now));
        path.dials = path.dials.saturating_sub(1);
        if self.config.side == Side::Server {
            // The router uses it, whatever its notice says that is yet to come.
            path.withdrawn = false;
        }
        let was_down = path.state(now) == PathState::Down;
        let there = self
            .subflows
            .values()
            .filter(|s| s.path == on && !s.closing)
            .count();
        if path.withdrawn || self.ended || (!was_down && there >= MAX_SUBFLOWS_PER_PATH) {
            self.events.push_back(Event::Close(id));
            return;
        }
        let had_alarm = path.end_alarm();
        path.told = None;
        path.pinged = None;
        path.last_heard = now;
        path.bare_since = None;
        path.note_join(now);
        self.timers.set(Timer::NoPath, None);
        self.subflows.insert(id, Subflow::new(on, info, now));
        if was_down {
            // The old ones would wake late, with a window of one segment, and send what was
            // repeated long ago.
            self.close_subflows(on, Some(id));
        }
        if was_down || had_alarm {
            self.tell_path(on, PathNotice::Up);
            self.path_changed(now, on);
        }
        self.schedule_path(now, on);
        self.leave_last_resorts(now);
        self.settle(now);
    }

    /// Router: an attempt to open a subflow failed.
    pub fn dial_failed(&mut self, now: Time, id: u8) {
        if let Some(path) = self.paths.get_mut(&id) {
            path.dials = path.dials.saturating_sub(1);
            self.schedule_path(now, id);
        }
    }

    /// Router: an attempt to open a subflow got a connection, and no answer to the handshake on it.
    pub fn dial_stalled(&mut self, now: Time, id: u8) {
        if let Some(path) = self.paths.get_mut(&id) {
            path.note_stall();
        }
        self.dial_failed(now, id);
    }

    /// A subflow's connection is closed or broken: what it carried is carried elsewhere.
    pub fn subflow_closed(&mut self, now: Time, id: SubflowId) {
        self.take_back(id);
        let Some(subflow) = self.subflows.remove(&id) else {
            return;
        };
        if !planted!(DebtsOfClosed) {
            self.abandon_subflow(now, id, &subflow, true);
        }
        let left = self.subflows.values().any(|s| s.path == subflow.path);
        if let Some(path) = self.paths.get_mut(&subflow.path).filter(|_| !left) {
            path.bare_since = Some(now);
            path.end_alarm();
            path.told = None;
            self.path_changed(now, subflow.path);
        }
        if self.subflows.is_empty() && !self.ended {
            self.timers.set(Timer::NoPath, Some(now + PATIENCE));
        }
        self.schedule_path(now, subflow.path);
        self.settle(now);
    }

    /// The kernel's figures of a subflow.
    pub fn handle_info(&mut self, now: Time, id: SubflowId, info: SubflowInfo) {
        let Some(subflow) = self.subflows.get_mut(&id) else {
            return;
        };
        let delivered = info.delivered.saturating_sub(subflow.info.delivered);
        if let Some(path) = self.paths.get_mut(&subflow.path) {
            path.proven
                .delivered(now, delivered * u64::from(info.mss), info.srtt);
        }
        let jammed = subflow.take_info(now, info);
        let moved =
            subflow
                .progress
                .observe(now, info.delivered, info.bytes_acked, info.is_outstanding());
        if moved.delivered {
            subflow.suspect = false;
        }
        let path = subflow.path;
        if jammed {
            self.expect_late(now, id, info.notsent);
        }
        let Some(subflow) = self.subflows.get(&id) else {
            return;
        };
        let has_output = subflow.has_output();
        if moved.acked {
            self.end_alarm(now, path);
        }
        self.judge(now, id);
        if has_output {
            self.wake(id);
        }
        self.note_slack(now);
        if self.tells_of_room(id) && !planted!(NeverUnparked) {
            self.unpark();
            self.pump(now);
        }
    }

    /// Whether data is in flight on the subflow, so that its figures are wanted.
    pub fn is_busy(&self, id: SubflowId) -> bool {
        self.subflows
            .get(&id)
            .is_some_and(|s| s.progress.is_busy() || s.queued > 0 || s.owed > 0)
    }

    /// The unsent bytes a subflow may have in the kernel, if more is to be sent on it than that: the
    /// caller is to call [`Session::handle_info`] as soon as there are fewer.
    pub fn room_wanted(&self, id: SubflowId) -> Option<u64> {
        let subflow = self.subflows.get(&id)?;
        let wanted =
            !subflow.turn.is_empty() || !self.waiting.is_empty() || !self.parked.is_empty();
        (wanted && !subflow.closing).then(|| subflow.queue_bound())
    }

    /// Whether what the subflow carries is overdue, and what follows.
    fn judge(&mut self, now: Time, id: SubflowId) {
        let overdue = |subflow: &Subflow| {
            let at = subflow.progress.overdue_at(
                subflow.info.srtt,
                subflow.info.rttvar,
                subflow.info.in_flight,
            );
            at.is_some_and(|at| at <= now)
        };
        let Some(subflow) = self.subflows.get(&id).filter(|s| overdue(s)) else {
            return;
        };
        let path = subflow.path;
        let mut others = self
            .subflows
            .iter()
            .filter(|&(&other, s)| other != id && s.path == path);
        let one_moves = others.any(|(_, s)| s.progress.is_busy() && !overdue(s));
        if one_moves {
            self.suspect(now, id);
        } else {
            self.raise_alarm(now, path);
        }
    }

    /// One subflow is overdue while others of its path move: only what blocks its flows is
    /// repeated, and it gets nothing new.
    fn suspect(&mut self, now: Time, id: SubflowId) {
        let Some(subflow) = self.subflows.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut subflow.suspect, true) {
            return;
        }
        let mut repeat = Vec::new();
        for (&flow, state) in &mut self.flows {
            if state.send.lose_head(id) {
                repeat.push(flow);
            }
        }
        for flow in repeat {
            self.enqueue(flow);
        }
        self.pump(now);
    }

    fn raise_alarm(&mut self, now: Time, id: u8) {
        let Some(path) = self.paths.get_mut(&id) else {
            return;
        };
        if path.alarm.is_some() || path.withdrawn {
            return;
        }
        path.alarm = Some(now);
        self.alarms += 1;
        path.note_relapse(now);
        path.pinged = None;
        self.abandon_path(now, id);
        self.tell_path(id, PathNotice::Stale);
        self.path_changed(now, id);
        self.schedule_path(now, id);
    }

    fn end_alarm(&mut self, now: Time, id: u8) {
        let Some(path) = self.paths.get_mut(&id) else {
            return;
        };
        if !path.progressed(now) {
            return;
        }
        path.end_alarm();
        self.tell_path(id, PathNotice::Up);
        self.trust_path(now, id);
    }

    /// A stale path is up again: what its subflows had sent is not lost.
    fn trust_path(&mut self, now: Time, id: u8) {
        if self.is_up(id) {
            let of_path = self.subflows.iter().filter(|(_, s)| s.path == id);
            for (&subflow, _) in of_path {
                for flow in self.flows.values_mut() {
                    flow.send.trust(subflow);
                }
            }
            self.leave_last_resorts(now);
            self.settle(now);
        }
        self.path_changed(now, id);
        self.schedule_path(now, id);
    }

    /// The other end says something of a path.
    pub(super) fn path_notice(
        &mut self,
        now: Time,
        number: u64,
        id: u8,
        notice: PathNotice,
        backup: bool,
    ) {
        let router = self.config.side == Side::Router;
        let Some(path) = self.paths.get_mut(&id) else {
            return;
        };
        if path.last_notice.is_some_and(|last| number < last) {
            return;
        }
        path.last_notice = Some(number);
        if !router {
            path.attributes.backup = backup;
            path.withdrawn = notice == PathNotice::Withdrawn;
        }
        if notice == PathNotice::Stale && path.is_up() {
            path.note_relapse(now);
        }
        let was_told = path.told;
        path.told = match notice {
            PathNotice::Stale => was_told.or(Some(now)),
            PathNotice::Up | PathNotice::Withdrawn => None,
        };
        match notice {
            PathNotice::Up => self.trust_path(now, id),
            PathNotice::Stale | PathNotice::Withdrawn => {
                if notice == PathNotice::Withdrawn {
                    self.close_subflows(id, None);
                }
                self.abandon_path(now, id);
                self.path_changed(now, id);
                self.schedule_path(now, id);
            }
        }
    }

    pub(super) fn path_timeout(&mut self, now: Time, id: u8) {
        let flows_open = !self.flows.is_empty();
        let round_trip = self.patience_of(id);
        let Some(path) = self.paths.get_mut(&id) else {
            return;
        };
        if path.state(now) == PathState::Down && self.config.side == Side::Router {
            if path.dial_at(now).is_some_and(|at| at <= now) {
                path.dialled = Some(now);
                path.dials += 1;
                let small_segments = path.small_segments;
                self.events.push_back(Event::Dial {
                    path: id,
                    small_segments,
                });
            }
        } else if path
            .ping_at(flows_open, round_trip)
            .is_some_and(|at| at <= now)
        {
            match path.pinged {
                Some(_) => self.raise_alarm(now, id),
                None => self.ping(now, id),
            }
        }
        self.schedule_path(now, id);
    }

    fn ping(&mut self, now: Time, id: u8) {
        if self.config.side != Side::Router {
            return;
        }
        let Some(subflow) = trunk(&self.subflows, id) else {
            return;
        };
        if let Some(path) = self.paths.get_mut(&id) {
            path.pinged = Some(now);
        }
        if let Some(trunk) = self.subflows.get_mut(&subflow) {
            trunk.ping = Some(now.as_nanos() & crate::varint::MAX);
            self.wake(subflow);
        }
    }

    pub(super) fn answer_ping(&mut self, on: SubflowId, stamp: u64) {
        if let Some(subflow) = self.subflows.get_mut(&on) {
            subflow.pong = Some(stamp);
            self.wake(on);
        }
    }

    pub(super) fn handle_pong(&mut self, now: Time, on: SubflowId) {
        let Some(path) = self.subflows.get(&on).map(|s| s.path) else {
            return;
        };
        if let Some(state) = self.paths.get_mut(&path) {
            state.pinged = None;
        }
        self.end_alarm(now, path);
        self.schedule_path(now, path);
    }

    /// How long an answer on the path may take.
    fn patience_of(&self, id: u8) -> Duration {
        trunk(&self.subflows, id)
            .and_then(|subflow| self.subflows.get(&subflow))
            .map_or(Duration::ZERO, |s| {
                s.info.srtt + 4 * s.info.rttvar + Duration::from_millis(50)
            })
    }

    /// Sets the path's timer to the next thing that must happen without any input.
    pub(super) fn schedule_path(&mut self, now: Time, id: u8) {
        if self.config.side != Side::Router || self.ended {
            return;
        }
        let round_trip = self.patience_of(id);
        let flows_open = !self.flows.is_empty();
        let Some(path) = self.paths.get(&id) else {
            return;
        };
        let next = path
            .dial_at(now)
            .or_else(|| path.ping_at(flows_open, round_trip));
        self.timers.set(Timer::Path(id), next);
    }

    fn path_changed(&mut self, now: Time, id: u8) {
        if let Some(path) = self.paths.get(&id) {
            let state = path.state(now);
            self.events.push_back(Event::Path { path: id, state });
        }
    }

    fn tell_path(&mut self, path: u8, notice: PathNotice) {
        let backup = self
            .paths
            .get(&path)
            .is_some_and(|path| path.attributes.backup);
        self.tell(Control::PathStatus {
            path,
            notice,
            backup,
        });
    }

    /// Has the subflows of a path closed, except one.
    fn close_subflows(&mut self, path: u8, except: Option<SubflowId>) {
        let of_path = self
            .subflows
            .iter_mut()
            .filter(|(_, s)| s.path == path && !s.closing);
        for (&id, subflow) in of_path.filter(|&(&id, _)| Some(id) != except) {
            subflow.closing = true;
            self.events.push_back(Event::Close(id));
        }
    }

    /// Everything the subflows of a path owe or sent moves elsewhere.
    fn abandon_path(&mut self, now: Time, id: u8) {
        self.give_up(now, id);
        self.settle(now);
    }

    /// The same, and what waits for a subflow is not looked at yet.
    fn give_up(&mut self, now: Time, id: u8) {
        let of_path: Vec<SubflowId> = self
            .subflows
            .iter()
            .filter(|(_, s)| s.path == id)
            .map(|(&id, _)| id)
            .collect();
        for id in of_path {
            self.take_back(id);
            if let Some(subflow) = self.subflows.remove(&id) {
                self.abandon_subflow(now, id, &subflow, false);
                self.subflows.insert(
                    id,
                    Subflow {
                        owed: 0,
                        turn: Default::default(),
                        acks: Default::default(),
                        control: Default::default(),
                        ..subflow
                    },
                );
            }
        }
    }

    /// What one subflow owes or sent moves elsewhere.
    fn abandon_subflow(&mut self, now: Time, id: SubflowId, subflow: &Subflow, gone: bool) {
        self.sender.abandon(id);
        let (subflows, paths) = (&self.subflows, &self.paths);
        let alive = |id: SubflowId| {
            subflows
                .get(&id)
                .is_some_and(|s| s.is_fit() && paths.get(&s.path).is_some_and(Path::is_up))
        };
        let mut again = Vec::new();
        for (&flow, state) in &mut self.flows {
            state.send.abandon(id, gone, alive);
            if subflow.acks.contains(&flow) || state.ack.carrier == Some(id) {
                again.push(flow);
            }
        }
        for flow in again {
            self.note_ack(now, flow);
        }
        if subflow.control_ack || gone {
            self.ack_control_elsewhere();
        }
    }

    /// The control sequence may have been acknowledged on a subflow that is lost.
    fn ack_control_elsewhere(&mut self) {
        if let Some(id) = self.signal_carrier(None)
            && let Some(subflow) = self.subflows.get_mut(&id)
        {
            subflow.control_ack = true;
            self.wake(id);
        }
    }

    /// A path is up. What went by one that is not, for want of a better one, moves: nobody would wait for it
    /// there.
    fn leave_last_resorts(&mut self, now: Time) {
        let in_use = self.subflows.values().map(|s| s.path);
        let last_resorts: BTreeSet<u8> = in_use.filter(|&path| !self.is_up(path)).collect();
        for path in last_resorts {
            self.give_up(now, path);
        }
    }

    /// After subflows came or went: everything that waited for one is looked at again.
    fn settle(&mut self, now: Time) {
        self.assign_control();
        let busy: Vec<u64> = self
            .flows
            .iter()
            .filter(|(_, flow)| flow.send.has_work())
            .map(|(&id, _)| id)
            .collect();
        for id in busy {
            self.enqueue(id);
        }
        self.unpark();
        self.fill_pools(now);
        self.pump(now);
    }

    /// Whether new data may go by a path.
    pub(super) fn is_up(&self, id: u8) -> bool {
        self.paths.get(&id).is_some_and(Path::is_up)
    }

    /// The state of a path, if there is such a path.
    pub fn path_state(&self, now: Time, id: u8) -> Option<PathState> {
        Some(self.paths.get(&id)?.state(now))
    }

    /// What is known of every path.
    pub fn paths(&self, now: Time) -> Vec<PathReport> {
        let report = |(&id, path): (&u8, &Path)| {
            let of_path = || self.subflows.values().filter(move |s| s.path == id);
            PathReport {
                path: id,
                state: path.state(now),
                backup: path.attributes.backup,
                srtt: of_path().next().map_or(Duration::ZERO, |s| s.info.srtt),
                min_rtt: of_path()
                    .map(|s| s.info.min_rtt)
                    .filter(|trip| !trip.is_zero())
                    .min()
                    .unwrap_or_default(),
                rate: of_path().map(|s| s.info.delivery_rate).sum(),
                subflows: of_path().filter(|s| !s.closing).count(),
                sent: of_path().map(|s| s.sent_bytes).sum(),
                received: of_path().map(|s| s.received_bytes).sum(),
                delivered: of_path().map(|s| s.info.delivered).sum(),
                repeated: of_path().map(|s| s.info.repeated).sum(),
            }
        };
        self.paths.iter().map(report).collect()
    }
}
