//! HELLO: what each end says first on a subflow, and when a subflow counts as authenticated.
//!
//! The server speaks first. In TLS 1.3 a client's handshake succeeds even if the server is about
//! to refuse its key, so a subflow is authenticated for the router only when the server's HELLO
//! has arrived, and for the server when TLS is done ([`crate::tls::accept`]).
//!
//! [`exchange_as_router`] and [`exchange_as_server`] read exactly the HELLO and not a byte more:
//! the stream can be given to the record reader afterwards. The bytes are in [`codec`].

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use rustls::AlertDescription;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::tls::alert_in;

pub mod codec;
#[cfg(test)]
mod tests;

/// The versions of the protocol that this program speaks.
pub const VERSIONS: VersionRange = VersionRange {
    least: 1,
    greatest: 1,
};

/// Longest link name, bytes.
pub const MAX_LINK_NAME: usize = 32;

/// A span of protocol versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// The oldest.
    pub least: u8,
    /// The newest; not below `least`.
    pub greatest: u8,
}

impl VersionRange {
    /// The newest version that both speak.
    pub fn common(self, other: Self) -> Option<u8> {
        let newest = self.greatest.min(other.greatest);
        (newest >= self.least.max(other.least)).then_some(newest)
    }

    /// Whether `version` is one of these.
    pub fn contains(self, version: u8) -> bool {
        (self.least..=self.greatest).contains(&version)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.greatest {
            write!(f, "version {}", self.least)
        } else {
            write!(f, "versions {} to {}", self.least, self.greatest)
        }
    }
}

/// One start of a supervisor, drawn at random. Written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance(pub [u8; 16]);

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({self})")
    }
}

/// A text is no [`Instance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an instance is written as 32 lower-case hexadecimal digits")]
pub struct InstanceTextError;

impl FromStr for Instance {
    type Err = InstanceTextError;

    fn from_str(text: &str) -> Result<Self, InstanceTextError> {
        data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(InstanceTextError)
    }
}

/// Which worker of which supervisor start speaks. Generations of one instance coexist while the
/// older ones drain; another instance of the same key supersedes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The supervisor's start.
    pub instance: Instance,
    /// The worker's start within it, counted from 1.
    pub generation: u32,
    /// The oldest worker of this instance that still lives; 1 to `generation`.
    pub oldest: u32,
}

/// The address families that a server can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// What the server says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHello {
    /// The versions it speaks.
    pub versions: VersionRange,
    /// Who it is.
    pub endpoint: Endpoint,
    /// Most flows at a time in this session.
    pub max_flows: u32,
    /// Bytes that the router may have in flight or unread in the whole session.
    pub session_credit: u64,
    /// The families it can reach; the router refuses the others at once.
    pub families: Families,
}

/// What the router answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterHello {
    /// The version that it chose from the server's.
    pub version: u8,
    /// Who it is.
    pub endpoint: Endpoint,
    /// The path that this subflow belongs to.
    pub path: u8,
    /// The link below that path.
    pub link: LinkAttributes,
}

/// What a server is told about a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkAttributes {
    /// The name that the user gave it.
    pub name: LinkName,
    /// To be used only when no normal link is up.
    pub backup: bool,
    /// Paid by volume: be sparing with probes.
    pub metered: bool,
    /// What traffic on it costs, in the user's own unit; only comparisons count.
    pub cost: u32,
}

/// The name of a link: 1 to 32 bytes of UTF-8 without control characters, for logs and pages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinkName(String);

impl LinkName {
    /// Checks and takes over a name.
    ///
    /// # Errors
    /// [`DecodeError::NameLength`] or [`DecodeError::NameCharacter`].
    pub fn new(name: &str) -> Result<Self, DecodeError> {
        if name.is_empty() || name.len() > MAX_LINK_NAME {
            return Err(DecodeError::NameLength { bytes: name.len() });
        }
        // A far end's name reaches terminals and log files.
        if let Some(character) = name.chars().find(|c| c.is_control()) {
            return Err(DecodeError::NameCharacter { character });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes are not the HELLO that was expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The first record is of another type.
    #[error(
        "the first record has type {got:#04x}, not HELLO ({:#04x})",
        codec::HELLO_TYPE
    )]
    NotHello {
        /// Its type.
        got: u8,
    },
    /// HELLO concerns the session, flow 0.
    #[error("HELLO names flow {flow}, must be 0")]
    OfFlow {
        /// The flow named.
        flow: u64,
    },
    /// The body is longer than the bound.
    #[error("HELLO has {length} bytes, at most {} are allowed", codec::MAX_BODY)]
    TooLong {
        /// Its length.
        length: u64,
    },
    /// The body ends within a field.
    #[error("HELLO ends before or within its {field}")]
    Short {
        /// The field.
        field: &'static str,
    },
    /// A version range that runs backwards.
    #[error("HELLO names versions {} to {}: the least is above the greatest", .0.least, .0.greatest)]
    VersionOrder(VersionRange),
    /// Generations count from 1, and the oldest is not newer than the newest.
    #[error(
        "HELLO names generation {generation} and oldest {oldest}: must be 1 <= oldest <= generation"
    )]
    GenerationOrder {
        /// The sender's generation.
        generation: u32,
        /// The oldest that lives.
        oldest: u32,
    },
    /// A link name that is empty or too long.
    #[error("the link name has {bytes} bytes, must be 1 to {MAX_LINK_NAME}")]
    NameLength {
        /// Its length.
        bytes: usize,
    },
    /// A link name with a control character.
    #[error("the link name contains the control character {character:?}")]
    NameCharacter {
        /// The character.
        character: char,
    },
    /// A link name that is no text.
    #[error("the link name is not UTF-8")]
    NameNotUtf8,
}

/// The HELLOs could not be exchanged; the subflow is of no use.
#[derive(Debug, Error)]
pub enum HelloError {
    /// The server refused the key with a TLS alert, after the router's handshake had succeeded.
    #[error(
        "the server closed before HELLO: it does not know this router's key; \
         on the server run `guywire server invite NAME`, then `guywire router join LINE` here"
    )]
    KeyRefused,
    /// The server went away without saying why.
    #[error(
        "the server closed before HELLO without a reason: it is restarting, or overloaded, \
         or something between breaks the connection; its log names the cause"
    )]
    ServerClosed,
    /// The router went away.
    #[error("the router closed before HELLO")]
    RouterClosed,
    /// Nothing, or not enough, came in time.
    #[error("no whole HELLO from the {peer} within {bound:?}")]
    TimedOut {
        /// `server` or `router`.
        peer: &'static str,
        /// The time allowed.
        bound: Duration,
    },
    /// Something else than a HELLO came.
    #[error("the {peer} does not follow the protocol: {source}")]
    Malformed {
        /// `server` or `router`.
        peer: &'static str,
        /// In what.
        source: DecodeError,
    },
    /// No version in common.
    #[error("the server speaks {server}, this router {VERSIONS}: update the older one")]
    NoCommonVersion {
        /// What the server speaks.
        server: VersionRange,
    },
    /// The router chose a version that was not offered.
    #[error("the router chose version {chosen}, offered was {offered}")]
    VersionNotOffered {
        /// What it chose.
        chosen: u8,
        /// What this server offered.
        offered: VersionRange,
    },
    /// The connection failed.
    #[error("connection to the {peer} failed before its HELLO: {source}")]
    Io {
        /// `server` or `router`.
        peer: &'static str,
        /// How.
        source: io::Error,
    },
}

/// Waits for the server's HELLO and answers it, all within `bound`. The `version` in `hello` is
/// replaced by the newest one in common.
///
/// # Errors
/// [`HelloError::KeyRefused`] tells a refused key from a connection that broke.
pub async fn exchange_as_router<S>(
    stream: &mut S,
    hello: &RouterHello,
    bound: Duration,
) -> Result<ServerHello, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    within("server", bound, async {
        let body = read_body(stream, "server").await?;
        let server = ServerHello::decode_body(&body).map_err(malformed("server"))?;
        let version = VERSIONS
            .common(server.versions)
            .ok_or(HelloError::NoCommonVersion {
                server: server.versions,
            })?;
        let answer = RouterHello {
            version,
            ..hello.clone()
        };
        write_record(stream, &answer.encode(), "server").await?;
        Ok(server)
    })
    .await
}

/// Sends the server's HELLO and waits for the router's, all within `bound`.
///
/// # Errors
/// [`HelloError::VersionNotOffered`] among those of the connection.
pub async fn exchange_as_server<S>(
    stream: &mut S,
    hello: &ServerHello,
    bound: Duration,
) -> Result<RouterHello, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    within("router", bound, async {
        write_record(stream, &hello.encode(), "router").await?;
        let body = read_body(stream, "router").await?;
        let router = RouterHello::decode_body(&body).map_err(malformed("router"))?;
        if !hello.versions.contains(router.version) {
            return Err(HelloError::VersionNotOffered {
                chosen: router.version,
                offered: hello.versions,
            });
        }
        Ok(router)
    })
    .await
}

async fn within<T>(
    peer: &'static str,
    bound: Duration,
    exchange: impl Future<Output = Result<T, HelloError>>,
) -> Result<T, HelloError> {
    tokio::time::timeout(bound, exchange)
        .await
        .unwrap_or(Err(HelloError::TimedOut { peer, bound }))
}

async fn write_record<S>(
    stream: &mut S,
    record: &[u8],
    peer: &'static str,
) -> Result<(), HelloError>
where
    S: AsyncWrite + Unpin,
{
    let written = match stream.write_all(record).await {
        Ok(()) => stream.flush().await,
        error => error,
    };
    written.map_err(|source| failed(peer, source))
}

/// Reads one HELLO record and not a byte beyond it; its body.
async fn read_body<S>(stream: &mut S, peer: &'static str) -> Result<Vec<u8>, HelloError>
where
    S: AsyncRead + Unpin,
{
    let mut header = Vec::with_capacity(codec::MAX_HEADER);
    let length = loop {
        // Byte by byte: these are copies out of the TLS layer's buffer, not system calls.
        let byte = stream.read_u8().await.map_err(|e| failed(peer, e))?;
        header.push(byte);
        if let Some((_, body)) = codec::decode_header(&header).map_err(malformed(peer))? {
            break body;
        }
    };
    let mut body = vec![0; length];
    let read = stream.read_exact(&mut body).await;
    read.map_err(|e| failed(peer, e))?;
    Ok(body)
}

fn malformed(peer: &'static str) -> impl Fn(DecodeError) -> HelloError {
    move |source| HelloError::Malformed { peer, source }
}

/// Tells the ways apart in which a connection ends before HELLO.
fn failed(peer: &'static str, source: io::Error) -> HelloError {
    // The alerts by which a TLS server refuses a client's key (RFC 8446 section 6.2).
    let refused = matches!(
        alert_in(&source),
        Some(
            AlertDescription::AccessDenied
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnsupportedCertificate
        )
    );
    let closed = matches!(
        source.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    );
    match peer {
        "server" if refused => HelloError::KeyRefused,
        "server" if closed => HelloError::ServerClosed,
        "router" if closed => HelloError::RouterClosed,
        _ => HelloError::Io { peer, source },
    }
}
