//! Both ends of an enrolment connection.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::wire::{self, WireError};
use super::{Candidate, EnrolRequest, Enrolled, Refusal};
use crate::key::{PrivateKey, PublicKey};
use crate::tls::{ConnectError, connect_to_enrol};

/// A router could not enrol.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// No TLS with the server of the invitation.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server said no.
    #[error("{}", .0.advice())]
    Refused(Refusal),
    /// The answer makes no sense.
    #[error("the server does not follow the enrolment protocol: {0}")]
    Malformed(#[from] WireError),
    /// No answer came in time.
    #[error("the server did not answer within {bound:?}; try the same line again")]
    TimedOut {
        /// The time allowed.
        bound: Duration,
    },
    /// The connection broke.
    #[error("the connection broke before the server's answer: {source}; try the same line again")]
    Io {
        /// How.
        source: io::Error,
    },
}

/// Enrols the router of `key` with the server of key `server`, over a fresh connection. TLS and
/// the exchange may take `bound` each.
///
/// # Errors
/// A text for people: what to do next.
pub async fn enrol_client(
    stream: TcpStream,
    key: &PrivateKey,
    server: PublicKey,
    request: &EnrolRequest,
    bound: Duration,
) -> Result<Enrolled, EnrolError> {
    let mut stream = connect_to_enrol(stream, key, server, bound).await?;
    let exchange = async {
        write_all(&mut stream, &wire::encode_request(request)).await?;
        read_body(&mut stream).await
    };
    let body = match tokio::time::timeout(bound, exchange).await {
        Ok(Ok(body)) => body?,
        Ok(Err(source)) => return Err(EnrolError::Io { source }),
        Err(_) => return Err(EnrolError::TimedOut { bound }),
    };
    // The answer is here; how the connection ends does not matter any more.
    let _ = tokio::time::timeout(bound, stream.shutdown()).await;
    wire::decode_answer(&body)?.map_err(EnrolError::Refused)
}

/// A server did not enrol the router of a key.
#[derive(Debug, Error)]
pub enum ServeEnrolError {
    /// It said no.
    #[error("the router of key {key} was refused: its invitation is {refusal}")]
    Refused {
        /// The router's key.
        key: PublicKey,
        /// Why.
        refusal: Refusal,
    },
    /// The request makes no sense.
    #[error("the router of key {key} does not follow the enrolment protocol: {source}")]
    Malformed {
        /// The router's key.
        key: PublicKey,
        /// In what.
        source: WireError,
    },
    /// The router was too slow.
    #[error("the router of key {key} did not {step} within {bound:?}")]
    TimedOut {
        /// The router's key.
        key: PublicKey,
        /// `send its request` or `take the answer`.
        step: &'static str,
        /// The time allowed.
        bound: Duration,
    },
    /// The connection broke.
    #[error("the connection of the router of key {key} broke: {source}")]
    Io {
        /// The router's key.
        key: PublicKey,
        /// How.
        source: io::Error,
    },
}

/// Serves one enrolment connection: reads the request, has `decide` decide, answers, closes. Each
/// of the three may take `bound`; a decision that takes longer is answered with [`Refusal::Busy`].
///
/// `decide` must say yes again to the key that used a secret: see [`crate::enrol`].
///
/// # Errors
/// Names the router's key. After an error other than a refusal the router may yet be enrolled:
/// the answer was lost.
pub async fn serve_enrol<S, D, F>(
    stream: &mut S,
    key: PublicKey,
    decide: D,
    bound: Duration,
) -> Result<Enrolled, ServeEnrolError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    D: FnOnce(Candidate) -> F,
    F: Future<Output = Result<Enrolled, Refusal>>,
{
    let io = |source| ServeEnrolError::Io { key, source };
    let timed_out = |step| ServeEnrolError::TimedOut { key, step, bound };
    let malformed = |source| ServeEnrolError::Malformed { key, source };

    let body = tokio::time::timeout(bound, read_body(stream))
        .await
        .map_err(|_| timed_out("send its request"))?
        .map_err(io)?
        .map_err(malformed)?;
    let request = wire::decode_request(&body).map_err(malformed)?;
    let answer = tokio::time::timeout(bound, decide(Candidate { key, request }))
        .await
        .unwrap_or(Err(Refusal::Busy));
    let answering = async {
        write_all(stream, &wire::encode_answer(&answer)).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(bound, answering)
        .await
        .map_err(|_| timed_out("take the answer"))?
        .map_err(io)?;
    answer.map_err(|refusal| ServeEnrolError::Refused { key, refusal })
}

async fn write_all<S: AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> io::Result<()> {
    stream.write_all(message).await?;
    stream.flush().await
}

async fn read_body<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Result<Vec<u8>, WireError>> {
    let mut prefix = [0; 2];
    stream.read_exact(&mut prefix).await?;
    let length = match wire::decode_length(prefix) {
        Ok(length) => length,
        Err(error) => return Ok(Err(error)),
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Ok(body))
}
