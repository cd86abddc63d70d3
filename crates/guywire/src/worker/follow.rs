//! Follows the decisions of schedulers, while somebody wants to see them.

use std::collections::BTreeMap;
use std::time::Duration;

use guywire_control::worker::{FromWorker, TRACE_FOR, TracedDecision};
use guywire_sched::guard::Decision;
use guywire_transport::session::SessionHandle;
use tokio::time::Instant;

use super::Outbox;
use super::schedulers::traced;

/// Decisions are looked for so often. A session remembers the last few of each scheduler only: of a busy one, some
/// are missed, which their numbers show.
const EVERY: Duration = Duration::from_millis(20);

/// Follows the decisions of all sessions of a worker.
#[derive(Default)]
pub(super) struct Follower {
    /// Until when.
    until: Option<Instant>,
    next: Option<Instant>,
    /// Decisions seen so far, by session and class.
    seen: BTreeMap<(String, u8), u64>,
}

impl Follower {
    /// Somebody wants to see them, for a while.
    pub(super) fn begin(&mut self) {
        let now = Instant::now();
        self.until = Some(now + TRACE_FOR);
        self.next.get_or_insert(now);
    }

    /// Waits until [`Follower::tell`] is to be called. Cancel-safe.
    pub(super) async fn due(&self) {
        match self.next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    /// Tells what was decided since the last time.
    pub(super) fn tell<'a>(
        &mut self,
        outbox: &Outbox,
        sessions: impl Iterator<Item = (String, &'a SessionHandle)>,
    ) {
        let now = Instant::now();
        if self.until.is_none_or(|until| until <= now) {
            *self = Follower::default();
            return;
        }
        self.next = Some(now + EVERY);
        let decisions: Vec<TracedDecision> = sessions
            .flat_map(|(name, session)| self.follow(&name, session))
            .collect();
        if !decisions.is_empty() {
            outbox.send(FromWorker::Decisions(decisions));
        }
    }

    /// The decisions since it was asked last, as far as they are remembered. The first time there are none: nobody
    /// knows how old the last ones are.
    fn follow(&mut self, name: &str, session: &SessionHandle) -> Vec<TracedDecision> {
        session.with(|session, _| {
            let classes: Vec<u8> = session.schedulers().map(|(class, _)| class).collect();
            let mut found = Vec::new();
            for class in classes {
                let (decided, decisions) = session.decisions(class);
                let seen = self.seen.entry((name.to_owned(), class)).or_insert(decided);
                // A scheduler that was put in the place of another counts anew.
                let from = if *seen > decided { 0 } else { *seen };
                *seen = decided;
                let remembered: Vec<&Decision> = decisions.collect();
                let first = decided - remembered.len() as u64;
                let new = (first..).zip(remembered);
                let new = new.filter(|(number, _)| *number >= from);
                found.extend(new.map(|(number, decision)| traced(name, class, number, decision)));
            }
            found
        })
    }
}
