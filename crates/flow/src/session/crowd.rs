//! A crowd: more flows are busy than could be lent a subflow each. They share all of a path's but its trunk, and
//! together have no more in flight there than the path has proven to carry, unless they have had more to send
//! for a while: then congestion control has found out what each subflow's share is.

use std::time::Duration;

use guywire_sched::{SubflowId, Time};

use super::Session;
use super::lending::BUSY_BYTES;
use crate::flow::Flow;
use crate::subflow::{QUEUE_TIME, Subflow, trunk};

/// How long flows have had more to send than could be sent before nothing but congestion control bounds them: with
/// the bound alone eight downloads over three links carried a fifth less.
const SLACK: Duration = Duration::from_millis(500);

impl Session {
    /// The figures of a subflow are looked at.
    pub(super) fn note_slack(&mut self, now: Time) {
        if self.waiting.is_empty() && self.parked.is_empty() {
            self.slack_at = now;
        }
        self.bounded = now.since(self.slack_at) < SLACK;
    }

    /// Whether a flow is one of a crowd.
    fn is_of_crowd(&self, flow: &Flow) -> bool {
        self.crowded && flow.send.scheduled() >= BUSY_BYTES
    }

    /// The subflow of a path for one of a crowd: the one with the most room, and not one whose window has
    /// collapsed. The trunk is left to small flows where there is another.
    pub(super) fn shared_on(&self, flow: &Flow, path: u8) -> Option<SubflowId> {
        if !self.is_of_crowd(flow) {
            return None;
        }
        self.shared(path)
            .max_by_key(|(_, s)| (s.collapsed.is_none(), s.room()))
            .map(|(id, _)| id)
    }

    /// The subflows of a path that a crowd shares: all but the first, its trunk.
    fn shared(&self, path: u8) -> impl Iterator<Item = (SubflowId, &Subflow)> {
        let all = self.subflows.iter().map(|(&id, s)| (id, s));
        all.filter(move |(_, s)| s.path == path && !s.closing)
            .skip(1)
    }

    /// What a flow finds on a subflow: bytes that will be sent before its own, and its room.
    pub(super) fn offer(&self, id: u64, subflow: &Subflow) -> (u64, u64) {
        let (ahead, room) = subflow.offer(id);
        let bounded = self.flows.get(&id).is_some_and(|f| self.is_of_crowd(f));
        match bounded && !subflow.is_overdrawn() {
            true => (ahead, room.min(self.spare_on(subflow.path))),
            false => (ahead, room),
        }
    }

    /// Bytes that a crowd may add to what is in flight on a path or waits for it.
    fn spare_on(&self, path: u8) -> u64 {
        let of_path = || {
            let all = self.subflows.values();
            all.filter(|s| s.path == path && !s.suspect)
        };
        let Some(state) = self.paths.get(&path).filter(|_| self.bounded) else {
            return u64::MAX;
        };
        let trip = of_path().map(|s| s.info.srtt).min().unwrap_or_default();
        let taken: u64 = of_path().map(Subflow::taken).sum();
        let bound = state.proven.bound(trip, QUEUE_TIME);
        bound.saturating_sub(taken)
    }

    /// Whether a subflow tells of room for flows that wait. In a crowd, what one has not in flight any more is room
    /// on the others of its path.
    pub(super) fn tells_of_room(&self, id: SubflowId) -> bool {
        let Some(subflow) = self.subflows.get(&id) else {
            return false;
        };
        let path = subflow.path;
        match self.crowded && trunk(&self.subflows, path) != Some(id) {
            true => self.spare_on(path) > 0 && self.shared(path).any(|(_, s)| s.may_take()),
            false => subflow.may_take(),
        }
    }
}
