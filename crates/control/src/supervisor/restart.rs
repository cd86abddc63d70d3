//! When to start a worker again: a state machine that gets the time passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many deaths within `WINDOW` are a crash loop.
const LOOP_DEATHS: usize = 5;
/// The time in which deaths count towards a crash loop; also, a worker that lived as long as this ended a streak.
const WINDOW: Duration = Duration::from_secs(10);
/// The wait before the third start in a row; the second is at once. Doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait outside a crash loop: connections wait in the listener's queue meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// The pause after a crash loop, with the listeners closed. Doubles while it goes on.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What follows a worker's death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start the next one after this wait; the listeners stay open.
    Restart(Duration),
    /// Close the listeners; try again after this pause.
    CrashLoop(Duration),
}

/// Decides what follows each death of a worker.
///
/// ```text
/// running --death--> waiting --after the wait--> running
///    |                                             ^
///    +--the fifth death in 10 s--> crash loop -----+ after the pause, listeners opened again
/// ```
#[derive(Debug, Default)]
pub struct RestartPolicy {
    /// The last deaths, oldest first, at most `LOOP_DEATHS`.
    deaths: VecDeque<Instant>,
    /// Deaths in a row of workers that lived shorter than `WINDOW`.
    streak: u32,
    /// Crash loops in a row without a worker that lived.
    loops: u32,
}

impl RestartPolicy {
    /// A worker that lived for `lived` died at `now`.
    pub fn handle_death(&mut self, now: Instant, lived: Duration) -> Verdict {
        if lived >= WINDOW {
            self.streak = 0;
            self.loops = 0;
        }
        self.streak = self.streak.saturating_add(1);
        if self.deaths.len() == LOOP_DEATHS {
            self.deaths.pop_front();
        }
        self.deaths.push_back(now);
        // After a crash loop one short life is enough to see that it goes on.
        if self.in_loop(now) || self.loops > 0 {
            self.deaths.clear();
            let pause = doubled(FIRST_PAUSE, self.loops, LONGEST_PAUSE);
            self.loops = self.loops.saturating_add(1);
            return Verdict::CrashLoop(pause);
        }
        Verdict::Restart(match self.streak {
            1 => Duration::ZERO,
            more => doubled(FIRST_WAIT, more - 2, LONGEST_WAIT),
        })
    }

    fn in_loop(&self, now: Instant) -> bool {
        let oldest = self
            .deaths
            .front()
            .filter(|_| self.deaths.len() == LOOP_DEATHS);
        oldest.is_some_and(|oldest| now.saturating_duration_since(*oldest) <= WINDOW)
    }
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Deaths, each so long after the start of its worker, which starts as the policy says; and what followed each.
    fn story(lives: &[Duration]) -> Vec<Verdict> {
        let mut policy = RestartPolicy::default();
        let mut now = Instant::now();
        let tell = |&lived| {
            now += lived;
            let verdict = policy.handle_death(now, lived);
            let (Verdict::Restart(wait) | Verdict::CrashLoop(wait)) = verdict;
            now += wait;
            verdict
        };
        lives.iter().map(tell).collect()
    }

    #[test]
    fn the_first_death_costs_no_wait_and_the_fifth_is_a_loop() {
        use Verdict::{CrashLoop, Restart};
        let expected = [
            Restart(ms(0)),
            Restart(ms(100)),
            Restart(ms(200)),
            Restart(ms(400)),
            CrashLoop(FIRST_PAUSE),
        ];
        assert_eq!(story(&[ms(1); 5]), expected);
    }

    #[test]
    fn rare_deaths_never_wait() {
        assert!(
            story(&[WINDOW; 40])
                .iter()
                .all(|verdict| *verdict == Verdict::Restart(Duration::ZERO))
        );
    }

    #[test]
    fn slow_deaths_in_a_row_wait_longer_up_to_the_bound() {
        let waits = story(&[ms(4000); 20]);
        assert!(
            waits
                .iter()
                .all(|verdict| matches!(verdict, Verdict::Restart(_))),
            "{waits:?}"
        );
        assert_eq!(waits.last(), Some(&Verdict::Restart(LONGEST_WAIT)));
    }

    #[test]
    fn a_loop_that_goes_on_pauses_longer_and_one_long_life_ends_it() {
        let mut lives = vec![ms(1); 11];
        lives.extend([WINDOW, ms(1)]);
        let verdicts = story(&lives);
        let pauses: Vec<u64> = verdicts
            .iter()
            .filter_map(|verdict| match verdict {
                Verdict::CrashLoop(pause) => Some(pause.as_secs()),
                Verdict::Restart(_) => None,
            })
            .collect();
        assert_eq!(pauses, [30, 60, 120, 240, 300, 300, 300]);
        assert_eq!(
            &verdicts[11..],
            [Verdict::Restart(ms(0)), Verdict::Restart(ms(100))]
        );
    }
}
