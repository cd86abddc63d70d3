//! Strangers in numbers: what they cost, and that others go on meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::{House, bounded, round_trip};
use crate::peer::Peer;

/// The ClientHello of a client that offers our protocol with a tag of another key.
fn client_hello() -> Vec<u8> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"guywire/1".to_vec()];
    let tag = guywire_transport::tag::TagKey::generate().unwrap();
    let name = ServerName::try_from(tag.make(0).unwrap()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// Connects, says its ClientHello, and is turned away without a word.
async fn be_refused(house: &House, hello: &[u8]) {
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    // So many of them would use up the ports.
    guywire_net::tcp::set_reset_on_close(&stream, true).unwrap();
    let _ = stream.write_all(hello).await;
    let answer = stream.read(&mut [0; 16]).await;
    assert!(!matches!(answer, Ok(1..)), "strangers get no answer");
}

/// Silent connections must not keep routers out for as long as a handshake may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_handshakes_keep_nobody_out() {
    let house = House::new().await;
    let mut silent = Vec::new();
    while silent.len() < 600 {
        match TcpStream::connect(house.address).await {
            Ok(stream) => silent.push(stream),
            Err(error) => return eprintln!("skipped: {} connections: {error}", silent.len()),
        }
    }
    let begun = Instant::now();
    let (honest, _news) = house.honest_router();
    bounded(round_trip(&honest, 100_000)).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    // The first ones had to go for it.
    let gone = bounded(silent[0].read(&mut [0])).await;
    assert!(!matches!(gone, Ok(1..)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_go_on_under_a_flood_of_refused_strangers() {
    let house = Arc::new(House::new().await);
    let (honest, _news) = house.honest_router();
    bounded(round_trip(&honest, 1 << 20)).await;
    let hello = Arc::new(client_hello());
    let strangers: Vec<_> = (0..4)
        .map(|_| {
            let (house, hello) = (house.clone(), hello.clone());
            tokio::spawn(async move {
                for _ in 0..500 {
                    be_refused(&house, &hello).await;
                }
            })
        })
        .collect();
    let mut trips = 0;
    while !strangers.iter().all(|task| task.is_finished()) {
        bounded(round_trip(&honest, 1 << 20)).await;
        trips += 1;
    }
    for stranger in strangers {
        stranger.await.unwrap();
    }
    assert!(trips > 0);
    bounded(round_trip(&honest, 1 << 20)).await;
}

/// One router that shakes hands and never says HELLO does not keep another one out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subflows_without_a_hello_are_bounded() {
    use guywire_transport::dial::{DialOptions, dial};
    use guywire_transport::tls::{ClientTls, connect};
    let house = House::new().await;
    let tls = ClientTls::new(
        &house.hostile,
        house.server_key.public_key(),
        house.tag.clone(),
    );
    let tls = tls.unwrap();
    let mut mute = Vec::new();
    for _ in 0..80 {
        let dialled = dial(
            house.address,
            &DialOptions::default(),
            Duration::from_secs(5),
        )
        .await;
        let connected = connect(dialled.unwrap().stream, &tls, 0, Duration::from_secs(5)).await;
        mute.push(connected.unwrap());
    }
    let mut closed = 0;
    for stream in mute.iter_mut().skip(64) {
        // Those within the bound get the server's HELLO, those beyond get nothing.
        let answer = bounded(stream.read(&mut [0; 64])).await;
        closed += usize::from(!matches!(answer, Ok(1..)));
    }
    assert!(closed > 0);
    let (honest, _news) = house.honest_router();
    bounded(round_trip(&honest, 100_000)).await;
    drop(mute);
    // Its places are free again, as soon as the server has noticed.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut peer = Peer::join(&house, 1, 1).await;
    peer.open(2, "echo", 1 << 20).await;
}

/// What one refusal costs the server, in processor time of this thread: the client's side of it,
/// which is on the same thread, included. Alone, and built for release:
/// `cargo test --release -p guywire-transport --test hostile cost_of_a_refusal -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement: run it alone, built for release"]
async fn cost_of_a_refusal() {
    const COUNT: u32 = 20_000;
    let house = House::new().await;
    let hello = client_hello();
    be_refused(&house, &hello).await;
    let (cpu, memory) = (cpu_time(), resident());
    for _ in 0..COUNT {
        be_refused(&house, &hello).await;
    }
    let each = (cpu_time() - cpu) / COUNT;
    println!("processor time for each refused ClientHello, both ends and the kernel: {each:?}");
    println!(
        "memory after {COUNT} of them: {} kB more",
        (resident() - memory) / 1024
    );

    // Memory while they wait: 400 at once, each with all of its ClientHello but the last byte.
    let before = resident();
    let mut waiting = Vec::new();
    for _ in 0..400 {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(&hello[..hello.len() - 1]).await.unwrap();
        waiting.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let each = (resident() - before) / 400;
    println!("memory for each stranger that waits: {each} bytes");
    assert!(each <= 16 << 10, "{each}");
}

/// Processor time of this thread so far, the kernel's part included.
fn cpu_time() -> Duration {
    // One thread: the test's runtime has no other.
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// Resident memory of this process, in bytes.
fn resident() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: i64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}
