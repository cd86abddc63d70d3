//! Flows whose chunks go by several paths at once.

use std::time::Duration;

use guywire_sched::{SubflowId, Time};

use super::{accepted, alone, records};
use crate::SubflowInfo;
use crate::record::Record;
use crate::session::Session;

const CHUNK: u64 = 1_400;
/// Two subflows of path 0 and one of path 1.
const ONE: SubflowId = SubflowId(1);
const OTHER: SubflowId = SubflowId(2);
const FAR: SubflowId = SubflowId(3);

fn info() -> SubflowInfo {
    SubflowInfo {
        cwnd: 100,
        ..SubflowInfo::default()
    }
}

/// A session with a flow of copies.
fn copying(start: Time) -> (Session, u64) {
    let mut session = alone(start, "redundant");
    for (id, path) in [(ONE, 0), (OTHER, 0), (FAR, 1)] {
        session.subflow_joined(start, id, path, info());
    }
    let flow = accepted(&mut session, start, ONE, 0);
    (session, flow)
}

fn write(session: &mut Session, now: Time, flow: u64, chunks: usize) {
    for _ in 0..chunks {
        let data = vec![0; CHUNK as usize].into();
        session.write(now, flow, data).expect("it is there");
    }
}

/// The numbers of the chunks that a subflow sends now.
fn carried(session: &mut Session, now: Time, id: SubflowId) -> Vec<u64> {
    let number = |record| match record {
        Record::Data { dsn, .. } => Some(dsn),
        _ => None,
    };
    let records = records(session, now, id).into_iter();
    records.filter_map(number).collect()
}

#[test]
fn copies_go_by_every_subflow_of_a_path_but_for_those_whose_window_collapsed() {
    let start = Time::ZERO + Duration::from_secs(1);
    let (mut session, flow) = copying(start);
    // What each carries of four chunks, while the figures of `OTHER` stay as they are.
    let counts = |session: &mut Session, now, of_other| {
        write(session, now, flow, 4);
        [(ONE, info()), (OTHER, of_other), (FAR, info())].map(|(id, info)| {
            let count = carried(session, now, id).len();
            session.handle_info(now, id, info);
            count
        })
    };
    assert_eq!(counts(&mut session, start, info()), [2, 2, 4]);
    let collapsed = SubflowInfo { cwnd: 4, ..info() };
    session.handle_info(start, OTHER, collapsed);
    assert_eq!(counts(&mut session, start, collapsed), [4, 0, 4]);
    let later = start + Duration::from_millis(1_500);
    session.handle_timeout(later);
    assert_eq!(counts(&mut session, later, collapsed), [2, 2, 4]);
}

#[test]
fn what_waits_behind_collapsed_windows_is_repeated_at_once() {
    let start = Time::ZERO + Duration::from_secs(1);
    let (mut session, flow) = copying(start);
    write(&mut session, start, flow, 4);
    let by_other = carried(&mut session, start, OTHER);
    assert_eq!(by_other.len(), 2);
    carried(&mut session, start, FAR);
    let jammed = |chunks| SubflowInfo {
        cwnd: 1,
        notsent: chunks * CHUNK,
        ..info()
    };
    session.handle_info(start, OTHER, jammed(2));
    carried(&mut session, start, ONE);
    assert_eq!(session.invariants(), Ok(()));
    let again = carried(&mut session, start, ONE);
    assert!(again.is_empty(), "FAR brings it: {again:?}");
    session.handle_info(start, FAR, jammed(4));
    assert_eq!(carried(&mut session, start, ONE), by_other, "nobody does");
    assert_eq!(session.invariants(), Ok(()));
}
