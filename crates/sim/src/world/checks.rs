//! What is checked after every step, and what at the end.

use std::time::Duration;

use guywire_flow::Time;

use super::{ENDS, World};
use crate::network::{ROUTER, SERVER};
use crate::oracle::Trouble;

/// A talk moves within this time as long as a link works: a time-out with its back-off, a dial, its
/// patience, and what a slow link has queued before it.
const STALL: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// With more flows than this the books are audited only every few steps.
const FEW_FLOWS: usize = 4;
const AUDIT_EVERY: u64 = 16;

impl World<'_> {
    /// After a step.
    pub(super) fn check(&mut self) -> Result<(), Trouble> {
        for side in [ROUTER, SERVER] {
            let session = &self.ends[side];
            if session.flow_count() > FEW_FLOWS && !self.steps.is_multiple_of(AUDIT_EVERY) {
                continue;
            }
            let end = ENDS[side];
            let audited = session.invariants();
            audited.map_err(|what| Trouble::Invariant { end, what })?;
        }
        if self.now.since(self.judged_at) >= LOOK {
            self.judged_at = self.now;
            self.check_stalls()?;
        }
        Ok(())
    }

    /// Every talk moves while a link works.
    fn check_stalls(&mut self) -> Result<(), Trouble> {
        let works = self.links.iter().filter_map(|link| link.works_since).min();
        let Some(works_since) = works else {
            return Ok(());
        };
        for talk in 0..self.talks.len() {
            let state = &self.talks[talk];
            if !state.has_begun() || state.is_over() {
                continue;
            }
            let since = state.moved.max(works_since).max(self.deaf_until(talk));
            let stood = self.now.since(since);
            let stand = u64::try_from(stood.as_millis()).unwrap_or(u64::MAX);
            self.seen.longest_stand_ms = self.seen.longest_stand_ms.max(stand);
            if stood > STALL {
                let state = format!("{:?}", self.talks[talk]);
                return Err(Trouble::Stall { talk, stood, state });
            }
        }
        Ok(())
    }

    /// Until when a talk may stand still because a reader sleeps.
    fn deaf_until(&self, talk: usize) -> Time {
        let programs = self.network.talks[talk].programs.iter();
        let ends = programs.filter_map(|program| program.deaf.map(|(_, until)| until));
        ends.max()
            .map_or(Time::ZERO, |until| self.talks[talk].began + until)
    }

    /// Whether every talk is over.
    pub(super) fn is_over(&self) -> bool {
        let ended = || self.ends.iter().all(|end| end.is_ended());
        self.talks.iter().all(|talk| talk.is_over()) && (!self.network.ends || ended())
    }

    /// How far the talks that are not over have come.
    pub(super) fn state(&self) -> String {
        let talks = self.talks.iter().enumerate();
        let open: Vec<String> = talks
            .filter(|(_, talk)| !talk.is_over())
            .map(|(index, talk)| format!("{index}: {talk:?}"))
            .collect();
        let ends = self.ends.iter().zip(ENDS).map(|(end, name)| {
            let (flows, ended) = (end.flow_count(), end.is_ended());
            format!("{name}: {flows} flows, ended {ended}")
        });
        let subflows = format!("{} connections", self.subflows.len());
        ends.chain([subflows])
            .chain(open)
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// When everything is over: nothing is left at either end.
    pub(super) fn check_end(&self) -> Result<(), Trouble> {
        for side in [ROUTER, SERVER] {
            let end = ENDS[side];
            if let Some(what) = self.ends[side].residue() {
                return Err(Trouble::Residue { end, what });
            }
        }
        Ok(())
    }
}
