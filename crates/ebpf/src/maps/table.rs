//! Which key has which slot. A slot that is free again is given to the next new key.

use std::collections::{BTreeMap, HashMap};

/// The keys of a map.
#[derive(Debug)]
pub(super) struct Table {
    slots: HashMap<Box<[u8]>, u32>,
    /// Slots that had a key.
    free: Vec<u32>,
    capacity: usize,
    /// When it is full, the key that was used longest ago makes room.
    usage: Option<Usage>,
}

impl Table {
    /// An empty one of at most `capacity` keys; `forgets` when it is full, or takes no more.
    pub(super) fn new(capacity: usize, forgets: bool) -> Self {
        Self {
            slots: HashMap::new(),
            free: Vec::new(),
            capacity,
            usage: forgets.then(Usage::default),
        }
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<u32> {
        self.slots.get(key).copied()
    }

    /// The same, and the key counts as used now.
    pub(super) fn find_and_use(&mut self, key: &[u8]) -> Option<u32> {
        let slot = self.find(key)?;
        if let Some(usage) = &mut self.usage {
            usage.touch(slot, key);
        }
        Some(slot)
    }

    /// The slot of `key`, a new one if it has none; nothing where there is no room.
    pub(super) fn insert(&mut self, key: &[u8]) -> Option<u32> {
        if let Some(slot) = self.find_and_use(key) {
            return Some(slot);
        }
        if self.slots.len() == self.capacity {
            let oldest: Box<[u8]> = self.usage.as_ref()?.oldest()?.into();
            self.remove(&oldest);
        }
        let fresh = self.slots.len() as u32;
        let slot = self.free.pop().unwrap_or(fresh);
        self.slots.insert(key.into(), slot);
        if let Some(usage) = &mut self.usage {
            usage.touch(slot, key);
        }
        Some(slot)
    }

    /// Whether there was such a key.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let Some(slot) = self.slots.remove(key) else {
            return false;
        };
        self.free.push(slot);
        if let Some(usage) = &mut self.usage {
            usage.remove(slot);
        }
        true
    }
}

/// In which order keys were used.
#[derive(Debug, Default)]
struct Usage {
    clock: u64,
    by_time: BTreeMap<u64, Box<[u8]>>,
    by_slot: HashMap<u32, u64>,
}

impl Usage {
    fn touch(&mut self, slot: u32, key: &[u8]) {
        let key = self.remove(slot).unwrap_or_else(|| key.into());
        self.clock += 1;
        self.by_time.insert(self.clock, key);
        self.by_slot.insert(slot, self.clock);
    }

    fn remove(&mut self, slot: u32) -> Option<Box<[u8]>> {
        let time = self.by_slot.remove(&slot)?;
        self.by_time.remove(&time)
    }

    fn oldest(&self) -> Option<&[u8]> {
        self.by_time.first_key_value().map(|(_, key)| &**key)
    }
}
