//! A hostile server.

use std::net::Ipv4Addr;

use guywire_flow::record::{self, Choice, Control, PathNotice};
use guywire_flow::{Destination, FlowKind, FlowReason, SessionReason};
use guywire_transport::enrol::limit::LimiterSettings;
use guywire_transport::hello::{Endpoint, Instance, ServerHello, VERSIONS, exchange_as_server};
use guywire_transport::key::PrivateKey;
use guywire_transport::router::Router;
use guywire_transport::tag::TagKey;
use guywire_transport::tls::{
    AcceptLimits, Accepted, Authorised, AuthorisedSet, ClientTls, ServerTls, accept,
};
use tokio::net::TcpListener;

use crate::house::{BOUND, FAMILIES, MEMORY, bounded, router, write_all};
use crate::peer::{Heard, Peer, open, put_data};

/// A router whose server is in the hands of the test.
struct Trap {
    listener: TcpListener,
    tls: ServerTls,
    router: Router,
}

impl Trap {
    async fn new() -> Trap {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (key, server) = (
            PrivateKey::generate().unwrap(),
            PrivateKey::generate().unwrap(),
        );
        let tag = TagKey::generate().unwrap();
        let authorised = AuthorisedSet::of_routers([(key.public_key(), tag.clone())]);
        let client = ClientTls::new(&key, server.public_key(), tag).unwrap();
        let (router, _news) = router(client, listener.local_addr().unwrap());
        let limits = LimiterSettings::default();
        Trap {
            tls: ServerTls::new(&server, Authorised::new(authorised), limits).unwrap(),
            listener,
            router,
        }
    }

    /// The next subflow that the router dials.
    async fn next(&self, max_flows: u32, session_credit: u64) -> Peer {
        let (stream, peer) = bounded(self.listener.accept()).await.unwrap();
        let accepted = accept(stream, peer, &self.tls, &AcceptLimits::default()).await;
        let Accepted::Subflow { mut stream, .. } = accepted.unwrap() else {
            panic!("it wants to enrol");
        };
        let hello = ServerHello {
            versions: VERSIONS,
            endpoint: Endpoint::only(Instance([3; 16]), 1),
            max_flows,
            session_credit,
            families: FAMILIES,
        };
        exchange_as_server(&mut stream, &hello, BOUND)
            .await
            .unwrap();
        Peer::new(stream)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offences_end_the_session_with_a_named_reason() {
    let scheduler = Control::Scheduler(Choice {
        class: 0,
        serial: 1,
        name: "redundant".to_owned(),
        hash: None,
        in_turn: false,
        maps: Vec::new(),
    });
    let withdrawn = Control::PathStatus {
        path: 1,
        notice: PathNotice::Withdrawn,
        backup: false,
    };
    let controls = [
        (open(2, "x", 0), SessionReason::WrongSide),
        (scheduler, SessionReason::WrongSide),
        (withdrawn, SessionReason::WrongSide),
    ];
    for (control, reason) in controls {
        let trap = Trap::new().await;
        let mut peer = trap.next(100, 1 << 20).await;
        let session = trap.router.session();
        peer.control(control).await;
        assert_eq!(bounded(session.ended()).await, reason);
        assert_eq!(peer.farewell().await, Some(reason));
    }
    let bytes: [(&[u8], SessionReason); 3] = [
        (&[0x7f, 1, 0, 0], SessionReason::UnknownRecord),
        (&[0x01, 1, 0, 2, 1, 1], SessionReason::UnknownRecord),
        (&[0x14, 0, 2, 0], SessionReason::Malformed),
    ];
    for (bytes, reason) in bytes {
        let trap = Trap::new().await;
        let mut peer = trap.next(100, 1 << 20).await;
        let session = trap.router.session();
        peer.send(bytes).await;
        assert_eq!(bounded(session.ended()).await, reason);
        assert_eq!(peer.farewell().await, Some(reason));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offences_of_a_flow_reset_it_with_a_named_reason() {
    let trap = Trap::new().await;
    let mut peer = trap.next(100, 1 << 20).await;
    type Script = fn(u64) -> Vec<u8>;
    let table: [(Script, FlowReason); 3] = [
        (
            |flow| {
                let mut out = Vec::new();
                put_data(&mut out, flow, 5, b"early");
                put_data(&mut out, flow, 5, b"other");
                out
            },
            FlowReason::Conflict,
        ),
        (
            |flow| {
                let mut out = Vec::new();
                put_data(&mut out, flow, 1 << 40, b"far");
                out
            },
            FlowReason::WindowOverrun,
        ),
        (
            |flow| {
                let mut out = Vec::new();
                record::put_ack(&mut out, flow, 1 << 30, 0);
                out
            },
            FlowReason::AckOfUnsent,
        ),
    ];
    for (at, (script, reason)) in (1..).zip(table) {
        let session = trap.router.session();
        let flow = session
            .open(Destination::Service("x".into()), FlowKind::default())
            .unwrap();
        peer.send(&script(2 * at)).await;
        peer.until(&Heard::Reset(2 * at, reason)).await;
        let outcome = guywire_transport::flow::Outcome::Reset(reason);
        assert_eq!(bounded(flow.ended()).await, outcome);
    }
}

/// Passes over everything up to the next data, and tells how much that is.
async fn next_data(peer: &mut Peer) -> usize {
    loop {
        match peer.hear().await {
            Heard::Data(_, bytes) => return bytes.len(),
            Heard::Closed => panic!("the router has closed"),
            _ => {}
        }
    }
}

/// It claims to have memory without end, grants windows without end, and acknowledges nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_and_never_acknowledged_stays_within_the_memory() {
    let trap = Trap::new().await;
    let mut peer = trap.next(u32::MAX, u64::MAX >> 2).await;
    let session = trap.router.session();
    let flows: Vec<_> = (0..20)
        .map(|_| {
            session
                .open(Destination::Service("x".into()), FlowKind::default())
                .unwrap()
        })
        .collect();
    let writers: Vec<_> = flows
        .into_iter()
        .map(|flow| {
            tokio::spawn(async move {
                for _ in 0..1_000 {
                    write_all(&flow, &[0; 16_384]).await.unwrap();
                }
            })
        })
        .collect();
    for flow in 1..=20 {
        let window = (1 << 62) - 1;
        peer.control(Control::Opened {
            flow: 2 * flow,
            window,
        })
        .await;
    }
    // Data arrives until the memory is used up; then there is silence but for other records.
    let mut arrived = 0;
    let quiet = std::time::Duration::from_millis(700);
    while let Ok(count) = tokio::time::timeout(quiet, next_data(&mut peer)).await {
        arrived += count;
        assert!(session.counts().held <= MEMORY, "{}", session.counts().held);
    }
    assert!(arrived > 100_000, "{arrived}");
    for writer in writers {
        assert!(!writer.is_finished());
        writer.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_permits_nothing_gets_nothing() {
    let trap = Trap::new().await;
    let mut peer = trap.next(0, 0).await;
    peer.send(&{
        let mut out = Vec::new();
        record::put_ping(&mut out, 7);
        out
    })
    .await;
    peer.until(&Heard::Pong(7)).await;
    let refused = trap
        .router
        .session()
        .open(Destination::Service("x".into()), FlowKind::default());
    assert_eq!(refused.unwrap_err(), FlowReason::TooMany);
}
