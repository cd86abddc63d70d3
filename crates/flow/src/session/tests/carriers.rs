//! Which subflow carries a record of control, and what happens when it is none that can be relied on.

use std::time::Duration;

use guywire_sched::{SubflowId, Time};

use super::{alone, control, records};
use crate::SubflowInfo;
use crate::record::{Control, Destination, FlowKind, PathNotice, Record};
use crate::session::Session;

const FIRST: SubflowId = SubflowId(1);
const SECOND: SubflowId = SubflowId(2);

/// A session with one subflow, the first, on path 0.
fn on_first() -> (Session, Time) {
    let now = Time::ZERO + Duration::from_secs(1);
    let mut session = alone(now, "default");
    session.subflow_joined(now, FIRST, 0, SubflowInfo::default());
    (session, now)
}

fn open(session: &mut Session, now: Time) -> u64 {
    let to = Destination::Service("x".to_owned());
    session.open(now, to, FlowKind::default()).expect("it may")
}

#[test]
fn what_waited_for_the_carrier_of_an_open_goes_elsewhere_once_it_is_answered() {
    let (mut session, now) = on_first();
    let flow = open(&mut session, now);
    let sent = control(&mut session, now, FIRST);
    let next = sent.last().expect("an OPEN").0 + 1;
    session.subflow_joined(now, SECOND, 1, SubflowInfo::default());
    let acked = session.handle_record(now, FIRST, Record::ControlAck(next));
    assert_eq!(acked, Ok(()));
    session.subflow_closed(now, FIRST);
    session.finish(flow).expect("it is there");
    let is_fin = |(_, control): &(u64, Control)| matches!(control, Control::Fin { .. });
    let early = control(&mut session, now, SECOND);
    assert!(!early.iter().any(is_fin), "nothing may overtake the OPEN");
    let opened = Control::Opened { flow, window: 10 };
    let told = session.handle_record(now, SECOND, Record::Control(0, opened));
    assert_eq!((told, session.invariants()), (Ok(()), Ok(())));
    assert!(control(&mut session, now, SECOND).iter().any(is_fin));
}

/// What the other end says of path 0, by control record `number`.
fn notice(number: u64, notice: PathNotice) -> Record {
    let status = Control::PathStatus {
        path: 0,
        notice,
        backup: false,
    };
    Record::Control(number, status)
}

#[test]
fn what_went_by_a_stale_path_for_want_of_another_goes_again_when_there_is_one() {
    let (mut session, now) = on_first();
    let told = session.handle_record(now, FIRST, notice(0, PathNotice::Stale));
    assert_eq!(told, Ok(()));
    open(&mut session, now);
    let is_open = |(_, control): &(u64, Control)| matches!(control, Control::Open { .. });
    assert!(control(&mut session, now, FIRST).iter().any(is_open));
    session.subflow_joined(now, SECOND, 1, SubflowInfo::default());
    assert_eq!(session.invariants(), Ok(()));
    assert!(control(&mut session, now, SECOND).iter().any(is_open));
}

#[test]
fn nothing_overtakes_an_open_that_was_only_meant_to_go_by_a_subflow() {
    let (mut session, now) = on_first();
    session.subflow_joined(now, SECOND, 1, SubflowInfo::default());
    let flow = open(&mut session, now);
    for (number, state) in [(0, PathNotice::Stale), (1, PathNotice::Up)] {
        let told = session.handle_record(now, SECOND, notice(number, state));
        assert_eq!(told, Ok(()));
    }
    assert_eq!(session.write(now, flow, vec![1; 1_000].into()), Ok(()));
    let is_data = |record: &Record| matches!(record, Record::Data { .. });
    let early = records(&mut session, now, FIRST);
    assert!(!early.iter().any(is_data), "its OPEN moved to the second");
    let told = records(&mut session, now, SECOND);
    let opens = |record: &Record| matches!(record, Record::Control(_, Control::Open { .. }));
    let open = told.iter().position(opens).expect("an OPEN");
    let data = told.iter().position(is_data).expect("data");
    assert!(open < data);
}
