//! The guard: asks schedulers, and judges what they do. None of them can take the router down.
//!
//! | what | limit | consequence |
//! |---|---|---|
//! | an offence within a call (fault, fuel, stack, panic, a mark on what was not shown) | none is allowed | ejected |
//! | nothing placed while data waits and nothing is in flight, so that no ack can wake it | [`Limits::stall`] | ejected |
//! | nothing placed although `default` would send | [`Limits::soft`], or [`Limits::soft_trips`] round trips | `default` places one chunk: an *override* |
//! | overrides within a second in one flow that marked nothing, not even what is full | [`Limits::overrides`] | ejected |
//! | time of all calls of a session in a window | [`Limits::share`] of [`Limits::window`] | ejected |
//! | time of all calls at one moment, between two polls of the runtime | [`Limits::run`] | ejected |
//!
//! Time is passed in, and the time that calls take is what the scheduler says it spent in
//! instructions, at [`Limits::instruction`] each: a thread that was not running itself accuses nobody, and
//! equal runs are judged alike. Time during which `default` could not send either is not held
//! against anybody: every link is full, or stale.
//!
//! What it cannot do: native schedulers are code of this program. A panic is caught, and the rules on
//! stalls hold; but one that never returns hangs its thread.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::{FlowView, MAX_SUBFLOWS, Marks, Offence, Reason, Scheduler, Time};

/// What schedulers may do; the module's table says what follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// How long nothing may move.
    pub stall: Duration,
    /// How long nothing may be placed although `default` would send, at least.
    pub soft: Duration,
    /// The same in smallest round trips, if that is longer.
    pub soft_trips: u32,
    /// Overrides that one flow may need in a second.
    pub overrides: usize,
    /// Over how long the share is taken.
    pub window: Duration,
    /// The share of a thread that all calls together may take.
    pub share: f64,
    /// How long calls may take at one moment.
    pub run: Duration,
    /// What an instruction takes. The machine needs 1 to 2 ns for one on a small virtual server
    /// (figure `machine`); routers are slower.
    pub instruction: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            stall: Duration::from_millis(20),
            soft: Duration::from_millis(200),
            soft_trips: 4,
            overrides: 3,
            window: Duration::from_millis(100),
            share: 0.2,
            run: Duration::from_millis(10),
            instruction: Duration::from_nanos(3),
        }
    }
}

/// Decisions that are remembered for an incident.
const REMEMBERED: usize = 32;

/// So many looks at a flow that waits make up [`Limits::stall`].
const LOOKS: u32 = 4;

/// What a scheduler is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Where a new chunk goes.
    Send,
    /// Where a lost one goes again.
    Retrans,
}

/// One decision, for people to read later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub at: Time,
    /// Of which flow.
    pub flow: u64,
    /// What was asked.
    pub question: Question,
    /// The paths that were shown, in their order; as many as `count`.
    paths: [u8; MAX_SUBFLOWS],
    count: u8,
    /// Positions of those that were marked.
    pub marks: Marks,
}

impl Decision {
    /// The paths that were shown, and whether each was marked.
    pub fn paths(&self) -> impl Iterator<Item = (u8, bool)> {
        let shown = &self.paths[..usize::from(self.count)];
        let marked = |position| self.marks.contains(position);
        shown
            .iter()
            .enumerate()
            .map(move |(position, &path)| (path, marked(position)))
    }
}

/// What the calls of all schedulers of a session took.
#[derive(Debug, Default)]
pub struct Budget {
    /// When the window began, and what calls took since.
    window: (Time, Duration),
    /// The last moment at which calls were made, and what they took.
    run: (Time, Duration),
}

/// Asks one scheduler of a session, for all its flows.
#[derive(Debug, Default)]
pub struct Guard {
    limits: Limits,
    decisions: VecDeque<Decision>,
    /// All decisions so far.
    decided: u64,
}

impl Guard {
    /// One that judges by `limits`.
    pub fn new(limits: Limits) -> Guard {
        Guard {
            limits,
            ..Guard::default()
        }
    }

    /// What it judges by.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The last decisions, oldest first.
    pub fn decisions(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.decisions.iter()
    }

    /// How many decisions there were so far, those that are forgotten too.
    pub fn decided(&self) -> u64 {
        self.decided
    }

    /// Asks, at the expense of `budget`. An error ejects.
    ///
    /// # Errors
    /// What the scheduler did instead of deciding.
    pub fn ask(
        &mut self,
        budget: &mut Budget,
        scheduler: &mut dyn Scheduler,
        question: Question,
        flow: u64,
        view: &FlowView<'_>,
    ) -> Result<Marks, Offence> {
        let mut marks = Marks::default();
        let asked = catch_unwind(AssertUnwindSafe(|| match question {
            Question::Send => scheduler.get_send(view, &mut marks),
            Question::Retrans => scheduler.get_retrans(view, &mut marks),
        }));
        asked.map_err(|panic| Offence::new(Reason::Panicked, panic_text(&*panic)))?;
        self.remember(question, flow, view, marks);
        if let Some(offence) = scheduler.offence() {
            return Err(offence);
        }
        budget.charge(&self.limits, view.now, scheduler.spent())?;
        match marks
            .iter()
            .find(|&position| position >= view.subflows.len())
        {
            Some(position) => Err(Offence::new(
                Reason::MarkedStranger,
                format!("position {position} of {}", view.subflows.len()),
            )),
            None => Ok(marks),
        }
    }

    fn remember(&mut self, question: Question, flow: u64, view: &FlowView<'_>, marks: Marks) {
        let mut paths = [0; MAX_SUBFLOWS];
        for (path, subflow) in paths.iter_mut().zip(view.subflows) {
            *path = subflow.path;
        }
        if self.decisions.len() == REMEMBERED {
            self.decisions.pop_front();
        }
        self.decided += 1;
        self.decisions.push_back(Decision {
            at: view.now,
            flow,
            question,
            paths,
            count: view.subflows.len().min(MAX_SUBFLOWS) as u8,
            marks,
        });
    }
}

impl Budget {
    /// Takes account of a call of so many instructions.
    fn charge(&mut self, limits: &Limits, now: Time, instructions: u64) -> Result<(), Offence> {
        if instructions == 0 {
            // Native: not metered, and not to blame for what others took.
            return Ok(());
        }
        let nanos = limits.instruction.as_nanos() as u64;
        let took = Duration::from_nanos(instructions.saturating_mul(nanos));
        if now.since(self.window.0) >= limits.window {
            self.window = (now, Duration::ZERO);
        }
        if now != self.run.0 {
            self.run = (now, Duration::ZERO);
        }
        self.window.1 += took;
        self.run.1 += took;
        let budget = limits.window.mul_f64(limits.share);
        let over = |what: &str, spent: Duration, budget: Duration| {
            let text = format!("its calls took {spent:?} {what}, of {budget:?} that they may");
            Err(Offence::new(Reason::CpuShare, text))
        };
        if self.run.1 > limits.run {
            return over("in one run", self.run.1, limits.run);
        }
        if self.window.1 > budget {
            return over("in a window", self.window.1, budget);
        }
        Ok(())
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "it gave no reason".to_owned())
}

/// What is known of a flow that waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// `default` would send, and on a link that is not stale.
    pub default_would: bool,
    /// Something is in flight on a live subflow: an acknowledgement will come.
    pub in_flight: bool,
    /// The smallest round trip of those it could use.
    pub srtt: Duration,
}

/// What is to be done about a flow that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it does not wait any more.
    Done,
    /// Look again then.
    Wait(Time),
    /// `default` places one chunk.
    Override,
    /// The scheduler is ejected.
    Offends(Offence),
}

/// Watches one flow wait.
#[derive(Debug, Default)]
pub struct Watch {
    /// Since when nothing was placed although it could have been.
    since: Option<Time>,
    /// Since when nothing was in flight meanwhile.
    quiet: Option<Time>,
    /// It marked something, if only what is full: it waits for what is there.
    marked: bool,
    /// When the last overrides were that count.
    overrides: VecDeque<Time>,
}

impl Watch {
    /// A chunk was placed.
    pub fn placed(&mut self) {
        self.since = None;
        self.quiet = None;
    }

    /// Nothing was placed. Returns when to look, if that is not known yet.
    pub fn waits(
        &mut self,
        now: Time,
        marked: bool,
        in_flight: bool,
        limits: &Limits,
    ) -> Option<Time> {
        self.marked = marked;
        if self.since.is_some() {
            return None;
        }
        self.since = Some(now);
        self.quiet = (!in_flight).then_some(now);
        Some(now + limits.stall)
    }

    /// Judges a flow that may still wait.
    pub fn look(&mut self, now: Time, seen: Waiting, limits: &Limits) -> Verdict {
        let Some(since) = self.since else {
            return Verdict::Done;
        };
        if !seen.default_would {
            self.since = Some(now);
            self.quiet = None;
            return Verdict::Wait(now + limits.stall);
        }
        self.quiet = match seen.in_flight {
            true => None,
            false => self.quiet.or(Some(now)),
        };
        if let Some(quiet) = self.quiet
            && now.since(quiet) >= limits.stall
        {
            let stood = now.since(quiet);
            let text =
                format!("nothing marked for {stood:?} while data waits and nothing is in flight");
            return Verdict::Offends(Offence::new(Reason::Stalled, text));
        }
        let soft = limits.soft.max(limits.soft_trips * seen.srtt);
        if now.since(since) >= soft {
            return self.step_in(now, limits);
        }
        let next = match self.quiet {
            Some(quiet) => quiet + limits.stall,
            // What is in flight may be gone at any moment: then the stall begins.
            None => now + limits.stall / LOOKS,
        };
        Verdict::Wait(next.min(since + soft))
    }

    fn step_in(&mut self, now: Time, limits: &Limits) -> Verdict {
        let second = Duration::from_secs(1);
        if self.marked {
            self.placed();
            return Verdict::Override;
        }
        self.overrides.retain(|&at| now.since(at) < second);
        self.overrides.push_back(now);
        self.placed();
        if self.overrides.len() > limits.overrides {
            let count = self.overrides.len();
            let text = format!("`default` had to step in {count} times in a second");
            return Verdict::Offends(Offence::new(Reason::TooManyOverrides, text));
        }
        Verdict::Override
    }
}

#[cfg(test)]
mod tests;
