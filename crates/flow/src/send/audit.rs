//! What must hold of a sending half at all times, for simulations and tests.

use std::collections::BTreeMap;

use guywire_sched::SubflowId;

use super::SendHalf;

impl SendHalf {
    /// Checks its own books; `exists` tells which subflows there are. Returns what each subflow owes.
    ///
    /// # Errors
    /// Says what is wrong.
    pub(crate) fn audit(
        &self,
        exists: impl Fn(SubflowId) -> bool,
    ) -> Result<BTreeMap<SubflowId, u64>, String> {
        if self.acked > self.scheduled || self.scheduled > self.written {
            let (acked, scheduled, written) = (self.acked, self.scheduled, self.written);
            return Err(format!(
                "acked {acked}, scheduled {scheduled}, written {written}"
            ));
        }
        if self.scheduled > self.limit {
            let (scheduled, limit) = (self.scheduled, self.limit);
            return Err(format!("scheduled {scheduled} beyond the limit {limit}"));
        }
        let mut at = self
            .chunks
            .front()
            .map_or(self.scheduled, |chunk| chunk.dsn);
        let mut owed = BTreeMap::new();
        for chunk in &self.chunks {
            if chunk.dsn != at {
                return Err(format!("the chunks leave a hole at {at}"));
            }
            at = chunk.end();
            let held = chunk.carriers.iter().any(|c| exists(c.subflow));
            if !held && !self.lost.contains(&chunk.dsn) {
                return Err(format!(
                    "nobody has the chunk at {} and it is not lost",
                    chunk.dsn
                ));
            }
            for debt in chunk.carriers.iter().filter(|c| !c.sent()) {
                *owed.entry(debt.subflow).or_default() += chunk.length;
                let known = self.debts.get(&debt.subflow);
                if !known.is_some_and(|debts| debts.contains(&chunk.dsn)) {
                    return Err(format!("a debt of {:?} is forgotten", debt.subflow));
                }
            }
        }
        if at != self.scheduled {
            return Err(format!(
                "chunks end at {at}, scheduled is {}",
                self.scheduled
            ));
        }
        if let Some(missing) = self.lost.iter().find(|&&dsn| self.position(dsn).is_none()) {
            return Err(format!("the lost chunk at {missing} does not exist"));
        }
        if let Some(gone) = self.debts.keys().find(|&&id| !exists(id)) {
            return Err(format!("{gone:?} is gone and owes still"));
        }
        Ok(owed)
    }
}
