//! A router and a server over real TCP and TLS on the loopback device: two links, real flows.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use guywire_flow::{Answer, Destination, FlowKind, FlowReason, PathState, SessionReason};
use guywire_transport::enrol::limit::LimiterSettings;
use guywire_transport::flow::Outcome;
use guywire_transport::hello::{Endpoint, Families, Instance, LinkAttributes, LinkName};
use guywire_transport::key::PrivateKey;
use guywire_transport::relay;
use guywire_transport::router::{DialReason, Link, Router, RouterConfig, RouterNews, Scheduling};
use guywire_transport::server::{Server, ServerConfig, ServerNews};
use guywire_transport::tag::TagKey;
use guywire_transport::tls::{Authorised, AuthorisedSet, ClientTls, ServerTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const FAMILIES: Families = Families {
    v4: true,
    v6: false,
};

struct Keys {
    router: PrivateKey,
    server: PrivateKey,
    tag: TagKey,
}

impl Keys {
    fn new() -> Keys {
        Keys {
            router: PrivateKey::generate().unwrap(),
            server: PrivateKey::generate().unwrap(),
            tag: TagKey::generate().unwrap(),
        }
    }
}

fn scheduling(name: &str) -> Scheduling {
    Scheduling {
        factory: guywire_sched::native(name).unwrap().into(),
        ..Scheduling::default()
    }
}

/// A server that connects flows to the address they name.
struct RunningServer {
    server: Server,
    tasks: Vec<JoinHandle<()>>,
}

impl RunningServer {
    fn start(keys: &Keys, listener: TcpListener, endpoint: Endpoint) -> RunningServer {
        let authorised = Authorised::new(AuthorisedSet {
            routers: HashSet::from([keys.router.public_key()]),
            tag_keys: vec![keys.tag.clone()],
        });
        let (server, mut news) = Server::new(ServerConfig {
            endpoint,
            tls: ServerTls::new(&keys.server, authorised, LimiterSettings::default()).unwrap(),
            memory: 64 << 20,
            max_flows: 1_000,
            families: FAMILIES,
            limits: Default::default(),
        });
        let refuse_all = |_, _| async { Err(guywire_transport::enrol::Refusal::Unknown) };
        let listen = tokio::spawn(server.clone().listen(listener, refuse_all));
        let serve = tokio::spawn(async move {
            while let Some(news) = news.recv().await {
                match news {
                    ServerNews::Open { flow, to } => drop(tokio::spawn(connect(flow, to))),
                    ServerNews::Choice {
                        session, choice, ..
                    } => {
                        let answer = match guywire_sched::native(&choice.name) {
                            Some(native) => Answer::Use(Some(native.into())),
                            None => Answer::Refused("there is none".to_owned()),
                        };
                        session.with(|session, now| session.answer_choice(now, &choice, answer));
                    }
                    _ => {}
                }
            }
        });
        RunningServer {
            server,
            tasks: vec![listen, serve],
        }
    }

    fn stop(self) {
        for task in self.tasks {
            task.abort();
        }
        self.server.close();
    }
}

async fn connect(flow: guywire_transport::flow::FlowHandle, to: Destination) {
    let Destination::Address(to) = to else {
        return flow.refuse(FlowReason::NoService);
    };
    match TcpStream::connect(to).await {
        Ok(stream) => {
            guywire_net::tcp::set_reset_on_close(&stream, true).unwrap();
            flow.accept().unwrap();
            relay(stream, flow).await;
        }
        Err(_) => flow.refuse(FlowReason::Refused),
    }
}

fn router(
    keys: &Keys,
    server: SocketAddr,
    name: &str,
) -> (Router, tokio::sync::mpsc::UnboundedReceiver<RouterNews>) {
    let (router, news) = Router::start(RouterConfig {
        endpoint: Endpoint::only(Instance([7; 16]), 1),
        tls: ClientTls::new(&keys.router, keys.server.public_key(), keys.tag.clone()).unwrap(),
        servers: vec![server],
        memory: 64 << 20,
        max_flows: 1_000,
        limits: Default::default(),
    });
    router.set_schedulers(BTreeMap::from([(0, scheduling(name))]));
    router.set_links(vec![link(1), link(2)]);
    (router, news)
}

fn link(path: u8) -> Link {
    Link {
        path,
        attributes: LinkAttributes {
            name: LinkName::new(&format!("wan{path}")).unwrap(),
            backup: false,
            metered: false,
            cost: 0,
        },
        device: "lo".to_owned(),
        congestion: None,
        present: true,
        addresses: vec![Ipv4Addr::LOCALHOST.into()],
    }
}

/// A listener whose connections are echoed until they end.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    address
}

/// A local connection that is relayed over a new flow, as the router does with captured ones.
async fn through(router: &Router, to: SocketAddr) -> (TcpStream, JoinHandle<Outcome>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (captured, _) = listener.accept().await.unwrap();
    guywire_net::tcp::set_reset_on_close(&captured, true).unwrap();
    let flow = router
        .session()
        .open(Destination::Address(to), FlowKind::default())
        .unwrap();
    (client, tokio::spawn(relay(captured, flow)))
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count as u32)
        .map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8)
        .collect()
}

async fn round_trip(router: &Router, to: SocketAddr, count: usize) -> Outcome {
    let (client, outcome) = through(router, to).await;
    let (mut read, mut write) = client.into_split();
    let sent = bytes(count);
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
        write
    });
    let mut received = Vec::new();
    read.read_to_end(&mut received).await.unwrap();
    assert!(received == expected, "{} of {count} bytes", received.len());
    writer.await.unwrap();
    outcome.await.unwrap()
}

#[track_caller]
fn bounded<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let bound = Duration::from_secs(60);
        let done = tokio::time::timeout(bound, work).await;
        done.unwrap_or_else(|_| panic!("within a minute: {caller}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_there_and_back_with_every_scheduler() {
    for native in guywire_sched::NATIVE {
        let keys = Keys::new();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = RunningServer::start(&keys, listener, Endpoint::only(Instance([1; 16]), 1));
        let (router, _news) = router(&keys, address, native.name);
        let to = echo().await;
        for count in [0, 1, 100_000, 20_000_000] {
            let outcome = bounded(round_trip(&router, to, count)).await;
            assert_eq!(outcome, Outcome::Complete, "{} {count}", native.name);
        }
        let many = (0..50).map(|n| round_trip(&router, to, 10_000 * n));
        let outcomes = bounded(futures_all(many)).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Complete));
        let all_up = || {
            let paths = router.session().paths();
            paths.iter().all(|path| path.state == PathState::Up)
        };
        bounded(async {
            while !all_up() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        let paths = router.session().paths();
        assert!(paths.iter().all(|path| path.subflows <= 6), "{paths:?}");
        let counts = router.session().counts();
        assert_eq!((counts.flows, counts.held, counts.reset), (0, 0, 0));
        server.stop();
    }
}

async fn futures_all<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| match one.as_mut().poll(cx) {
            std::task::Poll::Ready(value) => {
                done.push(value);
                false
            }
            std::task::Poll::Pending => true,
        });
        if all.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_and_refusals_arrive() {
    let keys = Keys::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let _server = RunningServer::start(&keys, listener, Endpoint::only(Instance([1; 16]), 1));
    let (router, _news) = router(&keys, address, "default");

    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let (mut client, outcome) = through(&router, nobody).await;
    let error = bounded(client.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(outcome.await.unwrap(), Outcome::Reset(FlowReason::Refused));

    // A client's reset is a reset at the destination.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (mut client, _outcome) = through(&router, listener.local_addr().unwrap()).await;
    client.write_all(b"hello").await.unwrap();
    let (mut destination, _) = bounded(listener.accept()).await.unwrap();
    let mut hello = [0; 5];
    destination.read_exact(&mut hello).await.unwrap();
    guywire_net::tcp::set_reset_on_close(&client, true).unwrap();
    drop(client);
    let error = bounded(destination.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_worker_at_the_server_resets_what_the_old_one_had() {
    let keys = Keys::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap()
        .into_std()
        .unwrap();
    let address = listener.local_addr().unwrap();
    let start = |generation| {
        let listener = TcpListener::from_std(listener.try_clone().unwrap()).unwrap();
        RunningServer::start(
            &keys,
            listener,
            Endpoint::only(Instance([1; 16]), generation),
        )
    };
    let first = start(1);
    let (router, _news) = router(&keys, address, "default");
    let to = echo().await;
    let (mut client, outcome) = through(&router, to).await;
    client.write_all(b"hello").await.unwrap();
    let mut hello = [0; 5];
    bounded(client.read_exact(&mut hello)).await.unwrap();
    let session = router.session();
    first.stop();
    let _second = start(2);
    let error = bounded(client.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(matches!(outcome.await.unwrap(), Outcome::Reset(_)));
    assert!(matches!(
        bounded(session.ended()).await,
        SessionReason::Restarted | SessionReason::Drain
    ));
    let outcome = bounded(async {
        // Until the next session is there, flows of the old one end at once.
        while router.session().is_ended() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        round_trip(&router, to, 100_000).await
    })
    .await;
    assert_eq!(outcome, Outcome::Complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_the_server_does_not_know_is_told() {
    let keys = Keys::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let _server = RunningServer::start(&keys, listener, Endpoint::only(Instance([1; 16]), 1));
    let stranger = Keys {
        router: PrivateKey::generate().unwrap(),
        ..keys
    };
    let (_router, mut news) = router(&stranger, address, "default");
    match bounded(news.recv()).await {
        Some(RouterNews::DialFailed { reason, .. }) => assert_eq!(reason, DialReason::KeyRefused),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_a_link_loses_costs_it_its_subflows() {
    let keys = Keys::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let _server = RunningServer::start(&keys, listener, Endpoint::only(Instance([1; 16]), 1));
    let (router, _news) = router(&keys, address, "default");
    let subflows = || {
        let paths = router.session().paths();
        let of_first = paths.iter().find(|path| path.path == 1);
        of_first.map_or(0, |path| path.subflows)
    };
    let joined = async || {
        while subflows() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    bounded(joined()).await;
    let with = |addresses: &[&str]| Link {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ..link(1)
    };
    router.set_links(vec![with(&["127.0.0.1", "2001:db8::7"]), link(2)]);
    assert!(subflows() > 0, "an address came, and none went");
    router.set_links(vec![with(&["127.0.0.1", "127.0.0.7"]), link(2)]);
    assert!(subflows() > 0, "an address went that none uses");
    // With that one alone the server cannot be reached.
    router.set_links(vec![with(&["2001:db8::7"]), link(2)]);
    assert_eq!(subflows(), 0, "their address went");
    router.set_links(vec![with(&["127.0.0.7"]), link(2)]);
    bounded(joined()).await;
}
