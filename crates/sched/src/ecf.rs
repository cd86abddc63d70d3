//! `ecf`: earliest completion first: waits for the quickest link where the transfer is over sooner so.
//!
//! **Overview.** After Lim, Nahum, Towsley and Gibbens, "ECF: An MPTCP Path Scheduler to Manage
//! Heterogeneous Paths" (CoNEXT 2017). While the link with the shortest round trip has room, it gets everything. When it
//! is full, with `k` bytes waiting: if the quickest would be through with all of them,
//! `(1 + k / CWND) RTT`, before the slower one has delivered its part, and the slower one would need two round trips of
//! the quickest at least, it waits; else the slower one gets the chunk. Who waits already goes on waiting a little
//! longer (`beta`).
//! **Typical use.** Transfers of some hundred kB to some MB over links of unlike delay: a stream in pieces.
//! **When it hurts.** Endless transfers: something always waits, so it is `minrtt` then.
//! **Production ready?** It is safe; `default` holds slow links back for short flows as well.
//!
//! Deviations: a view has no congestion window, so [`SubflowView::window`] stands for it; `k` is what waits in this
//! session, and what the program has not written yet is not known.

use std::time::Duration;

use crate::minrtt::MinRtt;
use crate::{FlowView, Marks, Scheduler, SubflowView};

/// Who waits goes on until a quarter more speaks against it (section 4).
const BETA: f64 = 0.25;

/// The scheduler.
#[derive(Default)]
pub struct Ecf {
    waiting: bool,
}

impl Ecf {
    /// Whether it is worth waiting for `quick`, which is full, although `slow` has room.
    fn waits(&mut self, flow: &FlowView<'_>, quick: &SubflowView, slow: &SubflowView) -> bool {
        let trips = |bytes: u64, subflow: &SubflowView| {
            let took = subflow.srtt.as_secs_f64() * bytes as f64 / subflow.window() as f64;
            Duration::try_from_secs_f64(took).unwrap_or(Duration::MAX)
        };
        let margin = quick.rttvar.max(slow.rttvar);
        let hysteresis = if self.waiting { 1.0 + BETA } else { 1.0 };
        let sooner = quick.srtt.saturating_add(trips(flow.backlog, quick));
        if sooner >= (slow.srtt + margin).mul_f64(hysteresis) {
            self.waiting = false;
            return false;
        }
        let long: Duration = 2 * quick.srtt + margin;
        if trips(flow.backlog, slow).max(slow.srtt) < long {
            return false;
        }
        self.waiting = true;
        true
    }
}

impl Scheduler for Ecf {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        let Some((quickest, quick)) = flow.quickest(|_| true) else {
            return;
        };
        if quick.room > 0 {
            return marks.mark(quickest);
        }
        if let Some((position, slow)) = flow.quickest(|subflow| subflow.room > 0)
            && !self.waits(flow, quick, slow)
        {
            marks.mark(position);
        }
    }

    /// What was lost holds up all that follows: the quickest link with room has it.
    fn get_retrans(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        MinRtt.get_send(flow, marks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_support::{flow, subflow};

    fn chosen(scheduler: &mut Ecf, backlog: u64) -> Vec<usize> {
        let mut subflows = [subflow(0, 20, 100), subflow(1, 200, 5)];
        subflows[0].room = 0;
        let view = FlowView {
            backlog,
            ..flow(&subflows)
        };
        let mut marks = Marks::default();
        scheduler.get_send(&view, &mut marks);
        marks.iter().collect()
    }

    #[test]
    fn what_is_over_soon_waits_for_the_quick_link() {
        // 250 kB each 20 ms there; here nothing arrives within 200 ms.
        assert_eq!(chosen(&mut Ecf::default(), 500_000), [] as [usize; 0]);
        assert_eq!(chosen(&mut Ecf::default(), 5_000_000), [1]);
    }

    #[test]
    fn who_waits_goes_on_waiting() {
        let mut scheduler = Ecf::default();
        assert_eq!(chosen(&mut scheduler, 2_500_000), [1]);
        assert_eq!(chosen(&mut scheduler, 2_000_000), [] as [usize; 0]);
        assert_eq!(chosen(&mut scheduler, 2_500_000), [] as [usize; 0]);
        assert_eq!(chosen(&mut scheduler, 5_000_000), [1]);
    }
}
