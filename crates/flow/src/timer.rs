//! The timers of a session, in one table.

use std::collections::{BTreeMap, BTreeSet};

use guywire_sched::Time;

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// When to send the acknowledgement of a flow, or to repeat it on another path.
    Ack(u64),
    /// When the chunk a flow's receiver waits for is overdue.
    Head(u64),
    /// When to judge how long a flow waits for its scheduler.
    Guard(u64),
    /// When to ping a path, to call it stale, or to dial again.
    Path(u8),
    /// When to take lent subflows back from flows that are not busy any more.
    Lending,
    /// When to give up a session that has no path.
    NoPath,
}

/// At most one deadline for each timer.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadline: BTreeMap<Timer, Time>,
    queue: BTreeSet<(Time, Timer)>,
}

impl Timers {
    /// Sets, moves or clears a timer.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Time>) {
        let before = match at {
            Some(at) => self.deadline.insert(timer, at),
            None => self.deadline.remove(&timer),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.queue.remove(&(before, timer));
        }
        if let Some(at) = at {
            self.queue.insert((at, timer));
        }
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.deadline.contains_key(&timer)
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.queue.first().map(|&(at, _)| at)
    }

    /// A timer whose deadline has come; it is cleared.
    pub(crate) fn expired(&mut self, now: Time) -> Option<Timer> {
        let &(at, timer) = self.queue.first()?;
        if at > now {
            return None;
        }
        self.set(timer, None);
        Some(timer)
    }
}
