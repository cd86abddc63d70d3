//! Invitations and keys in real directories.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use guywire_transport::enrol::Refusal;

use super::*;
use crate::testing::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

fn invite(store: &ServerStore, name: &str, now: SystemTime) -> NewInvitation {
    store.invite(name.parse().unwrap(), HOUR, now).unwrap()
}

fn new_key() -> String {
    PrivateKey::generate().unwrap().public_key().to_string()
}

#[test]
fn an_invitation_is_good_once() {
    let dir = TempDir::new("store-once");
    let (store, new) = ServerStore::create(dir.path()).unwrap();
    assert!(new);
    let now = SystemTime::now();
    let invitation = invite(&store, "home", now);
    assert!(!invitation.replaces);
    let key = new_key();
    let enrolled = store
        .redeem(&invitation.secret.to_string(), &key, now)
        .unwrap();
    assert_eq!(
        (enrolled.name.as_str(), &enrolled.tag_key),
        ("home", &store.tag_keys().unwrap()[0])
    );
    let routers = store.routers().unwrap();
    assert_eq!((routers.len(), &routers[0].public_key), (1, &key));
    let again = ServerStore::open(dir.path()).unwrap().redeem(
        &invitation.secret.to_string(),
        &new_key(),
        now,
    );
    assert!(
        matches!(again, Err(RedeemError::Used { ref name }) if name == "home"),
        "{again:?}"
    );
    assert!(invite(&store, "home", now).replaces);
}

#[test]
fn a_crash_between_marking_and_registering_lets_only_the_same_key_in() {
    let dir = TempDir::new("store-crash");
    let (store, _) = ServerStore::create(dir.path()).unwrap();
    let now = SystemTime::now();
    let invitation = invite(&store, "home", now);
    let secret = invitation.secret.to_string();
    let key = new_key();
    // The registration cannot be written: something else has its name.
    std::fs::create_dir(dir.path().join("routers/home.json")).unwrap();
    let failed = store.redeem(&secret, &key, now).unwrap_err();
    assert_eq!(failed.refusal(), Refusal::Busy, "{failed}");
    std::fs::remove_dir(dir.path().join("routers/home.json")).unwrap();
    let other = store.redeem(&secret, &new_key(), now).unwrap_err();
    assert_eq!(other.refusal(), Refusal::Used, "{other}");
    assert_eq!(store.routers().unwrap(), []);
    // The answer was lost, the router tries again, even after the invitation's time.
    store
        .redeem(&secret, &key, now + HOUR)
        .expect("the key that used it");
    assert_eq!(store.routers().unwrap()[0].public_key, key);
}

#[test]
fn expired_unknown_and_malformed_are_told_apart() {
    let dir = TempDir::new("store-refused");
    let (store, _) = ServerStore::create(dir.path()).unwrap();
    let now = SystemTime::now();
    let invitation = invite(&store, "home", now);
    let late = store.redeem(&invitation.secret.to_string(), &new_key(), now + HOUR);
    assert!(matches!(late, Err(RedeemError::Expired { .. })), "{late:?}");
    assert_eq!(late.unwrap_err().refusal(), Refusal::Expired);
    for secret in ["", "x", "../../etc/passwd", "\0", &"a".repeat(100_000)] {
        assert!(matches!(
            store.redeem(secret, &new_key(), now),
            Err(RedeemError::Unknown)
        ));
    }
    assert!(matches!(
        store.redeem(&invitation.secret.to_string(), "no key", now),
        Err(RedeemError::BadKey(_))
    ));
    store
        .redeem(&invitation.secret.to_string(), &new_key(), now)
        .expect("none of the failures used it up");
}

#[test]
fn one_key_has_one_name() {
    let dir = TempDir::new("store-rename");
    let (store, _) = ServerStore::create(dir.path()).unwrap();
    let now = SystemTime::now();
    let key = new_key();
    for name in ["old", "new"] {
        let invitation = invite(&store, name, now);
        store
            .redeem(&invitation.secret.to_string(), &key, now)
            .unwrap();
    }
    let names: Vec<String> = store
        .routers()
        .unwrap()
        .into_iter()
        .map(|router| router.name)
        .collect();
    assert_eq!(names, ["new"]);
}

#[test]
fn old_invitations_are_removed() {
    let dir = TempDir::new("store-prune");
    let (store, _) = ServerStore::create(dir.path()).unwrap();
    let now = SystemTime::now();
    invite(&store, "home", now);
    invite(&store, "home", now + Duration::from_secs(30 * 24 * 3600));
    assert_eq!(store.invitations().unwrap().len(), 1);
}

#[test]
fn a_damaged_file_harms_no_other_router() {
    let dir = TempDir::new("store-damaged");
    let (store, _) = ServerStore::create(dir.path()).unwrap();
    let now = SystemTime::now();
    let invitation = invite(&store, "home", now);
    store
        .redeem(&invitation.secret.to_string(), &new_key(), now)
        .unwrap();
    std::fs::write(dir.path().join("routers/bad.json"), "{").unwrap();
    std::fs::write(dir.path().join("routers/.home.json.1.2"), "{}").unwrap();
    assert_eq!(store.routers().unwrap().len(), 1);
}

#[test]
fn everything_is_private_and_the_secret_is_not_stored() {
    let dir = TempDir::new("store-private");
    let state = dir.path().join("state");
    let (store, _) = ServerStore::create(&state).unwrap();
    let invitation = invite(&store, "home", SystemTime::now());
    router_key(&state).unwrap();
    let mut files = 0;
    let mut directories = vec![state];
    while let Some(directory) = directories.pop() {
        assert_eq!(
            std::fs::metadata(&directory).unwrap().permissions().mode() & 0o7777,
            0o700
        );
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            files += 1;
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
                0o600,
                "{path:?}"
            );
            assert!(
                !std::fs::read_to_string(&path)
                    .unwrap()
                    .contains(&invitation.secret.to_string()),
                "{path:?}"
            );
        }
    }
    assert_eq!(files, 4);
}

#[test]
fn a_server_without_key_says_what_to_do() {
    let dir = TempDir::new("store-none");
    let error = ServerStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("guywire server init"), "{error}");
}
