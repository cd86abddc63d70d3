//! Reads little-endian numbers from bytes that may end at any time.

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes<'a> {
    all: &'a [u8],
    position: usize,
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(all: &'a [u8]) -> Self {
        Self { all, position: 0 }
    }

    /// How much has been read.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Whether all has been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.position >= self.all.len()
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(count)?;
        let taken = self.all.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    /// The next four bytes as a number.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        let taken = self.take(4)?;
        Some(u32::from_le_bytes(taken.try_into().ok()?))
    }
}
