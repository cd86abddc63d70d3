//! What the kernel does around programs, through the embedded objects and the zoo's.

use guywire_sched::guard::{Budget, Guard, Question};
use guywire_sched::{MapValue, SubflowView, Time};

use super::*;
use crate::embedded::EMBEDDED;

fn subflow(path: u8) -> SubflowView {
    SubflowView {
        id: SubflowId(path.into()),
        path,
        srtt: std::time::Duration::from_millis(20),
        rttvar: std::time::Duration::from_millis(2),
        min_rtt: std::time::Duration::from_millis(20),
        rate: 1_250_000,
        room: 20_000,
        mss: 1_400,
        ..SubflowView::EMPTY
    }
}

fn flow(subflows: &[SubflowView]) -> FlowView<'_> {
    FlowView {
        now: Time::ZERO,
        traffic: guywire_sched::Traffic::default(),
        window_free: 1 << 20,
        outstanding: 0,
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

/// A subflow's socket, and the value of one of its fields.
fn field_of(view: SubflowView, of: &str, member: &str) -> u64 {
    let mut numbers = Numbers::default();
    let mut connection = Connection::new(&mut numbers);
    connection.show(&flow(&[view]), false, &mut numbers);
    let context = connection.at(0).expect("it is shown").address();
    let (number, _) = crate::memory::object_at(context).expect("an object's address");
    let (_, sock) = connection.object(number + 1).expect("its socket");
    fields::Place::of(0, crate::model::member(of, member)).get(sock)
}

#[test]
fn addresses_are_in_the_orders_of_the_kernel() {
    let told = SubflowView {
        local: Some("192.0.2.7:4660".parse().expect("an address")),
        remote: Some("198.51.100.10:443".parse().expect("an address")),
        ..subflow(3)
    };
    for (of, member, value) in [
        ("sock_common", "skc_rcv_saddr", 0x0702_00c0),
        ("sock_common", "skc_daddr", 0x0a64_33c6),
        ("sock_common", "skc_num", 4660),
        ("sock_common", "skc_dport", 0xbb01),
        ("inet_sock", "inet_saddr", 0x0702_00c0),
        ("inet_sock", "inet_sport", 0x3412),
    ] {
        assert_eq!(field_of(told, of, member), value, "{member}");
    }
    let v6 = SubflowView {
        local: Some("[2001:db8::1]:1".parse().expect("an address")),
        ..told
    };
    assert_eq!(field_of(v6, "sock_common", "skc_rcv_saddr"), 0x0600_007f);
    let untold = field_of(subflow(3), "sock_common", "skc_rcv_saddr");
    assert_eq!(untold, 0x0400_0000, "0.0.0.4, which no other path has");
}

#[test]
fn a_connection_leads_where_its_flow_does_and_is_marked_as_that() {
    let field = |traffic, of, member| {
        let mut numbers = Numbers::default();
        let mut connection = Connection::new(&mut numbers);
        let view = FlowView {
            traffic,
            ..flow(&[])
        };
        connection.show(&view, false, &mut numbers);
        let (number, _) = crate::memory::object_at(connection.address()).expect("an object");
        let (_, object) = connection.object(number).expect("the connection");
        fields::Place::of(0, crate::model::member(of, member)).get(object)
    };
    let voice = guywire_sched::Traffic {
        destination: Some("198.51.100.10:5060".parse().expect("an address")),
        dscp: 46,
    };
    for (of, member, value) in [
        ("sock_common", "skc_daddr", 0x0a64_33c6),
        ("sock_common", "skc_dport", 5060_u64.swap_bytes() >> 48),
        ("inet_sock", "tos", 0xb8),
    ] {
        assert_eq!(field(voice, of, member), value, "{member}");
        assert_eq!(
            field(guywire_sched::Traffic::default(), of, member),
            0,
            "{member}"
        );
    }
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
