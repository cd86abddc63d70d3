//! The rules, one by one.

use super::*;
use crate::view::tests_support::{flow, subflow};
use crate::{MAX_SUBFLOWS, default};

struct Metered(u64);

impl Scheduler for Metered {
    fn get_send(&mut self, _: &FlowView<'_>, marks: &mut Marks) {
        marks.mark(0);
    }

    fn spent(&mut self) -> u64 {
        self.0
    }
}

struct Marking(usize);

impl Scheduler for Marking {
    fn get_send(&mut self, _: &FlowView<'_>, marks: &mut Marks) {
        assert!(self.0 < 100, "no such number");
        marks.mark(self.0);
    }
}

const SEEN: Waiting = Waiting {
    default_would: true,
    in_flight: true,
    srtt: Duration::from_millis(20),
};

fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

fn reason(marking: usize) -> Option<(Reason, String)> {
    let subflows = [subflow(0, 20, 100), subflow(1, 60, 50)];
    let mut guard = Guard::default();
    let asked = guard.ask(
        &mut Budget::default(),
        &mut Marking(marking),
        Question::Send,
        2,
        &flow(&subflows),
    );
    asked.err().map(|offence| (offence.reason, offence.text))
}

#[test]
fn strangers_and_panics_are_offences() {
    assert_eq!(reason(1), None);
    assert!(matches!(reason(2), Some((Reason::MarkedStranger, _))));
    assert!(matches!(
        reason(MAX_SUBFLOWS + 3),
        Some((Reason::MarkedStranger, _))
    ));
    let (reason, text) = reason(100).expect("a panic");
    assert_eq!(
        (reason, text.as_str()),
        (Reason::Panicked, "no such number")
    );
}

#[test]
fn calls_share_a_budget() {
    let subflows = [subflow(0, 20, 100)];
    // 0.3 ms a call.
    let ejected_by = |every_ms: u64| {
        let mut guard = Guard::default();
        let (mut budget, mut view) = (Budget::default(), flow(&subflows));
        (1..=200).find(|_| {
            view.now = view.now + Duration::from_millis(every_ms);
            let asked = guard.ask(&mut budget, &mut Metered(100_000), Question::Send, 2, &view);
            asked.is_err_and(|offence| offence.reason == Reason::CpuShare)
        })
    };
    assert_eq!(ejected_by(2), None, "15 % of the thread");
    assert_eq!(ejected_by(1), Some(67), "30 %");
    assert_eq!(ejected_by(0), Some(34), "more than 10 ms in one run");
}

#[test]
fn nothing_in_flight_and_nothing_marked_is_a_stall() {
    let limits = Limits::default();
    let mut watch = Watch::default();
    assert_eq!(watch.waits(at(0), false, false, &limits), Some(at(20)));
    assert_eq!(
        watch.waits(at(5), false, false, &limits),
        None,
        "it is looked after"
    );
    let quiet = Waiting {
        in_flight: false,
        ..SEEN
    };
    assert_eq!(watch.look(at(10), quiet, &limits), Verdict::Wait(at(20)));
    assert!(matches!(
        watch.look(at(20), quiet, &limits),
        Verdict::Offends(Offence {
            reason: Reason::Stalled,
            ..
        })
    ));
}

#[test]
fn nobody_is_blamed_for_full_or_stale_links() {
    let limits = Limits::default();
    let mut watch = Watch::default();
    watch.waits(at(0), false, false, &limits);
    let full = Waiting {
        default_would: false,
        in_flight: false,
        ..SEEN
    };
    for ms in (20..1_000).step_by(20) {
        assert_eq!(
            watch.look(at(ms), full, &limits),
            Verdict::Wait(at(ms + 20))
        );
    }
    watch.placed();
    assert_eq!(watch.look(at(1_000), full, &limits), Verdict::Done);
}

#[test]
fn default_steps_in_three_times_a_second() {
    let limits = Limits::default();
    let mut watch = Watch::default();
    let mut overrides = Vec::new();
    for ms in (0..2_000).step_by(20) {
        watch.waits(at(ms), false, true, &limits);
        match watch.look(at(ms), SEEN, &limits) {
            Verdict::Override => overrides.push(ms),
            Verdict::Offends(offence) => {
                assert_eq!(offence.reason, Reason::TooManyOverrides);
                assert_eq!(overrides, [200, 420, 640]);
                return;
            }
            Verdict::Wait(_) | Verdict::Done => {}
        }
    }
    panic!("it was never ejected");
}

#[test]
fn to_wait_for_a_full_link_costs_nothing_but_time() {
    let limits = Limits::default();
    let mut watch = Watch::default();
    for ms in (0..5_000).step_by(20) {
        watch.waits(at(ms), true, true, &limits);
        let verdict = watch.look(at(ms), SEEN, &limits);
        assert!(!matches!(verdict, Verdict::Offends(_)), "{verdict:?}");
    }
}

#[test]
fn a_longer_round_trip_gives_more_time() {
    let limits = Limits::default();
    let mut watch = Watch::default();
    watch.waits(at(0), false, true, &limits);
    let far = Waiting {
        srtt: Duration::from_millis(100),
        ..SEEN
    };
    assert_eq!(watch.look(at(397), far, &limits), Verdict::Wait(at(400)));
    assert_eq!(watch.look(at(400), far, &limits), Verdict::Override);
}

#[test]
fn the_last_decisions_are_remembered() {
    let subflows = [subflow(3, 20, 100), subflow(5, 60, 50)];
    let mut guard = Guard::default();
    for id in 0..40 {
        let view = flow(&subflows);
        guard
            .ask(
                &mut Budget::default(),
                &mut default::Default,
                Question::Send,
                id,
                &view,
            )
            .expect("it is safe");
    }
    assert_eq!(guard.decisions().count(), 32);
    let last = guard.decisions().last().expect("32 of them");
    assert_eq!((last.flow, last.question), (39, Question::Send));
    assert_eq!(last.paths().collect::<Vec<_>>(), [(3, true), (5, false)]);
}
