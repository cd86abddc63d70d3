//! Memory for the bodies of large records. What was given back last is used next: it is in the processor's cache
//! still, where an allocator would go round half a megabyte.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::record::MAX_BODY;

/// So many pieces are kept for later, 1 MB; more are given back to the allocator.
const KEPT: usize = 64;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A body in a piece of memory that is used again.
struct Body(Vec<u8>);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut memory = std::mem::take(&mut self.0);
        memory.clear();
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(memory);
        }
    }
}

/// A copy of `bytes` in memory of at most twice their size.
pub(crate) fn copy(bytes: &[u8]) -> Bytes {
    if bytes.len() <= MAX_BODY / 2 || bytes.len() > MAX_BODY {
        return Bytes::copy_from_slice(bytes);
    }
    let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut memory = free.unwrap_or_else(|| Vec::with_capacity(MAX_BODY));
    memory.extend_from_slice(bytes);
    Bytes::from_owner(Body(memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_its_own_bytes_whatever_was_there_before() {
        let lengths = [1, MAX_BODY / 2, MAX_BODY / 2 + 1, MAX_BODY, MAX_BODY + 1];
        for length in lengths.into_iter().cycle().take(200) {
            let bytes = vec![length as u8; length];
            let (one, other) = (copy(&bytes), copy(&[!0; MAX_BODY]));
            drop(other.slice(..10));
            assert!(one == bytes && other == [!0; MAX_BODY][..]);
        }
        assert!(FREE.lock().expect("nobody panics").len() <= KEPT);
    }
}
