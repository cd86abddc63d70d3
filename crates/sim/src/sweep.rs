//! Many networks, on all cores.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{num::NonZero, panic, thread};

use crate::oracle::{Failure, Outcome};

/// What came of many networks.
#[derive(Debug, Default)]
pub struct Swept {
    /// Networks played to their end.
    pub outcomes: Vec<Outcome>,
    /// Those in which something went wrong, by seed.
    pub failures: Vec<Failure>,
}

impl Swept {
    /// Virtual time of all networks that went well.
    pub fn elapsed(&self) -> Duration {
        self.outcomes.iter().map(|outcome| outcome.elapsed).sum()
    }
}

/// Plays the networks of `seeds`; see [`sweep_with`].
pub fn sweep(seeds: Range<u64>) -> Swept {
    sweep_with(seeds, crate::run)
}

/// Plays the networks of `seeds` by `play`, on as many threads as the machine has cores. Panics of the state
/// machine are among the failures; their own messages are not printed meanwhile.
pub fn sweep_with(
    seeds: Range<u64>,
    play: impl Fn(u64) -> Result<Outcome, Failure> + Sync,
) -> Swept {
    let next = AtomicU64::new(seeds.start);
    let swept = Mutex::new(Swept::default());
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let played = play(seed);
                    let mut swept = swept.lock().expect("no panic while it is held");
                    match played {
                        Ok(outcome) => swept.outcomes.push(outcome),
                        Err(failure) => swept.failures.push(failure),
                    }
                }
            });
        }
    });
    panic::set_hook(hook);
    let mut swept = swept.into_inner().expect("no panic while it was held");
    swept.outcomes.sort_by_key(|outcome| outcome.seed);
    swept.failures.sort_by_key(|failure| failure.seed);
    swept
}
