//! A region between its cutting and the moment when it may be seen.

use std::sync::Arc;

use super::{Region, Slot, View};

/// A region whose bytes are on their way.
pub struct Pending {
    pub(super) region: Region,
}

impl Pending {
    /// The region as one view, or the number of bytes that have not come. Takes all slots of the
    /// region, in any order.
    pub fn join(self, slots: Vec<Slot>) -> Result<View, usize> {
        // Slots never overlap, so this sum is the region's length only when none is outside.
        let filled: usize = slots
            .iter()
            .filter(|slot| Arc::ptr_eq(&slot.memory, &self.region.memory))
            .map(Slot::filled)
            .sum();
        drop(slots);
        match self.region.len - filled {
            0 => Ok(self.region.freeze()),
            missing => Err(missing),
        }
    }
}
