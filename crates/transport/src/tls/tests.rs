//! What TLS offers; the handshakes themselves are in `tests/handshake.rs`.

use std::future::poll_fn;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::{CipherSuite, HandshakeKind, NamedGroup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::enrol::limit::LimiterSettings;
use crate::tag::TagKey;

#[test]
fn ciphers_follow_the_hardware() {
    let first = |aes| cipher_suites(aes)[0].suite();
    assert_eq!(first(true), CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(first(false), CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    // Whatever the one end prefers, the other has it.
    for suite in cipher_suites(true) {
        assert!(cipher_suites(false).contains(&suite));
    }
}

#[test]
fn key_exchange_is_hybrid_first() {
    let groups: Vec<NamedGroup> = provider().kx_groups.iter().map(|g| g.name()).collect();
    assert_eq!(groups, [NamedGroup::X25519MLKEM768, NamedGroup::X25519]);
}

#[test]
fn an_identity_shows_the_public_key_and_signs() {
    let key = PrivateKey::generate().unwrap();
    let identity = identity(&key).unwrap();
    let spki = identity.end_entity_cert().unwrap();
    assert_eq!(spki.as_ref(), key.public_key().to_spki());
    let signs_with = identity.key.public_key().unwrap();
    assert_eq!(signs_with.as_ref(), spki.as_ref());
}

#[test]
fn only_tls_errors_are_taken_for_some() {
    let plain = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(alert_in(&plain), None);
    let alert = rustls::Error::AlertReceived(AlertDescription::AccessDenied);
    let wrapped = io::Error::new(io::ErrorKind::InvalidData, alert);
    assert_eq!(alert_in(&wrapped), Some(AlertDescription::AccessDenied));
    assert_eq!(refused_key_in(&wrapped), None);
    let refused = io::Error::other(rustls::Error::from(RefusedKey(None)));
    assert_eq!(refused_key_in(&refused), Some(RefusedKey(None)));
}

/// Both ends' TLS.
fn both() -> (ClientTls, ServerTls) {
    let (router, server) = (PrivateKey::generate(), PrivateKey::generate());
    let (router, server) = (router.unwrap(), server.unwrap());
    let tag_key = TagKey::generate().unwrap();
    let set = AuthorisedSet::of_routers([(router.public_key(), tag_key.clone())]);
    let settings = LimiterSettings::default();
    let server_tls = ServerTls::new(&server, Authorised::new(set), settings).unwrap();
    let client_tls = ClientTls::new(&router, server.public_key(), tag_key).unwrap();
    (client_tls, server_tls)
}

/// The router's and the server's end of a connection.
async fn connection(client_tls: &ClientTls, server_tls: &ServerTls) -> [TlsStream; 2] {
    let bound = Duration::from_secs(20);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (accepted_tcp, peer) = listener.accept().await.unwrap();
    let limits = AcceptLimits::default();
    let (connected, accepted) = tokio::join!(
        connect(tcp, client_tls, 0, bound),
        accept(accepted_tcp, peer, server_tls, &limits),
    );
    let Ok(Accepted::Subflow { stream, .. }) = accepted else {
        panic!("{accepted:?}");
    };
    [connected.unwrap(), stream]
}

/// All that arrives until the other end says that this was all.
async fn received(protected: &mut Protected) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        match poll_fn(|cx| protected.poll_receive(cx)).await? {
            Arrived::Data(content) => all.extend_from_slice(&content),
            Arrived::Closed => return Ok(all),
        }
    }
}

#[tokio::test]
async fn either_end_can_go_on_without_rustls() {
    let (client_tls, server_tls) = both();
    let sent: Vec<u8> = (0..700_001_u32).map(|at| (at / 251) as u8).collect();
    for own in 0..2 {
        let mut ends = Vec::from(connection(&client_tls, &server_tls).await);
        let (own, mut other) = (ends.remove(own), ends.remove(0));
        let (mut own, unread) = Protected::take_over(own).unwrap();
        assert!(unread.is_empty());
        let there = async {
            let mut data = &sent[..];
            poll_fn(|cx| own.poll_send(cx, &mut data)).await.unwrap();
            assert_eq!(own.unsent(), 0);
            let all = received(&mut own).await.unwrap();
            // It is told again.
            assert!(received(&mut own).await.unwrap().is_empty());
            own.close().await.unwrap();
            all
        };
        let here = async {
            let mut all = vec![0; sent.len()];
            other.read_exact(&mut all).await.unwrap();
            other.write_all(&sent).await.unwrap();
            other.shutdown().await.unwrap();
            // An end without close_notify would be an error.
            assert_eq!(other.read(&mut [0; 10]).await.unwrap(), 0);
            all
        };
        let (there, here) = tokio::join!(there, here);
        assert!(there == sent && here == sent);
    }
}

#[tokio::test]
async fn what_rustls_has_opened_is_handed_over() {
    let (client_tls, server_tls) = both();
    let [mut router, mut server] = connection(&client_tls, &server_tls).await;
    router.write_all(b"hello and more").await.unwrap();
    router.write_all(b", again").await.unwrap();
    router.shutdown().await.unwrap();
    server.read_exact(&mut [0; 5]).await.unwrap();
    let (mut server, unread) = Protected::take_over(server).unwrap();
    assert_eq!(unread, b" and more");
    assert_eq!(received(&mut server).await.unwrap(), b", again");
}

#[tokio::test]
async fn an_end_that_was_not_announced_and_new_keys_are_errors() {
    let (client_tls, server_tls) = both();
    let [router, server] = connection(&client_tls, &server_tls).await;
    drop(router);
    let (mut server, _) = Protected::take_over(server).unwrap();
    let cut = received(&mut server).await.unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);

    let [router, server] = connection(&client_tls, &server_tls).await;
    let TlsStream::Client(mut router) = router else {
        panic!("a client's stream is not one");
    };
    router.get_mut().1.refresh_traffic_keys().unwrap();
    router.write_all(b"with another key").await.unwrap();
    let (mut server, _) = Protected::take_over(server).unwrap();
    for _ in 0..2 {
        let fault = received(&mut server).await.unwrap_err().to_string();
        assert_eq!(fault, protection::Fault::Content(22).to_string());
    }
}

/// Our own routers never try to resume, so this one is made to: the server has to be what stops it.
#[tokio::test]
async fn a_server_gives_nothing_to_resume_with() {
    let (mut client_tls, server_tls) = both();
    Arc::make_mut(&mut client_tls.config).resumption = Resumption::default();
    for _ in 0..2 {
        let [mut router, mut server] = connection(&client_tls, &server_tls).await;
        // A ticket would come before the first bytes.
        server.write_all(b"x").await.unwrap();
        assert_eq!(router.read_u8().await.unwrap(), b'x');
        let TlsStream::Client(router) = router else {
            panic!("a client's stream is not one");
        };
        let (_, tls) = router.get_ref();
        assert_eq!(tls.tls13_tickets_received(), 0);
        assert_eq!(tls.handshake_kind(), Some(HandshakeKind::Full));
    }
}
