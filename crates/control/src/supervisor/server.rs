//! The supervisor of a server: owns the listeners, decides about invitations, keeps the worker.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use guywire_net::listen::tcp_listener;

use super::adopt::{self, Adoptee};
use super::frame::{Claim, Endpoint, Frame, Happening};
use super::keeper::Event;
use super::process::WorkerCommand;
use super::registrar::{Application, Registrar};
use super::{SERVER_ROLE, SupervisorError};
use crate::config::ServerConfig;
use crate::dns;
use crate::store::ServerStore;
use crate::worker::{FromWorker, Identity, SecretBytes, ServerSetup, ToWorker, descriptor};

struct Server {
    config: ServerConfig,
    store: ServerStore,
    frame: Frame,
    registrar: Registrar,
    /// Empty in a crash loop.
    listeners: Vec<TcpListener>,
}

/// Runs a server until it is told to stop.
///
/// # Errors
/// It cannot start: another one runs, an address is taken, the store is damaged.
pub async fn run_server(
    config: ServerConfig,
    worker: WorkerCommand,
) -> Result<(), SupervisorError> {
    let store = ServerStore::open(&config.state_dir)?;
    let claim = Claim::take(&config.run_dir, SERVER_ROLE).await?;
    let mut server = match claim.find_worker().await {
        Some(adoptee) if fits(&config, &store, &adoptee) => {
            Server::adopt(config, store, worker, adoptee)?
        }
        _ => {
            claim.end_worker()?;
            let listeners = listen(&config.listen)?;
            Server::open(config, store, worker, listeners, None)?
        }
    };
    server.publish();
    let why = server.serve().await;
    server.listeners.clear();
    server.frame.stop(why).await;
    Ok(())
}

impl Server {
    fn open(
        config: ServerConfig,
        store: ServerStore,
        worker: WorkerCommand,
        listeners: Vec<TcpListener>,
        adoptee: Option<Adoptee>,
    ) -> Result<Self, SupervisorError> {
        let endpoint = Endpoint {
            role: SERVER_ROLE,
            name: SERVER_ROLE,
            run_dir: &config.run_dir,
            state_dir: &config.state_dir,
            classes: Vec::new(),
            inviting: Some((store.clone(), config.address.clone())),
        };
        let frame = Frame::open(endpoint, worker, adoptee)?;
        let registrar = Registrar::new(store.clone());
        Ok(Self {
            config,
            store,
            frame,
            registrar,
            listeners,
        })
    }

    /// Goes on with the worker of a supervisor that was killed. The routers may have changed since it was started.
    fn adopt(
        config: ServerConfig,
        store: ServerStore,
        worker: WorkerCommand,
        mut adoptee: Adoptee,
    ) -> Result<Self, SupervisorError> {
        let routers = store.routers()?;
        let listeners = adoptee.take(descriptor::LISTEN);
        let listeners = listeners.into_iter().map(TcpListener::from).collect();
        let mut server = Self::open(config, store, worker, listeners, Some(adoptee))?;
        server.frame.keeper.send(ToWorker::Routers(routers));
        server.send_quarantine();
        Ok(server)
    }

    /// Acts on what happens until somebody wants a stop; says who.
    async fn serve(&mut self) -> &'static str {
        loop {
            tokio::select! {
                happening = self.frame.next() => match happening {
                    Happening::Stop(why) => return why,
                    Happening::Schedulers => self.send_quarantine(),
                    Happening::Worker(event) => self.handle_worker(event),
                },
                decision = self.registrar.next() => {
                    // Routers first: the worker must know one before it tells it that it is known.
                    if let Some(routers) = decision.routers {
                        self.frame.keeper.send(ToWorker::Routers(routers));
                        self.publish();
                    }
                    if decision.generation == self.frame.keeper.generation() {
                        self.frame.keeper.send(decision.answer);
                    }
                }
            }
        }
    }

    fn handle_worker(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            match event {
                Event::Due(identity) => next = self.start_worker(identity),
                Event::Message(message) => self.handle_message(message),
                Event::Died {
                    how,
                    crash_loop,
                    hung,
                } => {
                    self.frame.note_death(&how, crash_loop, hung);
                    if crash_loop {
                        self.listeners.clear();
                        self.publish();
                    }
                }
            }
        }
    }

    fn handle_message(&mut self, message: FromWorker) {
        let Some(FromWorker::Redeem {
            request,
            secret,
            public_key,
            peer,
        }) = self.frame.note(message)
        else {
            return;
        };
        let generation = self.frame.keeper.generation();
        let application = Application {
            generation,
            request,
            secret,
            public_key,
            peer,
        };
        if let Some(answer) = self.registrar.submit(application) {
            self.frame.keeper.send(answer);
        }
    }

    fn start_worker(&mut self, identity: Identity) -> Option<Event> {
        match self.setup(identity) {
            Ok((setup, fds)) => {
                let failed = self.frame.start(ToWorker::StartServer(setup), fds);
                self.send_quarantine();
                failed
            }
            Err(error) => Some(self.frame.keeper.refuse(&error.to_string())),
        }
    }

    fn send_quarantine(&mut self) {
        let quarantined = self.frame.schedulers.quarantined();
        let ids = quarantined.into_iter().map(|entry| entry.id).collect();
        self.frame.keeper.send(ToWorker::Quarantine(ids));
    }

    fn setup(
        &mut self,
        identity: Identity,
    ) -> Result<(ServerSetup, Vec<OwnedFd>), SupervisorError> {
        if self.listeners.is_empty() {
            self.listeners = listen(&self.config.listen)?;
            self.publish();
        }
        let fds = self
            .listeners
            .iter()
            .map(|listener| listener.try_clone().map(OwnedFd::from));
        let mut fds = fds
            .collect::<io::Result<Vec<_>>>()
            .map_err(SupervisorError::Descriptors)?;
        let mut names = vec![descriptor::LISTEN.to_owned(); fds.len()];
        self.frame.add_descriptors(&mut names, &mut fds)?;
        let setup = setup(&self.config, &self.store, identity, names)?;
        if setup.dns.is_empty() {
            let text = "no resolver is known, so names do not resolve for the routers; set `dns.resolvers`";
            self.frame.board.incident("no-resolver", text);
        }
        Ok((setup, fds))
    }

    /// Puts what changes rarely on the board.
    fn publish(&self) {
        let addresses: Vec<SocketAddr> = self
            .listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect();
        let routers = self.store.routers().unwrap_or_default();
        self.frame.board.update(|status| {
            status.addresses = addresses;
            status.routers = routers.into_iter().map(|router| router.name).collect();
        });
    }
}

/// What a worker is told to be.
fn setup(
    config: &ServerConfig,
    store: &ServerStore,
    identity: Identity,
    fds: Vec<String>,
) -> Result<ServerSetup, SupervisorError> {
    Ok(ServerSetup {
        identity,
        private_key: SecretBytes(store.private_key()?.to_pkcs8()),
        tag_keys: store.tag_keys()?,
        routers: store.routers()?,
        dns: config
            .resolvers
            .clone()
            .unwrap_or_else(dns::system_resolvers),
        allow: config.allow.clone(),
        allow_ports: config.allow_ports.clone(),
        objects_from: config.objects_from.clone(),
        budget: config.budget,
        session_memory: config.session_memory.0,
        max_flows: config.max_flows,
        fds,
    })
}

/// Whether a worker is what a new one would be told to be, listening where it should.
fn fits(config: &ServerConfig, store: &ServerStore, adoptee: &Adoptee) -> bool {
    let ToWorker::StartServer(started) = &adoptee.start else {
        return false;
    };
    let mut listening = adoptee.addresses(descriptor::LISTEN);
    let mut wanted = config.listen.clone();
    // As in `listen`: a family that the kernel lacks is left out.
    wanted.retain(|address| address.is_ipv4() || listening.iter().any(SocketAddr::is_ipv6));
    listening.sort();
    wanted.sort();
    let Ok(expected) = setup(config, store, started.identity.clone(), started.fds.clone()) else {
        return false;
    };
    let expected = ServerSetup {
        routers: started.routers.clone(),
        ..expected
    };
    adopt::note_fit(*started == expected && listening == wanted)
}

/// Listens on all addresses. A family that the kernel lacks is left out as long as another is there.
fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, SupervisorError> {
    let mut listeners = Vec::new();
    let mut lacking = None;
    for &address in addresses {
        match tcp_listener(address, false) {
            Ok(listener) => {
                tracing::info!(%address, "listening");
                listeners.push(listener);
            }
            Err(source)
                if source.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) =>
            {
                tracing::warn!("{address}: this kernel lacks the address family");
                lacking = Some(SupervisorError::Listen { address, source });
            }
            Err(source) => return Err(SupervisorError::Listen { address, source }),
        }
    }
    match lacking {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}
