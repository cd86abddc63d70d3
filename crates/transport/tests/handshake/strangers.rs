//! Strangers on the server's port: bounded in bytes and time, and not worth an answer.

use std::sync::Arc;
use std::time::Duration;

use guywire_transport::tls::{AcceptError, AcceptReason, AcceptStep};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::{BOUND, House};

/// Sends `bytes`, closes the sending side, and gives the server's verdict. Not a byte may come
/// back: strangers are not answered, and nothing was signed for them.
async fn verdict_on(house: &House, bytes: &[u8]) -> AcceptError {
    let stranger = async {
        let mut stream = house.dial().await;
        stream.write_all(bytes).await.unwrap();
        // The server may have dropped the connection by now.
        let _ = stream.shutdown().await;
        assert_eq!(read_to_end(stream).await, b"");
    };
    let (accepted, ()) = tokio::join!(house.accept(), stranger);
    accepted.unwrap_err()
}

/// All that comes until the end, be it a close or a reset.
async fn read_to_end(mut stream: TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    got
}

/// The ClientHello of an ordinary TLS client.
fn client_hello(protocols: &[&[u8]], name: Option<&str>) -> Vec<u8> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    config.enable_sni = name.is_some();
    let name = ServerName::try_from(name.unwrap_or("unused.example").to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn garbage_is_dropped_and_named() {
    let house = House::new().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.9\r\n",
        &[0; 100],
        &[0xff; 3000],
        // A TLS record with something else than a handshake inside.
        &[0x17, 3, 3, 0, 4, 1, 2, 3, 4],
        // A handshake message that is no ClientHello.
        &[0x16, 3, 1, 0, 4, 2, 0, 0, 0],
    ] {
        let error = verdict_on(&house, garbage).await;
        assert_eq!(error.reason(), AcceptReason::Garbage, "{error}");
        let text = error.to_string();
        assert!(text.starts_with("127.0.0.1:"), "{text}");
    }
}

#[tokio::test]
async fn a_long_client_hello_is_cut_off() {
    let house = House::new().await;
    // A record of 16,000 bytes with a ClientHello of 15,996 bytes, of which more comes than is read.
    let mut long = vec![0x16, 3, 1, 0x3e, 0x80, 1, 0, 0x3e, 0x7c];
    long.resize(8000, 0);
    let error = verdict_on(&house, &long).await;
    assert!(
        matches!(error, AcceptError::TooLong { bound: 4096, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn closing_at_once_is_no_garbage() {
    let house = House::new().await;
    for (bytes, received) in [(&b""[..], 0), (&[0x16, 3, 1, 2], 4)] {
        let error = verdict_on(&house, bytes).await;
        assert_eq!(error.reason(), AcceptReason::Closed);
        assert!(
            matches!(error, AcceptError::Closed { received: got, .. } if got == received),
            "{error}"
        );
    }
}

#[tokio::test]
async fn other_users_of_tls_are_dropped() {
    let house = House::new().await;
    let tagged = house.tag_key.make(0).unwrap();
    for (protocols, name, reason) in [
        (
            &[&b"h2"[..], b"http/1.1"][..],
            Some("example.com"),
            AcceptReason::WrongProtocol,
        ),
        (&[][..], Some(tagged.as_str()), AcceptReason::WrongProtocol),
        (&[b"guywire/1"], None, AcceptReason::NoTag),
        (&[b"guywire/1"], Some("example.com"), AcceptReason::NoTag),
        (
            &[b"guywire/1"],
            Some("x.guywire.invalid"),
            AcceptReason::NoTag,
        ),
    ] {
        let error = verdict_on(&house, &client_hello(protocols, name)).await;
        assert_eq!(error.reason(), reason, "{error}");
    }
}

/// With a good tag but certificates instead of raw keys the handshake starts, and fails.
#[tokio::test]
async fn certificates_are_not_accepted() {
    let house = House::new().await;
    let name = house.tag_key.make(0).unwrap();
    let hello = client_hello(&[b"guywire/1"], Some(&name));
    let stranger = async {
        let mut stream = house.dial().await;
        stream.write_all(&hello).await.unwrap();
        read_to_end(stream).await;
    };
    let (accepted, ()) = tokio::join!(house.accept(), stranger);
    let error = accepted.unwrap_err();
    assert_eq!(error.reason(), AcceptReason::Handshake, "{error}");
}

#[tokio::test]
async fn slow_bytes_run_out_of_time() {
    let mut house = House::new().await;
    house.limits.client_hello_time = Duration::from_millis(300);
    let name = house.tag_key.make(0).unwrap();
    let hello = client_hello(&[b"guywire/1"], Some(&name));
    let dribble = async {
        let mut stream = house.dial().await;
        for byte in hello {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (accepted, ()) = tokio::join!(house.accept(), dribble);
    let error = accepted.unwrap_err();
    let in_hello = matches!(
        error,
        AcceptError::TimedOut {
            step: AcceptStep::ClientHello,
            ..
        }
    );
    assert!(in_hello, "{error}");
    let text = error.to_string();
    assert!(
        text.ends_with("did not complete its ClientHello within 300ms"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stalled_handshake_runs_out_of_time() {
    let mut house = House::new().await;
    house.limits.handshake_time = Duration::from_millis(300);
    // The enrolled router's own ClientHello, and then nothing.
    let hello = recorded_client_hello(&house).await;
    let silent = async {
        let mut stream = house.dial().await;
        stream.write_all(&hello).await.unwrap();
        read_to_end(stream).await
    };
    let (accepted, _) = tokio::join!(house.accept(), silent);
    let error = accepted.unwrap_err();
    let in_handshake = matches!(
        error,
        AcceptError::TimedOut {
            step: AcceptStep::Handshake,
            ..
        }
    );
    assert!(in_handshake, "{error}");
}

/// What the enrolled router sends first, taken down by a listener that never answers.
async fn recorded_client_hello(house: &House) -> Vec<u8> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap());
    let (stream, accepted) = tokio::join!(stream, listener.accept());
    let tls = guywire_transport::tls::ClientTls::new(
        &house.router,
        house.server.public_key(),
        house.tag_key.clone(),
    )
    .unwrap();
    let connecting = guywire_transport::tls::connect(stream.unwrap(), &tls, 0, BOUND);
    let (mut accepted, _) = accepted.unwrap();
    let reading = async {
        // One TLS record: its length is in the last two of its first five bytes.
        let mut hello = vec![0; 5];
        accepted.read_exact(&mut hello).await.unwrap();
        let body = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
        hello.resize(5 + body, 0);
        accepted.read_exact(&mut hello[5..]).await.unwrap();
        hello
    };
    tokio::select! {
        connected = connecting => panic!("nobody answered, yet {connected:?}"),
        hello = reading => hello,
    }
}
