//! How a flow's local program keeps up with what arrives: whether a larger window would carry more.

use std::time::Duration;

use guywire_sched::Time;

/// A reader is slow when half of the window has waited for it for so long. The other half is what keeps it
/// busy then, so a smaller window carries as much, in less memory.
const SLOW: Duration = Duration::from_millis(200);

/// What one flow's reader did of late.
#[derive(Debug)]
pub(crate) struct Reader {
    /// What was read when the present round trip began, and when that was.
    since: (u64, Time),
    /// The least that was left waiting since, in bytes.
    least: u64,
    /// Since when at least half of the window waits.
    behind_since: Option<Time>,
}

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The reader takes what comes, and all that the window lets come in a round trip.
    Starved,
    /// The reader takes less than what comes.
    Slow,
    /// Neither.
    Even,
}

impl Reader {
    pub(crate) fn new(now: Time) -> Reader {
        Reader {
            since: (0, now),
            least: u64::MAX,
            behind_since: None,
        }
    }

    /// Whether at least half of the window was waiting at the last read.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind_since.is_some()
    }

    /// So many bytes have been read in all, and so many have arrived beyond them.
    pub(crate) fn read(
        &mut self,
        now: Time,
        [consumed, waiting]: [u64; 2],
        window: u64,
        round_trip: Duration,
    ) -> Pace {
        self.least = self.least.min(waiting);
        let behind_since = match waiting >= window / 2 {
            true => *self.behind_since.get_or_insert(now),
            false => {
                self.behind_since = None;
                now
            }
        };
        let (before, since) = self.since;
        let filled = consumed - before >= window / 2;
        let starved = filled && self.least < window / 4;
        if filled || now.since(since) > round_trip {
            self.since = (consumed, now);
            self.least = u64::MAX;
        }
        match now.since(behind_since) >= SLOW {
            _ if starved => Pace::Starved,
            true => Pace::Slow,
            false => Pace::Even,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Duration = Duration::from_millis(10);
    const WINDOW: u64 = 1_000;

    /// Reads 100 bytes each ms for a second, with so many waiting behind them each time.
    fn reading(waiting: impl Fn(u64) -> u64) -> Vec<Pace> {
        let mut reader = Reader::new(Time::ZERO);
        let read = |ms| {
            let now = Time::ZERO + Duration::from_millis(ms);
            reader.read(now, [ms * 100, waiting(ms)], WINDOW, TRIP)
        };
        (1..=1_000).map(read).collect()
    }

    #[test]
    fn who_takes_a_window_in_a_round_trip_and_leaves_nothing_is_starved() {
        let paces = reading(|ms| if ms % 5 == 4 { 0 } else { 900 });
        assert_eq!(
            paces.iter().filter(|&&pace| pace == Pace::Starved).count(),
            200
        );
        assert!(!paces.contains(&Pace::Slow));
    }

    #[test]
    fn who_always_leaves_half_of_the_window_is_slow_however_much_it_takes() {
        let paces = reading(|_| 500);
        assert_eq!(paces[..200], [Pace::Even; 200]);
        assert_eq!(paces[200..], [Pace::Slow; 800]);
    }

    #[test]
    fn between_them_a_window_stays() {
        assert_eq!(reading(|_| 300), [Pace::Even; 1_000]);
    }
}
