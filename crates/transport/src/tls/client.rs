//! The router's end of TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::verify::PinnedServer;
use super::{ALPN, ENROL_ALPN, TlsStream, Wire, identity, provider, refused_key_in};
use crate::key::{PrivateKey, PublicKey};
use crate::tag::{NoRandomness, TagKey};

/// What a router needs to open subflows to its server; clones share it.
#[derive(Debug, Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    server: PublicKey,
    tag_key: TagKey,
}

impl ClientTls {
    /// A router of `key` for the server of key `server`, which gave it `tag_key`.
    ///
    /// # Errors
    /// If the crypto library refuses the key.
    pub fn new(
        key: &PrivateKey,
        server: PublicKey,
        tag_key: TagKey,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            config: Arc::new(config(key, server, ALPN)?),
            server,
            tag_key,
        })
    }

    /// How TLS is spoken, for a connection that carries something else than records.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The key that the server has to show.
    pub fn server(&self) -> PublicKey {
        self.server
    }
}

fn config(
    key: &PrivateKey,
    server: PublicKey,
    protocol: &[u8],
) -> Result<ClientConfig, rustls::Error> {
    let provider = provider();
    let verifier = PinnedServer {
        key: server,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous() // rustls' word for every verifier but its own
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(identity(
            key,
        )?)));
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // For `Protected`.
    config.enable_secret_extraction = true;
    Ok(config)
}

/// TLS with the server did not come about.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The TCP connection ended before anything was sent.
    #[error("the connection was gone before TLS began: {source}")]
    Gone {
        /// Why.
        source: io::Error,
    },
    /// Another key than the expected one.
    #[error(
        "the server at {remote} shows {}, expected is {expected}: another server answers there, \
         or its key was replaced; if so, enrol this router again",
        shown(*.offered)
    )]
    WrongServerKey {
        /// The server's address.
        remote: SocketAddr,
        /// The key it should have shown.
        expected: PublicKey,
        /// The one it showed; `None`: not an Ed25519 key.
        offered: Option<PublicKey>,
    },
    /// The server closed without a word, as it does with strangers.
    #[error(
        "the server at {remote} closed during the TLS handshake: it does not accept this router's \
         tag, or it is no Guywire server; if its keys were replaced, enrol this router again"
    )]
    Closed {
        /// The server's address.
        remote: SocketAddr,
    },
    /// The handshake took too long.
    #[error("TLS with the server at {remote} was not done within {bound:?}")]
    TimedOut {
        /// The server's address.
        remote: SocketAddr,
        /// The time allowed.
        bound: Duration,
    },
    /// TLS failed, or the connection did.
    #[error("TLS with the server at {remote} failed: {source}")]
    Handshake {
        /// The server's address.
        remote: SocketAddr,
        /// How.
        source: io::Error,
    },
    /// No tag could be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The router's own key does not work.
    #[error("this router's key cannot be used: {source}")]
    OwnKey {
        /// Why.
        source: rustls::Error,
    },
}

fn shown(offered: Option<PublicKey>) -> String {
    match offered {
        Some(key) => format!("key {key}"),
        None => "no Ed25519 key".to_owned(),
    }
}

/// TLS for a subflow on a connected stream, asking for the server's worker of `generation` (0:
/// any). Done means that the *server* is the right one; whether it knows this router shows with
/// its HELLO only ([`crate::hello::exchange_as_router`]).
///
/// # Errors
/// Names the server's address and, for a wrong key, both keys.
pub async fn connect(
    stream: TcpStream,
    tls: &ClientTls,
    generation: u32,
    bound: Duration,
) -> Result<TlsStream, ConnectError> {
    let name = tls.tag_key.make(generation)?;
    handshake(stream, tls.config.clone(), tls.server, name, bound).await
}

/// TLS for enrolment: any router key, no tag, no name.
///
/// # Errors
/// As [`connect`].
pub async fn connect_to_enrol(
    stream: TcpStream,
    key: &PrivateKey,
    server: PublicKey,
    bound: Duration,
) -> Result<TlsStream, ConnectError> {
    let mut config =
        config(key, server, ENROL_ALPN).map_err(|source| ConnectError::OwnKey { source })?;
    config.enable_sni = false;
    let name = format!("enrol{}", crate::tag::SUFFIX);
    handshake(stream, Arc::new(config), server, name, bound).await
}

async fn handshake(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    expected: PublicKey,
    name: String,
    bound: Duration,
) -> Result<TlsStream, ConnectError> {
    let remote = stream
        .peer_addr()
        .map_err(|source| ConnectError::Gone { source })?;
    let name = ServerName::try_from(name).map_err(|e| ConnectError::Handshake {
        remote,
        source: io::Error::other(e),
    })?;
    let connecting = TlsConnector::from(config).connect(name, Wire::new(stream));
    match tokio::time::timeout(bound, connecting).await {
        Ok(Ok(stream)) => Ok(stream.into()),
        Ok(Err(source)) => Err(explain(remote, expected, source)),
        Err(_) => Err(ConnectError::TimedOut { remote, bound }),
    }
}

fn explain(remote: SocketAddr, expected: PublicKey, source: io::Error) -> ConnectError {
    if let Some(refused) = refused_key_in(&source) {
        return ConnectError::WrongServerKey {
            remote,
            expected,
            offered: refused.0,
        };
    }
    match source.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            ConnectError::Closed { remote }
        }
        _ => ConnectError::Handshake { remote, source },
    }
}
