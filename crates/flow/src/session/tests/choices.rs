//! Schedulers are chosen and ejected by class, at both ends, and flows go on.

use std::sync::{Arc, Mutex};

use guywire_sched::{Factory, FlowView, Marks, Offence, Reason, Scheduler, Traffic, native};

use super::pair::{Pair, ROUTER, SERVER, TO, link};
use super::{MB, MEMORY};
use crate::record::{Choice, Fate, FlowKind, OBJECT_PIECE};

/// Behaves for so many calls, then marks what it was not given.
struct Turncoat(u32);

impl Scheduler for Turncoat {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                marks.mark(0);
            }
            None => marks.mark(flow.subflows.len()),
        }
    }
}

fn turncoat() -> Factory {
    Factory::new("turncoat", || Box::new(|| Box::new(Turncoat(100))))
}

fn pair() -> Pair {
    Pair::new(7, vec![link(50, 20), link(20, 60)], "default", MEMORY)
}

fn choice(class: u8, name: &str) -> Choice {
    Choice {
        class,
        serial: 0,
        name: name.into(),
        hash: None,
        in_turn: false,
        maps: Vec::new(),
    }
}

fn of(class: u8) -> FlowKind {
    FlowKind { class, dscp: 0 }
}

fn in_use(pair: &Pair, side: usize) -> Vec<(u8, String)> {
    let named = pair.ends[side].schedulers();
    named
        .map(|(class, factory)| (class, factory.name().to_owned()))
        .collect()
}

fn named<const N: usize>(names: [(u8, &str); N]) -> Vec<(u8, String)> {
    names.map(|(class, name)| (class, name.to_owned())).to_vec()
}

#[test]
fn the_server_uses_what_is_chosen_for_a_class() {
    let mut pair = pair();
    pair.run_for(500);
    pair.ends[ROUTER].choose(choice(0, "roundrobin"));
    pair.ends[ROUTER].choose(choice(3, "redundant"));
    pair.ends[ROUTER].choose(choice(4, "unheard-of"));
    pair.run_for(200);
    let talk = pair.talk_of(of(3), 0, MB);
    pair.finish_all(30);
    let wanted = named([(0, "roundrobin"), (3, "redundant"), (4, "default")]);
    assert_eq!(in_use(&pair, SERVER), wanted);
    assert!(
        pair.ends[SERVER].repeated_bytes() > MB / 8,
        "{talk} went both ways"
    );
    let fates: Vec<_> = pair.results.iter().map(|result| result.fate).collect();
    assert_eq!(fates, [Fate::InUse, Fate::InUse, Fate::Refused]);
}

/// Marks everything, and notes what it is for.
struct Witness(Arc<Mutex<Vec<Traffic>>>);

impl Scheduler for Witness {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        self.0.lock().expect("nobody panics").push(flow.traffic);
        (0..flow.subflows.len()).for_each(|position| marks.mark(position));
    }
}

#[test]
fn both_ends_know_what_a_flow_carries() {
    let mut pair = pair();
    let seen = [ROUTER, SERVER].map(|side| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = seen.clone();
        let witness = Factory::new("witness", move || {
            let notes = notes.clone();
            Box::new(move || Box::new(Witness(notes.clone())))
        });
        pair.ends[side].use_scheduler(pair.now, 0, Some(witness));
        seen
    });
    let voice = FlowKind { class: 0, dscp: 46 };
    pair.talk_of(voice, 5_000, 5_000);
    pair.finish_all(10);
    let traffic = Traffic {
        destination: Some(TO),
        dscp: 46,
    };
    for seen in seen {
        let seen = seen.lock().expect("nobody panics");
        assert!(
            !seen.is_empty() && seen.iter().all(|it| *it == traffic),
            "{seen:?}"
        );
    }
}

#[test]
fn of_two_choices_the_last_holds_whatever_comes_first() {
    let mut pair = pair();
    let now = pair.now;
    let answer = crate::Answer::Use(native("first").map(Into::into));
    let (old, new) = (
        Choice {
            serial: 1,
            ..choice(0, "first")
        },
        Choice {
            serial: 2,
            ..choice(0, "minrtt")
        },
    );
    pair.ends[SERVER].handle_choice(new);
    pair.ends[SERVER].handle_choice(old.clone());
    pair.ends[SERVER].answer_choice(now, &old, answer);
    pair.run_for(100);
    assert_eq!(in_use(&pair, SERVER), named([(0, "minrtt")]));
}

#[test]
fn an_object_comes_whole() {
    let mut pair = pair();
    pair.run_for(500);
    let object: Vec<u8> = (0..100_000u32).map(|at| at as u8).collect();
    pair.ends[ROUTER].choose(Choice {
        hash: Some([9; 32]),
        ..choice(0, "mine")
    });
    pair.run_for(500);
    assert_eq!(pair.results[0].fate, Fate::Wanted);
    pair.ends[ROUTER].send_object([9; 32], &object);
    pair.run_for(1_000);
    let mut come = vec![0; object.len()];
    for piece in &pair.pieces {
        let start = piece.number as usize * OBJECT_PIECE;
        come[start..start + piece.bytes.len()].copy_from_slice(&piece.bytes);
    }
    assert_eq!(come, object);
}

#[test]
fn who_is_ejected_is_out_of_every_class_at_once_and_flows_go_on() {
    for side in [ROUTER, SERVER] {
        let mut pair = pair();
        pair.may_eject = true;
        pair.run_for(500);
        let now = pair.now;
        for class in [0, 2] {
            pair.ends[ROUTER].choose(choice(class, "first"));
        }
        pair.run_for(200);
        for class in [0, 2] {
            pair.ends[side].use_scheduler(now, class, Some(turncoat()));
        }
        pair.ends[side].use_scheduler(now, 5, native("minrtt").map(Into::into));
        for class in [0, 1, 2, 5] {
            pair.talk_of(of(class), 2 * MB, 2 * MB);
        }
        pair.finish_all(60);
        let ejected: Vec<_> = pair
            .ejected
            .iter()
            .map(|(side, incident)| (*side, incident.offence.reason, incident.decisions.len()))
            .collect();
        assert_eq!(ejected, [(side, Reason::MarkedStranger, 32)]);
        let left = named([(0, "default"), (2, "default"), (5, "minrtt")]);
        assert_eq!(in_use(&pair, side), left);
        let told = pair.results.iter().filter(|result| {
            result.fate == Fate::Ejected(Reason::MarkedStranger) && result.text.contains("position")
        });
        assert_eq!(told.count(), if side == SERVER { 2 } else { 0 });
    }
}

/// Picks well, and takes a hundredth of a second for it.
struct Slow;

impl Scheduler for Slow {
    fn get_send(&mut self, _: &FlowView<'_>, marks: &mut Marks) {
        marks.mark(0);
    }

    fn spent(&mut self) -> u64 {
        3_000_000
    }
}

#[test]
fn who_takes_too_much_is_ejected_once_and_nobody_pays_for_it() {
    let mut pair = pair();
    pair.may_eject = true;
    pair.run_for(500);
    let now = pair.now;
    let slow = || Factory::new("slow", || Box::new(|| Box::new(Slow)));
    pair.ends[SERVER].use_scheduler(now, 0, Some(slow()));
    pair.ends[SERVER].use_scheduler(now, 1, Some(turncoat()));
    for flow in 0..50 {
        pair.talk_of(of(flow % 2), 0, MB / 10);
    }
    pair.finish_all(60);
    let reasons: Vec<_> = pair
        .ejected
        .iter()
        .map(|(_, incident)| (incident.scheduler.name(), incident.offence.reason))
        .collect();
    assert_eq!(reasons[0], ("slow", Reason::CpuShare));
    assert!(reasons.len() <= 2, "{reasons:?}");
}

#[test]
fn what_misbehaved_elsewhere_is_ejected_here() {
    let mut pair = pair();
    let now = pair.now;
    pair.ends[SERVER].use_scheduler(now, 1, Some(turncoat()));
    let offence = Offence::new(Reason::Stalled, "elsewhere");
    pair.ends[SERVER].eject_alike(now, &turncoat(), &offence);
    assert_eq!(
        in_use(&pair, SERVER),
        named([(0, "default"), (1, "default")])
    );
}

#[test]
fn a_class_without_a_scheduler_follows_all_other_traffic() {
    let mut pair = pair();
    let now = pair.now;
    let end = &mut pair.ends[ROUTER];
    end.use_scheduler(now, 1, native("redundant").map(Into::into));
    end.use_scheduler(now, 0, native("minrtt").map(Into::into));
    end.use_scheduler(now, 1, None);
    assert_eq!(in_use(&pair, ROUTER), named([(0, "minrtt")]));
}
