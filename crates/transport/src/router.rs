//! The router's end: dials the server over each link and keeps one session with it.
//!
//! The session exists before the server was ever reached, so flows can be opened at once and wait for the first
//! path. When the server's worker or the whole server was started anew, what it held is gone: the session
//! ends, its flows are reset, and the next one begins with the subflow that brought the news.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use guywire_flow::record::ChoiceResult;
use guywire_flow::{Config, Incident, PathAttributes, PathState, SessionReason, Side};
use guywire_sched::Factory;
use guywire_sched::guard::Limits;
use thiserror::Error;
use tokio::sync::{Notify, mpsc};

use crate::dial::{DialError, DialOptions, TcpOptions, dial};
use crate::hello::{
    Endpoint, Families, HelloError, Instance, LinkAttributes, RouterHello, ServerHello, VERSIONS,
    exchange_as_router,
};
use crate::session::{Request, SessionHandle};
use crate::tls::{ClientTls, ConnectError, TlsStream, connect};

mod scheduling;

pub use scheduling::{ClassReport, Scheduling};

/// Each attempt to open a subflow is given up after this.
const DIAL_BOUND: Duration = Duration::from_millis(1_500);

/// TCP_MAXSEG for links that lose full-size segments: it fits the smallest packet every IPv6 link carries (1,280
/// bytes, RFC 8200), with room for options.
const SMALL_SEGMENT: u32 = 1_220;

/// What a router is made with.
#[derive(Clone)]
pub struct RouterConfig {
    /// Who this is.
    pub endpoint: Endpoint,
    /// TLS towards the server.
    pub tls: ClientTls,
    /// Where the server listens; at least one.
    pub servers: Vec<SocketAddr>,
    /// Memory for everything that arrives, in bytes.
    pub memory: u64,
    /// How many flows may be open at once.
    pub max_flows: u32,
    /// What the schedulers of the session may do.
    pub limits: Limits,
}

/// A link as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its path id.
    pub path: u8,
    /// What the server is told of it.
    pub attributes: LinkAttributes,
    /// The device.
    pub device: String,
    /// Congestion control wanted on it.
    pub congestion: Option<String>,
    /// Whether the device is there and has carrier.
    pub present: bool,
    /// Its addresses that can reach the server.
    pub addresses: Vec<IpAddr>,
}

impl Link {
    fn path_attributes(&self) -> PathAttributes {
        PathAttributes {
            backup: self.attributes.backup,
            metered: self.attributes.metered,
        }
    }

    fn reaches(&self, server: &SocketAddr) -> bool {
        self.addresses
            .iter()
            .any(|own| own.is_ipv4() == server.is_ipv4())
    }
}

/// What a person should know of.
#[derive(Debug)]
pub enum RouterNews {
    /// An attempt on a link failed; told when the kind of failure changes.
    DialFailed {
        /// The link.
        link: String,
        /// What kind of failure it is.
        reason: DialReason,
        /// The failure in words, with what to do next.
        text: String,
    },
    /// Another router with the same key took over; this one has stopped.
    Superseded,
    /// A scheduler was ejected here; the server was asked for `default` in its place.
    Ejected(Box<Incident>),
    /// What the server says to a scheduler that it was asked to use.
    ChoiceResult {
        /// The scheduler.
        scheduler: Factory,
        /// What the server says.
        result: ChoiceResult,
    },
}

/// The router's end; clones share it.
#[derive(Clone)]
pub struct Router(Arc<Inner>);

struct Inner {
    config: RouterConfig,
    state: Mutex<State>,
    news: mpsc::UnboundedSender<RouterNews>,
}

struct State {
    session: SessionHandle,
    /// The server's worker that the session is with, once it has answered.
    server: Option<ServerHello>,
    links: BTreeMap<u8, LinkState>,
    /// By class; none is as class 0, and that `default`.
    schedulers: BTreeMap<u8, Scheduling>,
    /// What the server of the session has said, by class.
    answers: BTreeMap<u8, ChoiceResult>,
    superseded: bool,
}

struct LinkState {
    link: Link,
    /// The address that each of its subflows comes from.
    sources: Vec<IpAddr>,
    /// How many dials were begun: families and addresses take turns.
    attempts: usize,
    /// What kind of failure the last attempt was, so that it is told once and not with every attempt.
    failure: Option<DialReason>,
    /// Attempts that are under way give up: one has succeeded, or what they began from may be gone. In the second
    /// case another one takes its place, by which an attempt that was through already sees it.
    enough: Arc<Notify>,
}

impl LinkState {
    fn new(link: Link) -> LinkState {
        LinkState {
            link,
            sources: Vec::new(),
            attempts: 0,
            failure: None,
            enough: Arc::default(),
        }
    }

    /// The link is now like this. Returns whether its subflows cannot go on: the kernel keeps a connection whose
    /// source address or device is gone, and it would fall silent. What merely came does not harm them. Attempts
    /// that are under way give up where they cannot.
    fn change(&mut self, link: Link) -> bool {
        let old = std::mem::replace(&mut self.link, link);
        if old == self.link {
            return false;
        }
        self.attempts = 0;
        self.failure = None;
        let lives = |source| self.link.addresses.contains(source);
        let renew = old.device != self.link.device
            || self.sources.is_empty()
            || !self.sources.iter().all(lives);
        if renew {
            std::mem::take(&mut self.enough).notify_waiters();
        }
        renew
    }

    /// A subflow from there has ended.
    fn forget_source(&mut self, source: IpAddr) {
        if let Some(at) = self.sources.iter().position(|other| *other == source) {
            self.sources.swap_remove(at);
        }
    }
}

/// The kind of a failure to open a subflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialReason {
    /// The link has no address of a family that the server has.
    NoAddress,
    /// The system or the network refused a TCP connection.
    Unreachable,
    /// TCP was not answered.
    NoAnswer,
    /// The server shows another key than the expected one.
    WrongServerKey,
    /// The server closed during the TLS handshake: it does not accept this router's tag.
    TagRefused,
    /// The TLS handshake failed otherwise.
    NoTls,
    /// The server does not know this router's key.
    KeyRefused,
    /// The server did not answer with a HELLO that can be used.
    NoHello,
    /// Another router with the same key has taken over.
    Superseded,
    /// Another attempt has succeeded, or the link has changed.
    Enough,
}

/// Why no subflow came about.
#[derive(Debug, Error)]
enum AttemptError {
    #[error("the link has no address of a family that the server has")]
    NoAddress,
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Tls(#[from] ConnectError),
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error("another router with the same key has taken over")]
    Superseded,
    #[error("another attempt has succeeded, or the link has changed")]
    Enough,
}

impl AttemptError {
    /// TCP was answered, and the handshake on it was not.
    fn is_stall(&self) -> bool {
        matches!(
            self,
            Self::Tls(ConnectError::TimedOut { .. }) | Self::Hello(HelloError::TimedOut { .. })
        )
    }

    fn reason(&self) -> DialReason {
        match self {
            Self::NoAddress => DialReason::NoAddress,
            Self::Dial(DialError::Failed { .. }) => DialReason::Unreachable,
            Self::Dial(DialError::TimedOut { .. }) => DialReason::NoAnswer,
            Self::Tls(ConnectError::WrongServerKey { .. }) => DialReason::WrongServerKey,
            Self::Tls(ConnectError::Closed { .. }) => DialReason::TagRefused,
            Self::Tls(_) => DialReason::NoTls,
            Self::Hello(HelloError::KeyRefused) => DialReason::KeyRefused,
            Self::Hello(_) => DialReason::NoHello,
            Self::Superseded => DialReason::Superseded,
            Self::Enough => DialReason::Enough,
        }
    }
}

impl Router {
    /// Starts a router without links; [`Router::set_links`] gives it some. Needs a tokio runtime.
    pub fn start(config: RouterConfig) -> (Router, mpsc::UnboundedReceiver<RouterNews>) {
        let (news, receiver) = mpsc::unbounded_channel();
        let (session, requests) = start_session(&config, &BTreeMap::new());
        let router = Router(Arc::new(Inner {
            config,
            state: Mutex::new(State {
                session: session.clone(),
                server: None,
                links: BTreeMap::new(),
                schedulers: BTreeMap::new(),
                answers: BTreeMap::new(),
                superseded: false,
            }),
            news,
        }));
        tokio::spawn(router.clone().serve(session, requests));
        (router, receiver)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of the moment.
    pub fn session(&self) -> SessionHandle {
        self.lock().session.clone()
    }

    /// The address families of the server; `None` until it was reached.
    pub fn server_families(&self) -> Option<Families> {
        self.lock().server.as_ref().map(|server| server.families)
    }

    /// The links as they are now, all of them.
    pub fn set_links(&self, links: Vec<Link>) {
        let mut state = self.lock();
        let session = state.session.clone();
        let gone = |path: &u8| !links.iter().any(|link| link.path == *path);
        let removed: Vec<u8> = state.links.keys().copied().filter(gone).collect();
        for path in removed {
            state.links.remove(&path);
            session.with(|session, now| session.withdraw_path(now, path));
        }
        for link in links {
            let (path, present, attributes) = (link.path, link.present, link.path_attributes());
            let renew = match state.links.entry(path) {
                Entry::Occupied(known) => known.into_mut().change(link),
                Entry::Vacant(new) => {
                    new.insert(LinkState::new(link));
                    false
                }
            };
            session.with(|session, now| {
                if !present || renew {
                    session.withdraw_path(now, path);
                }
                if present {
                    session.add_path(now, path, attributes);
                }
            });
        }
    }

    /// The name of the link of a path.
    pub fn link_name(&self, path: u8) -> Option<String> {
        let state = self.lock();
        Some(state.links.get(&path)?.link.attributes.name.to_string())
    }

    /// Serves the requests of a session until it ends, then goes on with the next one.
    async fn serve(
        self,
        mut session: SessionHandle,
        mut requests: mpsc::UnboundedReceiver<Request>,
    ) {
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(Request::Dial { path, small_segments }) => {
                        let attempt = self.clone().attempt(session.clone(), path, small_segments);
                        tokio::spawn(attempt);
                    }
                    Some(Request::Ejected(incident)) => self.handle_ejection(incident),
                    Some(Request::ChoiceResult(result)) => self.handle_choice_result(result),
                    // The server opens no flows and chooses nothing.
                    Some(Request::Open { .. } | Request::Choice(_) | Request::ObjectPiece(_)) => {}
                    None => return,
                },
                reason = session.ended() => {
                    if reason == SessionReason::Superseded {
                        self.lock().superseded = true;
                        let _ = self.0.news.send(RouterNews::Superseded);
                        return;
                    }
                    (session, requests) = self.renew(&session, reason).await;
                }
            }
        }
    }

    /// Puts the next session in the place of one that ended.
    async fn renew(
        &self,
        old: &SessionHandle,
        reason: SessionReason,
    ) -> (SessionHandle, mpsc::UnboundedReceiver<Request>) {
        tracing::warn!(%reason, "the session ended; a new one begins");
        // Whatever ended it, a server that says so at once again is not asked in a tight loop.
        tokio::time::sleep(Duration::from_millis(50)).await;
        debug_assert!(old.is_ended());
        let mut state = self.lock();
        let (session, requests) = start_session(&self.0.config, &state.schedulers);
        state.session = session.clone();
        state.server = None;
        state.answers.clear();
        for link in state.links.values().filter(|link| link.link.present) {
            let (path, attributes) = (link.link.path, link.link.path_attributes());
            session.with(|session, now| session.add_path(now, path, attributes));
        }
        (session, requests)
    }

    /// One attempt to open a subflow for a session; runs it if it succeeds.
    async fn attempt(self, session: SessionHandle, path: u8, small_segments: bool) {
        let Some(enough) = self.lock().links.get(&path).map(|link| link.enough.clone()) else {
            return session.with(|session, now| session.dial_failed(now, path));
        };
        let opened = tokio::select! {
            opened = tokio::time::timeout(2 * DIAL_BOUND, self.open_subflow(path, small_segments)) => opened,
            () = enough.notified() => Ok(Err(AttemptError::Enough)),
        };
        let opened = opened.unwrap_or_else(|_| {
            Err(AttemptError::Hello(HelloError::TimedOut {
                peer: "server",
                bound: 2 * DIAL_BOUND,
            }))
        });
        match opened.and_then(|(stream, hello)| self.admit(&session, stream, hello)) {
            Ok(stream) => {
                let source = stream.get_ref().0.tcp().local_addr().map(|own| own.ip());
                if !self.note_success(path, &enough, source.as_ref().ok()) {
                    return session.with(|session, now| session.dial_failed(now, path));
                }
                if session.with(|session, now| session.path_state(now, path))
                    == Some(PathState::Down)
                {
                    enough.notify_waiters();
                }
                session.run_subflow(path, stream).await;
                if let (Ok(source), Some(link)) = (source, self.lock().links.get_mut(&path)) {
                    link.forget_source(source);
                }
            }
            Err(AttemptError::Enough) => {
                session.with(|session, now| session.dial_failed(now, path));
            }
            Err(error) => {
                session.with(|session, now| match error.is_stall() {
                    true => session.dial_stalled(now, path),
                    false => session.dial_failed(now, path),
                });
                self.tell_failure(path, &error);
            }
        }
    }

    /// An attempt from `source` has succeeded. Returns whether the link is still the one that it began from.
    fn note_success(&self, path: u8, enough: &Arc<Notify>, source: Option<&IpAddr>) -> bool {
        let mut state = self.lock();
        let link = state.links.get_mut(&path);
        let Some(link) = link.filter(|link| Arc::ptr_eq(&link.enough, enough)) else {
            return false;
        };
        link.failure = None;
        link.sources.extend(source);
        true
    }

    fn tell_failure(&self, path: u8, error: &AttemptError) {
        let mut state = self.lock();
        let Some(link) = state.links.get_mut(&path) else {
            return;
        };
        let reason = error.reason();
        if link.failure.replace(reason) != Some(reason) {
            let _ = self.0.news.send(RouterNews::DialFailed {
                link: link.link.attributes.name.to_string(),
                reason,
                text: error.to_string(),
            });
        }
    }

    async fn open_subflow(
        &self,
        path: u8,
        small_segments: bool,
    ) -> Result<(TlsStream, ServerHello), AttemptError> {
        let (remote, link) = self.next_target(path).ok_or(AttemptError::NoAddress)?;
        let options = DialOptions {
            device: Some(link.device.clone()),
            source: None,
            tcp: TcpOptions {
                congestion: link.congestion.clone(),
                max_segment: small_segments.then_some(SMALL_SEGMENT),
                rto_max: Some(Duration::from_secs(1)),
                ..TcpOptions::default()
            },
        };
        let dialled = dial(remote, &options, DIAL_BOUND).await?;
        let mut stream = connect(dialled.stream, &self.0.config.tls, 0, DIAL_BOUND).await?;
        let hello = RouterHello {
            version: VERSIONS.greatest,
            endpoint: self.0.config.endpoint,
            path,
            link: link.attributes,
        };
        let server = exchange_as_router(&mut stream, &hello, DIAL_BOUND).await?;
        Ok((stream, server))
    }

    /// The address to try next on a path: those of the families the link has, in turn.
    fn next_target(&self, path: u8) -> Option<(SocketAddr, Link)> {
        let mut state = self.lock();
        let state = state.links.get_mut(&path)?;
        let servers = self.0.config.servers.iter();
        let fitting: Vec<&SocketAddr> = servers.filter(|to| state.link.reaches(to)).collect();
        // An address that works is kept; after a failure it is the next one's turn.
        if state.failure.is_some() {
            state.attempts += 1;
        }
        let remote = **fitting.get(state.attempts % fitting.len().max(1))?;
        Some((remote, state.link.clone()))
    }

    /// Holds a subflow's HELLO against the worker that the session is with.
    fn admit(
        &self,
        session: &SessionHandle,
        stream: TlsStream,
        hello: ServerHello,
    ) -> Result<TlsStream, AttemptError> {
        let mut state = self.lock();
        if state.superseded {
            return Err(AttemptError::Superseded);
        }
        let known = state.server.as_ref().map(|server| server.endpoint);
        let same = |known: Endpoint| {
            known.instance == hello.endpoint.instance
                && known.generation == hello.endpoint.generation
        };
        if known.is_some_and(|known| !same(known)) {
            // The subflow is dropped: the session that follows opens its own.
            session.close(SessionReason::Restarted);
            return Ok(stream);
        }
        if known.is_none() {
            session.with(|session, _| {
                session.set_peer(hello.session_credit, hello.max_flows.into());
            });
            state.server = Some(hello);
            // A server begins with `default` for all.
            let chosen: Vec<u8> = state.schedulers.keys().copied().collect();
            for class in chosen {
                state.ask(class);
            }
        }
        Ok(stream)
    }
}

fn start_session(
    config: &RouterConfig,
    schedulers: &BTreeMap<u8, Scheduling>,
) -> (SessionHandle, mpsc::UnboundedReceiver<Request>) {
    let (session, requests) = SessionHandle::start(Config {
        side: Side::Router,
        memory: config.memory,
        max_flows: config.max_flows.into(),
        scheduler: Factory::default(),
        limits: config.limits,
    });
    for (&class, scheduling) in schedulers {
        let factory = Some(scheduling.factory.clone());
        session.with(|session, now| session.use_scheduler(now, class, factory));
    }
    (session, requests)
}

impl Endpoint {
    /// An endpoint of which no older worker lives.
    pub fn only(instance: Instance, generation: u32) -> Endpoint {
        Endpoint {
            instance,
            generation,
            oldest: generation,
        }
    }
}
