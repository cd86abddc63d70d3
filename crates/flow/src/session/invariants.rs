//! What must hold of a session whenever nothing is left to poll, for simulations and tests.
//!
//! Nothing here changes anything. Every check is one sentence that a bug would break; the text it
//! gives names the flow, the subflow and the numbers.

use guywire_sched::SubflowId;

use super::Session;
use crate::flow::{Flow, Queue};
use crate::timer::Timer;

impl Session {
    /// Checks everything; to be called when no event is left to poll.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn invariants(&self) -> Result<(), String> {
        if self.ended {
            return Ok(());
        }
        self.memory_is_bounded()?;
        self.debts_agree()?;
        self.control_has_carriers()?;
        for (&id, flow) in &self.flows {
            let named = |what: String| format!("flow {id}: {what}");
            self.nobody_is_forgotten(id, flow).map_err(named)?;
            self.receiver_is_sound(id, flow).map_err(named)?;
        }
        self.room_is_used()?;
        self.loans_agree()
    }

    /// What is left behind when every flow is over and everything was acknowledged.
    pub fn residue(&self) -> Option<String> {
        if !self.flows.is_empty() {
            return Some(format!("{} flows", self.flows.len()));
        }
        if self.held_bytes() > 0 {
            return Some(format!("{} bytes", self.held_bytes()));
        }
        if self.ended {
            return None;
        }
        let owing = self
            .subflows
            .iter()
            .find(|(_, s)| s.owed > 0 || !s.turn.is_empty());
        if let Some((id, subflow)) = owing {
            return Some(format!("{id:?} owes {} bytes", subflow.owed));
        }
        if !self.waiting.is_empty() || !self.parked.is_empty() {
            return Some("flows that wait".to_owned());
        }
        let record = self.sender.outstanding().next();
        record.map(|(number, carrier, sent)| {
            format!("control record {number}, carrier {carrier:?}, sent {sent}")
        })
    }

    fn memory_is_bounded(&self) -> Result<(), String> {
        let growth: u64 = self.flows.values().map(|flow| flow.growth).sum();
        let (free, half) = (
            self.credit.growth_free(),
            self.config.memory - self.config.memory / 2,
        );
        if growth + free != half {
            return Err(format!("growth: {growth} given, {free} free, of {half}"));
        }
        let granted = |flow: &Flow| flow.recv.limit() - flow.recv.consumed();
        let granted: u64 = self.flows.values().map(|flow| granted(flow)).sum();
        if granted > self.config.memory {
            let memory = self.config.memory;
            return Err(format!("{granted} bytes granted with {memory} of memory"));
        }
        Ok(())
    }

    /// What flows say that subflows owe is what these say themselves.
    fn debts_agree(&self) -> Result<(), String> {
        let mut owed = std::collections::BTreeMap::<SubflowId, u64>::new();
        for (&id, flow) in &self.flows {
            let exists = |subflow| self.subflows.contains_key(&subflow);
            let of_flow = flow.send.audit(exists);
            for (subflow, bytes) in of_flow.map_err(|what| format!("flow {id}: {what}"))? {
                *owed.entry(subflow).or_default() += bytes;
                let turn = self.subflows.get(&subflow).map(|s| &s.turn);
                if !turn.is_some_and(|turn| turn.contains(&id)) {
                    return Err(format!("{subflow:?} owes flow {id} and never pays"));
                }
            }
        }
        for (id, subflow) in &self.subflows {
            let by_flows = owed.get(id).copied().unwrap_or(0);
            if by_flows != subflow.owed {
                let by_itself = subflow.owed;
                return Err(format!(
                    "{id:?} owes {by_flows} bytes and counts {by_itself}"
                ));
            }
        }
        Ok(())
    }

    /// Every control record that is not acknowledged is on its way, or nobody could take it.
    fn control_has_carriers(&self) -> Result<(), String> {
        for (number, carrier, sent) in self.sender.outstanding() {
            let Some(carrier) = carrier else {
                if self.signal_carrier(None).is_some()
                    && self.flows.values().all(|flow| is_open(flow))
                {
                    return Err(format!("control record {number} has no carrier"));
                }
                continue;
            };
            let Some(subflow) = self.subflows.get(&carrier) else {
                return Err(format!("{carrier:?} is gone with control record {number}"));
            };
            if !sent && !subflow.control.contains(&number) {
                return Err(format!("{carrier:?} forgot control record {number}"));
            }
        }
        Ok(())
    }

    /// A flow with something to schedule is in turn.
    fn nobody_is_forgotten(&self, id: u64, flow: &Flow) -> Result<(), String> {
        let held = match flow.queue {
            Queue::Absent => !flow.send.has_work(),
            Queue::Waiting => self.waiting.contains(&id),
            Queue::Parked(ticket) => self.parked.get(&ticket) == Some(&id),
        };
        match held {
            true => Ok(()),
            false => Err(format!(
                "is {:?} and has work, or is in no queue",
                flow.queue
            )),
        }
    }

    fn receiver_is_sound(&self, id: u64, flow: &Flow) -> Result<(), String> {
        let recv = &flow.recv;
        if recv.consumed() > recv.cumulative() || recv.cumulative() > recv.limit() {
            let (consumed, cumulative) = (recv.consumed(), recv.cumulative());
            return Err(format!("consumed {consumed}, cumulative {cumulative}"));
        }
        if recv.held() > recv.limit() - recv.consumed() {
            return Err(format!("holds {} bytes", recv.held()));
        }
        let rides = || self.subflows.values().any(|s| s.acks.contains(&id));
        let is_due = flow.ack_due(std::time::Duration::ZERO).is_some();
        if is_due && !rides() && !self.timers.is_set(Timer::Ack(id)) {
            return Err("an acknowledgement is due and nothing will send it".to_owned());
        }
        let unsaid = recv.consumed() + flow.window >= flow.ack.told_limit() + flow.window / 4;
        if unsaid && !flow.undecided && !is_due && !rides() && recv.consumed() > 0 {
            return Err("its window has opened and nobody will be told".to_owned());
        }
        Ok(())
    }

    /// No flow waits while everything it could use is idle, unless the guard has an eye on it.
    fn room_is_used(&self) -> Result<(), String> {
        if !self.waiting.is_empty() && self.subflows.values().any(|s| s.room() > 0) {
            return Err("flows wait for their turn although there is room".to_owned());
        }
        for &id in self.parked.values() {
            let Some(flow) = self.flows.get(&id).filter(|flow| flow.send.has_work()) else {
                continue;
            };
            let shown = self.shown(id, None);
            let any = !shown.views().is_empty();
            let idle = shown.views().iter().all(|s| s.room > 0 && s.queued == 0);
            let judged = self.timers.is_set(Timer::Guard(id));
            if any && idle && !judged && flow.send.first_lost().is_none() {
                return Err(format!("flow {id} waits although every link is idle"));
            }
        }
        Ok(())
    }

    fn loans_agree(&self) -> Result<(), String> {
        for (id, subflow) in &self.subflows {
            let Some(to) = subflow.lent_to else {
                continue;
            };
            let flow = self.flows.get(&to);
            if flow.is_none_or(|flow| flow.own.get(&subflow.path) != Some(id)) {
                return Err(format!("{id:?} is lent to flow {to}, which does not know"));
            }
        }
        Ok(())
    }
}

fn is_open(flow: &Flow) -> bool {
    flow.opening.is_none()
}
