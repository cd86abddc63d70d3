//! What must hold of the budget at all times, for simulations and tests.

use super::Credit;

impl Credit {
    /// Bytes for growth that no flow has.
    pub(crate) fn growth_free(&self) -> u64 {
        self.growth_free
    }
}
