//! The native scheduler `weighted`; its page:
//!
#![doc = include_str!("weighted.md")]

use crate::{FlowView, MAX_SUBFLOWS, Marks, Scheduler, SubflowView};

/// A weight of 1 is so many bytes a second: 100 kbit/s.
const UNIT: u64 = 12_500;
/// The largest weight.
const MOST: u64 = 10_000;

/// The scheduler.
#[derive(Default)]
pub struct Weighted {
    /// How far each position is behind (above 0) or ahead of its share.
    behind: [i32; MAX_SUBFLOWS],
}

/// The weight of a subflow, from 1 to 10,000.
pub fn weight(subflow: &SubflowView) -> i32 {
    (subflow.rate / UNIT).clamp(1, MOST) as i32
}

impl Scheduler for Weighted {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        let only_backups = flow.subflows.iter().all(|subflow| subflow.backup);
        let mut chosen: Option<usize> = None;
        let mut sum = 0;
        for (position, subflow) in flow.subflows.iter().enumerate().take(MAX_SUBFLOWS) {
            if subflow.room == 0 || (subflow.backup && !only_backups) {
                continue;
            }
            sum += weight(subflow);
            self.behind[position] = self.behind[position].wrapping_add(weight(subflow));
            if chosen.is_none_or(|best| self.behind[position] > self.behind[best]) {
                chosen = Some(position);
            }
        }
        if let Some(position) = chosen {
            self.behind[position] = self.behind[position].wrapping_sub(sum);
            marks.mark(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_support::{flow, subflow};

    #[test]
    fn each_has_its_share() {
        let subflows = [subflow(0, 20, 30), subflow(1, 20, 10)];
        let mut scheduler = Weighted::default();
        let mut shares = [0; 2];
        for _ in 0..40 {
            let mut marks = Marks::default();
            scheduler.get_send(&flow(&subflows), &mut marks);
            shares[marks.iter().next().expect("there is room")] += 1;
        }
        assert_eq!(shares, [30, 10]);
    }
}
