//! What the kernel does around programs, through the embedded objects and the zoo's.

use guywire_sched::guard::{Budget, Guard, Question};
use guywire_sched::{MapValue, SubflowView, Time};

use super::*;

fn subflow(path: u8) -> SubflowView {
    SubflowView {
        id: SubflowId(path.into()),
        path,
        srtt: std::time::Duration::from_millis(20),
        rttvar: std::time::Duration::from_millis(2),
        min_rtt: std::time::Duration::from_millis(20),
        rate: 1_250_000,
        queued: 0,
        room: 20_000,
        mss: 1_400,
        unacked: 0,
        delivered: 0,
        given: 0,
        backup: false,
        stale: false,
    }
}

fn flow(subflows: &[SubflowView]) -> FlowView<'_> {
    FlowView {
        now: Time::ZERO,
        window_free: 1 << 20,
        backlog: 1 << 20,
        sent: 0,
        chunk: 16_000,
        subflows,
    }
}

fn start(name: &str, settings: Settings) -> Box<dyn Scheduler> {
    let bpf = Bpf::embedded(name).expect("it is built in");
    let maker = bpf.factory(settings).start();
    let scheduler = maker();
    // The world lasts as long as its maker.
    std::mem::forget(maker);
    scheduler
}

fn send(scheduler: &mut dyn Scheduler, view: &FlowView<'_>) -> Vec<usize> {
    let mut marks = Marks::default();
    scheduler.get_send(view, &mut marks);
    assert_eq!(scheduler.offence(), None);
    marks.iter().collect()
}

#[test]
fn everything_built_in_is_fit_and_decides() {
    for embedded in EMBEDDED {
        let subflows = [subflow(0), subflow(1)];
        let mut scheduler = start(embedded.name, Settings::default());
        assert!(
            !send(&mut *scheduler, &flow(&subflows)).is_empty(),
            "{}",
            embedded.name
        );
    }
}

#[test]
fn a_burst_lasts_as_long_as_there_is_room() {
    let mut subflows = [subflow(0), subflow(1)];
    let mut scheduler = start("bpf_burst", Settings::default());
    assert_eq!(send(&mut *scheduler, &flow(&subflows)), [0]);
    subflows[0].queued = 20_000;
    let mut later = flow(&subflows);
    later.sent = 20_000;
    assert_eq!(
        send(&mut *scheduler, &later),
        [0],
        "45,428 bytes of it are left"
    );
    subflows[0].room = 0;
    let mut full = flow(&subflows);
    full.sent = 40_000;
    assert_eq!(send(&mut *scheduler, &full), [1], "it ends early");
}

#[test]
fn several_marks_are_copies_or_turns() {
    let subflows = [subflow(0), subflow(1), subflow(2)];
    let mut copies = start("bpf_red", Settings::default());
    assert_eq!(send(&mut *copies, &flow(&subflows)), [0, 1, 2]);
    let in_turn = Settings {
        several: Several::InTurn,
        ..Settings::default()
    };
    let mut turns = start("bpf_red", in_turn);
    let picks: Vec<_> = (0..4)
        .flat_map(|_| send(&mut *turns, &flow(&subflows)))
        .collect();
    assert_eq!(picks, [0, 1, 2, 0]);
}

#[test]
fn maps_are_set_from_outside() {
    let weigh = |id: u8, weight: u32| MapValue {
        map: "weight_of_id".to_owned(),
        key: vec![id],
        value: weight.to_le_bytes().to_vec(),
    };
    let settings = Settings {
        maps: vec![weigh(0, 3), weigh(1, 1)],
        ..Settings::default()
    };
    let subflows = [subflow(0), subflow(1)];
    let mut scheduler = start("bpf_weight", settings);
    let picks = (0..40).flat_map(|_| send(&mut *scheduler, &flow(&subflows)));
    assert_eq!(picks.filter(|&position| position == 0).count(), 30);
}

#[test]
fn a_subflow_keeps_its_handle_wherever_it_is_shown() {
    let mut numbers = Numbers::default();
    let mut connection = Connection::new(&mut numbers);
    let subflows = [subflow(0), subflow(1), subflow(2)];
    connection.show(&flow(&subflows), false, &mut numbers);
    let before = connection.at(2).expect("it is shown").address();
    connection.show(&flow(&subflows[2..]), false, &mut numbers);
    assert_eq!(connection.at(0).expect("it is shown").address(), before);
    connection.show(&flow(&subflows), false, &mut numbers);
    assert_eq!(connection.at(2).expect("it is shown").address(), before);
}

#[test]
fn a_stranger_is_named_with_its_instruction() {
    let object = include_bytes!("../../../../bpf/zoo/z_stranger.bpf.o");
    let maker = Bpf::load("z_stranger", object)
        .expect("it loads")
        .factory(Settings::default())
        .start();
    let subflows = [subflow(0)];
    let mut guard = Guard::default();
    let asked = guard.ask(
        &mut Budget::default(),
        &mut *maker(),
        Question::Send,
        2,
        &flow(&subflows),
    );
    let offence = asked.expect_err("it marked the connection itself");
    assert_eq!(offence.reason, Reason::MarkedStranger);
    assert!(
        offence.text.contains("mptcp_subflow_set_scheduled"),
        "{}",
        offence.text
    );
    assert!(offence.pc.is_some() && offence.listing.len() > 2);
}
