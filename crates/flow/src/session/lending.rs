//! Gives busy flows subflows of their own, and has more opened while they are wanted.
//!
//! Small and idle flows share the trunks. A flow that has sent [`BUSY_BYTES`] is lent one subflow a
//! path, in the direction that this end sends. When more flows are busy than could be lent one each, nobody is:
//! they share all of a path's subflows chunk by chunk in turn, so that none gets more than another. Lending is
//! policy of the sender, not protocol: the receiver takes any record from any subflow.

use std::time::Duration;

use guywire_sched::{SubflowId, Time};

use super::{Event, MAX_SUBFLOWS_PER_PATH, Session, Side};
use crate::subflow::Subflow;
use crate::timer::Timer;

/// A flow that moved so much is busy.
pub(super) const BUSY_BYTES: u64 = 128 << 10;
/// A flow that had nothing to send for so long gives its subflows back.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// How often that is looked at, and how many subflows are wanted.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long a subflow whose window collapsed rests where others can take its place. BBR's PROBE_RTT lasts 200 ms
/// and a round trip, but only acknowledgements end it; and after a longer rest, the next one of this
/// subflow will not come at the same time as that of another.
const REST: Duration = Duration::from_secs(1);

impl Session {
    /// Looks at the flows regularly as long as there are any.
    pub(super) fn start_lending(&mut self, now: Time) {
        if !self.timers.is_set(Timer::Lending) {
            self.timers.set(Timer::Lending, Some(now + INTERVAL));
        }
    }

    pub(super) fn lending_timeout(&mut self, now: Time) {
        if self.flows.is_empty() {
            return;
        }
        self.timers.set(Timer::Lending, Some(now + INTERVAL));
        for subflow in self.subflows.values_mut() {
            subflow.collapsed = subflow.collapsed.filter(|at| now.since(*at) < REST);
        }
        let idle = |flow: &crate::flow::Flow| {
            !flow.send.is_outstanding() && now.since(flow.last_busy) > IDLE_AFTER
        };
        let busy = |flow: &crate::flow::Flow| {
            flow.send.scheduled() >= BUSY_BYTES && now.since(flow.last_busy) < IDLE_AFTER
        };
        // The trunk is not lent.
        self.crowded =
            self.flows.values().filter(|flow| busy(flow)).count() >= MAX_SUBFLOWS_PER_PATH;
        let crowded = self.crowded;
        for flow in self.flows.values_mut().filter(|flow| crowded || idle(flow)) {
            for (_, subflow) in std::mem::take(&mut flow.own) {
                if let Some(subflow) = self.subflows.get_mut(&subflow) {
                    subflow.lent_to = None;
                }
            }
        }
        // Who waited for a subflow that was its own may have another one to use now.
        self.unpark();
        self.fill_pools(now);
    }

    /// Router: opens what is missing. A path has its trunk and one to lend, and more while more
    /// flows are busy in either direction.
    pub(super) fn fill_pools(&mut self, now: Time) {
        if self.config.side != Side::Router || self.ended {
            return;
        }
        let busy = self
            .flows
            .values()
            .filter(|flow| flow.send.scheduled().max(flow.recv.cumulative()) >= BUSY_BYTES)
            .take(MAX_SUBFLOWS_PER_PATH)
            .count();
        for (&id, path) in self.paths.iter_mut().filter(|(_, path)| path.is_up()) {
            let spare = usize::from(!path.attributes.metered);
            let wanted = (1 + busy.max(spare)).min(MAX_SUBFLOWS_PER_PATH);
            let there = self
                .subflows
                .values()
                .filter(|s| s.path == id && !s.closing)
                .count();
            let recently = path.dialled.is_some_and(|at| now.since(at) < INTERVAL / 2);
            for _ in there + path.dials as usize..wanted {
                if recently {
                    break;
                }
                path.dials += 1;
                path.dialled = Some(now);
                self.events.push_back(Event::Dial {
                    path: id,
                    small_segments: path.small_segments,
                });
            }
        }
    }

    /// Lends the flow what is free, if it is busy.
    pub(super) fn lend(&mut self, id: u64) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if self.crowded
            || flow.send.scheduled() < BUSY_BYTES
            || flow.opening.is_some()
            || flow.send.backlog() == 0
        {
            return;
        }
        for (&path, _) in self.paths.iter().filter(|(_, path)| path.is_up()) {
            if flow.own.contains_key(&path) {
                continue;
            }
            let mut of_path = self
                .subflows
                .iter_mut()
                .filter(|(_, s)| s.path == path && !s.closing);
            let _trunk = of_path.next();
            if let Some((&subflow, free)) = of_path.find(|(_, s)| s.lent_to.is_none()) {
                free.lent_to = Some(id);
                flow.own.insert(path, subflow);
            }
        }
    }

    /// Subflows that are to carry copies of one chunk take turns with others of their paths: when the window
    /// of one collapses, as for 200 ms in every 10 s of BBR (its PROBE_RTT), another one is in use and
    /// knows the link's rate. Else a link that dies just then takes the flow with it.
    pub(super) fn take_turns(&mut self, id: u64, chosen: &mut [SubflowId]) {
        let Some(flow) = self.flows.get_mut(&id).filter(|f| f.opening.is_none()) else {
            return;
        };
        flow.copied += 1;
        let turn = flow.copied;
        for carrier in chosen {
            let fit = || self.alike(*carrier).filter(|(_, s)| s.collapsed.is_none());
            if let Some((next, _)) = fit().nth(turn % fit().count().max(1)) {
                *carrier = next;
            }
        }
    }

    /// What is best in the place of a subflow that a flow of copies was lent: itself unless its window has
    /// collapsed, and if those of all did so, the first of them, which will be the first to recover.
    pub(super) fn relief_of(&self, own: SubflowId) -> SubflowId {
        if self
            .subflows
            .get(&own)
            .is_none_or(|s| s.collapsed.is_none())
        {
            return own;
        }
        let first = self.alike(own).min_by_key(|(_, s)| s.collapsed);
        // Nothing fits where its own is overdue too: then it is shown, and is full.
        first.map_or(own, |(id, _)| id)
    }

    /// The subflows of the same path that are lent to nobody else.
    fn alike(&self, to: SubflowId) -> impl Iterator<Item = (SubflowId, &Subflow)> {
        let like = self.subflows.get(&to).map(|s| (s.path, s.lent_to));
        let fit = move |s: &Subflow| {
            like.is_some_and(|(path, lent_to)| {
                s.path == path && (s.lent_to.is_none() || s.lent_to == lent_to)
            }) && s.is_fit()
        };
        let all = self.subflows.iter().map(|(&id, s)| (id, s));
        all.filter(move |(_, s)| fit(s))
    }

    /// A subflow is lent no more.
    pub(super) fn take_back(&mut self, subflow: SubflowId) {
        let lent_to = self
            .subflows
            .get_mut(&subflow)
            .and_then(|s| s.lent_to.take());
        if let Some(flow) = lent_to.and_then(|id| self.flows.get_mut(&id)) {
            flow.own.retain(|_, own| *own != subflow);
        }
    }
}
