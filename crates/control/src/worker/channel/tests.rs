//! The channel with real sockets and descriptors.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;

use super::*;
use crate::worker::{
    AuthorisedRouter, Identity, LinkSetup, Priority, RouterSetup, SecretBytes, ServerPeer,
};

fn ends() -> (SupervisorChannel, WorkerEnd) {
    let (supervisor, fd) = pair().expect("a socket pair");
    (
        supervisor,
        WorkerEnd::from_std(fd.into()).expect("a channel"),
    )
}

fn router_setup(fds: &[&str]) -> RouterSetup {
    RouterSetup {
        identity: Identity {
            instance: "0".repeat(32),
            generation: 1,
            oldest: 1,
        },
        name: "home".into(),
        private_key: SecretBytes(vec![0, 1, 2, 255]),
        server: ServerPeer {
            addresses: vec![
                "198.51.100.10:443".parse().unwrap(),
                "[2001:db8:2::10]:443".parse().unwrap(),
            ],
            public_key: "pk".into(),
            tag_key: "tag".to_owned().into(),
        },
        links: vec![LinkSetup {
            id: 1,
            name: "wan1".into(),
            device: "eth1".into(),
            priority: Priority::Backup,
            cost: 3,
            congestion: None,
            metered: true,
            present: true,
            addresses: vec!["10.0.1.2".parse().unwrap()],
        }],
        budget: crate::worker::Budget::new(None, None),
        session_memory: 1 << 26,
        max_flows: 4096,
        fds: fds.iter().map(|&name| name.to_owned()).collect(),
    }
}

#[tokio::test]
async fn messages_arrive_in_order_with_their_descriptors() {
    let (mut supervisor, mut worker) = ends();
    let (mut ours, theirs) = StdStream::pair().unwrap();
    let (_, other) = StdStream::pair().unwrap();
    let start = ToWorker::StartRouter(router_setup(&["tproxy4", "capture"]));
    supervisor
        .send(&start, &[theirs.as_fd(), other.as_fd()])
        .await
        .unwrap();
    supervisor.send(&ToWorker::Stop, &[]).await.unwrap();
    drop(theirs);

    let (message, fds) = worker.recv().await.unwrap().expect("a message");
    assert_eq!(message, start);
    assert_eq!(fds.len(), 2);
    let mut received = StdStream::from(fds.into_iter().next().unwrap());
    received.write_all(b"hello").unwrap();
    drop(received);
    let mut text = String::new();
    ours.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    let (message, fds) = worker.recv().await.unwrap().expect("a message");
    assert_eq!((message, fds.len()), (ToWorker::Stop, 0));

    worker.send(&FromWorker::Ready, &[]).await.unwrap();
    drop(worker);
    assert_eq!(
        supervisor.recv().await.unwrap().map(|(message, _)| message),
        Some(FromWorker::Ready)
    );
    assert!(
        supervisor.recv().await.unwrap().is_none(),
        "the end is no error"
    );
}

#[tokio::test]
async fn a_long_message_passes_while_it_is_read() {
    let (mut supervisor, mut worker) = ends();
    let routers = (0..4000)
        .map(|n| AuthorisedRouter {
            name: format!("router-{n}"),
            public_key: "k".repeat(60),
        })
        .collect();
    let message = ToWorker::Routers(routers);
    let (sent, received) = tokio::join!(supervisor.send(&message, &[]), worker.recv());
    sent.unwrap();
    assert_eq!(received.unwrap().map(|(message, _)| message), Some(message));
}

#[tokio::test]
async fn a_message_over_the_bound_is_refused_and_the_channel_lives_on() {
    let (mut supervisor, mut worker) = ends();
    let long = ToWorker::Redeemed {
        request: 1,
        result: Err("x".repeat(MAX_LINE)),
    };
    assert!(matches!(
        supervisor.send(&long, &[]).await,
        Err(ChannelError::LineTooLong { .. })
    ));
    supervisor.send(&ToWorker::Stop, &[]).await.unwrap();
    assert_eq!(
        worker.recv().await.unwrap().map(|(message, _)| message),
        Some(ToWorker::Stop)
    );
}

#[tokio::test]
async fn an_endless_line_is_cut_off() {
    let (mut supervisor, fd) = pair().unwrap();
    let writer = std::thread::spawn(move || {
        let mut stream = StdStream::from(fd);
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    assert!(matches!(
        supervisor.recv().await,
        Err(ChannelError::LineTooLong { .. })
    ));
    drop(supervisor);
    writer.join().unwrap();
}

#[tokio::test]
async fn descriptors_must_be_those_that_are_named() {
    let (mut supervisor, mut worker) = ends();
    let start = ToWorker::StartRouter(router_setup(&["tproxy4"]));
    assert!(matches!(
        supervisor.send(&start, &[]).await,
        Err(ChannelError::Descriptors {
            named: 1,
            present: 0
        })
    ));
    let line = serde_json::to_vec(&start).unwrap();
    let stream = supervisor.sender.stream.clone();
    for part in [&line[..], b"\n"] {
        stream.writable().await.unwrap();
        stream.try_write(part).unwrap();
    }
    assert!(matches!(
        worker.recv().await,
        Err(ChannelError::Descriptors {
            named: 1,
            present: 0
        })
    ));
}

#[tokio::test]
async fn garbage_is_an_error_not_a_panic() {
    let (supervisor, mut worker) = ends();
    supervisor.sender.stream.writable().await.unwrap();
    supervisor.sender.stream.try_write(b"\xff{}\n").unwrap();
    assert!(matches!(
        worker.recv().await,
        Err(ChannelError::BadMessage(_))
    ));
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let text = format!("{:?}", router_setup(&[]));
    assert!(!text.contains("255") && !text.contains("\"tag\""), "{text}");
}
