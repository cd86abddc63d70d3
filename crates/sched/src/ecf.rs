//! The native scheduler `ecf`; its page:
//!
#![doc = include_str!("ecf.md")]

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
