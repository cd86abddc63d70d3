//! What a program prints: the last lines, at a bounded rate.

use std::collections::VecDeque;

/// Lines that are kept.
const KEPT: usize = 128;
/// Lines that are taken in one second of the kernel's clock.
const PER_SECOND: u32 = 100;
const SECOND_NS: u64 = 1_000_000_000;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The kernel's clock when it was printed.
    pub at_ns: u64,
    /// What was printed, without the line's end.
    pub text: String,
}

/// The last lines that a program printed.
#[derive(Debug, Default)]
pub struct Log {
    lines: VecDeque<Line>,
    dropped: u64,
    /// The second that is counted in, and its lines.
    second: u64,
    taken: u32,
}

impl Log {
    /// The lines that are kept, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    /// How many lines came faster than they are taken.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes a line; says whether there was room for it in this second.
    pub(super) fn push(&mut self, at_ns: u64, text: String) -> bool {
        let second = at_ns / SECOND_NS;
        if second != self.second {
            (self.second, self.taken) = (second, 0);
        }
        if self.taken == PER_SECOND {
            self.dropped += 1;
            return false;
        }
        self.taken += 1;
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { at_ns, text });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_in_lines_and_rate() {
        let mut log = Log::default();
        for second in 0..3 {
            for line in 0..150 {
                log.push(second * SECOND_NS + line, format!("{second} {line}"));
            }
        }
        assert_eq!(log.dropped(), 150);
        let lines: Vec<&str> = log.lines().map(|line| line.text.as_str()).collect();
        assert_eq!(lines.len(), KEPT);
        assert_eq!((lines[0], lines[127]), ("1 72", "2 99"));
    }
}
