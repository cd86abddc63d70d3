//! The receiving half: what has arrived, and what is said of it.
//!
//! Every second segment is acknowledged, or one after 40 ms; each of the first ones, and each that
//! is out of order or fills a hole, at once (net/ipv4/tcp_input.c, `__tcp_ack_snd_check`).

use std::collections::BTreeMap;
use std::time::Duration;

use guywire_flow::Time;

/// Every so many acknowledgements repeat older blocks, so that a lost one is made up for.
const REPEAT: u64 = 8;
/// Segments that are acknowledged one by one, at first and after silence (`TCP_MAX_QUICKACKS`).
const QUICK: u32 = 16;
/// So long nothing must have come for that.
const SILENCE: Duration = Duration::from_millis(200);
/// The longest a lone segment waits for its acknowledgement (`TCP_DELACK_MIN`).
const DELAY: Duration = Duration::from_millis(40);

/// A segment on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmission {
    /// Its first byte.
    pub seq: u64,
    /// Its bytes.
    pub length: u64,
    /// When it was sent: its time stamp (RFC 7323).
    pub stamp: Time,
}

/// An acknowledgement: everything below `cumulative`, and blocks beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Every byte below this number has arrived.
    pub cumulative: u64,
    /// Ranges beyond it that have arrived (SACK).
    pub blocks: [Option<(u64, u64)>; 3],
    /// The stamp of the first segment in order that the acknowledgement before did not cover (RFC 7323, section 4.3).
    pub echo: Time,
}

/// What has arrived of one direction.
#[derive(Debug, Default)]
pub struct Receiver {
    cumulative: u64,
    /// Ranges beyond it, by first byte, never touching.
    early: BTreeMap<u64, u64>,
    acknowledged: u64,
    /// What the last acknowledgement told as `cumulative`, and the stamp that the next one echoes.
    told: u64,
    echo: Time,
    /// The last segment: its range, and when it came.
    last: (u64, u64, Time),
    quick: u32,
    /// When the segment that is not acknowledged yet has waited long enough.
    due: Option<Time>,
}

impl Receiver {
    /// Every byte below has arrived.
    pub fn cumulative(&self) -> u64 {
        self.cumulative
    }

    /// A segment arrived; returns what is to be acknowledged at once.
    pub fn handle_segment(&mut self, now: Time, segment: &Transmission) -> Option<Acknowledgement> {
        let (seq, end) = (segment.seq, segment.seq + segment.length);
        if seq <= self.told {
            self.echo = segment.stamp;
        }
        if now.since(self.last.2) > SILENCE {
            self.quick = QUICK;
        }
        self.last = (seq, end, now);
        let in_order = seq == self.cumulative && self.early.is_empty();
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
        let quick = self.quick > 0;
        self.quick = self.quick.saturating_sub(1);
        if in_order && !quick && self.due.is_none() {
            self.due = Some(now + DELAY);
            return None;
        }
        Some(self.acknowledge())
    }

    /// When [`Receiver::acknowledge`] is called for.
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// What is to be said of all that has arrived.
    pub fn acknowledge(&mut self) -> Acknowledgement {
        self.due = None;
        self.acknowledged += 1;
        self.told = self.cumulative;
        let mut blocks = [None; 3];
        let (seq, end, _) = self.last;
        if end > self.cumulative {
            let around = self.early.range(..=seq).next_back();
            blocks[0] = around.map(|(&from, &upto)| (from, upto));
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
            echo: self.echo,
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

    fn segment(seq: u64, length: u64) -> Transmission {
        Transmission {
            seq,
            length,
            stamp: Time::ZERO,
        }
    }

    #[test]
    fn holes_are_told_and_filled() {
        let mut receiver = Receiver::default();
        let mut arrives = |seq, length| {
            let ack = receiver.handle_segment(Time::ZERO, &segment(seq, length));
            (ack, receiver.early.len())
        };
        let told = |ack: Option<Acknowledgement>| ack.map(|ack| (ack.cumulative, ack.blocks[0]));
        assert_eq!(arrives(0, 10).0, None, "a lone one waits");
        assert_eq!(told(arrives(20, 10).0), Some((10, Some((20, 30)))));
        arrives(40, 10);
        let (ack, early) = arrives(30, 10);
        assert_eq!((told(ack), early), (Some((10, Some((20, 50)))), 1));
        assert_eq!(told(arrives(10, 10).0), Some((50, None)));
        assert_eq!(told(arrives(0, 10).0), Some((50, None)));
    }

    #[test]
    fn every_second_segment_is_acknowledged_and_the_first_ones_each() {
        let mut receiver = Receiver::default();
        let begin = Time::ZERO + Duration::from_secs(1);
        let mut acknowledged = Vec::new();
        for number in 0..20 {
            let ack = receiver.handle_segment(begin, &segment(number * 10, 10));
            acknowledged.extend(ack.map(|ack| ack.cumulative / 10));
        }
        let expected: Vec<u64> = (1..=16).chain([18, 20]).collect();
        assert_eq!(acknowledged, expected);
        assert_eq!(receiver.handle_segment(begin, &segment(200, 10)), None);
        assert_eq!(receiver.due(), Some(begin + DELAY));
        assert_eq!(receiver.acknowledge().cumulative, 210);
        assert_eq!(receiver.due(), None);
    }
}
