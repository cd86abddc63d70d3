//! What must hold of the control sequence at all times, for simulations and tests.

use guywire_sched::SubflowId;

use super::ControlSender;

impl ControlSender {
    /// Records that are not acknowledged: number, carrier, and whether it was sent there.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = (u64, Option<SubflowId>, bool)> {
        let records = self.outstanding.iter();
        records.map(|(&number, record)| (number, record.carrier, record.sent))
    }
}
