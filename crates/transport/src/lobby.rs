//! Strangers in their handshake: when there are too many, the one that has waited longest goes.
//!
//! Making the newest wait instead would let a few hundred silent connections keep every router out
//! for as long as a handshake may take.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::task::AbortHandle;

/// Connections whose far end is not known yet.
#[derive(Debug)]
pub(crate) struct Lobby {
    seats: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By arrival; `None` until the task of the connection runs.
    tasks: BTreeMap<u64, Option<AbortHandle>>,
}

impl Lobby {
    pub(crate) fn new(seats: usize) -> Lobby {
        Lobby {
            seats,
            waiting: Mutex::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a seat; [`Lobby::seat`] then says whose it is.
    pub(crate) fn enter(&self) -> u64 {
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.tasks.insert(number, None);
        number
    }

    /// The task of a connection. Sends the oldest away if there are more than seats.
    pub(crate) fn seat(&self, number: u64, task: AbortHandle) {
        let mut waiting = self.lock();
        // It may have left already.
        if let Some(seat) = waiting.tasks.get_mut(&number) {
            *seat = Some(task);
        }
        while waiting.tasks.len() > self.seats {
            if let Some((_, Some(oldest))) = waiting.tasks.pop_first() {
                oldest.abort();
            }
        }
    }

    /// Leaves; false if it was sent away meanwhile.
    pub(crate) fn leave(&self, number: u64) -> bool {
        self.lock().tasks.remove(&number).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_goes_first() {
        let lobby = Lobby::new(2);
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let number = lobby.enter();
                let task = tokio::spawn(std::future::pending::<()>());
                lobby.seat(number, task.abort_handle());
                (number, task)
            })
            .collect();
        let mut left = Vec::new();
        for (number, task) in tasks {
            left.push(lobby.leave(number));
            if left.last() == Some(&false) {
                assert!(task.await.unwrap_err().is_cancelled());
            }
        }
        assert_eq!(left, [false, true, true]);
    }
}
