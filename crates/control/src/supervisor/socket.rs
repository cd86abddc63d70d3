//! The control socket: HTTP and JSON on a Unix socket in the run directory.
//!
//! `GET /status`, `GET /incidents`, `POST /stop`; `GET /schedulers`, `POST /schedulers` (choose one), `POST /pardon`
//! and `POST /trace`; and on a server `GET /invitations` and `POST /invitations`. Mode 0600, and each peer
//! must be root or the supervisor's own user: whoever finds the socket by another way gets nothing. Handlers read
//! snapshots and files; they never wait for the supervisor's loop or the worker.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use guywire_flow::record::MAX_OBJECT;
use guywire_transport::enrol::HostPort;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::schedulers::{
    ChoiceError, ClassAnswer, Quarantined, Schedulers, UseRequest, class_label,
};
use super::status::Board;
use crate::invitation::{self, InviteError};
use crate::store::{FileError, ServerStore};
use crate::worker::{SchedulerReport, TracedDecision};

/// Longest body of a request, in bytes.
const MAX_BODY: usize = 64 << 10;
/// The same of a request with a scheduler's object in it, as base64.
const MAX_CHOICE: usize = MAX_OBJECT / 3 * 4 + MAX_BODY;

/// Body of `POST /invitations`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InviteRequest {
    /// Name for the router.
    pub name: String,
    /// How long it may be used, in seconds.
    pub expires_secs: u64,
}

/// Answer to `POST /invitations`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InviteAnswer {
    /// The line for `guywire router join`.
    pub line: String,
    /// When it stops to be valid, in seconds since 1970 by the server's clock.
    pub expires: u64,
    /// A router of this name exists; the one that joins takes its place.
    pub replaces: bool,
}

/// Answer to `GET /schedulers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SchedulersAnswer {
    /// A router's classes of traffic, and what is to schedule them.
    pub classes: Vec<ClassAnswer>,
    /// What schedules them just now, by session.
    pub in_use: Vec<SchedulerReport>,
    /// What is not used any more.
    pub quarantine: Vec<Quarantined>,
}

impl SchedulersAnswer {
    /// How people are told of a class.
    #[must_use]
    pub fn label(&self, id: u8) -> String {
        let class = self.classes.iter().find(|class| class.id == id);
        class_label(id, class.map(|class| class.name.as_str()))
    }
}

/// Body of `POST /pardon`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PardonRequest {
    /// Name of a scheduler, or at least 8 digits of its hash.
    pub scheduler: String,
}

/// Body of `POST /trace`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TraceRequest {
    /// Number of the first decision that is wanted; `None`: those that come from now on.
    pub from: Option<u64>,
}

/// Answer to `POST /trace`. Decisions are gathered for [`TRACE_FOR`](crate::worker::TRACE_FOR) after the last request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TraceAnswer {
    /// Number to ask for next.
    pub next: u64,
    /// The decisions.
    pub decisions: Vec<TracedDecision>,
}

/// The body of every answer that is an error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What is wrong and what to do.
    pub error: String,
}

/// What the handlers may touch.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) board: Board,
    /// Told when somebody asks for a stop.
    pub(super) stop: Notify,
    /// A server's store and public addresses.
    pub(super) inviting: Option<(ServerStore, Vec<HostPort>)>,
    pub(super) schedulers: Arc<Schedulers>,
    /// Told when the worker is to learn of other schedulers.
    pub(super) schedulers_changed: Notify,
    /// Told when somebody wants to see decisions.
    pub(super) trace: Notify,
}

/// The socket's file goes away with this.
#[derive(Debug)]
pub(super) struct ControlSocket {
    path: PathBuf,
    server: tokio::task::JoinHandle<()>,
}

impl ControlSocket {
    /// Opens the socket and serves it until dropped. The caller holds the lock of the run directory, so a file in its
    /// place is a leftover.
    pub(super) fn open(path: PathBuf, access: Arc<Access>) -> Result<Self, FileError> {
        let fail = |source| FileError {
            action: "open the control socket",
            path: path.clone(),
            source,
        };
        crate::store::files::remove(&path)?;
        let listener = UnixListener::bind(&path).map_err(fail)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
        let listener = Guarded {
            listener,
            uid: rustix::process::geteuid().as_raw(),
        };
        let router = routes(access);
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("control socket: {error}");
            }
        });
        Ok(Self { path, server })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.server.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A listener that takes only root and the supervisor's user.
struct Guarded {
    listener: UnixListener,
    uid: u32,
}

impl axum::serve::Listener for Guarded {
    type Io = UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => match stream.peer_cred() {
                    Ok(peer) if peer.uid() == 0 || peer.uid() == self.uid => {
                        return (stream, address);
                    }
                    Ok(peer) => {
                        tracing::warn!(uid = peer.uid(), "refused a user on the control socket")
                    }
                    Err(error) => tracing::warn!("control socket: {error}"),
                },
                Err(error) => {
                    // Out of descriptors, most likely: others have to end first.
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn routes(access: Arc<Access>) -> Router {
    let choosing = post(choose).layer(DefaultBodyLimit::max(MAX_CHOICE));
    Router::new()
        .route("/status", get(status))
        .route("/stop", post(stop))
        .route("/incidents", get(incidents))
        .route("/schedulers", get(list_schedulers).merge(choosing))
        .route("/pardon", post(pardon))
        .route("/trace", post(trace))
        .route("/invitations", get(list_invitations).post(invite))
        .fallback(async || {
            failure(
                StatusCode::NOT_FOUND,
                "no such resource; there are /status, /stop, /incidents, /schedulers, /pardon, /trace and /invitations",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(access)
}

async fn status(Shared(access): Shared<Arc<Access>>) -> Response {
    Json(access.board.read()).into_response()
}

async fn stop(Shared(access): Shared<Arc<Access>>) -> Response {
    // `notify_one` keeps one permit, so a request that comes before the loop waits for it is not lost.
    access.stop.notify_one();
    StatusCode::ACCEPTED.into_response()
}

async fn incidents(Shared(access): Shared<Arc<Access>>) -> Response {
    let journal = access.board.journal();
    match tokio::task::spawn_blocking(move || journal.read()).await {
        Ok(Ok(incidents)) => Json(incidents).into_response(),
        Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, error),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

async fn list_schedulers(Shared(access): Shared<Arc<Access>>) -> Response {
    let answer = SchedulersAnswer {
        classes: access.schedulers.classes(),
        in_use: access.board.read().schedulers,
        quarantine: access.schedulers.quarantined(),
    };
    Json(answer).into_response()
}

async fn choose(
    Shared(access): Shared<Arc<Access>>,
    request: Result<Json<UseRequest>, JsonRejection>,
) -> Response {
    change(access, request, Schedulers::choose).await
}

async fn pardon(
    Shared(access): Shared<Arc<Access>>,
    request: Result<Json<PardonRequest>, JsonRejection>,
) -> Response {
    let pardon =
        |schedulers: &Schedulers, request: PardonRequest| schedulers.pardon(&request.scheduler);
    change(access, request, pardon).await
}

/// Changes what schedulers are to be used, and lets the worker know.
async fn change<Q: Send + 'static, A: Serialize + Send + 'static>(
    access: Arc<Access>,
    request: Result<Json<Q>, JsonRejection>,
    change: impl FnOnce(&Schedulers, Q) -> Result<A, ChoiceError> + Send + 'static,
) -> Response {
    let request = match request {
        Ok(Json(request)) => request,
        Err(rejection) => return failure(rejection.status(), rejection.body_text()),
    };
    let schedulers = access.schedulers.clone();
    match tokio::task::spawn_blocking(move || change(&schedulers, request)).await {
        Ok(Ok(answer)) => {
            access.schedulers_changed.notify_one();
            Json(answer).into_response()
        }
        Ok(Err(error @ ChoiceError::File(_))) => failure(StatusCode::INTERNAL_SERVER_ERROR, error),
        Ok(Err(error)) => failure(StatusCode::BAD_REQUEST, error),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

async fn trace(
    Shared(access): Shared<Arc<Access>>,
    request: Result<Json<TraceRequest>, JsonRejection>,
) -> Response {
    let from = match request {
        Ok(Json(request)) => request.from.unwrap_or(u64::MAX),
        Err(rejection) => return failure(rejection.status(), rejection.body_text()),
    };
    access.trace.notify_one();
    let (next, decisions) = access.board.decisions(from);
    Json(TraceAnswer { next, decisions }).into_response()
}

async fn list_invitations(Shared(access): Shared<Arc<Access>>) -> Response {
    let Some((store, _)) = access.inviting.clone() else {
        return no_server();
    };
    match tokio::task::spawn_blocking(move || store.invitations()).await {
        Ok(Ok(invitations)) => Json(invitations).into_response(),
        Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, error),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

async fn invite(
    Shared(access): Shared<Arc<Access>>,
    request: Result<Json<InviteRequest>, JsonRejection>,
) -> Response {
    let Some((store, addresses)) = access.inviting.clone() else {
        return no_server();
    };
    let request = match request {
        Ok(Json(request)) => request,
        Err(rejection) => return failure(rejection.status(), rejection.body_text()),
    };
    let lifetime = Duration::from_secs(request.expires_secs);
    let work = move || {
        invitation::invite(
            &store,
            addresses,
            &request.name,
            lifetime,
            SystemTime::now(),
        )
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(error @ (InviteError::Name(_) | InviteError::Lifetime { .. }))) => {
            failure(StatusCode::BAD_REQUEST, error)
        }
        Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, error),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

fn no_server() -> Response {
    failure(
        StatusCode::NOT_FOUND,
        "a router has no invitations; ask its server",
    )
}

fn failure(status: StatusCode, error: impl std::fmt::Display) -> Response {
    (
        status,
        Json(ErrorAnswer {
            error: error.to_string(),
        }),
    )
        .into_response()
}

/// Where a role's control socket is.
#[must_use]
pub fn socket_path(run_dir: &Path, role: &str) -> PathBuf {
    run_dir.join(format!("{role}.sock"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, ClientError};
    use crate::supervisor::journal::Journal;
    use crate::supervisor::{State, Status};
    use crate::testing::TempDir;

    fn access(dir: &TempDir, store: Option<ServerStore>) -> Arc<Access> {
        let board = Board::new("server", "server", Journal::open(dir.path()));
        let addresses = vec!["198.51.100.10:443".parse().unwrap()];
        Arc::new(Access {
            board,
            stop: Notify::new(),
            inviting: store.map(|store| (store, addresses)),
            schedulers: Arc::new(Schedulers::open(dir.path(), vec![]).unwrap()),
            schedulers_changed: Notify::new(),
            trace: Notify::new(),
        })
    }

    #[tokio::test]
    async fn status_and_stop_are_served_privately() {
        let dir = TempDir::new("socket-status");
        let path = dir.path().join("router.sock");
        std::fs::write(&path, "left by a crash").unwrap();
        let access = access(&dir, None);
        let socket = ControlSocket::open(path.clone(), access.clone()).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let client = Client::new(path.clone());
        let status: Status = client.get("/status").await.unwrap();
        assert_eq!(
            (status.state, status.supervisor_pid),
            (State::Starting, std::process::id())
        );
        client.post::<_, ()>("/stop", &()).await.unwrap();
        access.stop.notified().await;
        let error = client.get::<Status>("/nothing").await.unwrap_err();
        assert!(
            matches!(error, ClientError::Refused { .. }) && error.to_string().contains("/status"),
            "{error}"
        );
        drop(socket);
        assert!(!path.exists());
        assert!(matches!(
            client.get::<Status>("/status").await,
            Err(ClientError::NotRunning { .. })
        ));
    }

    #[tokio::test]
    async fn invitations_are_made_and_listed() {
        let dir = TempDir::new("socket-invite");
        let (store, _) = ServerStore::create(&dir.path().join("state")).unwrap();
        let path = dir.path().join("server.sock");
        let _socket = ControlSocket::open(path.clone(), access(&dir, Some(store))).unwrap();
        let client = Client::new(path);
        let request = InviteRequest {
            name: "home".into(),
            expires_secs: 60,
        };
        let answer: InviteAnswer = client.post("/invitations", &request).await.unwrap();
        assert!(answer.line.starts_with("guywire1:"), "{}", answer.line);
        let list: Vec<crate::store::InvitationRecord> = client.get("/invitations").await.unwrap();
        assert_eq!((list.len(), list[0].name.as_str()), (1, "home"));
        for wrong in [
            InviteRequest {
                name: "../x".into(),
                expires_secs: 60,
            },
            InviteRequest {
                name: "home".into(),
                expires_secs: 0,
            },
        ] {
            let refused = client.post::<_, InviteAnswer>("/invitations", &wrong).await;
            assert!(
                matches!(refused, Err(ClientError::Refused { .. })),
                "{refused:?}"
            );
        }
        let refused = client
            .post::<_, InviteAnswer>("/invitations", &"x".repeat(MAX_BODY + 1))
            .await;
        assert!(
            matches!(refused, Err(ClientError::Refused { .. })),
            "{refused:?}"
        );
    }
}
