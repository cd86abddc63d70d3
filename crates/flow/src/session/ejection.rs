//! Which schedulers are in use, and what happens when the guard ejects one: at once, all flows that it
//! schedules go on with `default`, and not one of them is touched otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use guywire_sched::guard::{Budget, Decision, Guard, Limits, Question, Verdict, Waiting};
use guywire_sched::{Factory, FlowView, Maker, Marks, Offence, Scheduler, Time, default};

use super::schedule::{Shown, chosen};
use super::{Event, PathReport, Session, Side};
use crate::record::{ChoiceResult, Control, Fate};
use crate::timer::Timer;

/// Why a scheduler was ejected, and what is known about it.
#[derive(Clone, Debug)]
pub struct Incident {
    /// The scheduler.
    pub scheduler: Factory,
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
    fn new(factory: Factory, limits: Limits) -> InUse {
        InUse {
            maker: factory.start(),
            factory,
            guard: Guard::new(limits),
        }
    }

    pub(super) fn factory(&self) -> &Factory {
        &self.factory
    }

    /// An instance for one direction of a flow.
    pub(super) fn instance(&self) -> Box<dyn Scheduler> {
        (self.maker)()
    }
}

/// The schedulers in use.
pub(super) struct Schedulers {
    limits: Limits,
    /// Of the flows whose class has none of its own.
    rest: InUse,
    classes: BTreeMap<u8, InUse>,
    /// They share it: a router gets no more of a server by having many classes.
    budget: Budget,
}

impl Schedulers {
    pub(super) fn new(factory: Factory, limits: Limits) -> Schedulers {
        Schedulers {
            limits,
            rest: InUse::new(factory, limits),
            classes: BTreeMap::new(),
            budget: Budget::default(),
        }
    }

    /// What schedules the flows of a class.
    pub(super) fn of(&self, class: u8) -> &InUse {
        self.classes.get(&class).unwrap_or(&self.rest)
    }

    /// Every class with a scheduler of its own, 0 among them.
    pub(super) fn all(&self) -> impl Iterator<Item = (u8, &InUse)> {
        let classes = self.classes.iter().map(|(&class, in_use)| (class, in_use));
        std::iter::once((0, &self.rest)).chain(classes)
    }

    fn set(&mut self, class: u8, factory: Option<Factory>) {
        let in_use = |factory| InUse::new(factory, self.limits);
        match (class, factory) {
            (0, factory) => self.rest = in_use(factory.unwrap_or_default()),
            (_, Some(factory)) => {
                self.classes.insert(class, in_use(factory));
            }
            (_, None) => {
                self.classes.remove(&class);
            }
        }
    }

    /// Asks the scheduler of a class.
    fn ask(
        &mut self,
        class: u8,
        scheduler: &mut dyn Scheduler,
        question: Question,
        flow: u64,
        view: &FlowView<'_>,
    ) -> Result<Marks, Offence> {
        let in_use = self.classes.get_mut(&class).unwrap_or(&mut self.rest);
        let guard = &mut in_use.guard;
        guard.ask(&mut self.budget, scheduler, question, flow, view)
    }
}

impl Session {
    /// Schedules every flow of a class, those there are too, with another scheduler from now on; with none
    /// as the flows of class 0, and those with `default`.
    pub fn use_scheduler(&mut self, now: Time, class: u8, factory: Option<Factory>) {
        self.adopt(class, factory);
        self.pump(now);
    }

    fn adopt(&mut self, class: u8, factory: Option<Factory>) {
        // The old one goes first: what is left of it has nothing to release then.
        self.schedulers.set(class, factory);
        let own: Vec<u8> = self.schedulers.classes.keys().copied().collect();
        for (&id, flow) in &mut self.flows {
            if flow.class == class || (class == 0 && !own.contains(&flow.class)) {
                flow.scheduler = self.schedulers.of(flow.class).instance();
                flow.watch.placed();
                self.timers.set(Timer::Guard(id), None);
            }
        }
        self.unpark();
    }

    /// Puts `default` in the place of the scheduler of a flow, wherever that is in use.
    fn eject(&mut self, now: Time, flow: u64, offence: Offence) {
        let class = self.flows.get(&flow).map_or(0, |flow| flow.class);
        let log = self.flows.get(&flow).map(|flow| flow.scheduler.log());
        let offender = self.schedulers.of(class);
        let incident = Incident {
            scheduler: offender.factory.clone(),
            offence,
            flow,
            at: now,
            decisions: offender.guard.decisions().copied().collect(),
            paths: self.paths(now),
            log: log.unwrap_or_default(),
        };
        self.eject_everywhere(&incident.scheduler, &incident.offence);
        // What it took is not held against those that are left.
        self.schedulers.budget = Budget::default();
        self.events.push_back(Event::Ejected(Box::new(incident)));
    }

    /// Puts `default` in the place of a scheduler that misbehaved in another session.
    pub fn eject_alike(&mut self, now: Time, scheduler: &Factory, offence: &Offence) {
        self.eject_everywhere(scheduler, offence);
        self.pump(now);
    }

    fn eject_everywhere(&mut self, scheduler: &Factory, offence: &Offence) {
        let classes: Vec<u8> = self
            .schedulers
            .all()
            .filter(|(_, in_use)| in_use.factory.is_same(scheduler))
            .map(|(class, _)| class)
            .collect();
        for class in classes {
            self.adopt(class, Some(Factory::default()));
            if self.config.side == Side::Server
                && let Some(&serial) = self.chosen.get(&class)
            {
                self.tell(Control::SchedulerResult(ChoiceResult {
                    class,
                    serial,
                    fate: Fate::Ejected(offence.reason),
                    text: offence.text.clone(),
                }));
            }
        }
    }

    /// The schedulers in use: class, and which.
    pub fn schedulers(&self) -> impl Iterator<Item = (u8, &Factory)> {
        self.schedulers
            .all()
            .map(|(class, in_use)| (class, in_use.factory()))
    }

    /// The last decisions of the scheduler of a class, oldest first, and how many there were in all.
    pub fn decisions(&self, class: u8) -> (u64, impl Iterator<Item = &Decision>) {
        let guard = &self.schedulers.of(class).guard;
        (guard.decided(), guard.decisions())
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
            let (class, scheduler) = (flow.class, flow.scheduler.as_mut());
            let asked = self.schedulers.ask(class, scheduler, question, id, &view);
            match asked {
                Ok(marks) => return marks,
                // Nothing could be put in its place.
                Err(_) if self.schedulers.of(class).factory.is_default() => break,
                Err(offence) => self.eject(now, id, offence),
            }
        }
        Marks::default()
    }

    /// A flow waits: the guard keeps an eye on it.
    pub(super) fn watch(&mut self, now: Time, id: u64) {
        let Some(in_use) = self
            .flows
            .get(&id)
            .map(|flow| self.schedulers.of(flow.class))
        else {
            return;
        };
        if in_use.factory.is_default() {
            return;
        }
        let in_flight = self.is_anything_in_flight();
        let last = in_use.guard.decisions().next_back();
        let marked = last.is_some_and(|decision| !decision.marks.is_empty());
        let limits = in_use.guard.limits();
        if let Some(flow) = self.flows.get_mut(&id)
            && let Some(at) = flow.watch.waits(now, marked, in_flight, limits)
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
        let limits = &self.schedulers.limits;
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

    /// Whether anything is in flight on a path that is up: then acknowledgements will come. TCP's count, since
    /// schedulers wait for that.
    fn is_anything_in_flight(&self) -> bool {
        self.subflows
            .values()
            .any(|s| self.is_up(s.path) && (s.info.unacked > 0 || s.queued > 0 || s.owed > 0))
    }
}
