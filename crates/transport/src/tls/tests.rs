//! What TLS offers; the handshakes themselves are in `tests/handshake.rs`.

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

/// Our own routers never try to resume, so this one is made to: the server has to be what stops it.
#[tokio::test]
async fn a_server_gives_nothing_to_resume_with() {
    let bound = Duration::from_secs(20);
    let (router, server) = (PrivateKey::generate(), PrivateKey::generate());
    let (router, server) = (router.unwrap(), server.unwrap());
    let tag_key = TagKey::generate().unwrap();
    let set = AuthorisedSet::of_routers([(router.public_key(), tag_key.clone())]);
    let settings = LimiterSettings::default();
    let server_tls = ServerTls::new(&server, Authorised::new(set), settings).unwrap();
    let mut client_tls = ClientTls::new(&router, server.public_key(), tag_key).unwrap();
    Arc::make_mut(&mut client_tls.config).resumption = Resumption::default();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = AcceptLimits::default();
    for _ in 0..2 {
        let stream = TcpStream::connect(address).await.unwrap();
        let (accepted_tcp, peer) = listener.accept().await.unwrap();
        let (connected, accepted) = tokio::join!(
            connect(stream, &client_tls, 0, bound),
            accept(accepted_tcp, peer, &server_tls, &limits),
        );
        let mut connected = connected.unwrap();
        let Ok(Accepted::Subflow { mut stream, .. }) = accepted else {
            panic!("{accepted:?}");
        };
        // A ticket would come before the first bytes.
        stream.write_all(b"x").await.unwrap();
        assert_eq!(connected.read_u8().await.unwrap(), b'x');
        let TlsStream::Client(connected) = connected else {
            panic!("a client's stream is not one");
        };
        let (_, tls) = connected.get_ref();
        assert_eq!(tls.tls13_tickets_received(), 0);
        assert_eq!(tls.handshake_kind(), Some(HandshakeKind::Full));
    }
}
