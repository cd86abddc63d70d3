//! The control sequence: nothing of control is lost, nothing is done twice.
//!
//! Every control record has a number, is acknowledged cumulatively, and is sent again elsewhere when
//! the subflow that carried it goes stale or closes. The receiver takes them in any order.

use std::collections::{BTreeMap, BTreeSet};

use guywire_sched::SubflowId;

use crate::record::Control;

mod audit;

/// So many numbers may be outstanding beyond the lowest missing one. Control records are few: a flow
/// has at most five.
const WINDOW: u64 = 65_536;

/// What this end has to tell.
#[derive(Debug, Default)]
pub(crate) struct ControlSender {
    next: u64,
    acked: u64,
    outstanding: BTreeMap<u64, Outstanding>,
    /// The numbers of those without a carrier.
    homeless: BTreeSet<u64>,
}

#[derive(Debug)]
struct Outstanding {
    control: Control,
    /// The subflow it is owed by or was sent on; `None` while no subflow is fit.
    carrier: Option<SubflowId>,
    sent: bool,
}

impl ControlSender {
    /// Numbers a record; it has no carrier yet.
    pub(crate) fn push(&mut self, control: Control) -> u64 {
        let number = self.next;
        self.next += 1;
        self.homeless.insert(number);
        self.outstanding.insert(
            number,
            Outstanding {
                control,
                carrier: None,
                sent: false,
            },
        );
        number
    }

    /// Whether another record may be numbered without overrunning the receiver's window.
    pub(crate) fn has_room(&self) -> bool {
        self.outstanding.len() as u64 <= WINDOW / 2
    }

    /// Whether so many records were never acknowledged that the other end must be at fault: nothing
    /// is opened or answered any more when half of them are outstanding.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.outstanding.len() as u64 >= WINDOW / 4 * 3
    }

    /// Records without a carrier: number and content.
    pub(crate) fn homeless(&self) -> impl Iterator<Item = (u64, &Control)> {
        self.homeless
            .iter()
            .filter_map(|&number| Some((number, &self.outstanding.get(&number)?.control)))
    }

    pub(crate) fn assign(&mut self, number: u64, subflow: SubflowId) {
        if let Some(outstanding) = self.outstanding.get_mut(&number) {
            outstanding.carrier = Some(subflow);
            outstanding.sent = false;
            self.homeless.remove(&number);
        }
    }

    /// Takes the record to send it on its carrier; `None` if it was acknowledged or moved meanwhile.
    pub(crate) fn send(&mut self, number: u64, subflow: SubflowId) -> Option<&Control> {
        let outstanding = self.outstanding.get_mut(&number)?;
        if outstanding.carrier != Some(subflow) || outstanding.sent {
            return None;
        }
        outstanding.sent = true;
        Some(&outstanding.control)
    }

    /// A subflow went stale or closed: what it carried has no carrier any more.
    pub(crate) fn abandon(&mut self, subflow: SubflowId) {
        for (&number, outstanding) in &mut self.outstanding {
            if outstanding.carrier == Some(subflow) && !planted!(ControlNotReowed) {
                outstanding.carrier = None;
                self.homeless.insert(number);
            }
        }
    }

    /// Every number below `number` has arrived; `Err` if it was never sent.
    pub(crate) fn acknowledge(&mut self, number: u64) -> Result<(), ()> {
        if number > self.next {
            return Err(());
        }
        if number > self.acked {
            self.outstanding = self.outstanding.split_off(&number);
            self.homeless = self.homeless.split_off(&number);
            self.acked = number;
        }
        Ok(())
    }
}

/// Numbers that arrive in any order, each taken once. Serves control numbers and flow ids alike.
#[derive(Debug, Default)]
pub(crate) struct Once {
    /// Every number below was taken.
    edge: u64,
    above: BTreeSet<u64>,
}

/// What [`Once::take`] says of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The first time.
    New,
    /// Again: to be treated as done.
    Repeated,
    /// Too far ahead of the lowest missing number.
    Overrun,
}

impl Once {
    pub(crate) fn take(&mut self, number: u64) -> Taken {
        if number < self.edge || self.above.contains(&number) {
            return Taken::Repeated;
        }
        if number - self.edge >= WINDOW {
            return Taken::Overrun;
        }
        self.above.insert(number);
        let closes = number == self.edge && self.above.len() > 1;
        while self.above.remove(&self.edge) {
            self.edge += 1;
        }
        self.edge += u64::from(closes && planted!(ReplayOffByOne));
        Taken::New
    }

    /// The lowest number that was not taken.
    pub(crate) fn edge(&self) -> u64 {
        self.edge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_moves_when_its_carrier_is_lost() {
        let (a, b) = (SubflowId(1), SubflowId(2));
        let mut sender = ControlSender::default();
        let number = sender.push(Control::Done { flow: 4 });
        sender.assign(number, a);
        assert!(sender.send(number, a).is_some());
        assert!(sender.send(number, a).is_none(), "once");
        sender.abandon(a);
        assert_eq!(sender.homeless().count(), 1);
        sender.assign(number, b);
        assert!(sender.send(number, a).is_none());
        assert!(sender.send(number, b).is_some());
        assert_eq!(sender.acknowledge(2), Err(()));
        assert_eq!(sender.acknowledge(1), Ok(()));
        assert!(sender.outstanding.is_empty());
    }

    #[test]
    fn numbers_are_taken_once_in_any_order() {
        let mut once = Once::default();
        let table = [
            (1, Taken::New, 0),
            (1, Taken::Repeated, 0),
            (0, Taken::New, 2),
            (0, Taken::Repeated, 2),
            (2 + WINDOW, Taken::Overrun, 2),
            (1 + WINDOW, Taken::New, 2),
        ];
        for (number, taken, edge) in table {
            assert_eq!((once.take(number), once.edge()), (taken, edge), "{number}");
        }
    }
}
