//! The supervisor of a router: owns the capture rules, the policy routes, the listeners; watches the links; keeps the
//! worker.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use guywire_net::nft::{self, CaptureRules, NatRules};
use guywire_net::route::{Changes, Netlink};
use guywire_transport::key::PrivateKey;
use tokio::time::Instant;

use super::adopt::{self, Adoptee};
use super::capture::Listeners;
use super::clean::remove_rules;
use super::frame::{Claim, Endpoint, Frame, Happening};
use super::keeper::Event;
use super::links::{self, MARK, Surveyed, TPROXY};
use super::plain_dns::{PlainDns, Sockets};
use super::process::WorkerCommand;
use super::schedulers::Class;
use super::status;
use super::{ROUTER_ROLE, SupervisorError};
use crate::config::{ClassConfig, Fail, RouterConfig};
use crate::dns;
use crate::store::router_key;
use crate::worker::{
    ClassRule, Identity, LinkSetup, RouterSetup, SecretBytes, ToWorker, descriptor,
};

/// Changes that come so close together are looked at together: the kernel announces one event in several messages.
const SETTLE: Duration = Duration::from_millis(30);
/// When the links cannot be looked at, or not be watched, the next try is after this.
const RETRY: Duration = Duration::from_secs(1);

struct Router {
    config: RouterConfig,
    key: PrivateKey,
    netlink: Netlink,
    /// `None` while watching failed.
    changes: Option<Changes>,
    frame: Frame,
    /// `None` in a crash loop.
    capturing: Option<Capturing>,
    /// What answers the LAN's DNS in a crash loop; `None` while it is a worker that does, or nobody.
    plain_dns: Option<PlainDns>,
    /// The links as the worker knows them.
    links: Vec<LinkSetup>,
    /// When the links are to be looked at again.
    survey_at: Option<Instant>,
    /// When the next trial of a scheduler ends.
    trial_ends: Option<Instant>,
}

/// The listeners, and the socket that owns the rules which lead to them.
struct Capturing {
    listeners: Listeners,
    rules: OwnedFd,
}

/// Runs a router until it is told to stop; removes everything of its own then.
///
/// # Errors
/// It cannot start: another one runs, a port is taken, the kernel refuses rules or routes. Whatever was set up until
/// then is removed.
pub async fn run_router(
    config: RouterConfig,
    worker: WorkerCommand,
) -> Result<(), SupervisorError> {
    let key = router_key(&config.state_dir)?;
    let claim = Claim::take(&config.run_dir, ROUTER_ROLE).await?;
    let netlink = Netlink::new()?;
    let adopted = match claim.find_worker().await {
        Some(adoptee) => taken_over(&config, &key, adoptee),
        None => None,
    };
    if adopted.is_none() {
        claim.end_worker()?;
        for leftover in remove_rules(&netlink).await? {
            tracing::warn!("removed what an earlier router left behind: {leftover}");
        }
    }
    let result = match Router::open(config, key, netlink.clone(), worker, adopted).await {
        Ok(mut router) => {
            let why = router.serve().await;
            router.frame.stop(why).await;
            // With the last holder of its socket the capture table goes, before the tables that it relies on.
            router.capturing = None;
            Ok(())
        }
        Err(error) => Err(error),
    };
    let removed = remove_rules(&netlink).await;
    result.and(removed.map(|_| ()))
}

impl Router {
    async fn open(
        config: RouterConfig,
        key: PrivateKey,
        netlink: Netlink,
        worker: WorkerCommand,
        adopted: Option<(Adoptee, Capturing)>,
    ) -> Result<Self, SupervisorError> {
        // First watch, then look: nothing is missed in between.
        let changes = Some(Changes::watch()?);
        netlink.add_tproxy_policy(TPROXY).await?;
        let surveyed = links::survey(&netlink, &config.links, &config.server.addresses).await?;
        links::apply_tables(&netlink, &surveyed).await?;
        let (adoptee, capturing) = match adopted {
            None => (None, start_capture(&config, &netlink, None).await?),
            Some((adoptee, capturing)) => {
                // Only through its own socket can the table be changed; the rules may be those of an older configuration.
                nft::update_capture(
                    &capturing.rules,
                    &capture_rules(&config, &capturing.listeners),
                )?;
                nft::install_nat(&nat_rules(&config, false))?;
                (Some(adoptee), capturing)
            }
        };
        let capturing = Some(capturing);
        let endpoint = Endpoint {
            role: ROUTER_ROLE,
            name: &config.name,
            run_dir: &config.run_dir,
            state_dir: &config.state_dir,
            classes: classes(&config),
            inviting: None,
        };
        let frame = Frame::open(endpoint, worker, adoptee)?;
        let addresses: Vec<SocketAddr> = config.server.addresses.clone();
        frame.board.update(|status| status.addresses = addresses);
        let mut router = Self {
            config,
            key,
            netlink,
            changes,
            frame,
            capturing,
            plain_dns: None,
            links: Vec::new(),
            survey_at: None,
            trial_ends: None,
        };
        router.take_links(&surveyed);
        // To a worker that was taken over; others get them when they start.
        router.send_schedulers();
        Ok(router)
    }

    /// Acts on what happens until somebody wants a stop; says who.
    async fn serve(&mut self) -> &'static str {
        loop {
            let (survey_at, trial_ends) = (self.survey_at, self.trial_ends);
            tokio::select! {
                happening = self.frame.next() => match happening {
                    Happening::Stop(why) => return why,
                    Happening::Schedulers => self.send_schedulers(),
                    Happening::Worker(event) => self.handle_worker(event).await,
                },
                change = next_change(&mut self.changes) => {
                    if let Err(error) = change {
                        tracing::warn!("cannot watch the links: {error}");
                        self.changes = None;
                    }
                    self.survey_at.get_or_insert(Instant::now() + SETTLE);
                }
                () = sleep_until(survey_at) => self.survey().await,
                () = sleep_until(trial_ends) => {
                    self.trial_ends = None;
                    self.frame.end_trials();
                }
            }
        }
    }

    async fn handle_worker(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            match event {
                Event::Due(identity) => next = self.start_worker(identity).await,
                Event::Message(message) => {
                    if let Some(message) = self.frame.note(message) {
                        tracing::warn!("a router's worker does not ask for this: {message:?}");
                    }
                }
                Event::Died {
                    how,
                    crash_loop,
                    hung,
                } => {
                    self.frame.note_death(&how, crash_loop, hung);
                    if crash_loop {
                        self.stop_capture();
                    }
                }
            }
        }
    }

    async fn start_worker(&mut self, identity: Identity) -> Option<Event> {
        match self.setup(identity).await {
            Ok((setup, fds)) => {
                let failed = self.frame.start(ToWorker::StartRouter(setup), fds);
                self.send_schedulers();
                failed
            }
            Err(error) => Some(self.frame.keeper.refuse(&error.to_string())),
        }
    }

    fn send_schedulers(&mut self) {
        let (setup, objects) = self.frame.schedulers.setup();
        let message = ToWorker::Schedulers(setup);
        self.frame.keeper.send_with(message, objects);
        self.trial_ends = self.frame.schedulers.next_trial_end().map(|end| {
            let left = end.saturating_sub(status::now());
            Instant::now() + Duration::from_secs(left)
        });
    }

    async fn setup(
        &mut self,
        identity: Identity,
    ) -> Result<(RouterSetup, Vec<OwnedFd>), SupervisorError> {
        let capturing = match self.capturing.take() {
            Some(capturing) => self.capturing.insert(capturing),
            None => {
                let dns = self.plain_dns.take().map(PlainDns::end);
                self.capturing
                    .insert(start_capture(&self.config, &self.netlink, dns).await?)
            }
        };
        let (mut names, mut fds) = capturing
            .listeners
            .descriptors()
            .map_err(SupervisorError::Descriptors)?;
        names.push(descriptor::CAPTURE.to_owned());
        fds.push(
            capturing
                .rules
                .try_clone()
                .map_err(SupervisorError::Descriptors)?,
        );
        self.frame.add_descriptors(&mut names, &mut fds)?;
        let links = self.links.clone();
        let setup = setup(&self.config, &self.key, identity, links, names);
        Ok((setup, fds))
    }

    /// Ends capturing in a crash loop: the LAN's connections go past Guywire, or nowhere, as configured.
    fn stop_capture(&mut self) {
        let listeners = self.capturing.take().map(|capturing| capturing.listeners);
        let closed = self.config.capture.fail == Fail::Closed;
        if let Err(error) = nft::install_nat(&nat_rules(&self.config, closed)) {
            self.frame.board.incident(
                "rules",
                &format!("the firewall rules cannot be changed: {error}"),
            );
        }
        let what = if closed {
            "is cut off, as configured"
        } else {
            "uses the best link, unbonded"
        };
        self.frame.board.incident(
            "not-captured",
            &format!("nothing is captured for a while: the LAN {what}"),
        );
        if let Some(listeners) = listeners.filter(|_| !closed) {
            self.start_plain_dns(listeners.into_dns());
        }
    }

    fn start_plain_dns(&mut self, sockets: Sockets) {
        if sockets.is_empty() {
            return;
        }
        match PlainDns::start(sockets, &dns::system_resolvers()) {
            Ok(plain_dns) => self.plain_dns = Some(plain_dns),
            Err(error) => self.frame.board.incident(
                "no-dns",
                &format!("the LAN's DNS is not answered for a while: {error}"),
            ),
        }
    }

    /// Looks at the links, brings the policy tables in line, tells the worker what changed.
    async fn survey(&mut self) {
        self.survey_at = None;
        if self.changes.is_none() {
            self.changes = Changes::watch()
                .inspect_err(|error| tracing::warn!("{error}"))
                .ok();
        }
        let surveyed = links::survey(
            &self.netlink,
            &self.config.links,
            &self.config.server.addresses,
        )
        .await;
        let applied = match surveyed {
            Ok(surveyed) => {
                self.take_links(&surveyed);
                links::apply_tables(&self.netlink, &surveyed).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &applied {
            tracing::warn!("links: {error}");
        }
        if applied.is_err() || self.changes.is_none() {
            self.survey_at = Some(Instant::now() + RETRY);
        }
    }

    fn take_links(&mut self, surveyed: &[Surveyed]) {
        let links: Vec<LinkSetup> = surveyed.iter().map(|link| link.setup.clone()).collect();
        if links == self.links {
            return;
        }
        for link in links.iter().filter(|link| !self.links.contains(link)) {
            let LinkSetup {
                name,
                device,
                present,
                addresses,
                ..
            } = link;
            tracing::info!(%name, %device, present, ?addresses, "link");
        }
        self.links = links.clone();
        self.frame
            .board
            .update(|status| status.links.clone_from(&links));
        self.frame.keeper.send(ToWorker::Links(links));
    }
}

/// Opens the listeners, then installs the rules that lead to them: the other order would be a gap.
async fn start_capture(
    config: &RouterConfig,
    netlink: &Netlink,
    dns: Option<Sockets>,
) -> Result<Capturing, SupervisorError> {
    let listeners = Listeners::open(config, netlink, dns).await?;
    nft::install_nat(&nat_rules(config, false))?;
    let rules = nft::install_capture(&capture_rules(config, &listeners))?;
    Ok(Capturing { listeners, rules })
}

fn capture_rules(config: &RouterConfig, listeners: &Listeners) -> CaptureRules {
    CaptureRules {
        lan: config.lan.clone(),
        mark: MARK,
        port4: listeners.port4(),
        port6: listeners.port6(),
        bypass: config.capture.bypass.clone(),
        reject_quic: config.capture.reject_quic,
    }
}

/// The classes of traffic, all other traffic first.
fn classes(config: &RouterConfig) -> Vec<Class> {
    let rest = Class {
        name: String::new(),
        scheduler: Some(config.scheduler.clone()),
        rule: ClassRule::default(),
    };
    let class = |class: &ClassConfig| Class {
        name: class.name.clone(),
        scheduler: class.scheduler.clone(),
        rule: class.rule.clone(),
    };
    std::iter::once(rest)
        .chain(config.classes.iter().map(class))
        .collect()
}

/// What a worker is told to be.
fn setup(
    config: &RouterConfig,
    key: &PrivateKey,
    identity: Identity,
    links: Vec<LinkSetup>,
    fds: Vec<String>,
) -> RouterSetup {
    RouterSetup {
        identity,
        name: config.name.clone(),
        private_key: SecretBytes(key.to_pkcs8()),
        server: config.server.clone(),
        links,
        budget: config.budget,
        session_memory: config.session_memory.0,
        max_flows: config.max_flows,
        fds,
    }
}

/// The worker of a router that was killed, and what it captures with, if it is what a new one would be told to be.
fn taken_over(
    config: &RouterConfig,
    key: &PrivateKey,
    mut adoptee: Adoptee,
) -> Option<(Adoptee, Capturing)> {
    let listeners = Listeners::take_back(config, &mut adoptee);
    let rules = adoptee.take(descriptor::CAPTURE).pop();
    let same = match &adoptee.start {
        ToWorker::StartRouter(started) => {
            let (identity, links) = (started.identity.clone(), started.links.clone());
            *started == setup(config, key, identity, links, started.fds.clone())
        }
        _ => false,
    };
    let capturing = listeners
        .zip(rules)
        .map(|(listeners, rules)| Capturing { listeners, rules });
    if !adopt::note_fit(same && capturing.is_some()) {
        return None;
    }
    Some((adoptee, capturing?))
}

fn nat_rules(config: &RouterConfig, closed: bool) -> NatRules {
    let wan = config
        .links
        .iter()
        .map(|link| link.device.clone())
        .collect();
    NatRules {
        wan,
        lan: config.lan.clone(),
        closed,
    }
}

/// The next change; never while nothing is watched.
async fn next_change(changes: &mut Option<Changes>) -> std::io::Result<()> {
    match changes {
        Some(changes) => changes.next().await.map(|_| ()),
        None => std::future::pending().await,
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
