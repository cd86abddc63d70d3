//! Buffers for packets under way: fixed slots in chunks that are made when
//! they are first needed, so that no packet costs an allocation.

/// Bytes of one slot: a frame of the usual size with room to spare.
pub(super) const SLOT_BYTES: usize = 2_048;
/// Slots made at once.
const CHUNK_SLOTS: usize = 256;

/// A frame in the pool. It belongs to whoever holds this, until it is given
/// back with [`Pool::give`].
#[derive(Debug)]
pub(super) struct Frame {
    slot: u32,
    len: u16,
}

/// All buffers of an emulator.
#[derive(Debug)]
pub(super) struct Pool {
    chunks: Vec<Box<[u8]>>,
    free: Vec<u32>,
    /// The most slots there may be.
    max_slots: usize,
}

impl Pool {
    /// A pool that grows up to `max_slots` (rounded up to whole chunks).
    pub(super) fn new(max_slots: usize) -> Pool {
        Pool {
            chunks: Vec::new(),
            free: Vec::new(),
            max_slots,
        }
    }

    /// Slots made so far, and how many of them are in use.
    pub(super) fn usage(&self) -> (usize, usize) {
        let made = self.chunks.len() * CHUNK_SLOTS;
        (made, made - self.free.len())
    }

    /// Room for a frame of `len` bytes; `None` when it is too long or the pool
    /// is exhausted.
    pub(super) fn take(&mut self, len: usize) -> Option<Frame> {
        let len = u16::try_from(len)
            .ok()
            .filter(|&len| usize::from(len) <= SLOT_BYTES)?;
        if self.free.is_empty() {
            self.grow()?;
        }
        let slot = self.free.pop()?;
        Some(Frame { slot, len })
    }

    fn grow(&mut self) -> Option<()> {
        let made = self.chunks.len() * CHUNK_SLOTS;
        if made >= self.max_slots {
            return None;
        }
        self.chunks
            .push(vec![0; CHUNK_SLOTS * SLOT_BYTES].into_boxed_slice());
        let first = u32::try_from(made).ok()?;
        self.free.extend(first..first + CHUNK_SLOTS as u32);
        Some(())
    }

    /// Gives a frame's room back.
    pub(super) fn give(&mut self, frame: Frame) {
        self.free.push(frame.slot);
    }

    /// The bytes of a frame.
    pub(super) fn bytes(&self, frame: &Frame) -> &[u8] {
        let (chunk, start) = place(frame.slot);
        &self.chunks[chunk][start..start + usize::from(frame.len)]
    }

    /// The bytes of a frame, to fill.
    pub(super) fn bytes_mut(&mut self, frame: &Frame) -> &mut [u8] {
        let (chunk, start) = place(frame.slot);
        &mut self.chunks[chunk][start..start + usize::from(frame.len)]
    }
}

/// Chunk and first byte of a slot.
fn place(slot: u32) -> (usize, usize) {
    let slot = slot as usize;
    (slot / CHUNK_SLOTS, slot % CHUNK_SLOTS * SLOT_BYTES)
}
