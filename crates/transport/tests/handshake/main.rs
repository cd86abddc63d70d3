//! Router and server meet over real TCP on loopback: who gets in, who does not, and what is said.

mod enrolment;
mod house;
mod strangers;

use guywire_transport::hello::{HelloError, exchange_as_router, exchange_as_server};
use guywire_transport::key::PrivateKey;
use guywire_transport::tag::TagKey;
use guywire_transport::tls::{
    AcceptError, AcceptReason, Accepted, AuthorisedSet, ClientTls, ConnectError,
};
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use house::{BOUND, House, router_hello, server_hello};

#[tokio::test]
async fn an_enrolled_router_gets_its_subflow() {
    let house = House::new().await;
    let (connected, accepted) = tokio::join!(house.connect(7), house.accept());
    let mut at_router = connected.unwrap();
    let Accepted::Subflow {
        stream: mut at_server,
        peer,
        generation_wanted,
    } = accepted.unwrap()
    else {
        panic!("an enrolment was accepted");
    };
    assert_eq!(peer, house.router.public_key());
    assert_eq!(generation_wanted, 7);
    let (_, tls) = at_router.get_ref();
    assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(tls.alpn_protocol(), Some(&b"guywire/1"[..]));
    let group = tls.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);

    let (router, server) = (router_hello(), server_hello());
    let (met_server, met_router) = tokio::join!(
        exchange_as_router(&mut at_router, &router, BOUND),
        exchange_as_server(&mut at_server, &server, BOUND),
    );
    assert_eq!(met_server.unwrap(), server);
    assert_eq!(met_router.unwrap(), router);

    // HELLO took its own bytes only: what follows is the records'.
    at_router.write_all(b"to the server").await.unwrap();
    at_server.write_all(b"to the router").await.unwrap();
    let mut got = [0; 13];
    at_server.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"to the server");
    at_router.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"to the router");
}

#[tokio::test]
async fn a_wrong_server_key_is_refused_by_the_router() {
    let house = House::new().await;
    let expected = PrivateKey::generate().unwrap().public_key();
    let tls = ClientTls::new(&house.router, expected, house.tag_key.clone()).unwrap();
    let (connected, accepted) = tokio::join!(house.connect_with(&tls, 0), house.accept());
    let error = connected.unwrap_err();
    let ConnectError::WrongServerKey {
        remote, offered, ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(remote, house.address);
    assert_eq!(offered, Some(house.server.public_key()));
    assert!(error.to_string().contains(&expected.to_string()), "{error}");
    assert_eq!(accepted.unwrap_err().reason(), AcceptReason::Handshake);
}

/// TLS 1.3 lets the router believe that it is connected; HELLO does not.
#[tokio::test]
async fn an_unknown_router_learns_it_in_place_of_hello() {
    let house = House::new().await;
    let stranger = PrivateKey::generate().unwrap();
    let tls = ClientTls::new(&stranger, house.server.public_key(), house.tag_key.clone()).unwrap();
    let (connected, accepted) = tokio::join!(house.connect_with(&tls, 0), house.accept());
    let error = exchange_as_router(&mut connected.unwrap(), &router_hello(), BOUND)
        .await
        .unwrap_err();
    assert!(matches!(error, HelloError::KeyRefused), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("the server closed before HELLO: it does not know this router's key; "),
        "{error}"
    );
    let error = accepted.unwrap_err();
    assert_eq!(error.reason(), AcceptReason::UnknownKey);
    assert!(
        matches!(error, AcceptError::UnknownKey { key, .. } if key == Some(stranger.public_key())),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains(&stranger.public_key().to_string()), "{text}");
}

#[tokio::test]
async fn a_removed_key_does_not_come_back_by_resumption() {
    let house = House::new().await;
    for _ in 0..2 {
        let (connected, accepted) = tokio::join!(house.connect(0), house.accept());
        let mut at_router = connected.unwrap();
        let Accepted::Subflow {
            stream: mut at_server,
            ..
        } = accepted.unwrap()
        else {
            panic!("an enrolment was accepted");
        };
        // A ticket would arrive with the first bytes.
        at_server.write_all(b"x").await.unwrap();
        assert_eq!(at_router.read_u8().await.unwrap(), b'x');
        let (_, tls) = at_router.get_ref();
        assert_eq!(tls.handshake_kind(), Some(HandshakeKind::Full));
    }
    let mut changes = house.authorised.subscribe();
    house.authorised.replace(AuthorisedSet {
        tag_keys: vec![house.tag_key.clone()],
        ..AuthorisedSet::default()
    });
    assert!(changes.has_changed().unwrap());
    assert!(changes.borrow_and_update().routers.is_empty());
    let (connected, accepted) = tokio::join!(house.connect(0), house.accept());
    let error = exchange_as_router(&mut connected.unwrap(), &router_hello(), BOUND)
        .await
        .unwrap_err();
    assert!(matches!(error, HelloError::KeyRefused), "{error}");
    assert_eq!(accepted.unwrap_err().reason(), AcceptReason::UnknownKey);
}

#[tokio::test]
async fn a_tag_of_another_key_is_dropped_unanswered() {
    let house = House::new().await;
    let other = TagKey::generate().unwrap();
    let tls = ClientTls::new(&house.router, house.server.public_key(), other).unwrap();
    let (connected, accepted) = tokio::join!(house.connect_with(&tls, 0), house.accept());
    let error = connected.unwrap_err();
    assert!(matches!(error, ConnectError::Closed { .. }), "{error:?}");
    assert_eq!(accepted.unwrap_err().reason(), AcceptReason::BadTag);
}

#[tokio::test]
async fn a_tag_key_can_be_replaced_while_both_are_accepted() {
    let house = House::new().await;
    let new = TagKey::generate().unwrap();
    let mut set = AuthorisedSet::clone(&house.authorised.snapshot());
    set.tag_keys.insert(0, new.clone());
    house.authorised.replace(set);
    for tag_key in [new, house.tag_key.clone()] {
        let tls = ClientTls::new(&house.router, house.server.public_key(), tag_key).unwrap();
        let (connected, accepted) = tokio::join!(house.connect_with(&tls, 0), house.accept());
        connected.unwrap();
        accepted.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_vanishes_before_hello_is_not_called_a_refusal() {
    let house = House::new().await;
    let (connected, accepted) = tokio::join!(house.connect(0), house.accept());
    drop(accepted.unwrap());
    let error = exchange_as_router(&mut connected.unwrap(), &router_hello(), BOUND)
        .await
        .unwrap_err();
    assert!(matches!(error, HelloError::ServerClosed), "{error}");
}
