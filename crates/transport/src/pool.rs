//! Memory for what is large and comes again and again. What was given back last is used next: it is in the processor's
//! cache still, where an allocator would go round half a megabyte or four.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Pieces of memory of one size.
#[derive(Debug)]
pub(crate) struct Pool {
    size: usize,
    kept: usize,
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    /// Pieces of `size` bytes, of which `kept` are kept for later; more are given back to the allocator.
    pub(crate) const fn new(size: usize, kept: usize) -> Pool {
        Pool {
            size,
            kept,
            free: Mutex::new(Vec::new()),
        }
    }

    /// The size of its pieces in bytes.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// Whether a piece is worth its memory for so many bytes: they fill more than half of it.
    pub(crate) fn fits(&self, length: usize) -> bool {
        (self.size / 2 + 1..=self.size).contains(&length)
    }

    /// An empty piece with room for [`Pool::size`] bytes.
    pub(crate) fn take(&'static self) -> Pooled {
        let mut piece = self.take_used();
        piece.clear();
        piece
    }

    /// A piece with whatever was left in it, to be written over: to clear it would take as long as to copy it.
    pub(crate) fn take_used(&'static self) -> Pooled {
        let free = self.free().pop();
        Pooled {
            memory: free.unwrap_or_else(|| Vec::with_capacity(self.size)),
            pool: self,
        }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of a [`Pool`], which goes back there when it is dropped. More than its size is not put into it.
#[derive(Debug)]
pub(crate) struct Pooled {
    memory: Vec<u8>,
    pool: &'static Pool,
}

impl Pooled {
    /// Whether it had better be kept than its bytes be copied: see [`Pool::fits`].
    pub(crate) fn is_worth_its_memory(&self) -> bool {
        self.pool.fits(self.memory.len())
    }
}

impl std::ops::Deref for Pooled {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.memory
    }
}

impl std::ops::DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.memory
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl From<Pooled> for Bytes {
    fn from(piece: Pooled) -> Bytes {
        Bytes::from_owner(piece)
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let mut free = self.pool.free();
        if free.len() < self.pool.kept {
            free.push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_holds_its_own_bytes_whatever_was_there_before() {
        static POOL: Pool = Pool::new(100, 3);
        for length in (0..=100).cycle().take(1_000) {
            let (mut one, mut other) = (POOL.take(), POOL.take());
            assert!(one.is_empty() && other.capacity() >= POOL.size());
            one.extend(std::iter::repeat_n(length as u8, length));
            other.extend([!0; 100]);
            let (one, other) = (Bytes::from(one), Bytes::from(other));
            drop(other.slice(..10));
            assert!(one == vec![length as u8; length] && other == [!0; 100][..]);
        }
        let many: Vec<Pooled> = (0..10).map(|_| POOL.take()).collect();
        drop(many);
        assert_eq!(POOL.free().len(), 3);
        assert!(POOL.take().is_empty());
    }
}
