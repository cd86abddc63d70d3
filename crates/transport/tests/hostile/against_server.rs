//! A hostile router.

use std::time::Duration;

use guywire_flow::record::{self, ChoiceResult, Control, Fate, PathNotice};
use guywire_flow::{FlowReason, SessionReason};

use crate::house::{House, MAX_FLOWS, MEMORY, bounded, round_trip};
use crate::peer::{Heard, Peer, open, put_data};

/// Appends the record of a number.
type Put = Box<dyn FnMut(&mut Vec<u8>, u64)>;

/// The largest integer on the wire.
const HUGE: u64 = (1 << 62) - 1;

/// Bytes of records made by `put`.
fn bytes(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    out
}

fn control(number: u64, control: Control) -> Vec<u8> {
    bytes(|out| record::put_control(out, number, &control))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offences_against_the_session_end_it_with_a_named_reason() {
    let path_status = Control::PathStatus {
        path: 1,
        notice: PathNotice::Stale,
        backup: false,
    };
    let result = Control::SchedulerResult(ChoiceResult {
        class: 0,
        serial: 1,
        fate: Fate::InUse,
        text: String::new(),
    });
    let refused = Control::Refused {
        flow: 2,
        reason: FlowReason::Refused,
    };
    let many = |count: u64, mut put: Put| bytes(|out| (0..count).for_each(|at| put(out, at)));
    // type, flags, flow, length, body: see docs/protocol.md
    let table: [(&str, Vec<u8>, SessionReason); 15] = [
        ("unknown", vec![0x7f, 1, 0, 0], SessionReason::UnknownRecord),
        (
            "unknown, numbered",
            vec![0x7f, 3, 0, 1, 0],
            SessionReason::UnknownRecord,
        ),
        (
            "HELLO again",
            vec![0x01, 1, 0, 2, 1, 1],
            SessionReason::UnknownRecord,
        ),
        (
            "too long",
            vec![0x13, 0, 2, 0x80, 0, 0x40, 1],
            SessionReason::Malformed,
        ),
        (
            "DATA without bytes",
            vec![0x13, 0, 2, 1, 0],
            SessionReason::Malformed,
        ),
        (
            "ACK cut short",
            vec![0x14, 0, 2, 1, 0],
            SessionReason::Malformed,
        ),
        (
            "OPEN of an odd flow",
            control(1, open(3, "x", 0)),
            SessionReason::WrongSide,
        ),
        (
            "OPENED",
            control(1, Control::Opened { flow: 2, window: 0 }),
            SessionReason::WrongSide,
        ),
        ("REFUSED", control(1, refused), SessionReason::WrongSide),
        (
            "SCHEDULER_RESULT",
            control(1, result),
            SessionReason::WrongSide,
        ),
        (
            "control far ahead",
            control(1 << 20, open(2, "x", 0)),
            SessionReason::ControlOverrun,
        ),
        (
            "flow far ahead",
            control(1, open(1 << 20, "x", 0)),
            SessionReason::FlowIdOverrun,
        ),
        (
            "ack of control never sent",
            bytes(|out| record::put_control_ack(out, 1 << 20)),
            SessionReason::ControlAckOfUnsent,
        ),
        (
            "a flood of acks",
            many(300_000, Box::new(|out, _| record::put_ack(out, 2, 0, 0))),
            SessionReason::Flood,
        ),
        (
            "a flood of path states",
            many(
                10_000,
                Box::new(move |out, at| record::put_control(out, at + 1, &path_status)),
            ),
            SessionReason::Flood,
        ),
    ];
    let house = House::new().await;
    for (name, bytes, reason) in table {
        let first = Peer::join(&house, 1, 1).await.joined().await;
        let mut second = Peer::join(&house, 2, 1).await.joined().await;
        let sessions = house.hostile_sessions();
        assert_eq!(sessions.len(), 1, "{name}");
        // Both ends write: the flood must not wait for an end that has nobody to read.
        let (mut read, mut write) = tokio::io::split(first.stream);
        let sending = async {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut write, &bytes).await;
            let _ = tokio::io::AsyncWriteExt::flush(&mut write).await;
        };
        let mut inbox = vec![0; 16_384];
        let reading = async {
            while tokio::io::AsyncReadExt::read(&mut read, &mut inbox)
                .await
                .is_ok_and(|n| n > 0)
            {}
        };
        bounded(async { tokio::join!(sending, reading, second.farewell()) }).await;
        assert_eq!(bounded(sessions[0].ended()).await, reason, "{name}");
        assert!(house.hostile_sessions().is_empty(), "{name}");
    }
}

/// The reason reaches the peer, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_offends_is_told_why() {
    let house = House::new().await;
    let mut peer = Peer::join(&house, 1, 1).await;
    peer.send(&[0x7f, 1, 0, 0]).await;
    assert_eq!(peer.farewell().await, Some(SessionReason::UnknownRecord));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offences_of_a_flow_end_that_flow_only() {
    let house = House::new().await;
    let mut peer = Peer::join(&house, 1, 1).await;
    peer.open(2, "echo", 1 << 20).await;
    let data = |flow, dsn, content: &[u8]| bytes(|out| put_data(out, flow, dsn, content));
    let fin = |number, flow, end| control(number, Control::Fin { flow, end });
    let mut flow = 2;
    type Script = Box<dyn Fn(u64, u64) -> Vec<Vec<u8>>>;
    let table: [(Script, FlowReason); 7] = [
        (
            Box::new(move |flow, _| vec![data(flow, 5, b"other"), data(flow, 6, b"thing")]),
            FlowReason::Conflict,
        ),
        (
            Box::new(move |flow, _| vec![data(flow, 1 << 40, b"far")]),
            FlowReason::WindowOverrun,
        ),
        (
            Box::new(|flow, _| vec![bytes(|out| record::put_ack(out, flow, 1 << 30, 0))]),
            FlowReason::AckOfUnsent,
        ),
        (
            Box::new(move |flow, number| vec![fin(number, flow, 10), fin(number + 1, flow, 11)]),
            FlowReason::BadEnd,
        ),
        (
            Box::new(move |flow, number| vec![fin(number, flow, 3), data(flow, 0, b"four")]),
            FlowReason::BadEnd,
        ),
        (
            Box::new(move |flow, number| vec![data(flow, 5, b"early"), fin(number, flow, 6)]),
            FlowReason::BadEnd,
        ),
        (
            Box::new(|flow, number| vec![control(number, Control::Done { flow })]),
            FlowReason::AckOfUnsent,
        ),
    ];
    for (script, reason) in table {
        flow += 2;
        peer.open(flow, "hold", 1 << 20).await;
        for bytes in script(flow, peer.number) {
            if bytes[1] & record::NUMBERED != 0 {
                peer.number += 1;
            }
            peer.send(&bytes).await;
        }
        peer.until(&Heard::Reset(flow, reason)).await;
    }
    // The first flow is none the worse.
    peer.data(2, 0, b"still there").await;
    peer.until(&Heard::Data(2, b"still there".to_vec())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_skipped_is_skipped() {
    let house = House::new().await;
    let mut peer = Peer::join(&house, 1, 1).await;
    // One without a number, one with the number 0.
    peer.send(&[0x7f, 0, 9, 2, 1, 2, 0x7e, 2, 0, 3, 0, 1, 2])
        .await;
    peer.number = 1;
    peer.open(2, "echo", 1 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_crumbs_costs_their_flow() {
    let house = House::new().await;
    let mut peer = Peer::join(&house, 1, 1).await;
    peer.open(2, "hold", 0).await;
    // In order, so that only their number is an offence; the window takes them all.
    let crumbs = bytes(|out| (0..400_000).for_each(|dsn| put_data(out, 2, dsn, b"x")));
    peer.send(&crumbs).await;
    peer.until(&Heard::Reset(2, FlowReason::Crumbs)).await;
    peer.open(4, "echo", 1 << 20).await;
    let whole = vec![7; 1_000];
    peer.data(4, 0, &whole).await;
    peer.until(&Heard::Data(4, whole)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_opens_is_bounded() {
    let house = House::new().await;
    let mut peer = Peer::join(&house, 1, 1).await;
    let count = u64::from(MAX_FLOWS) + 5_000;
    let mut out = Vec::new();
    for at in 1..=count {
        let open = open(2 * at, "hold", HUGE);
        peer.put(&mut out, &open);
    }
    peer.send(&out).await;
    let (mut opened, mut refused) = (0, 0);
    while opened + refused < count {
        match peer.hear().await {
            Heard::Opened(_) => opened += 1,
            Heard::Refused(_, reason) => {
                assert_eq!(reason, FlowReason::TooMany);
                refused += 1;
            }
            Heard::Closed | Heard::GoAway(_) => panic!("after {opened} and {refused}"),
            _ => {}
        }
    }
    assert_eq!(opened, u64::from(MAX_FLOWS));
    assert_eq!(house.hostile_sessions()[0].counts().flows, opened);
}

/// Each refusal is a control record that waits for its acknowledgement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_acknowledges_control_is_cut_off() {
    let house = House::new().await;
    let mut peer = Peer::join(&house, 1, 1).await;
    // The answer comes from the session, which begins a moment after the HELLO.
    peer.send(&bytes(|out| record::put_ping(out, 7))).await;
    peer.until(&Heard::Pong(7)).await;
    let mut out = Vec::new();
    for at in 1..=60_000 {
        let open = open(2 * at, "hold", 0);
        peer.put(&mut out, &open);
    }
    let sessions = house.hostile_sessions();
    let (mut read, mut write) = tokio::io::split(peer.stream);
    let sending = async {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut write, &out).await;
        let _ = tokio::io::AsyncWriteExt::flush(&mut write).await;
    };
    let mut inbox = vec![0; 16_384];
    let reading = async {
        while tokio::io::AsyncReadExt::read(&mut read, &mut inbox)
            .await
            .is_ok_and(|n| n > 0)
        {}
    };
    bounded(async { tokio::join!(sending, reading) }).await;
    let reason = bounded(sessions[0].ended()).await;
    assert_eq!(reason, SessionReason::ControlUnacked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_costs_one_answer() {
    let house = House::new().await;
    let mut peer = Peer::join(&house, 1, 1).await;
    let pings = bytes(|out| (0..90_000).for_each(|stamp| record::put_ping(out, stamp)));
    // Nothing is read meanwhile: the answers do not pile up.
    peer.send(&pings).await;
    peer.until(&Heard::Pong(89_999)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_are_bounded_by_path_and_session() {
    let house = House::new().await;
    let mut joined = Vec::new();
    for path in 0..32 {
        joined.push(Peer::join(&house, path, 1).await.joined().await);
    }
    // One path too many.
    let mut beyond = Peer::join(&house, 32, 1).await;
    assert_eq!(beyond.farewell().await, None);
    // Six on a path, not seven.
    for _ in 1..6 {
        joined.push(Peer::join(&house, 0, 1).await.joined().await);
    }
    let mut seventh = Peer::join(&house, 0, 1).await;
    assert_eq!(seventh.farewell().await, None);
    // All the others are there.
    let first = joined.remove(0).joined().await;
    let sessions = house.hostile_sessions();
    assert_eq!(sessions.len(), 1);
    let paths = sessions[0].paths();
    assert_eq!(paths.len(), 32);
    assert_eq!(paths.iter().map(|path| path.subflows).max(), Some(6));
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_one_router_are_bounded() {
    let house = House::new().await;
    let mut first = Peer::join(&house, 1, 1).await;
    first.open(2, "hold", 0).await;
    let mut others = Vec::new();
    for generation in 2..=5 {
        let mut peer = Peer::join(&house, 1, generation).await;
        peer.open(2, "hold", 0).await;
        others.push(peer);
    }
    assert_eq!(first.farewell().await, Some(SessionReason::Restarted));
    assert_eq!(house.hostile_sessions().len(), 4);
}

/// Grants windows without end, and then acknowledges nothing, whether it reads or not.
async fn what_is_held_for(reads: bool) {
    let house = House::new().await;
    let mut peer = Peer::join(&house, 1, 1).await;
    for flow in 1..=20 {
        peer.open(2 * flow, "source", HUGE).await;
    }
    let session = house.hostile_sessions().remove(0);
    let peer = tokio::spawn(async move {
        while reads && peer.hear().await != Heard::Closed {}
        std::future::pending::<()>().await;
    });
    let (honest, _news) = house.honest_router();
    let mut held = 0;
    for _ in 0..15 {
        bounded(round_trip(&honest, 1 << 20)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        held = session.counts().held;
        assert!(held <= MEMORY, "{held}");
    }
    assert!(held > 100_000, "it did send: {held}");
    assert!(!session.is_ended());
    peer.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads_costs_the_sessions_memory_at_most() {
    what_is_held_for(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_acknowledges_costs_the_sessions_memory_at_most() {
    what_is_held_for(true).await;
}

/// Fills the windows of flows that nobody reads, in the most expensive way: every other byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_nobody_reads_stays_within_the_memory() {
    let house = House::new().await;
    let mut peer = Peer::join(&house, 1, 1).await;
    for flow in (2..=20).step_by(2) {
        peer.open(flow, "hold", 0).await;
        let holes = bytes(|out| (0..1_500).for_each(|at| put_data(out, flow, 2 * at + 1, b"x")));
        peer.send(&holes).await;
    }
    let session = house.hostile_sessions().remove(0);
    let (honest, _news) = house.honest_router();
    bounded(round_trip(&honest, 1 << 20)).await;
    assert!(session.counts().held <= MEMORY);
}
