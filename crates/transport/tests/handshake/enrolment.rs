//! From an invitation line to the first subflow.

use std::cell::RefCell;

use guywire_transport::enrol::{
    Candidate, EnrolError, EnrolRequest, Enrolled, Invitation, InvitationSecret, Refusal,
    ServeEnrolError, enrol_client, serve_enrol,
};
use guywire_transport::key::{PrivateKey, PublicKey};
use guywire_transport::tls::{AcceptReason, Accepted, AuthorisedSet, ClientTls, ConnectError};

use crate::house::{BOUND, House};

/// The supervisor's part: one invitation, and who used it.
struct Desk<'a> {
    house: &'a House,
    secret: InvitationSecret,
    used_by: RefCell<Option<PublicKey>>,
}

impl<'a> Desk<'a> {
    fn new(house: &'a House) -> Self {
        Self {
            house,
            secret: InvitationSecret::generate().unwrap(),
            used_by: RefCell::new(None),
        }
    }

    async fn decide(&self, candidate: Candidate) -> Result<Enrolled, Refusal> {
        if candidate.request.secret != self.secret {
            return Err(Refusal::Unknown);
        }
        let mut used_by = self.used_by.borrow_mut();
        if used_by.is_some_and(|key| key != candidate.key) {
            return Err(Refusal::Used);
        }
        *used_by = Some(candidate.key);
        let tag_key = self.house.tag_key.clone();
        let routers = [(candidate.key, tag_key.clone())];
        self.house
            .authorised
            .replace(AuthorisedSet::of_routers(routers));
        Ok(Enrolled {
            name: candidate.request.name.unwrap(),
            tag_key,
        })
    }

    /// One router tries; what it learns, and what the server does.
    async fn attempt(
        &self,
        key: &PrivateKey,
        secret: InvitationSecret,
    ) -> (
        Result<Enrolled, EnrolError>,
        Result<Enrolled, ServeEnrolError>,
    ) {
        let request = EnrolRequest {
            secret,
            name: Some("home".parse().unwrap()),
        };
        let server_key = self.house.server.public_key();
        let stream = self.house.dial().await;
        let serve = async {
            let Accepted::Enrol { mut stream, peer } = self.house.accept().await.unwrap() else {
                panic!("a subflow was accepted");
            };
            serve_enrol(&mut stream, peer, |c| self.decide(c), BOUND).await
        };
        tokio::join!(
            enrol_client(stream, key, server_key, &request, BOUND),
            serve
        )
    }
}

#[tokio::test]
async fn a_line_makes_an_unknown_router_known() {
    let house = House::new().await;
    let desk = Desk::new(&house);
    let line = Invitation::new(
        vec![house.address.to_string().parse().unwrap()],
        house.server.public_key(),
        desk.secret.clone(),
        "home".parse().unwrap(),
    )
    .unwrap()
    .to_string();

    let invitation: Invitation = line.parse().unwrap();
    let address = &invitation.addresses[0];
    assert_eq!(address.to_string(), house.address.to_string());
    let key = PrivateKey::generate().unwrap();
    let (told, done) = desk.attempt(&key, invitation.secret.clone()).await;
    let told = told.unwrap();
    assert_eq!(told, done.unwrap());
    assert_eq!(told.name.as_str(), "home");

    let tls = ClientTls::new(&key, invitation.server_key, told.tag_key).unwrap();
    let (connected, accepted) = tokio::join!(house.connect_with(&tls, 0), house.accept());
    connected.unwrap();
    let accepted = accepted.unwrap();
    assert!(
        matches!(accepted, Accepted::Subflow { peer, .. } if peer == key.public_key()),
        "{accepted:?}"
    );
}

#[tokio::test]
async fn an_invitation_serves_one_key_however_often_it_asks() {
    let house = House::new().await;
    let desk = Desk::new(&house);
    let key = PrivateKey::generate().unwrap();
    for _ in 0..2 {
        let (told, _) = desk.attempt(&key, desk.secret.clone()).await;
        assert_eq!(told.unwrap().tag_key, house.tag_key);
    }
    let thief = PrivateKey::generate().unwrap();
    let (told, done) = desk.attempt(&thief, desk.secret.clone()).await;
    let error = told.unwrap_err();
    assert!(matches!(error, EnrolError::Refused(Refusal::Used)));
    assert_eq!(
        error.to_string(),
        "this invitation was used by another router; \
         run `guywire server invite NAME` on the server for a new one"
    );
    let refused = done.unwrap_err().to_string();
    assert!(refused.ends_with("its invitation is used"), "{refused}");
    assert!(refused.contains(&thief.public_key().to_string()));

    let unknown = InvitationSecret::generate().unwrap();
    let (told, _) = desk.attempt(&key, unknown).await;
    assert!(matches!(
        told.unwrap_err(),
        EnrolError::Refused(Refusal::Unknown)
    ));
}

#[tokio::test]
async fn a_router_tells_its_secret_to_the_right_server_only() {
    let house = House::new().await;
    let key = PrivateKey::generate().unwrap();
    let expected = PrivateKey::generate().unwrap().public_key();
    let request = EnrolRequest {
        secret: InvitationSecret::generate().unwrap(),
        name: None,
    };
    let stream = house.dial().await;
    let (told, accepted) = tokio::join!(
        enrol_client(stream, &key, expected, &request, BOUND),
        house.accept()
    );
    let error = told.unwrap_err();
    assert!(
        matches!(
            error,
            EnrolError::Connect(ConnectError::WrongServerKey { .. })
        ),
        "{error}"
    );
    assert_eq!(accepted.unwrap_err().reason(), AcceptReason::Handshake);
}

#[tokio::test]
async fn attempts_are_limited_before_the_handshake() {
    let house = House::new().await;
    let desk = Desk::new(&house);
    let key = PrivateKey::generate().unwrap();
    for _ in 0..5 {
        let wrong = InvitationSecret::generate().unwrap();
        let (told, _) = desk.attempt(&key, wrong).await;
        assert!(matches!(told, Err(EnrolError::Refused(Refusal::Unknown))));
    }
    let request = EnrolRequest {
        secret: desk.secret.clone(),
        name: None,
    };
    let stream = house.dial().await;
    let (told, accepted) = tokio::join!(
        enrol_client(stream, &key, house.server.public_key(), &request, BOUND),
        house.accept()
    );
    let error = told.unwrap_err();
    assert!(
        matches!(error, EnrolError::Connect(ConnectError::Closed { .. })),
        "{error}"
    );
    assert_eq!(accepted.unwrap_err().reason(), AcceptReason::EnrolLimit);
    // Enrolled routers do not notice.
    let (connected, accepted) = tokio::join!(house.connect(0), house.accept());
    connected.unwrap();
    accepted.unwrap();
}
