//! HELLO: bytes both ways, and the exchange over an in-memory pipe.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

const BOUND: Duration = Duration::from_secs(20);

fn endpoint() -> Endpoint {
    Endpoint {
        instance: Instance([0xab; 16]),
        generation: 3,
        oldest: 2,
    }
}

fn server() -> ServerHello {
    ServerHello {
        versions: VERSIONS,
        endpoint: endpoint(),
        max_flows: 4096,
        session_credit: 64 << 20,
        families: Families { v4: true, v6: true },
    }
}

fn router() -> RouterHello {
    RouterHello {
        version: 1,
        endpoint: endpoint(),
        path: 2,
        link: LinkAttributes {
            name: LinkName::new("fibre").unwrap(),
            backup: false,
            metered: true,
            cost: 10,
        },
    }
}

/// Written out by hand from the layout in `codec`, so that the wire cannot change unnoticed.
#[test]
fn the_form_on_the_wire_stays() {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let instance = "ab".repeat(16);
    assert_eq!(
        hex(&server().encode()),
        format!("01010027 0101 {instance} 00000003 00000002 00001000 0000000004000000 03")
            .replace(' ', "")
    );
    assert_eq!(
        hex(&router().encode()),
        format!("01010025 01 {instance} 00000003 00000002 02 02 0000000a 05 6669627265")
            .replace(' ', "")
    );
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let mut bytes = server().encode();
    bytes.extend_from_slice(b"new field");
    bytes[3] += 9;
    // Bits that have no meaning yet.
    bytes[1] |= 0xf0;
    let (hello, length) = ServerHello::decode(&bytes).unwrap();
    assert_eq!(hello, server());
    assert_eq!(length, bytes.len());
}

#[test]
fn what_is_wrong_is_named() {
    let good = server().encode();
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        ServerHello::decode(&bytes).unwrap_err()
    };
    assert_eq!(changed(0, 9), DecodeError::NotHello { got: 9 });
    assert_eq!(changed(2, 5), DecodeError::OfFlow { flow: 5 });
    assert_eq!(
        changed(3, 10),
        DecodeError::Short { field: "instance" },
        "a body cut after 10 bytes"
    );
    assert!(matches!(changed(4, 2), DecodeError::VersionOrder(_)));
    assert!(matches!(
        changed(29, 9),
        DecodeError::GenerationOrder { oldest: 9, .. }
    ));
    let long = [0x01, 0x01, 0x00, 0x44, 0x01];
    assert_eq!(
        ServerHello::decode(&long),
        Err(DecodeError::TooLong { length: 1025 })
    );
}

#[test]
fn link_names_are_bounded_and_printable() {
    assert!(LinkName::new("").is_err());
    assert!(LinkName::new(&"x".repeat(32)).is_ok());
    assert!(LinkName::new(&"x".repeat(33)).is_err());
    assert!(LinkName::new("wan\u{1b}[2J").is_err());
    assert!(LinkName::new("Büro 1").is_ok());
}

#[test]
fn the_newest_common_version_is_chosen() {
    let range = |least, greatest| VersionRange { least, greatest };
    assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
    assert_eq!(range(2, 5).common(range(1, 3)), Some(3));
    assert_eq!(range(1, 1).common(range(2, 2)), None);
    assert_eq!(range(4, 4).to_string(), "version 4");
}

#[test]
fn instances_are_written_as_control_writes_them() {
    let text = "00112233445566778899aabbccddeeff";
    let instance: Instance = text.parse().unwrap();
    assert_eq!(instance.to_string(), text);
    assert!("0011".parse::<Instance>().is_err());
    assert!(text.to_uppercase().parse::<Instance>().is_err());
}

#[tokio::test]
async fn both_ends_meet_and_leave_the_next_byte_alone() {
    let (mut at_router, mut at_server) = duplex(4096);
    let (hello_s, hello_r) = (server(), router());
    let serve = async {
        let met = exchange_as_server(&mut at_server, &hello_s, BOUND).await?;
        at_server.write_all(b"x").await.unwrap();
        Ok::<_, HelloError>(met)
    };
    let meet = async {
        let met = exchange_as_router(&mut at_router, &hello_r, BOUND).await?;
        at_router.write_all(b"y").await.unwrap();
        Ok::<_, HelloError>(met)
    };
    let (met_router, met_server) = tokio::try_join!(serve, meet).unwrap();
    assert_eq!(met_router, router());
    assert_eq!(met_server, server());
    assert_eq!(at_router.read_u8().await.unwrap(), b'x');
    assert_eq!(at_server.read_u8().await.unwrap(), b'y');
}

#[tokio::test]
async fn ends_without_a_common_version_part() {
    let (mut at_router, mut at_server) = duplex(4096);
    let newer = ServerHello {
        versions: VersionRange {
            least: 7,
            greatest: 9,
        },
        ..server()
    };
    at_server.write_all(&newer.encode()).await.unwrap();
    let error = exchange_as_router(&mut at_router, &router(), BOUND)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server speaks versions 7 to 9, this router version 1: update the older one"
    );

    let (mut at_router, mut at_server) = duplex(4096);
    let odd = RouterHello {
        version: 7,
        ..router()
    };
    at_router.write_all(&odd.encode()).await.unwrap();
    let error = exchange_as_server(&mut at_server, &server(), BOUND)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        HelloError::VersionNotOffered { chosen: 7, .. }
    ));
}

#[tokio::test]
async fn a_close_before_hello_is_named() {
    let (mut at_router, at_server) = duplex(4096);
    drop(at_server);
    let error = exchange_as_router(&mut at_router, &router(), BOUND)
        .await
        .unwrap_err();
    assert!(matches!(error, HelloError::ServerClosed), "{error}");
}

#[tokio::test(start_paused = true)]
async fn silence_and_dribble_are_bounded() {
    let (mut at_router, mut at_server) = duplex(4096);
    at_server.write_all(&[0x01, 0x01, 0x00]).await.unwrap();
    let error = exchange_as_router(&mut at_router, &router(), BOUND)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no whole HELLO from the server within 20s"
    );
}

#[tokio::test]
async fn another_protocol_is_noticed_at_its_first_byte() {
    let (mut at_router, mut at_server) = duplex(4096);
    at_server.write_all(b"H").await.unwrap();
    let error = exchange_as_router(&mut at_router, &router(), BOUND)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("the first record has type 0x48"),
        "{error}"
    );
}

prop_compose! {
    fn any_endpoint()(instance: [u8; 16], generation in 1u32.., oldest: u32) -> Endpoint {
        Endpoint { instance: Instance(instance), generation, oldest: 1 + oldest % generation }
    }
}

proptest! {
    #[test]
    fn server_hello_round_trips(
        a: u8, b: u8, endpoint in any_endpoint(), max_flows: u32, session_credit: u64, v4: bool,
        v6: bool, more in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let hello = ServerHello {
            versions: VersionRange { least: a.min(b), greatest: a.max(b) },
            endpoint,
            max_flows,
            session_credit,
            families: Families { v4, v6 },
        };
        let mut bytes = hello.encode();
        let length = bytes.len();
        bytes.extend_from_slice(&more);
        prop_assert_eq!(ServerHello::decode(&bytes), Ok((hello, length)));
        for cut in 0..length {
            let short = matches!(ServerHello::decode(&bytes[..cut]), Err(DecodeError::Short { .. }));
            prop_assert!(short, "cut after {} bytes", cut);
        }
    }

    #[test]
    fn router_hello_round_trips(
        version: u8, endpoint in any_endpoint(), path: u8, name in "[a-zäß ]{1,16}", backup: bool,
        metered: bool, cost: u32,
    ) {
        let hello = RouterHello {
            version,
            endpoint,
            path,
            link: LinkAttributes { name: LinkName::new(&name).unwrap(), backup, metered, cost },
        };
        let bytes = hello.encode();
        prop_assert_eq!(RouterHello::decode(&bytes), Ok((hello, bytes.len())));
    }

    #[test]
    fn any_bytes_are_handled(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), hello: bool) {
        if hello && bytes.len() > 4 {
            let body = (bytes.len() - 4).min(63) as u8;
            bytes[..4].copy_from_slice(&[1, 1, 0, body]);
        }
        if let Ok((_, length)) = ServerHello::decode(&bytes) {
            prop_assert!(length <= bytes.len());
        }
        if let Ok((hello, _)) = RouterHello::decode(&bytes) {
            prop_assert_eq!(RouterHello::decode(&hello.encode()).unwrap().0, hello);
        }
    }
}
