//! How the flows of a router's session are scheduled: chosen by class, asked of the server too, given up where
//! either end ejects a scheduler.

use std::collections::BTreeMap;
use std::sync::Arc;

use guywire_flow::Incident;
use guywire_flow::record::{CLASSES, Choice, ChoiceResult, Fate};
use guywire_sched::{Factory, MapValue};

use super::{Router, RouterNews, State};

/// How the flows of a class are scheduled, in both directions.
#[derive(Clone, Debug, Default)]
pub struct Scheduling {
    /// What schedules them here, and at the server if that agrees.
    pub factory: Factory,
    /// Of several that are marked each takes the next chunk: for the server to know, the factory does.
    pub in_turn: bool,
    /// What its maps hold at first: for the server to know, the factory does.
    pub maps: Vec<MapValue>,
    /// Its object, which the server may want.
    pub object: Option<Arc<[u8]>>,
}

impl Scheduling {
    fn is_same(&self, other: &Scheduling) -> bool {
        self.factory.is_same(&other.factory)
            && (self.in_turn, &self.maps) == (other.in_turn, &other.maps)
    }

    fn choice(&self, class: u8) -> Choice {
        Choice {
            class,
            serial: 0,
            name: self.factory.name().to_owned(),
            hash: self.factory.hash(),
            in_turn: self.in_turn,
            maps: self.maps.clone(),
        }
    }
}

/// How the flows of a class are scheduled just now, for status.
#[derive(Clone, Debug)]
pub struct ClassReport {
    /// The class.
    pub class: u8,
    /// What schedules them here.
    pub here: Factory,
    /// What was asked of the server.
    pub asked: Factory,
    /// What the server said; `None` while it has said nothing.
    pub answer: Option<ChoiceResult>,
}

impl Router {
    /// How the flows of each class are scheduled from now on, those there are too; of classes that are not
    /// named, as those of class 0.
    pub fn set_schedulers(&self, schedulers: BTreeMap<u8, Scheduling>) {
        let mut state = self.lock();
        let session = state.session.clone();
        let old = std::mem::replace(&mut state.schedulers, schedulers);
        for class in 0..CLASSES {
            let (was, is) = (old.get(&class), state.schedulers.get(&class).cloned());
            let same = match (was, &is) {
                (Some(was), Some(is)) => was.is_same(is),
                (None, None) => true,
                _ => false,
            };
            if same {
                continue;
            }
            let factory = is.as_ref().map(|is| is.factory.clone());
            session.with(|session, now| session.use_scheduler(now, class, factory));
            state.ask(class);
        }
    }

    /// How the flows of each class are scheduled just now.
    pub fn schedulers(&self) -> Vec<ClassReport> {
        let state = self.lock();
        let here = |session: &guywire_flow::Session, _| {
            let named = session.schedulers();
            named
                .map(|(class, factory)| (class, factory.clone()))
                .collect::<Vec<_>>()
        };
        let report = |(class, here)| ClassReport {
            class,
            here,
            asked: state.scheduling(class).factory,
            answer: state.answers.get(&class).cloned(),
        };
        let here = state.session.with(|session, now| here(session, now));
        here.into_iter().map(report).collect()
    }

    /// A scheduler was ejected here: it is not asked of the server any more either.
    pub(super) fn handle_ejection(&self, incident: Box<Incident>) {
        let mut state = self.lock();
        for class in state.give_up(&incident.scheduler) {
            state.ask(class);
        }
        drop(state);
        let _ = self.0.news.send(RouterNews::Ejected(incident));
    }

    pub(super) fn handle_choice_result(&self, result: ChoiceResult) {
        let mut state = self.lock();
        let Scheduling {
            factory: scheduler,
            object,
            ..
        } = state.scheduling(result.class);
        if result.fate == Fate::Wanted {
            if let (Some(object), Some(hash)) = (object, scheduler.hash()) {
                state
                    .session
                    .with(|session, _| session.send_object(hash, &object));
            }
            return;
        }
        state.answers.insert(result.class, result.clone());
        if let Fate::Ejected(_) = result.fate {
            // It is not used here either; the server has put `default` in its place already.
            let session = state.session.clone();
            for class in state.give_up(&scheduler) {
                let by_default = Some(Factory::default());
                session.with(|session, now| session.use_scheduler(now, class, by_default));
            }
        }
        drop(state);
        let _ = self
            .0
            .news
            .send(RouterNews::ChoiceResult { scheduler, result });
    }
}

impl State {
    fn scheduling(&self, class: u8) -> Scheduling {
        self.schedulers.get(&class).cloned().unwrap_or_default()
    }

    /// Puts `default` in the place of a scheduler; says for which classes.
    fn give_up(&mut self, scheduler: &Factory) -> Vec<u8> {
        let of = |scheduling: &Scheduling| scheduling.factory.is_same(scheduler);
        let mut classes = Vec::new();
        for (&class, scheduling) in &mut self.schedulers {
            if of(scheduling) && !scheduler.is_default() {
                *scheduling = Scheduling::default();
                classes.push(class);
            }
        }
        classes
    }

    /// Asks the server, if it was reached, to schedule the flows of a class as this end does.
    pub(super) fn ask(&mut self, class: u8) {
        if self.server.is_none() {
            return;
        }
        self.answers.remove(&class);
        let choice = match (class, self.schedulers.get(&class)) {
            (_, Some(scheduling)) => scheduling.choice(class),
            (0, None) => Scheduling::default().choice(class),
            (_, None) => Choice {
                name: String::new(),
                ..Scheduling::default().choice(class)
            },
        };
        self.session.with(|session, _| session.choose(choice));
    }
}
