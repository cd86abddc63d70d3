//! Schedulers that routers choose for what the server sends them: who may have which, the objects that they
//! send, and who was ejected.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use guywire_control::supervisor::MAX_QUARANTINED;
use guywire_control::worker::{Budget, SchedulerId};
use guywire_ebpf::scheduler::Bpf;
use guywire_flow::Answer;
use guywire_flow::record::{Choice, OBJECT_PIECE, Piece};
use guywire_sched::{Factory, native};
use guywire_transport::key::PublicKey;
use guywire_transport::session::SessionHandle;

use super::schedulers;

/// Objects of one router that are kept; the one that was used longest ago goes.
const OBJECTS: usize = 4;

/// The choices of all routers; clones share them.
#[derive(Clone)]
pub(super) struct Guests(Arc<Mutex<State>>);

struct State {
    budget: Budget,
    /// Routers that may send objects.
    trusted: HashSet<PublicKey>,
    quarantine: HashSet<SchedulerId>,
    routers: HashMap<PublicKey, Guest>,
}

/// What is known of a router.
#[derive(Default)]
struct Guest {
    objects: VecDeque<Bpf>,
    awaited: Option<Awaited>,
}

/// An object that is on its way, and who waits for it.
struct Awaited {
    hash: [u8; 32],
    choices: Vec<(SessionHandle, Choice)>,
    bytes: Vec<u8>,
    /// Which pieces have come.
    come: HashSet<u32>,
}

impl Guests {
    pub(super) fn new(budget: Budget) -> Guests {
        Guests(Arc::new(Mutex::new(State {
            budget,
            trusted: HashSet::new(),
            quarantine: HashSet::new(),
            routers: HashMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The routers there are, and those of them that may send objects; the others are forgotten.
    pub(super) fn set_routers(
        &self,
        known: impl Fn(&PublicKey) -> bool,
        trusted: HashSet<PublicKey>,
    ) {
        let mut state = self.lock();
        state.trusted = trusted;
        state.routers.retain(|router, _| known(router));
    }

    /// The schedulers that are not used.
    pub(super) fn set_quarantine(&self, quarantine: Vec<SchedulerId>) {
        self.lock().quarantine = quarantine.into_iter().collect();
    }

    /// A scheduler was ejected: it is not used from now on, whatever becomes of the news.
    pub(super) fn quarantine(&self, scheduler: &Factory) {
        self.lock().quarantine.insert(schedulers::id(scheduler));
    }

    /// Answers a router's choice.
    pub(super) fn choose(&self, router: PublicKey, session: &SessionHandle, choice: Choice) {
        let answer = self.lock().judge(router, session, &choice);
        session.with(|session, now| session.answer_choice(now, &choice, answer));
    }

    /// Takes a piece of an object, and with the last one loads it: away from the runtime's threads, since that
    /// takes a while.
    pub(super) fn take_piece(&self, router: PublicKey, piece: &Piece) {
        let mut state = self.lock();
        let Some(guest) = state.routers.get_mut(&router) else {
            return;
        };
        let whole = guest
            .awaited
            .as_mut()
            .is_some_and(|awaited| awaited.hash == piece.hash && awaited.take(piece));
        if let Some(awaited) = guest.awaited.take_if(|_| whole) {
            let guests = self.clone();
            tokio::task::spawn_blocking(move || guests.load(router, awaited));
        }
    }

    fn load(&self, router: PublicKey, awaited: Awaited) {
        let Some((_, first)) = awaited.choices.first() else {
            return;
        };
        let sent = digest::digest(&digest::SHA256, &awaited.bytes);
        let loaded = match sent.as_ref() == awaited.hash {
            true => Bpf::load(&first.name, &awaited.bytes).map_err(|unfit| unfit.to_string()),
            false => Err("what came is not the object of that hash".to_owned()),
        };
        if let Ok(bpf) = &loaded {
            self.lock().keep(router, bpf.clone());
        }
        let budget = self.lock().budget;
        for (session, choice) in awaited.choices {
            let answer = match &loaded {
                Ok(bpf) => use_object(bpf, &choice, budget),
                Err(text) => Answer::Refused(text.clone()),
            };
            session.with(|session, now| session.answer_choice(now, &choice, answer));
        }
    }
}

impl State {
    fn judge(&mut self, router: PublicKey, session: &SessionHandle, choice: &Choice) -> Answer {
        if choice.name.is_empty() {
            return Answer::Use(None);
        }
        let id = SchedulerId {
            name: choice.name.clone(),
            hash: choice.hash.map(|hash| HEXLOWER.encode(&hash)),
        };
        if self.quarantine.contains(&id) {
            return Answer::Refused(format!(
                "it was ejected on the server; there `guywire sched pardon {}` lets it be used again",
                choice.name
            ));
        }
        let Some(hash) = choice.hash else {
            return match native(&choice.name) {
                Some(native) => Answer::Use(Some(Factory::from(native))),
                None => Answer::Refused("the server has no scheduler of this name".to_owned()),
            };
        };
        if let Some((bpf, _)) = schedulers::built_in(&choice.name, hash) {
            return use_object(&bpf, choice, self.budget);
        }
        self.judge_object(router, hash, session, choice)
    }

    /// Decides about an object that is not built in.
    fn judge_object(
        &mut self,
        router: PublicKey,
        hash: [u8; 32],
        session: &SessionHandle,
        choice: &Choice,
    ) -> Answer {
        if !self.trusted.contains(&router) {
            return Answer::Refused(
                "the server takes no objects from this router; `schedulers.objects_from` in its server.toml names those that may"
                    .to_owned(),
            );
        }
        if self.quarantine.len() >= MAX_QUARANTINED {
            return Answer::Refused(
                "too many schedulers were ejected on the server: it takes no objects until some are pardoned"
                    .to_owned(),
            );
        }
        let guest = self.routers.entry(router).or_default();
        if let Some(bpf) = guest.objects.iter().find(|bpf| bpf.hash() == hash) {
            return use_object(bpf, choice, self.budget);
        }
        let waits = (session.clone(), choice.clone());
        match &mut guest.awaited {
            Some(awaited) if awaited.hash == hash => {
                // The last choice for a class holds.
                awaited
                    .choices
                    .retain(|(_, other)| other.class != choice.class);
                awaited.choices.push(waits);
            }
            _ => {
                guest.awaited = Some(Awaited {
                    hash,
                    choices: vec![waits],
                    bytes: Vec::new(),
                    come: HashSet::new(),
                });
            }
        }
        Answer::Wanted
    }

    fn keep(&mut self, router: PublicKey, bpf: Bpf) {
        let objects = &mut self.routers.entry(router).or_default().objects;
        objects.push_back(bpf);
        if objects.len() > OBJECTS {
            objects.pop_front();
        }
    }
}

impl Awaited {
    /// Takes a piece; true when the object is whole. The first piece tells its size.
    fn take(&mut self, piece: &Piece) -> bool {
        let size = piece.size as usize;
        if self.come.is_empty() {
            self.bytes = vec![0; size];
        }
        let start = piece.number as usize * OBJECT_PIECE;
        if size != self.bytes.len() {
            return false;
        }
        let Some(place) = self.bytes.get_mut(start..start + piece.bytes.len()) else {
            return false;
        };
        place.copy_from_slice(&piece.bytes);
        self.come.insert(piece.number);
        self.come.len() == size.div_ceil(OBJECT_PIECE)
    }
}

fn use_object(bpf: &Bpf, choice: &Choice, budget: Budget) -> Answer {
    let settings = schedulers::settings(budget, choice.in_turn, &choice.maps);
    Answer::Use(Some(bpf.factory(settings)))
}
