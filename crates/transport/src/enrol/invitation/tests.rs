//! Invitations: every line is read, or refused with its reason.

use proptest::prelude::*;

use super::*;
use crate::enrol::address::tests::any_address;

fn invitation() -> Invitation {
    Invitation::new(
        vec![
            "vps.example.net".parse().unwrap(),
            "[2001:db8::7]:8443".parse().unwrap(),
        ],
        PublicKey([1; 32]),
        InvitationSecret::from_bytes([2; 16]),
        "home".parse().unwrap(),
    )
    .unwrap()
}

#[test]
fn an_invitation_is_one_line_of_moderate_length() {
    let line = invitation().to_string();
    assert!(line.len() < 160, "{} characters", line.len());
    assert!(!line.contains(char::is_whitespace));
    assert_eq!(line.parse::<Invitation>().unwrap(), invitation());
    let (left, right) = line.split_at(77);
    let wrapped = format!(" {left}\n{right}\n");
    assert_eq!(wrapped.parse::<Invitation>().unwrap(), invitation());
}

#[test]
fn other_lines_are_told_apart() {
    let line = invitation().to_string();
    let parse = |line: &str| line.parse::<Invitation>().unwrap_err();
    assert_eq!(parse("hello"), InvitationError::Prefix);
    assert_eq!(parse(&line[1..]), InvitationError::Prefix);
    assert_eq!(parse("guywire2:abcd"), InvitationError::Newer);
    assert_eq!(parse("guywire1:"), InvitationError::Checksum);
    assert!(matches!(
        parse(&format!("{}+{}", &line[..20], &line[21..])),
        InvitationError::Character { .. }
    ));
    assert!(matches!(
        parse(&format!("{PREFIX}{}", "A".repeat(5000))),
        InvitationError::TooLong { .. }
    ));
    for cut in PREFIX.len()..line.len() {
        let error = parse(&line[..cut]);
        assert!(
            matches!(
                error,
                InvitationError::Checksum | InvitationError::Character { .. }
            ),
            "{error}"
        );
    }
}

#[test]
fn contents_are_checked_behind_a_good_checksum() {
    let sealed = |body: &[u8]| {
        let mut body = body.to_vec();
        body.extend_from_slice(&checksum(&body));
        Invitation::decode(&body).unwrap_err()
    };
    assert_eq!(sealed(&[0]), InvitationError::Addresses { count: 0 });
    assert_eq!(sealed(&[9]), InvitationError::Addresses { count: 9 });
    assert_eq!(
        sealed(&[1, 4, b'h']),
        InvitationError::Short { field: "host" }
    );
    let good = invitation().encode();
    let mut longer = good[..good.len() - CHECKSUM].to_vec();
    longer.push(0);
    assert_eq!(sealed(&longer), InvitationError::Surplus { bytes: 1 });
}

#[test]
fn the_longest_invitation_fits() {
    let label = "x".repeat(63);
    let host = format!("{label}.{label}.{label}.{}", "x".repeat(61));
    let longest = Invitation::new(
        vec![HostPort::new(&host, 65_535).unwrap(); MAX_ADDRESSES],
        PublicKey([255; 32]),
        InvitationSecret::from_bytes([255; 16]),
        "n".repeat(32).parse().unwrap(),
    )
    .unwrap();
    let line = longest.to_string();
    assert_eq!(line.len(), 2855);
    assert_eq!(line.parse::<Invitation>().unwrap(), longest);
    let too_many = vec![HostPort::new("h", 1).unwrap(); MAX_ADDRESSES + 1];
    let refused = Invitation::new(
        too_many,
        longest.server_key,
        longest.secret.clone(),
        longest.name.clone(),
    );
    assert_eq!(refused, Err(InvitationError::Addresses { count: 9 }));
}

proptest! {
    #[test]
    fn invitations_round_trip(
        addresses in proptest::collection::vec(any_address(), 1..=MAX_ADDRESSES),
        key: [u8; 32], secret: [u8; 16], name in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,31}",
    ) {
        let secret = InvitationSecret::from_bytes(secret);
        let name = name.parse().unwrap();
        let one = Invitation::new(addresses, PublicKey(key), secret, name).unwrap();
        prop_assert_eq!(one.to_string().parse::<Invitation>().unwrap(), one);
    }

    #[test]
    fn one_wrong_character_is_noticed(at in PREFIX.len()..140, by in 1usize..64) {
        let mut line = invitation().to_string().into_bytes();
        let at = at.min(line.len() - 1);
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let old = alphabet.iter().position(|c| *c == line[at]).unwrap();
        line[at] = alphabet[(old + by) % 64];
        let line = String::from_utf8(line).unwrap();
        let error = line.parse::<Invitation>().unwrap_err();
        let damaged = matches!(error, InvitationError::Checksum | InvitationError::Character { .. });
        prop_assert!(damaged, "{}", error);
    }

    #[test]
    fn any_line_is_handled(line in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = line.parse::<Invitation>();
        let _ = line.parse::<HostPort>();
        let mut sealed = bytes;
        sealed.extend_from_slice(&checksum(&sealed));
        if let Ok(one) = Invitation::decode(&sealed) {
            prop_assert_eq!(one.encode(), sealed);
        }
    }
}
