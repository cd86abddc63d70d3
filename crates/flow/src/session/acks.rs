//! Acknowledges data and grants windows.

use std::time::Duration;

use guywire_sched::{SubflowId, Time};

use super::Session;
use crate::reader::Pace;
use crate::timer::Timer;

/// While no subflow is fit to carry an acknowledgement, one is looked for this often.
const RETRY: Duration = Duration::from_millis(20);

impl Session {
    /// Something of a flow changed that its sender should know.
    pub(super) fn note_ack(&mut self, now: Time, id: u64) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.ack.change(now);
            self.schedule_ack(now, id);
        }
    }

    /// Sets the flow's timer, or sends at once what is due.
    fn schedule_ack(&mut self, now: Time, id: u64) {
        let srtt = self.ack_round_trip(id);
        let Some(flow) = self.flows.get(&id) else {
            return;
        };
        match flow.ack_due(srtt) {
            Some(due) if due <= now => self.send_ack(now, id, None),
            Some(_) if planted!(TrailingAck) => {}
            Some(due) => self.timers.set(Timer::Ack(id), Some(due)),
            None => self.timers.set(Timer::Ack(id), flow.ack.repeat_at),
        }
    }

    pub(super) fn ack_timeout(&mut self, now: Time, id: u64) {
        let srtt = self.ack_round_trip(id);
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if let Some(due) = flow.ack_due(srtt) {
            match due <= now {
                true => self.send_ack(now, id, None),
                false => self.timers.set(Timer::Ack(id), Some(due)),
            }
        } else if flow.ack.repeat_at.take_if(|at| *at <= now).is_some() {
            // Nothing came since: perhaps the acknowledgement was lost with its path.
            let first = flow.ack.carrier;
            self.send_ack(now, id, first);
        }
    }

    /// Hands the acknowledgement to the fastest live subflow of the flow, not on the path of
    /// `avoid`, which has carried it already.
    fn send_ack(&mut self, now: Time, id: u64, avoid: Option<SubflowId>) {
        let avoid = avoid
            .and_then(|subflow| self.subflows.get(&subflow))
            .map(|s| s.path);
        let Some(carrier) = self.fastest_for(id, avoid) else {
            return self.timers.set(Timer::Ack(id), Some(now + RETRY));
        };
        self.timers.set(Timer::Ack(id), None);
        if let Some(subflow) = self.subflows.get_mut(&carrier) {
            subflow.acks.insert(id);
            self.wake(carrier);
        }
    }

    fn ack_round_trip(&self, id: u64) -> Duration {
        self.fastest_for(id, None)
            .and_then(|subflow| self.subflows.get(&subflow))
            .map_or(Duration::ZERO, |subflow| subflow.info.srtt)
    }

    fn fastest_for(&self, id: u64, avoid: Option<u8>) -> Option<SubflowId> {
        self.subflows_of(id)
            .filter(|(_, subflow)| Some(subflow.path) != avoid)
            .min_by_key(|(_, subflow)| subflow.info.srtt)
            .map(|(subflow, _)| subflow)
    }

    /// Appends the acknowledgement of a flow as it is now.
    pub(super) fn put_ack(&mut self, now: Time, id: u64, carrier: SubflowId, out: &mut Vec<u8>) {
        let srtt = self
            .subflows
            .get(&carrier)
            .map_or(Duration::ZERO, |s| s.info.srtt);
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        flow.recv.grant(flow.recv.consumed() + flow.window);
        let (cumulative, window) = (flow.recv.cumulative(), flow.recv.window());
        flow.ack
            .tell(now, cumulative, flow.recv.limit(), srtt, carrier);
        crate::record::put_ack(out, id, cumulative, window);
        self.timers.set(Timer::Ack(id), flow.ack.repeat_at);
    }

    /// The local program has read: fit the window to how it keeps up, and say so when it matters.
    pub(super) fn after_read(&mut self, now: Time, id: u64) {
        let round_trip = self.longest_round_trip();
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let (consumed, limit) = (flow.recv.consumed(), flow.recv.limit());
        let waiting = flow.recv.cumulative() - consumed;
        match flow
            .reader
            .read(now, [consumed, waiting], flow.window, round_trip)
        {
            Pace::Starved => {
                let growth = self.credit.grow(flow.window);
                flow.growth += growth;
                flow.window += growth;
            }
            // A grant is never taken back, but what was read need not be granted anew.
            Pace::Slow => {
                let excess = (consumed + flow.window).saturating_sub(limit);
                let back = self.credit.shrink(flow.growth, excess);
                flow.growth -= back;
                flow.window -= back;
            }
            Pace::Even => {}
        }
        if flow.has_new_room() && !planted!(WindowNotTold) {
            self.note_ack(now, id);
        }
    }

    /// The longest round trip of the paths that are up, at least 10 ms.
    fn longest_round_trip(&self) -> Duration {
        let trips = self
            .subflows
            .values()
            .filter(|s| self.is_up(s.path))
            .map(|s| s.info.srtt);
        trips
            .max()
            .unwrap_or_default()
            .max(Duration::from_millis(10))
    }
}
