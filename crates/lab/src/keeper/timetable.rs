//! What a scenario makes happen by itself once the lab is complete.

use std::collections::VecDeque;
use std::fs;

use anyhow::Result;
use tokio::time::{Instant, sleep_until};

use super::Lab;
use crate::plan::{PlannedEvent, PlannedTransfer};
use crate::protocol::LinkVerb;
use crate::topology::Node;

/// What is still to happen.
pub(super) struct Timetable {
    begin: Instant,
    events: VecDeque<PlannedEvent>,
    transfers: Vec<PlannedTransfer>,
}

impl Timetable {
    /// Begins now.
    pub(super) fn new(
        events: VecDeque<PlannedEvent>,
        transfers: Vec<PlannedTransfer>,
    ) -> Timetable {
        Timetable {
            begin: Instant::now(),
            events,
            transfers,
        }
    }

    /// Starts what waits for its time by itself: the transfers. Each one's
    /// report is a file beside the logs.
    pub(super) fn start_transfers(&mut self, lab: &Lab) -> Result<()> {
        for (number, transfer) in (1..).zip(std::mem::take(&mut self.transfers)) {
            let mut program = vec!["guywire".to_owned(), "lab".into(), "fetch".into()];
            program.extend(transfer.arguments);
            let mut command = lab.command(Node::Client, &program)?;
            let children = lab.children.clone();
            let file = lab.place.logs().join(format!("transfer-{number}.json"));
            let at = self.begin + transfer.at;
            tokio::spawn(async move {
                sleep_until(at).await;
                let report = match children
                    .run(&format!("transfer {number}"), &mut command)
                    .await
                {
                    Ok(report) => report,
                    Err(error) => serde_json::json!({ "error": error.to_string() }).to_string(),
                };
                if let Err(error) = fs::write(&file, report) {
                    eprintln!("cannot write {}: {error}", file.display());
                }
            });
        }
        Ok(())
    }

    /// Waits for the next event; for ever when there is none left.
    pub(super) async fn next(&self) {
        match self.events.front() {
            Some(event) => sleep_until(self.begin + event.at).await,
            None => std::future::pending().await,
        }
    }

    /// Does what is due.
    pub(super) async fn act(&mut self, lab: &mut Lab) {
        let due = |event: &PlannedEvent, begin: Instant| begin + event.at <= Instant::now();
        while self
            .events
            .front()
            .is_some_and(|event| due(event, self.begin))
        {
            let Some(event) = self.events.pop_front() else {
                return;
            };
            let outcome = match event.verb.parse::<LinkVerb>() {
                Ok(verb) => {
                    let applied = lab.links.apply(&lab.network, &event.link, verb).await;
                    applied.map(drop).map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = outcome {
                eprintln!(
                    "scenario at {:?}: {} {}: {error}",
                    event.at, event.link, event.verb
                );
            }
        }
    }
}
