//! Many networks, on all cores.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    let seeds: Vec<u64> = seeds.collect();
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let played = on_all_cores(&seeds, |&seed| play(seed));
    panic::set_hook(hook);
    let mut swept = Swept::default();
    for network in played {
        match network {
            Ok(outcome) => swept.outcomes.push(outcome),
            Err(failure) => swept.failures.push(failure),
        }
    }
    swept
}

/// What `work` makes of each item, in their order, on as many threads as the machine has cores.
pub fn on_all_cores<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else {
                        return;
                    };
                    let result = work(item);
                    done.lock()
                        .expect("no panic while it is held")
                        .push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic while it was held");
    done.sort_by_key(|&(at, _)| at);
    done.into_iter().map(|(_, result)| result).collect()
}
