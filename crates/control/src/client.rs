//! The other end of the control socket: what the commands use.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::supervisor::ErrorAnswer;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 << 20;
/// A supervisor answers from memory; one that takes longer is in trouble.
const PATIENCE: Duration = Duration::from_secs(5);

/// Speaks with a running supervisor.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("nothing runs at {socket}; start it, or name its directory with --run", socket = socket.display())]
    NotRunning {
        /// The control socket.
        socket: PathBuf,
    },
    /// This user may not.
    #[error("{socket} is for root and the user that guywire runs as; try again as that user", socket = socket.display())]
    NotAllowed {
        /// The control socket.
        socket: PathBuf,
    },
    /// The supervisor says no.
    #[error("{error}")]
    Refused {
        /// Its reason and the next step.
        error: String,
    },
    /// It did not answer in time.
    #[error("no answer from {socket} within {PATIENCE:?}", socket = socket.display())]
    TimedOut {
        /// The control socket.
        socket: PathBuf,
    },
    /// The connection broke, or what came back is no answer of ours.
    #[error("{socket}: {source}", socket = socket.display())]
    Broken {
        /// The control socket.
        socket: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

impl Client {
    /// A client of the socket at this path; connects anew for each request.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET`s a resource.
    ///
    /// # Errors
    /// Nothing runs there, this user may not, or the supervisor refuses.
    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    /// `POST`s to a resource. An empty answer reads as `null`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &Q,
    ) -> Result<A, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        self.request(Method::POST, path, body.into()).await
    }

    async fn request<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, ClientError> {
        let exchange = tokio::time::timeout(PATIENCE, self.exchange(method, path, body));
        let timed_out = |_| ClientError::TimedOut {
            socket: self.socket.clone(),
        };
        let (success, answer) = exchange.await.map_err(timed_out)??;
        if !success {
            let error = match serde_json::from_slice::<ErrorAnswer>(&answer) {
                Ok(answer) => answer.error,
                Err(_) => String::from_utf8_lossy(&answer[..answer.len().min(500)]).into_owned(),
            };
            return Err(ClientError::Refused { error });
        }
        let answer: &[u8] = if answer.is_empty() { b"null" } else { &answer };
        serde_json::from_slice(answer).map_err(|error| self.broken(error))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(bool, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| {
            let socket = self.socket.clone();
            match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NotRunning { socket }
                }
                io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket },
                _ => ClientError::Broken { socket, source },
            }
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "guywire")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.broken(error))?;
        let success = response.status().is_success();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await;
        connection.abort();
        let body = body.map_err(|error| self.broken(error))?;
        Ok((success, body.to_bytes()))
    }

    fn broken(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken {
            socket: self.socket.clone(),
            source: io::Error::other(error),
        }
    }
}
