//! The receiving half: what has arrived, and what is said of it.

use std::collections::BTreeMap;

/// Every so many acknowledgements repeat older blocks, so that a lost one is made up for.
const REPEAT: u64 = 8;

/// An acknowledgement: everything below `cumulative`, and blocks beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Every byte below this number has arrived.
    pub cumulative: u64,
    /// Ranges beyond it that have arrived (SACK).
    pub blocks: [Option<(u64, u64)>; 3],
}

/// What has arrived of one direction.
#[derive(Debug, Default)]
pub struct Receiver {
    cumulative: u64,
    /// Ranges beyond it, by first byte, never touching.
    early: BTreeMap<u64, u64>,
    acknowledged: u64,
}

impl Receiver {
    /// Every byte below has arrived.
    pub fn cumulative(&self) -> u64 {
        self.cumulative
    }

    /// A segment arrived; returns what is to be acknowledged.
    pub fn handle_segment(&mut self, seq: u64, length: u64) -> Acknowledgement {
        let end = seq + length;
        if seq <= self.cumulative {
            self.cumulative = self.cumulative.max(end);
        } else {
            self.note_early(seq, end);
        }
        while let Some(first) = self.early.first_entry() {
            if *first.key() > self.cumulative {
                break;
            }
            self.cumulative = self.cumulative.max(first.remove());
        }
        self.acknowledged += 1;
        let mut blocks = [None; 3];
        if end > self.cumulative {
            blocks[0] = Some((seq, end));
        }
        if self.acknowledged.is_multiple_of(REPEAT) {
            let ranges = self.early.iter().map(|(&from, &upto)| (from, upto));
            for (block, range) in blocks[1..].iter_mut().zip(ranges) {
                *block = Some(range);
            }
        }
        Acknowledgement {
            cumulative: self.cumulative,
            blocks,
        }
    }

    fn note_early(&mut self, seq: u64, end: u64) {
        let (mut from, mut upto) = (seq, end);
        if let Some((&before, &its_end)) = self.early.range(..=seq).next_back()
            && its_end >= seq
        {
            from = before;
            upto = upto.max(its_end);
        }
        while let Some((&next, &its_end)) = self.early.range(from..).next() {
            if next > upto {
                break;
            }
            upto = upto.max(its_end);
            self.early.remove(&next);
        }
        self.early.insert(from, upto);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_told_and_filled() {
        let mut receiver = Receiver::default();
        assert_eq!(receiver.handle_segment(0, 10).cumulative, 10);
        let ack = receiver.handle_segment(20, 10);
        assert_eq!((ack.cumulative, ack.blocks[0]), (10, Some((20, 30))));
        receiver.handle_segment(40, 10);
        receiver.handle_segment(30, 10);
        assert_eq!(receiver.early.len(), 1);
        assert_eq!(receiver.handle_segment(10, 10).cumulative, 50);
        assert!(receiver.early.is_empty());
        assert_eq!(receiver.handle_segment(0, 10).cumulative, 50);
    }
}
