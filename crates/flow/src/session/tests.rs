//! Stories of two sessions over simulated links.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Buf;
use guywire_sched::{SubflowId, Time};
use proptest::prelude::*;

use self::pair::{Link, Pair, ROUTER, SERVER, link};
use crate::record::{self, Control, Destination, FlowKind, PathNotice, Record};
use crate::session::{Config, Event, MAX_SUBFLOWS_PER_PATH, Read, Session, Side};
use crate::{FlowReason, Outgoing, PathAttributes, PathState, SessionReason, SubflowInfo};

mod carriers;
mod choices;
mod copies;
mod crowd;
mod pair;

const MEMORY: [u64; 2] = [64 << 20; 2];
const MB: u64 = 1_000_000;

fn three() -> Vec<Link> {
    let lossy = Link {
        loss: 0.005,
        ..link(20, 120)
    };
    vec![link(100, 20), link(50, 60), lossy]
}

fn pair(links: Vec<Link>, scheduler: &str) -> Pair {
    let mut pair = Pair::new(7, links, scheduler, MEMORY);
    pair.run_for(1_000);
    pair
}

/// Megabits a second at which a download of `bytes` arrives.
fn download(pair: &mut Pair, bytes: u64) -> f64 {
    let start = pair.now;
    pair.talk(100, bytes);
    pair.finish_all(60);
    bytes as f64 * 8e-6 / pair.now.since(start).as_secs_f64()
}

#[test]
fn three_links_carry_what_they_carry_together() {
    let mut pair = pair(three(), "default");
    let down = download(&mut pair, 100 * MB);
    assert!(down > 0.85 * 170.0, "{down} Mbit/s down");
    let start = pair.now;
    pair.talk(100 * MB, 100);
    pair.finish_all(60);
    let up = 800.0 / pair.now.since(start).as_secs_f64();
    assert!(up > 0.85 * 170.0, "{up} Mbit/s up");
    let repeated: u64 = pair.ends.iter().map(|end| end.repeated_bytes()).sum();
    assert!(repeated < 2 * MB, "{repeated} bytes twice");
}

#[test]
fn every_native_scheduler_moves_every_byte() {
    for native in guywire_sched::NATIVE {
        let mut pair = pair(three(), native.name);
        let down = download(&mut pair, 10 * MB);
        assert!(down > 15.0, "{}: {down} Mbit/s", native.name);
    }
}

#[test]
fn a_silent_link_is_left_and_used_again() {
    for cut in 0..3 {
        let mut pair = pair(three(), "default");
        let flow = pair.talk(100, 150 * MB);
        pair.run_for(2_000);
        pair.links[cut].silent = [true; 2];
        let at = pair.now;
        pair.run_for(5_000);
        assert!(
            pair.talks[&flow].longest_gap[ROUTER] < Duration::from_millis(500),
            "{cut}"
        );
        pair.links[cut].silent = [false; 2];
        let back = pair.now;
        pair.finish_all(60);
        let of_link = |state| {
            let mut events = pair.path_events.iter();
            events
                .find(|e| e.0 >= at && usize::from(e.2) == cut && e.3 == state)
                .map(|e| e.0)
        };
        let up = of_link(PathState::Up).expect("it came back");
        assert!(
            up.since(back) < Duration::from_secs(1),
            "link {cut} after {:?}",
            up.since(back)
        );
    }
}

#[test]
fn one_way_death_is_noticed_either_way() {
    for side in [ROUTER, SERVER] {
        for (up, down) in [(60 * MB, 100), (100, 60 * MB)] {
            let mut pair = pair(vec![link(50, 20), link(50, 40)], "default");
            let flow = pair.talk(up, down);
            pair.run_for(1_000);
            pair.links[0].silent[side] = true;
            pair.finish_all(60);
            let gap = pair.talks[&flow].longest_gap.into_iter().max();
            assert!(
                gap < Some(Duration::from_millis(900)),
                "side {side}, {up}/{down}: {gap:?}"
            );
        }
    }
}

#[test]
fn a_slow_flow_with_copies_does_not_feel_a_loss() {
    let mut pair = pair(vec![link(50, 20), link(50, 60)], "redundant");
    let flow = pair.talk(100, 3 * MB);
    pair.run(Duration::from_secs(5), |pair| {
        pair.talks[&flow].read[ROUTER] > MB
    });
    pair.links[0].silent = [true; 2];
    pair.finish_all(30);
    let gap = pair.talks[&flow].longest_gap[ROUTER];
    assert!(gap < Duration::from_millis(60), "{gap:?}");
}

#[test]
fn a_black_hole_for_large_segments_is_found_and_small_ones_used() {
    let mut pair = pair(vec![link(50, 20), link(50, 40)], "default");
    pair.links[0].black_hole = true;
    let flow = pair.talk(100, 100 * MB);
    pair.run_for(4_000);
    let before = pair.talks[&flow].read[ROUTER];
    pair.run_for(3_000);
    let rate = (pair.talks[&flow].read[ROUTER] - before) as f64 * 8e-6 / 3.0;
    assert!(rate > 70.0, "{rate} Mbit/s");
    pair.finish_all(60);
}

#[test]
fn after_handshakes_without_an_answer_small_segments_are_tried() {
    let mut now = Time::ZERO + Duration::from_secs(1);
    let mut session = alone(now, "default");
    let mut next_dial = |session: &mut Session| {
        now = session.next_deadline().expect("it dials again").max(now);
        session.handle_timeout(now);
        let mut dials = std::iter::from_fn(|| session.poll_event());
        let small = dials.find_map(|event| match event {
            Event::Dial {
                path: 0,
                small_segments,
            } => Some(small_segments),
            _ => None,
        });
        (now, small.expect("both paths are dialled at once"))
    };
    for _ in 0..2 {
        let (now, small) = next_dial(&mut session);
        assert!(!small, "once may be chance");
        session.dial_stalled(now, 0);
    }
    assert!(next_dial(&mut session).1);
}

#[test]
fn the_only_link_may_be_withdrawn_and_come_back() {
    let mut pair = pair(vec![link(50, 20)], "default");
    pair.talk(MB, 20 * MB);
    pair.run_for(1_000);
    pair.ends[ROUTER].withdraw_path(pair.now, 0);
    pair.links[0].gone = true;
    pair.run_for(3_000);
    pair.links[0].gone = false;
    pair.ends[ROUTER].add_path(pair.now, 0, crate::PathAttributes::default());
    pair.finish_all(60);
}

#[test]
fn without_any_link_a_flow_waits_and_goes_on() {
    let mut pair = pair(three(), "default");
    let flow = pair.talk(5 * MB, 60 * MB);
    pair.run_for(1_000);
    for link in &mut pair.links {
        link.gone = true;
    }
    pair.run_for(30_000);
    let read = pair.talks[&flow].read;
    pair.run_for(30_000);
    assert_eq!(pair.talks[&flow].read, read);
    for link in &mut pair.links {
        link.gone = false;
    }
    pair.finish_all(60);
}

#[test]
fn without_any_link_for_long_the_session_ends() {
    let mut pair = pair(vec![link(50, 20)], "default");
    let flow = pair.talk(100, 60 * MB);
    pair.run_for(1_000);
    pair.links[0].gone = true;
    pair.run_for(301_000);
    assert_eq!(pair.talks[&flow].reset, [Some(FlowReason::SessionEnded); 2]);
    assert!(
        pair.ends
            .iter()
            .all(|end| end.is_ended() && end.flow_count() == 0)
    );
}

#[test]
fn many_flows_share_few_subflows() {
    let mut pair = pair(three(), "default");
    for _ in 0..200 {
        pair.talk(500, 200_000);
    }
    pair.finish_all(60);
    let reports = pair.ends[ROUTER].paths(pair.now);
    assert!(reports.iter().all(|path| path.subflows <= 6), "{reports:?}");
    assert!(
        pair.ends
            .iter()
            .all(|end| end.flow_count() == 0 && end.held_bytes() == 0)
    );
}

#[test]
fn one_direction_may_end_long_before_the_other() {
    let mut pair = pair(three(), "default");
    let flow = pair.talk(10, 0);
    pair.run_for(1_000);
    assert_eq!(pair.talks[&flow].ended, [true; 2]);
    let flow = pair.talk(MB, 10 * MB);
    pair.talks.get_mut(&flow).expect("there").finish[SERVER] = false;
    pair.run_for(5_000);
    assert_eq!(pair.talks[&flow].ended, [false, true]);
    assert_eq!(pair.talks[&flow].complete, [false; 2]);
    pair.talks.get_mut(&flow).expect("there").finish[SERVER] = true;
    pair.finish_all(10);
}

#[test]
fn a_reset_travels_and_nothing_is_left() {
    let mut pair = pair(three(), "default");
    let flow = pair.talk(20 * MB, 20 * MB);
    pair.run_for(1_000);
    let reason = FlowReason::ResetByPeer;
    pair.ends[ROUTER]
        .reset(pair.now, flow, reason)
        .expect("there");
    pair.run_for(500);
    assert_eq!(pair.talks[&flow].reset[SERVER], Some(reason));
    assert!(pair.ends.iter().all(|end| end.flow_count() == 0));
}

#[test]
fn a_reader_that_never_reads_blocks_nobody_else() {
    let mut pair = Pair::new(3, three(), "default", [4 << 20; 2]);
    pair.run_for(1_000);
    for _ in 0..20 {
        let deaf = pair.talk(10, 50 * MB);
        pair.talks.get_mut(&deaf).expect("there").deaf = [true; 2];
    }
    pair.run_for(5_000);
    assert!(
        pair.ends[ROUTER].held_bytes() <= 4 << 20,
        "{}",
        pair.ends[ROUTER].held_bytes()
    );
    let flow = pair.talk(10, MB);
    let done = |pair: &Pair| pair.talks[&flow].complete == [true; 2];
    assert!(
        pair.run(Duration::from_secs(30), done),
        "{:?}",
        pair.talks[&flow]
    );
}

#[test]
fn a_slow_reader_gives_back_what_it_needs_no_more() {
    let mut pair = pair(vec![link(100, 160)], "default");
    let flow = pair.talk(10, 100 * MB);
    pair.run_for(2_000);
    pair.talks.get_mut(&flow).expect("there").deaf[ROUTER] = true;
    pair.run_for(1_000);
    let grown = pair.ends[ROUTER].held_bytes();
    assert!(grown > 3 << 20, "{grown} bytes");
    for _ in 0..2_000 {
        pair.run_for(1);
        let router = &mut pair.ends[ROUTER];
        let Ok(Read::Bytes(bytes)) = router.read(pair.now, flow, 4_000) else {
            panic!("nothing to read at {:?}", pair.now);
        };
        router.consume(pair.now, flow, bytes.len()).expect("there");
    }
    let left = pair.ends[ROUTER].held_bytes();
    assert!(left < grown / 2, "{left} bytes of {grown}");
}

#[test]
fn a_small_window_never_stops_a_flow() {
    let mut pair = Pair::new(5, three(), "default", [1 << 20, 64 << 20]);
    pair.run_for(1_000);
    let down = download(&mut pair, 20 * MB);
    assert!(down > 2.0, "{down} Mbit/s");
}

#[test]
fn a_flow_opened_while_its_link_dies_is_opened_elsewhere() {
    let mut pair = pair(vec![link(50, 20), link(50, 60)], "default");
    pair.links[0].silent = [true; 2];
    pair.talk(10_000, MB);
    pair.finish_all(10);
}

/// A router's end with two paths and no subflow.
fn alone(now: Time, scheduler: &str) -> Session {
    let mut session = Session::new(Config {
        side: Side::Router,
        memory: MEMORY[0],
        max_flows: 100,
        scheduler: guywire_sched::native(scheduler)
            .expect("it is built in")
            .into(),
        limits: Default::default(),
    });
    session.set_peer(MEMORY[1], 100);
    for path in 0..2 {
        session.add_path(now, path, PathAttributes::default());
    }
    session
}

/// The records that the session has for a subflow.
fn records(session: &mut Session, now: Time, on: SubflowId) -> Vec<Record> {
    let mut outgoing = Outgoing::default();
    session.poll_transmit(now, on, 65_536, &mut outgoing);
    let bytes = outgoing.copy_to_bytes(outgoing.remaining());
    let mut rest = &bytes[..];
    std::iter::from_fn(|| record::take(&mut rest).expect("well-formed records")).collect()
}

/// Those of control.
fn control(session: &mut Session, now: Time, on: SubflowId) -> Vec<(u64, Control)> {
    let control = |record| match record {
        Record::Control(number, control) => Some((number, control)),
        _ => None,
    };
    let records = records(session, now, on).into_iter();
    records.filter_map(control).collect()
}

/// Opens a flow that the other end accepts at once, by control record `number` on a subflow.
fn accepted(session: &mut Session, now: Time, on: SubflowId, number: u64) -> u64 {
    let to = Destination::Service("x".to_owned());
    let flow = session.open(now, to, FlowKind::default()).expect("it may");
    let window = 1 << 20;
    let opened = Control::Opened { flow, window };
    let told = session.handle_record(now, on, Record::Control(number, opened));
    assert_eq!(told, Ok(()));
    flow
}

#[test]
fn an_acknowledgement_makes_room_for_flows_that_waited_for_it() {
    const FULL: u64 = 9 * 1_400;
    let now = Time::ZERO + Duration::from_secs(1);
    let mut session = alone(now, "redundant");
    // The third has room all the while, but is not to be used.
    let backup = PathAttributes {
        backup: true,
        ..PathAttributes::default()
    };
    session.add_path(now, 2, backup);
    let (quick, slow, spare) = (SubflowId(1), SubflowId(2), SubflowId(3));
    for (id, path) in [(quick, 0), (slow, 1), (spare, 2)] {
        session.subflow_joined(now, id, path, SubflowInfo::default());
    }
    let mut open = |number, bytes: u64| {
        let flow = accepted(&mut session, now, quick, number);
        let data = vec![0; bytes as usize].into();
        session.write(now, flow, data).expect("it is there");
        flow
    };
    let first = open(0, FULL);
    let second = open(1, 1_400);
    let flows_on = |session: &mut Session, on| -> BTreeSet<u64> {
        let flow = |record| match record {
            Record::Data { flow, .. } => Some(flow),
            _ => None,
        };
        let records = records(session, now, on).into_iter();
        records.filter_map(flow).collect()
    };
    assert_eq!(flows_on(&mut session, quick), BTreeSet::from([first]));
    let ack = Record::Ack {
        flow: first,
        cumulative: FULL,
        window: 1 << 20,
    };
    assert_eq!(session.handle_record(now, quick, ack), Ok(()));
    assert_eq!(session.invariants(), Ok(()));
    assert_eq!(flows_on(&mut session, slow), BTreeSet::from([second]));
}

#[test]
fn what_a_handshake_left_in_flight_is_asked_for() {
    let now = Time::ZERO + Duration::from_secs(1);
    let mut session = alone(now, "default");
    let (id, info) = (SubflowId(1), SubflowInfo::default());
    session.subflow_joined(now, id, 0, SubflowInfo { unacked: 1, ..info });
    assert!(session.is_busy(id), "its figures are wanted");
    session.handle_info(now, id, info);
    assert!(!session.is_busy(id));
}

#[test]
fn a_subflow_too_many_says_nothing_of_its_path() {
    let now = Time::ZERO + Duration::from_secs(1);
    let mut session = alone(now, "default");
    for id in 1..=MAX_SUBFLOWS_PER_PATH as u32 {
        session.subflow_joined(now, SubflowId(id), 0, SubflowInfo::default());
    }
    let stale = Control::PathStatus {
        path: 0,
        notice: PathNotice::Stale,
        backup: false,
    };
    let told = session.handle_record(now, SubflowId(1), Record::Control(0, stale));
    assert_eq!(told, Ok(()));
    let more = SubflowId(100);
    session.subflow_joined(now, more, 0, SubflowInfo::default());
    let events: Vec<Event> = std::iter::from_fn(|| session.poll_event()).collect();
    let closes = |event: &Event| matches!(event, Event::Close(id) if *id == more);
    assert!(events.iter().any(closes));
    assert_eq!(session.path_state(now, 0), Some(PathState::Stale));
}

#[test]
fn offences_have_names_and_cost_one_flow() {
    let mut pair = pair(three(), "default");
    let flow = pair.talk(10, MB);
    pair.talks.get_mut(&flow).expect("there").finish = [false; 2];
    pair.run_for(500);
    let ack = Record::Ack {
        flow,
        cumulative: 1 << 40,
        window: 0,
    };
    assert_eq!(
        pair.ends[SERVER].handle_record(pair.now, SubflowId(0), ack),
        Ok(())
    );
    pair.run_for(500);
    assert_eq!(
        pair.talks[&flow].reset[SERVER],
        Some(FlowReason::AckOfUnsent)
    );
    assert_eq!(
        pair.talks[&flow].reset[ROUTER],
        Some(FlowReason::AckOfUnsent)
    );
    pair.talks.clear();
    pair.talk(10, MB);
    pair.finish_all(10);
}

#[test]
fn offences_against_the_session_are_named() {
    let open = |flow| Control::Open {
        flow,
        to: crate::Destination::Service("x".into()),
        window: 0,
        kind: FlowKind::default(),
    };
    let withdrawn = Control::PathStatus {
        path: 0,
        notice: crate::record::PathNotice::Withdrawn,
        backup: false,
    };
    let table = [
        (
            SERVER,
            Record::ControlAck(1 << 40),
            SessionReason::ControlAckOfUnsent,
        ),
        (
            SERVER,
            Record::Skipped(1 << 40),
            SessionReason::ControlOverrun,
        ),
        (
            SERVER,
            Record::Control(70, open(3)),
            SessionReason::WrongSide,
        ),
        (
            ROUTER,
            Record::Control(70, open(2)),
            SessionReason::WrongSide,
        ),
        (
            SERVER,
            Record::Control(70, open(1 << 40)),
            SessionReason::FlowIdOverrun,
        ),
        (
            ROUTER,
            Record::Control(70, withdrawn),
            SessionReason::WrongSide,
        ),
    ];
    for (side, record, reason) in table {
        let mut pair = pair(three(), "default");
        let said = pair.ends[side].handle_record(pair.now, SubflowId(0), record.clone());
        assert_eq!(said, Err(reason), "{record:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the links and whatever happens to them: as long as one is left in the end, every
    /// byte arrives once, in order, and nothing is left behind.
    #[test]
    fn nothing_is_lost(
        seed in any::<u64>(),
        links in prop::collection::vec((2_u64..100, 5_u64..200, 0.0..0.02), 1..5),
        faults in prop::collection::vec((0_usize..5, 0_u8..4, 50_u64..3_000), 0..8),
        scheduler in 0_usize..3,
        talks in prop::collection::vec((0_u64..500_000, 0_u64..2_000_000), 1..6),
    ) {
        let links = links
            .into_iter()
            .map(|(mbit, rtt, loss)| Link { loss, ..link(mbit, rtt) })
            .collect::<Vec<_>>();
        let name = guywire_sched::NATIVE[scheduler].name;
        let mut pair = Pair::new(seed, links, name, [8 << 20; 2]);
        for (up, down) in talks {
            pair.talk(up, down);
            pair.run_for(20);
        }
        for (at, fault, millis) in faults {
            let at = at % pair.links.len();
            let link = &mut pair.links[at];
            (link.silent, link.gone) = match fault {
                0 => ([true; 2], false),
                1 => ([true, false], false),
                2 => ([false, true], false),
                _ => ([false; 2], true),
            };
            pair.run_for(millis);
            let link = &mut pair.links[at];
            (link.silent, link.gone) = ([false; 2], false);
        }
        pair.finish_all(120);
        pair.run_for(2_000);
        for end in &pair.ends {
            prop_assert_eq!((end.flow_count(), end.held_bytes()), (0, 0), "seed {}", seed);
        }
    }
}
