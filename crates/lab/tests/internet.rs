//! The internet host's servers and the measuring client, against each other
//! over loopback.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use guywire_lab::fetch::{Ending, Family, FetchOptions, FetchReport, fetch, fetch_many};
use guywire_lab::internet::content::Content;
use guywire_lab::internet::{dns, http};
use guywire_lab::spec::Rate;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const PATIENCE: Duration = Duration::from_secs(20);

async fn web() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback listens");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    tokio::spawn(http::serve(listener, Arc::new(Content::new())));
    address
}

fn options(address: SocketAddr, path: &str) -> FetchOptions {
    FetchOptions {
        target: format!("http://{address}{path}")
            .parse()
            .expect("a plain URL"),
        family: Family::Any,
        seconds: None,
        skip: Duration::ZERO,
        upload: None,
        rate: None,
        limit: None,
        patience: PATIENCE,
        gaps: None,
        mptcp: false,
        verify: true,
    }
}

async fn get(options: &FetchOptions) -> FetchReport {
    fetch(options, |_| ()).await
}

#[tokio::test]
async fn a_download_is_complete_and_identical() {
    let address = web().await;
    for length in [0, 1, 65_536, 3_000_001] {
        let report = get(&options(address, &format!("/bytes/{length}"))).await;
        assert_eq!(report.ending, Ending::Complete, "{report}");
        assert_eq!((report.bytes, report.identical), (length, Some(true)));
        assert_eq!(report.samples.iter().sum::<u64>(), length);
    }
}

#[tokio::test]
async fn a_stopped_download_is_checked_too() {
    let address = web().await;
    let limited = FetchOptions {
        limit: Some(100_000),
        ..options(address, "/bytes/1000000000000")
    };
    let report = get(&limited).await;
    assert_eq!(report.ending, Ending::Stopped, "{report}");
    assert!(report.bytes >= 100_000);
    assert_eq!(report.identical, Some(true));
    let seconds = Some(Duration::from_millis(300));
    let timed = FetchOptions {
        seconds,
        ..options(address, "/bytes/1000000000000?rate=8mbit")
    };
    let report = get(&timed).await;
    assert_eq!(
        (report.ending, report.identical),
        (Ending::Stopped, Some(true)),
        "{report}"
    );
}

#[tokio::test]
async fn a_paced_download_keeps_its_rate() {
    let address = web().await;
    let report = get(&options(address, "/bytes/500000?rate=8mbit")).await;
    // 500 kB at 1 MB/s; only "not faster" can be said on a busy machine.
    assert!(report.seconds > 0.45, "{report}");
    assert_eq!(report.identical, Some(true));
}

#[tokio::test]
async fn an_upload_is_identical_and_may_stop_by_time() {
    let address = web().await;
    let whole = FetchOptions {
        upload: Some(2_000_001),
        ..options(address, "/sink")
    };
    let report = get(&whole).await;
    assert_eq!(report.ending, Ending::Complete, "{report}");
    assert_eq!((report.bytes, report.identical), (2_000_001, Some(true)));
    let seconds = Some(Duration::from_millis(200));
    let timed = FetchOptions {
        upload: Some(1 << 40),
        seconds,
        ..options(address, "/sink")
    };
    let report = get(&timed).await;
    assert_eq!(
        (report.ending, report.identical),
        (Ending::Stopped, Some(true)),
        "{report}"
    );
}

#[tokio::test]
async fn the_client_sets_the_pace_too() {
    let address = web().await;
    let rate = Some(Rate::from_bits_per_second(8_000_000));
    // 500 kB at 1 MB/s, of which the download reads its first piece at once.
    let slow_reader = FetchOptions {
        rate,
        ..options(address, "/bytes/500000")
    };
    let report = get(&slow_reader).await;
    assert!(report.seconds > 0.3, "{report}");
    assert_eq!(report.identical, Some(true));
    let slow_sender = FetchOptions {
        rate,
        upload: Some(500_000),
        ..options(address, "/sink")
    };
    let report = get(&slow_sender).await;
    assert!(report.seconds > 0.45, "{report}");
    assert_eq!(report.identical, Some(true));
}

#[tokio::test]
async fn nothing_is_hashed_where_nobody_asks() {
    let address = web().await;
    for (path, upload) in [("/bytes/100000", None), ("/sink", Some(100_000))] {
        let unverified = FetchOptions {
            upload,
            verify: false,
            ..options(address, path)
        };
        let report = get(&unverified).await;
        assert_eq!(report.ending, Ending::Complete, "{report}");
        assert_eq!((report.identical, report.sha256), (None, None));
    }
}

#[tokio::test]
async fn many_transfers_run_at_once() {
    let address = web().await;
    let summary = fetch_many(&options(address, "/bytes/50000"), 300).await;
    assert!(summary.is_success(), "{summary}");
    assert_eq!((summary.identical, summary.bytes), (300, 15_000_000));
}

#[tokio::test]
async fn endings_are_told_apart() {
    let address = web().await;
    let missing = get(&options(address, "/nothing")).await;
    assert_eq!(missing.ending, Ending::Status, "{missing}");
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(get(&options(closed, "/")).await.ending, Ending::Refused);
    assert_eq!(
        get(&options(broken_server(false).await, "/")).await.ending,
        Ending::CutShort
    );
    assert_eq!(
        get(&options(broken_server(true).await, "/")).await.ending,
        Ending::Reset
    );
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let patience = Duration::from_millis(200);
    let impatient = FetchOptions {
        patience,
        ..options(silent.local_addr().unwrap(), "/")
    };
    assert_eq!(get(&impatient).await.ending, Ending::TimedOut);
}

/// Promises ten bytes, sends one, then ends the connection cleanly or by reset.
async fn broken_server(reset: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1_024];
        let _ = stream.read(&mut request).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n1")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        guywire_net::tcp::set_reset_on_close(&stream, reset).unwrap();
    });
    address
}

#[tokio::test]
async fn wrong_requests_are_answered_with_words() {
    let address = web().await;
    for path in [
        "/bytes/x",
        "/bytes/99999999999999999999",
        "/bytes/5?rate=fast",
        "/bytes/5?speed=1",
        "/sha256/-1",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
}

/// Starts a name server on loopback; its UDP and TCP address.
async fn names() -> (SocketAddr, SocketAddr) {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let hosts: [(String, Vec<IpAddr>); 1] = [(
        "www".into(),
        vec![
            "203.0.113.1".parse().unwrap(),
            "2001:db8:1::1".parse().unwrap(),
        ],
    )];
    let mut server = dns::server(&hosts, vec![udp], vec![tcp]).unwrap();
    tokio::spawn(async move { server.block_until_done().await });
    addresses
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

async fn ask_udp(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question(name, kind), server).await.unwrap();
    let mut answer = [0; 4_096];
    let length = tokio::time::timeout(PATIENCE, socket.recv(&mut answer))
        .await
        .unwrap()
        .unwrap();
    Message::from_vec(&answer[..length]).unwrap()
}

async fn ask_tcp(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let question = question(name, kind);
    stream.write_u16(question.len() as u16).await.unwrap();
    stream.write_all(&question).await.unwrap();
    let length = stream.read_u16().await.unwrap();
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

#[tokio::test]
async fn the_zone_answers_for_itself_only() {
    let (udp, tcp) = names().await;
    let answer = ask_udp(udp, "www.lab.test.", RecordType::A).await;
    assert!(answer.metadata.authoritative);
    assert!(matches!(&answer.answers[0].data, RData::A(a) if a.0.octets() == [203, 0, 113, 1]));
    let answer = ask_tcp(tcp, "www.lab.test.", RecordType::AAAA).await;
    assert_eq!(answer.answers.len(), 1);
    let missing = ask_udp(udp, "nobody.lab.test.", RecordType::A).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    let foreign = ask_udp(udp, "example.org.", RecordType::A).await;
    assert_eq!(foreign.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn a_large_answer_comes_by_tcp() {
    let (udp, tcp) = names().await;
    assert!(
        ask_udp(udp, "large.lab.test.", RecordType::TXT)
            .await
            .metadata
            .truncation
    );
    let answer = ask_tcp(tcp, "large.lab.test.", RecordType::TXT).await;
    assert_eq!(answer.answers.len(), 40);
}
