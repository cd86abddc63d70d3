//! The server's end: accepts subflows and keeps a session with each router.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use guywire_flow::record::{self, Choice, Control, Piece};
use guywire_flow::{Config, Destination, Incident, PathAttributes, SessionReason, Side};
use guywire_sched::Factory;
use guywire_sched::guard::Limits;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::dial::{TcpOptions, tune_accepted};
use crate::enrol::{Candidate, Enrolled, Refusal, serve_enrol};
use crate::flow::FlowHandle;
use crate::hello::{
    Endpoint, Families, Instance, RouterHello, ServerHello, VERSIONS, exchange_as_server,
};
use crate::key::PublicKey;
use crate::lobby::Lobby;
use crate::session::{Request, SessionHandle};
use crate::tls::{AcceptError, AcceptLimits, Accepted, ServerTls, TlsStream, accept};

/// So many connections may be in their handshake at once; then the oldest is dropped for a new one.
const HANDSHAKES: usize = 512;
/// So many subflows of one router may be between handshake and HELLO.
const GREETINGS: usize = 64;
/// So many sessions of one router may live at once, one for each of its workers that drains; then
/// the one of the oldest worker ends.
const SESSIONS: usize = 4;
/// So many paths a session may have.
const PATHS: usize = 32;
/// HELLO and enrolment must be done in this time.
const HELLO_BOUND: Duration = Duration::from_secs(5);
/// So many instances that were superseded are remembered for each router.
const REMEMBERED: usize = 16;

/// What a server is made with.
pub struct ServerConfig {
    /// Who this is.
    pub endpoint: Endpoint,
    /// TLS, and who may connect.
    pub tls: ServerTls,
    /// Memory of each session for everything that arrives, in bytes.
    pub memory: u64,
    /// How many flows each session may have.
    pub max_flows: u32,
    /// The families it can reach.
    pub families: Families,
    /// What the schedulers of one session may do.
    pub limits: Limits,
}

/// What happens at a server.
pub enum ServerNews {
    /// A router opened a flow.
    Open {
        /// The flow; to be accepted or refused.
        flow: FlowHandle,
        /// Where it leads.
        to: Destination,
    },
    /// A router wants another scheduler for the flows of a class. Answer with
    /// [`Session::answer_choice`](guywire_flow::Session::answer_choice).
    Choice {
        /// The router.
        router: PublicKey,
        /// Its session.
        session: SessionHandle,
        /// What it wants.
        choice: Choice,
    },
    /// A piece of an object; perhaps of one that nobody asked for.
    ObjectPiece {
        /// The router.
        router: PublicKey,
        /// The piece.
        piece: Piece,
    },
    /// A scheduler was ejected from a session.
    Ejected {
        /// Whose session it is.
        router: PublicKey,
        /// What happened.
        incident: Box<Incident>,
    },
    /// Somebody was refused, or broke off. Strangers come in floods: not to be logged one by one.
    Refused(AcceptError),
}

/// One session as status shows it.
#[derive(Clone, Debug)]
pub struct SessionReport {
    /// The router.
    pub router: PublicKey,
    /// Its session.
    pub session: SessionHandle,
    /// The names of its links by path.
    pub links: HashMap<u8, String>,
}

/// The server's end; clones share it.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    config: ServerConfig,
    sessions: Mutex<Sessions>,
    news: mpsc::Sender<ServerNews>,
    lobby: Lobby,
}

#[derive(Default)]
struct Sessions {
    alive: HashMap<(PublicKey, Instance, u32), Entry>,
    superseded: HashMap<PublicKey, VecDeque<Instance>>,
    /// Subflows between handshake and HELLO.
    greetings: HashMap<PublicKey, usize>,
}

impl Sessions {
    fn begin_greeting(&mut self, router: PublicKey) -> bool {
        let greetings = self.greetings.entry(router).or_default();
        let fits = *greetings < GREETINGS;
        *greetings += usize::from(fits);
        fits
    }

    fn end_greeting(&mut self, router: PublicKey) {
        if let Some(greetings) = self.greetings.get_mut(&router) {
            *greetings -= 1;
            if *greetings == 0 {
                self.greetings.remove(&router);
            }
        }
    }

    /// Ends the session of a router's oldest worker if that of one more would be too many.
    fn make_room(&mut self, router: PublicKey, generation: u32) {
        let of_router =
            |&&(key, _, other): &&(PublicKey, Instance, u32)| key == router && other != generation;
        if self.alive.keys().filter(of_router).count() < SESSIONS {
            return;
        }
        let oldest = self.alive.keys().filter(of_router).min_by_key(|key| key.2);
        if let Some(entry) = oldest.copied().and_then(|key| self.alive.remove(&key)) {
            entry.session.close(SessionReason::Restarted);
        }
    }
}

/// Why a subflow has no session to join.
enum Unfit {
    /// Another instance of the router took over.
    Superseded,
    /// Its path would be one too many.
    TooManyPaths,
}

struct Entry {
    session: SessionHandle,
    links: HashMap<u8, String>,
}

impl Server {
    /// A server; [`Server::listen`] lets it accept. News come on the channel; while nobody takes
    /// them, accepting waits.
    pub fn new(config: ServerConfig) -> (Server, mpsc::Receiver<ServerNews>) {
        let (news, receiver) = mpsc::channel(1_024);
        let server = Server(Arc::new(Inner {
            config,
            sessions: Mutex::default(),
            news,
            lobby: Lobby::new(HANDSHAKES),
        }));
        (server, receiver)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.0
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts connections of a listener. `enrol` decides on invitations.
    pub async fn listen<D, F>(self, listener: TcpListener, enrol: D)
    where
        D: Fn(SocketAddr, Candidate) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Enrolled, Refusal>> + Send,
    {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: those in use come back.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (server, enrol) = (self.clone(), enrol.clone());
            let seat = self.0.lobby.enter();
            let task = tokio::spawn(async move {
                let accepted = server.handshake(stream, peer).await;
                if !server.0.lobby.leave(seat) {
                    return;
                }
                match accepted {
                    // In boxes: the memory of what comes later is not taken for a stranger who waits.
                    Ok(Accepted::Subflow { stream, peer, .. }) => {
                        Box::pin(server.greet(stream, peer)).await;
                    }
                    Ok(Accepted::Enrol { stream, peer: key }) => {
                        Box::pin(enrol_one(stream, peer, key, enrol)).await;
                    }
                    Err(error) => {
                        // While nobody takes the news, nothing piles up: it is only counted.
                        let _ = server.0.news.try_send(ServerNews::Refused(error));
                    }
                }
            });
            self.0.lobby.seat(seat, task.abort_handle());
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<Accepted, AcceptError> {
        // Best effort: a connection without the options is slower, not wrong.
        let options = TcpOptions {
            rto_max: Some(Duration::from_secs(1)),
            ..TcpOptions::default()
        };
        if let Err(error) = tune_accepted(&stream, &options) {
            tracing::debug!(%peer, %error, "socket options");
        }
        accept(stream, peer, &self.0.config.tls, &AcceptLimits::default()).await
    }

    /// Exchanges HELLO and runs the subflow in its session.
    async fn greet(&self, mut stream: TlsStream, router: PublicKey) {
        let config = &self.0.config;
        let hello = ServerHello {
            versions: VERSIONS,
            endpoint: config.endpoint,
            max_flows: config.max_flows,
            session_credit: config.memory,
            families: config.families,
        };
        if !self.lock().begin_greeting(router) {
            return tracing::info!(%router, "more than {GREETINGS} subflows without a HELLO");
        }
        let exchanged = exchange_as_server(&mut stream, &hello, HELLO_BOUND).await;
        self.lock().end_greeting(router);
        let theirs = match exchanged {
            Ok(theirs) => theirs,
            Err(error) => return tracing::info!(%router, %error, "no HELLO"),
        };
        let path = theirs.path;
        match self.session_for(router, theirs) {
            Ok(session) => session.run_subflow(path, stream).await,
            Err(Unfit::TooManyPaths) => {
                tracing::warn!(%router, path, "a subflow on one path more than the {PATHS} a session may have");
            }
            Err(Unfit::Superseded) => {
                let mut goaway = Vec::new();
                let reason = SessionReason::Superseded;
                record::put_control(&mut goaway, 0, &Control::GoAway(reason));
                let farewell = async {
                    stream.write_all(&goaway).await?;
                    stream.shutdown().await
                };
                // Who is superseded learns it from any of its subflows.
                let _ = tokio::time::timeout(HELLO_BOUND, farewell).await;
            }
        }
    }

    /// The session that a subflow belongs to.
    fn session_for(&self, router: PublicKey, hello: RouterHello) -> Result<SessionHandle, Unfit> {
        let Endpoint {
            instance,
            generation,
            oldest,
        } = hello.endpoint;
        let mut sessions = self.lock();
        let superseded = sessions.superseded.entry(router).or_default();
        if superseded.contains(&instance) {
            return Err(Unfit::Superseded);
        }
        let mut ending = Vec::new();
        sessions
            .alive
            .retain(|&(key, other, their_generation), entry| {
                let reason = if key != router {
                    return true;
                } else if other != instance {
                    SessionReason::Superseded
                } else if their_generation < oldest {
                    SessionReason::Restarted
                } else if entry.session.is_ended() {
                    SessionReason::Drain
                } else {
                    return true;
                };
                ending.push((other, reason, entry.session.clone()));
                false
            });
        for (other, reason, session) in ending {
            if reason == SessionReason::Superseded {
                let superseded = sessions.superseded.entry(router).or_default();
                superseded.push_back(other);
                if superseded.len() > REMEMBERED {
                    superseded.pop_front();
                }
            }
            session.close(reason);
        }
        sessions.make_room(router, generation);
        let entry = sessions
            .alive
            .entry((router, instance, generation))
            .or_insert_with(|| self.start_session(router));
        if entry.links.len() >= PATHS && !entry.links.contains_key(&hello.path) {
            return Err(Unfit::TooManyPaths);
        }
        entry.links.insert(hello.path, hello.link.name.to_string());
        let attributes = PathAttributes {
            backup: hello.link.backup,
            metered: hello.link.metered,
        };
        let path = hello.path;
        entry
            .session
            .with(|session, now| session.add_path(now, path, attributes));
        Ok(entry.session.clone())
    }

    fn start_session(&self, router: PublicKey) -> Entry {
        let config = &self.0.config;
        let (session, mut requests) = SessionHandle::start(Config {
            side: Side::Server,
            memory: config.memory,
            max_flows: config.max_flows.into(),
            scheduler: Factory::default(),
            limits: config.limits,
        });
        let (handle, news) = (session.clone(), self.0.news.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    request = requests.recv() => {
                        let Some(request) = request else { return };
                        if !tell(&news, router, &handle, request).await {
                            return;
                        }
                    }
                    _ = handle.ended() => return,
                }
            }
        });
        Entry {
            session,
            links: HashMap::new(),
        }
    }

    /// Ends the sessions of routers that `keep` does not name.
    pub fn retain(&self, keep: impl Fn(&PublicKey) -> bool) {
        self.lock().alive.retain(|(router, _, _), entry| {
            let kept = keep(router);
            if !kept {
                entry.session.close(SessionReason::KeyWithdrawn);
            }
            kept
        });
    }

    /// The sessions that are alive.
    pub fn sessions(&self) -> Vec<SessionReport> {
        let mut sessions = self.lock();
        sessions.alive.retain(|_, entry| !entry.session.is_ended());
        let report =
            |(&(router, _, _), entry): (&(PublicKey, Instance, u32), &Entry)| SessionReport {
                router,
                session: entry.session.clone(),
                links: entry.links.clone(),
            };
        sessions.alive.iter().map(report).collect()
    }

    /// Ends all sessions.
    pub fn close(&self) {
        for (_, entry) in self.lock().alive.drain() {
            entry.session.close(SessionReason::Drain);
        }
    }
}

/// Passes on what a session asks for; false when nobody wants to know any more.
async fn tell(
    news: &mpsc::Sender<ServerNews>,
    router: PublicKey,
    session: &SessionHandle,
    request: Request,
) -> bool {
    let (message, taken): (_, fn(&SessionHandle)) = match request {
        Request::Open { flow, to } => (ServerNews::Open { flow, to }, SessionHandle::open_taken),
        Request::Choice(choice) => {
            let session = session.clone();
            let message = ServerNews::Choice {
                router,
                session,
                choice,
            };
            (message, SessionHandle::choice_taken)
        }
        Request::ObjectPiece(piece) => (
            ServerNews::ObjectPiece { router, piece },
            SessionHandle::choice_taken,
        ),
        Request::Ejected(incident) => (ServerNews::Ejected { router, incident }, |_| {}),
        // Only routers dial, and only they are answered.
        Request::Dial { .. } | Request::ChoiceResult(_) => return true,
    };
    let told = news.send(message).await.is_ok();
    taken(session);
    told
}

/// Enrols one router, if `enrol` agrees.
async fn enrol_one<F>(
    mut stream: TlsStream,
    peer: SocketAddr,
    key: PublicKey,
    enrol: impl Fn(SocketAddr, Candidate) -> F,
) where
    F: Future<Output = Result<Enrolled, Refusal>>,
{
    let decide = |candidate| enrol(peer, candidate);
    match serve_enrol(&mut stream, key, decide, HELLO_BOUND).await {
        Ok(enrolled) => tracing::info!(%peer, name = %enrolled.name, "a router was enrolled"),
        Err(error) => tracing::info!(%peer, %error, "no enrolment"),
    }
}
