//! Which scheduler is in use, and what happens when the guard ejects it: at once, all flows of the session
//! go on with `default`, and not one of them is touched otherwise.

use std::time::Duration;

use guywire_sched::guard::{Decision, Guard, Limits, Question, Verdict, Waiting};
use guywire_sched::{Factory, Maker, Marks, Offence, Scheduler, Time, default};

use super::schedule::{Shown, chosen};
use super::{Event, PathReport, Session};
use crate::path::Path;
use crate::timer::Timer;

/// Why a scheduler was ejected, and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// The scheduler.
    pub scheduler: String,
    /// What it did.
    pub offence: Offence,
    /// The flow in which it did that.
    pub flow: u64,
    /// When, by the session's clock.
    pub at: Time,
    /// Its last decisions, oldest first.
    pub decisions: Vec<Decision>,
    /// The session's paths.
    pub paths: Vec<PathReport>,
    /// What it printed last.
    pub log: Vec<String>,
}

/// A scheduler in use.
pub(super) struct InUse {
    factory: Factory,
    maker: Maker,
    guard: Guard,
}

impl InUse {
    pub(super) fn new(factory: Factory, limits: Limits) -> InUse {
        InUse {
            maker: factory.start(),
            factory,
            guard: Guard::new(limits),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.factory.name()
    }

    /// An instance for one direction of a flow.
    pub(super) fn instance(&self) -> Box<dyn Scheduler> {
        (self.maker)()
    }
}

impl Session {
    /// Schedules every flow, those there are too, with another scheduler from now on.
    pub fn use_scheduler(&mut self, now: Time, factory: Factory) {
        self.adopt(factory);
        self.pump(now);
    }

    fn adopt(&mut self, factory: Factory) {
        // The old one goes first: what is left of it has nothing to release then.
        self.in_use = InUse::new(factory, self.config.limits);
        for (&id, flow) in &mut self.flows {
            flow.scheduler = self.in_use.instance();
            flow.watch.placed();
            self.timers.set(Timer::Guard(id), None);
        }
        self.unpark();
    }

    fn eject(&mut self, now: Time, flow: u64, offence: Offence) {
        let log = self.flows.get(&flow).map(|flow| flow.scheduler.log());
        let incident = Incident {
            scheduler: self.in_use.name().to_owned(),
            offence,
            flow,
            at: now,
            decisions: self.in_use.guard.decisions().copied().collect(),
            paths: self.paths(now),
            log: log.unwrap_or_default(),
        };
        self.adopt(Factory::default());
        self.events.push_back(Event::Ejected(Box::new(incident)));
    }

    /// Asks the flow's scheduler; if that ejects it, `default`.
    pub(super) fn ask(&mut self, now: Time, id: u64, shown: &Shown) -> Marks {
        let question = match shown.lost {
            Some(_) => Question::Retrans,
            None => Question::Send,
        };
        for _ in 0..2 {
            let Some(flow) = self.flows.get_mut(&id) else {
                break;
            };
            let view = shown.of(flow, now);
            let guard = &mut self.in_use.guard;
            match guard.ask(flow.scheduler.as_mut(), question, id, &view) {
                Ok(marks) => return marks,
                Err(offence) => self.eject(now, id, offence),
            }
        }
        Marks::default()
    }

    /// A flow waits: the guard keeps an eye on it.
    pub(super) fn watch(&mut self, now: Time, id: u64) {
        if self.in_use.factory.is_default() {
            return;
        }
        let in_flight = self.is_anything_in_flight();
        let guard = &self.in_use.guard;
        let last = guard.decisions().next_back();
        let marked = last.is_some_and(|decision| !decision.marks.is_empty());
        if let Some(flow) = self.flows.get_mut(&id)
            && let Some(at) = flow.watch.waits(now, marked, in_flight, guard.limits())
        {
            self.timers.set(Timer::Guard(id), Some(at));
        }
    }

    /// Judges a flow that may still wait.
    pub(super) fn guard_timeout(&mut self, now: Time, id: u64) {
        let by_default = self.default_choice(now, id);
        let shown = by_default.as_ref().map(|(shown, _)| shown.views());
        let seen = Waiting {
            default_would: by_default.is_some(),
            in_flight: self.is_anything_in_flight(),
            srtt: shown
                .into_iter()
                .flatten()
                .map(|view| view.srtt)
                .min()
                .unwrap_or(Duration::ZERO),
        };
        let limits = self.in_use.guard.limits();
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if !flow.send.has_work() {
            return flow.watch.placed();
        }
        match flow.watch.look(now, seen, limits) {
            Verdict::Done => {}
            Verdict::Wait(at) => self.timers.set(Timer::Guard(id), Some(at)),
            Verdict::Override => {
                if let Some((shown, marks)) = by_default {
                    self.give(id, &shown, marks);
                }
                self.enqueue(id);
            }
            Verdict::Offends(offence) => self.eject(now, id, offence),
        }
    }

    /// Where `default` would send the flow's next chunk at once, on a link that is not stale.
    fn default_choice(&self, now: Time, id: u64) -> Option<(Shown, Marks)> {
        let flow = self.flows.get(&id)?;
        let lost = flow
            .send
            .first_lost()
            .map(|lost| self.shown(id, Some(lost)));
        let fresh = || {
            let waits = flow.send.backlog() > 0 && flow.send.window_free() > 0;
            waits.then(|| self.shown(id, None))
        };
        [lost, fresh()].into_iter().flatten().find_map(|shown| {
            let mut marks = Marks::default();
            let view = shown.of(flow, now);
            match shown.lost {
                Some(_) => default::Default.get_retrans(&view, &mut marks),
                None => default::Default.get_send(&view, &mut marks),
            }
            let live = shown.views().iter().any(|view| !view.stale);
            let sends = live && chosen(shown.views(), marks).is_some();
            sends.then_some((shown, marks))
        })
    }

    /// Whether anything is in flight on a path that is up: then acknowledgements will come.
    fn is_anything_in_flight(&self) -> bool {
        let up = |path: u8| self.paths.get(&path).is_some_and(Path::is_up);
        self.subflows
            .values()
            .any(|s| up(s.path) && (s.info.unacked > 0 || s.queued > 0 || s.owed > 0))
    }
}
