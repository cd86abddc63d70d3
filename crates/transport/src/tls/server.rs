//! The server's end of TLS: strangers are dropped before anything is signed.
//!
//! [`accept`] in order: read a ClientHello within bounds of bytes and time; choose by ALPN;
//! for a subflow verify the tag, for enrolment ask the rate limiter; only then do the handshake.
//! Whoever is dropped before it gets no answer at all. All errors are values: the caller counts
//! them by [`AcceptError::reason`] and limits what it logs, since strangers come at any rate.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::server::{AlwaysResolvesServerRawPublicKeys, ClientHello, NoServerSessionStorage};
use rustls::version::TLS13;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::StartHandshake;

use super::verify::{RouterVerifier, Routers};
use super::{ALPN, Authorised, ENROL_ALPN, TlsStream, Wire, identity, provider, refused_key_in};
use crate::enrol::limit::{EnrolLimiter, LimiterSettings};
use crate::key::{PrivateKey, PublicKey};
use crate::tag::{TagError, verify_any};

/// What a server needs to accept connections.
#[derive(Debug)]
pub struct ServerTls {
    subflow: Arc<ServerConfig>,
    enrol: Arc<ServerConfig>,
    authorised: Authorised,
    limiter: Mutex<EnrolLimiter>,
}

impl ServerTls {
    /// A server of `key` that admits who is in `authorised`.
    ///
    /// # Errors
    /// If the crypto library refuses the key.
    pub fn new(
        key: &PrivateKey,
        authorised: Authorised,
        enrolment: LimiterSettings,
    ) -> Result<Self, rustls::Error> {
        let enrolled = Routers::Enrolled(authorised.clone());
        Ok(Self {
            subflow: Arc::new(config(key, enrolled, ALPN)?),
            enrol: Arc::new(config(key, Routers::Any, ENROL_ALPN)?),
            authorised,
            limiter: Mutex::new(EnrolLimiter::new(enrolment)),
        })
    }

    /// How TLS is spoken with enrolled routers, for a connection that carries something else than
    /// records; [`accept`] does more than this.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.subflow.clone()
    }

    fn may_enrol(&self, peer: SocketAddr) -> bool {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.admit(Instant::now(), peer.ip())
    }
}

fn config(
    key: &PrivateKey,
    routers: Routers,
    protocol: &[u8],
) -> Result<ServerConfig, rustls::Error> {
    let provider = provider();
    let verifier = RouterVerifier {
        routers,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(identity(
            key,
        )?)));
    config.alpn_protocols = vec![protocol.to_vec()];
    // rustls does not ask the verifier about a resumed client: a removed key would come back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    // For `Protected`.
    config.enable_secret_extraction = true;
    Ok(config)
}

/// Bounds on what a stranger may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptLimits {
    /// Longest ClientHello with its record headers, bytes. Ours have about 1,500 with the hybrid
    /// key share.
    pub client_hello_bytes: usize,
    /// Time for the ClientHello.
    pub client_hello_time: Duration,
    /// Time for the rest of the handshake: one round trip of the slowest link, retransmitted.
    pub handshake_time: Duration,
}

impl Default for AcceptLimits {
    /// 4,096 bytes within 5 s, then 10 s.
    fn default() -> Self {
        Self {
            client_hello_bytes: 4096,
            client_hello_time: Duration::from_secs(5),
            handshake_time: Duration::from_secs(10),
        }
    }
}

/// A connection whose far end has proven that it holds its key.
#[derive(Debug)]
pub enum Accepted {
    /// A subflow of an enrolled router; HELLO comes next.
    Subflow {
        /// The connection.
        stream: TlsStream,
        /// The router.
        peer: PublicKey,
        /// The worker it asks for; 0: any.
        generation_wanted: u32,
    },
    /// A router that wants to enrol, with any key: for [`crate::enrol::serve_enrol`] only.
    Enrol {
        /// The connection.
        stream: TlsStream,
        /// The key that the invitation is to vouch for.
        peer: PublicKey,
    },
}

/// Which part of accepting took too long or broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptStep {
    /// Waiting for the ClientHello.
    ClientHello,
    /// The rest of the handshake.
    Handshake,
}

impl std::fmt::Display for AcceptStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ClientHello => "ClientHello",
            Self::Handshake => "TLS handshake",
        })
    }
}

/// Why a connection was not accepted, to count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AcceptReason {
    /// Not TLS, or an unusable ClientHello.
    Garbage,
    /// TLS for something else than Guywire.
    WrongProtocol,
    /// No tag.
    NoTag,
    /// A tag of another key.
    BadTag,
    /// Too many enrolments from there.
    EnrolLimit,
    /// A good tag, a key that is not enrolled.
    UnknownKey,
    /// Too slow.
    TimedOut,
    /// Closed before the ClientHello was whole.
    Closed,
    /// The handshake failed.
    Handshake,
    /// The connection failed.
    Io,
}

impl AcceptReason {
    /// The reason as a label: lower case, words joined by `-`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::WrongProtocol => "wrong-protocol",
            Self::NoTag => "no-tag",
            Self::BadTag => "bad-tag",
            Self::EnrolLimit => "enrol-limit",
            Self::UnknownKey => "unknown-key",
            Self::TimedOut => "timed-out",
            Self::Closed => "closed",
            Self::Handshake => "handshake",
            Self::Io => "io",
        }
    }
}

/// A connection was not accepted.
#[derive(Debug, Error)]
pub enum AcceptError {
    /// The first bytes are no ClientHello of TLS 1.3.
    #[error("{peer} sent no usable ClientHello: {source}")]
    Garbage {
        /// The far end.
        peer: SocketAddr,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The ClientHello is longer than any of ours.
    #[error("{peer} sent more than {bound} bytes without completing a ClientHello")]
    TooLong {
        /// The far end.
        peer: SocketAddr,
        /// Bytes allowed.
        bound: usize,
    },
    /// Neither of our protocols is offered.
    #[error("{peer} speaks TLS but does not offer guywire/1: it is no Guywire router")]
    WrongProtocol {
        /// The far end.
        peer: SocketAddr,
    },
    /// No server name, or one that is no tag.
    #[error("{peer} offers guywire/1 without a tag")]
    NoTag {
        /// The far end.
        peer: SocketAddr,
    },
    /// A tag that no accepted tag key made.
    #[error(
        "{peer} sent a tag that was not made with this server's tag key: it was enrolled at another server, or before the key was replaced; enrol it again"
    )]
    BadTag {
        /// The far end.
        peer: SocketAddr,
    },
    /// The enrolment rate limiter says no.
    #[error("{peer} was refused: too many attempts to enrol from its address, or in all")]
    EnrolLimit {
        /// The far end.
        peer: SocketAddr,
    },
    /// A good tag, but the key is not, or no longer, enrolled.
    #[error("{peer} was refused: {}", unknown(*.key))]
    UnknownKey {
        /// The far end.
        peer: SocketAddr,
        /// The key it showed; `None`: not an Ed25519 key.
        key: Option<PublicKey>,
    },
    /// Too slow.
    #[error("{peer} did not complete its {step} within {bound:?}")]
    TimedOut {
        /// The far end.
        peer: SocketAddr,
        /// What it did not complete.
        step: AcceptStep,
        /// The time allowed.
        bound: Duration,
    },
    /// It closed; port scanners and health checks do.
    #[error("{peer} closed before its ClientHello was complete ({received} bytes)")]
    Closed {
        /// The far end.
        peer: SocketAddr,
        /// Bytes received until then.
        received: usize,
    },
    /// A router with a good tag failed to complete the handshake.
    #[error("TLS handshake with {peer} failed: {source}")]
    Handshake {
        /// The far end.
        peer: SocketAddr,
        /// How.
        source: io::Error,
    },
    /// The connection failed.
    #[error("connection from {peer} failed before its ClientHello: {source}")]
    Io {
        /// The far end.
        peer: SocketAddr,
        /// How.
        source: io::Error,
    },
}

fn unknown(key: Option<PublicKey>) -> String {
    match key {
        Some(key) => format!("its key {key} is not enrolled here"),
        None => "its key is not an Ed25519 key".to_owned(),
    }
}

impl AcceptError {
    /// Why, to count by.
    pub fn reason(&self) -> AcceptReason {
        match self {
            Self::Garbage { .. } | Self::TooLong { .. } => AcceptReason::Garbage,
            Self::WrongProtocol { .. } => AcceptReason::WrongProtocol,
            Self::NoTag { .. } => AcceptReason::NoTag,
            Self::BadTag { .. } => AcceptReason::BadTag,
            Self::EnrolLimit { .. } => AcceptReason::EnrolLimit,
            Self::UnknownKey { .. } => AcceptReason::UnknownKey,
            Self::TimedOut { .. } => AcceptReason::TimedOut,
            Self::Closed { .. } => AcceptReason::Closed,
            Self::Handshake { .. } => AcceptReason::Handshake,
            Self::Io { .. } => AcceptReason::Io,
        }
    }
}

/// What a ClientHello asks for, once it is found acceptable.
enum Wish {
    Subflow { generation: u32 },
    Enrol,
}

/// Accepts one connection from `peer`, which the listener named.
///
/// # Errors
/// Names the peer and the reason; the connection is closed then.
pub async fn accept(
    mut stream: TcpStream,
    peer: SocketAddr,
    tls: &ServerTls,
    limits: &AcceptLimits,
) -> Result<Accepted, AcceptError> {
    let timed_out = |step, bound| AcceptError::TimedOut { peer, step, bound };
    let reading = read_client_hello(&mut stream, peer, limits.client_hello_bytes);
    let hello = tokio::time::timeout(limits.client_hello_time, reading)
        .await
        .map_err(|_| timed_out(AcceptStep::ClientHello, limits.client_hello_time))??;
    let wish = judge(&hello.client_hello(), peer, tls)?;

    let config = match wish {
        Wish::Subflow { .. } => &tls.subflow,
        Wish::Enrol => &tls.enrol,
    };
    // In a box: its memory is not taken while the ClientHello is awaited.
    let handshake =
        Box::pin(StartHandshake::from_parts(hello, Wire::new(stream)).into_stream(config.clone()));
    let stream = tokio::time::timeout(limits.handshake_time, handshake)
        .await
        .map_err(|_| timed_out(AcceptStep::Handshake, limits.handshake_time))?
        .map_err(|source| explain(peer, source))?;
    let stream = TlsStream::from(stream);
    let key = peer_key(&stream).ok_or(AcceptError::UnknownKey { peer, key: None })?;
    Ok(match wish {
        Wish::Subflow { generation } => {
            // The set may have changed since the verifier looked.
            if !tls.authorised.contains(&key) {
                let key = Some(key);
                return Err(AcceptError::UnknownKey { peer, key });
            }
            Accepted::Subflow {
                stream,
                peer: key,
                generation_wanted: generation,
            }
        }
        Wish::Enrol => Accepted::Enrol { stream, peer: key },
    })
}

async fn read_client_hello(
    stream: &mut TcpStream,
    peer: SocketAddr,
    bound: usize,
) -> Result<rustls::server::Accepted, AcceptError> {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut buffer = [0; 2048];
    let mut received = 0;
    while received < bound {
        let room = buffer.len().min(bound - received);
        let read = stream.read(&mut buffer[..room]).await;
        let count = read.map_err(|source| AcceptError::Io { peer, source })?;
        if count == 0 {
            return Err(AcceptError::Closed { peer, received });
        }
        received += count;
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let taken = acceptor.read_tls(&mut rest);
            taken.map_err(|source| AcceptError::Io { peer, source })?;
        }
        match acceptor.accept() {
            Ok(Some(hello)) => return Ok(hello),
            Ok(None) => {}
            // The alert stays unsent: strangers get no answer.
            Err((source, _alert)) => return Err(AcceptError::Garbage { peer, source }),
        }
    }
    Err(AcceptError::TooLong { peer, bound })
}

/// Decides on a ClientHello at the price of an HMAC, before anything is signed.
fn judge(hello: &ClientHello<'_>, peer: SocketAddr, tls: &ServerTls) -> Result<Wish, AcceptError> {
    let offers = |protocol: &[u8]| {
        hello
            .alpn()
            .is_some_and(|mut offered| offered.any(|one| one == protocol))
    };
    if offers(ALPN) {
        let name = hello.server_name().ok_or(AcceptError::NoTag { peer })?;
        let authorised = tls.authorised.snapshot();
        return match verify_any(&authorised.tag_keys, name) {
            Ok(generation) => Ok(Wish::Subflow { generation }),
            Err(TagError::Shape) => Err(AcceptError::NoTag { peer }),
            Err(TagError::Mac) => Err(AcceptError::BadTag { peer }),
        };
    }
    if !offers(ENROL_ALPN) {
        return Err(AcceptError::WrongProtocol { peer });
    }
    if !tls.may_enrol(peer) {
        return Err(AcceptError::EnrolLimit { peer });
    }
    Ok(Wish::Enrol)
}

fn peer_key(stream: &TlsStream) -> Option<PublicKey> {
    let (_, connection) = stream.get_ref();
    PublicKey::from_spki(connection.peer_certificates()?.first()?)
}

fn explain(peer: SocketAddr, source: io::Error) -> AcceptError {
    match refused_key_in(&source) {
        Some(refused) => AcceptError::UnknownKey {
            peer,
            key: refused.0,
        },
        None => AcceptError::Handshake { peer, source },
    }
}
