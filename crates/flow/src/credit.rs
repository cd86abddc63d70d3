//! The memory of a session: how large the flows' windows may be in all.
//!
//! Half of the budget is a reserve, split equally over the permitted flows, at least
//! [`MIN_SHARE`] each, so that no slow reader can keep another flow from moving. The other half is
//! for growth: a first helping at the start of a flow, more only while its reader keeps up. A slow reader's flow
//! gives that back as it reads; what was granted stays granted, hence what is granted never exceeds the budget.

mod audit;

/// The smallest share of a flow in the reserve, in bytes; it sets how many flows are permitted.
pub const MIN_SHARE: u64 = 4_096;
/// The most a flow gets for growth at its start. Only flows that fill it grow beyond.
const FIRST_HELPING: u64 = 1 << 20;
/// The most a single flow's window grows to. 16 to 32 MB bring a lossy 320 ms link to speed.
const MAX_GROWN: u64 = 32 << 20;

/// The budget of a session's receive windows.
#[derive(Clone, Debug)]
pub(crate) struct Credit {
    share: u64,
    max_flows: u64,
    growth_free: u64,
}

impl Credit {
    /// A budget of `memory` bytes for at most `max_flows` flows, fewer where the reserve is small.
    pub(crate) fn new(memory: u64, max_flows: u64) -> Credit {
        let reserve = memory / 2;
        let max_flows = max_flows.min(reserve / MIN_SHARE).max(1);
        Credit {
            share: (reserve / max_flows).max(MIN_SHARE),
            max_flows,
            growth_free: memory - reserve,
        }
    }

    /// The window of a flow before growth, in bytes.
    pub(crate) fn share(&self) -> u64 {
        self.share
    }

    pub(crate) fn max_flows(&self) -> u64 {
        self.max_flows
    }

    /// Growth for a flow that begins. The less is free, the less one flow takes of it, so that idle
    /// flows never use it up.
    pub(crate) fn first_helping(&mut self) -> u64 {
        self.take((self.growth_free / 16).min(FIRST_HELPING))
    }

    /// Growth for a flow that has `window` and fills it: as much again, if it is free.
    pub(crate) fn grow(&mut self, window: u64) -> u64 {
        let wanted = window.min(MAX_GROWN.saturating_sub(window));
        self.take(wanted.min(self.growth_free / 2))
    }

    fn take(&mut self, bytes: u64) -> u64 {
        self.growth_free -= bytes;
        bytes
    }

    /// Takes back what a slow reader's flow, which has `growth`, can spare: at most `excess`, and not its first
    /// helping.
    pub(crate) fn shrink(&mut self, growth: u64, excess: u64) -> u64 {
        let back = excess.min(growth.saturating_sub(FIRST_HELPING));
        self.give_back(back);
        back
    }

    /// Gives back what a flow had for growth.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.growth_free += bytes;
    }
}

/// The budget of what a session sends and has no acknowledgement for. The other end's windows alone would let a
/// hostile one fill our memory.
///
/// It is shaped like [`Credit`]: each flow may hold its share; what flows hold beyond their shares comes from the
/// other half.
#[derive(Clone, Debug)]
pub(crate) struct SendBudget {
    share: u64,
    free: u64,
}

impl SendBudget {
    pub(crate) fn new(memory: u64, max_flows: u64) -> SendBudget {
        let credit = Credit::new(memory, max_flows);
        SendBudget {
            share: credit.share,
            free: credit.growth_free,
        }
    }

    /// What a flow that holds `held` bytes may take in addition. One that gets nothing holds its share at
    /// least, so its own acknowledgements let it go on.
    pub(crate) fn room(&self, held: u64) -> u64 {
        self.share.saturating_sub(held) + self.free.min(MAX_GROWN)
    }

    /// A flow holds `after` bytes instead of `before`.
    pub(crate) fn change(&mut self, before: u64, after: u64) {
        let beyond = |held: u64| held.saturating_sub(self.share);
        self.free = (self.free + beyond(before)).saturating_sub(beyond(after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_for_sending_is_bounded_and_no_flow_starves() {
        let mut budget = SendBudget::new(8 << 20, 1_024);
        let mut held = [0; 1_024];
        for flow in &mut held {
            let room = budget.room(*flow);
            assert!(room >= MIN_SHARE);
            budget.change(*flow, *flow + room);
            *flow += room;
        }
        assert!(held.iter().sum::<u64>() <= 8 << 20);
        for flow in &mut held {
            budget.change(*flow, 0);
        }
        assert_eq!(budget.free, 4 << 20);
    }

    #[test]
    fn grants_never_exceed_the_budget() {
        let memory = 8 << 20;
        let mut credit = Credit::new(memory, 10_000);
        assert_eq!(credit.max_flows(), 1_024);
        let mut granted = 0;
        for _ in 0..credit.max_flows() {
            let mut window = credit.share() + credit.first_helping();
            window += credit.grow(window);
            granted += window;
        }
        assert!(granted <= memory, "{granted}");
        assert!(
            credit.first_helping() < MIN_SHARE,
            "and hardly anything is left"
        );
    }
}
