//! The messages between supervisor and worker. Both are the same executable, so the format has no versions.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::schedulers::{
    Budget, Ejection, SchedulerId, SchedulerReport, SchedulerSetup, TracedDecision,
};
use super::{SecretBytes, SecretText};

/// Names of the descriptors that travel with `StartRouter` and `StartServer`.
pub mod descriptor {
    /// Transparent TCP listener for captured IPv4 connections (router).
    pub const TPROXY4: &str = "tproxy4";
    /// Transparent TCP listener for captured IPv6 connections (router).
    pub const TPROXY6: &str = "tproxy6";
    /// UDP socket that answers the LAN's DNS questions over IPv4 (router; one for each address).
    pub const DNS_UDP4: &str = "dns-udp4";
    /// UDP socket that answers the LAN's DNS questions over IPv6 (router; one for each address).
    pub const DNS_UDP6: &str = "dns-udp6";
    /// TCP listener for the LAN's DNS questions over IPv4 (router; one for each address).
    pub const DNS_TCP4: &str = "dns-tcp4";
    /// TCP listener for the LAN's DNS questions over IPv6 (router; one for each address).
    pub const DNS_TCP6: &str = "dns-tcp6";
    /// The netlink socket that owns the capture table; the worker only has to keep it open (router).
    pub const CAPTURE: &str = "capture";
    /// TCP listener for routers (server; one for each address).
    pub const LISTEN: &str = "listen";
    /// Unix listener in the run directory by which the next supervisor finds the worker when this one was killed.
    pub const ADOPTION: &str = "adoption";
}

/// A message of the channel, and the names of the descriptors that travel with it.
pub trait Message: Serialize + DeserializeOwned {
    /// Names of the descriptors of this message, in the order in which they travel. Names may repeat.
    fn descriptors(&self) -> &[String] {
        &[]
    }
}

/// What a supervisor tells its worker. The first message is one of the two `Start...`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Be a router's worker. Carries the descriptors named in `fds`.
    StartRouter(RouterSetup),
    /// Be a server's worker. Carries the descriptors named in `fds`.
    StartServer(ServerSetup),
    /// The links as they are now, all of them (router).
    Links(Vec<LinkSetup>),
    /// What schedules which flows from now on, all of it (router). Carries the objects.
    Schedulers(SchedulerSetup),
    /// The schedulers that are not used, all of them (server).
    Quarantine(Vec<SchedulerId>),
    /// Report the schedulers' decisions for [`TRACE_FOR`](super::TRACE_FOR).
    Trace,
    /// The routers that may connect from now on, all of them; live connections of others are closed (server).
    Routers(Vec<AuthorisedRouter>),
    /// The answer to [`FromWorker::Redeem`]; an `Err` is the text form of a
    /// [`Refusal`](guywire_transport::enrol::Refusal) (server).
    Redeemed {
        /// The number of the question.
        request: u64,
        /// What the router gets, or why it gets nothing: `unknown`, `used`, `expired` or `busy`.
        result: Result<Enrolled, String>,
    },
    /// End everything and exit with status 0 within two seconds.
    Stop,
}

/// What a worker tells its supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The setup was taken over and connections are being accepted.
    Ready,
    /// A snapshot, sent about every 500 ms.
    Status(WorkerStatus),
    /// Somebody presents an invitation (server). Answered by [`ToWorker::Redeemed`].
    Redeem {
        /// Chosen by the worker, repeated in the answer.
        request: u64,
        /// The secret of the invitation, as text.
        secret: SecretText,
        /// The public key to be registered, as text.
        public_key: String,
        /// Who asks: address and port, for the log.
        peer: String,
    },
    /// The first message to a supervisor that finds a worker whose own was killed: what the worker was started with,
    /// links and routers as they were then. Carries copies of the descriptors that it names.
    Handover(Box<ToWorker>),
    /// A scheduler was ejected.
    Ejected(Box<Ejection>),
    /// The schedulers' last decisions, while they are wanted.
    Decisions(Vec<TracedDecision>),
    /// Something a person should know of.
    Incident {
        /// A word for machines, such as `wrong-server-key`.
        kind: String,
        /// A sentence for people.
        text: String,
    },
}

impl Message for ToWorker {
    fn descriptors(&self) -> &[String] {
        match self {
            Self::StartRouter(setup) => &setup.fds,
            Self::StartServer(setup) => &setup.fds,
            Self::Schedulers(setup) => &setup.fds,
            _ => &[],
        }
    }
}

impl Message for FromWorker {
    fn descriptors(&self) -> &[String] {
        match self {
            Self::Handover(start) => start.descriptors(),
            _ => &[],
        }
    }
}

/// Which endpoint this is, for HELLO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// 32 hexadecimal digits, new each time a supervisor starts without a worker to take over.
    pub instance: String,
    /// Counts the workers of one supervisor, from 1.
    pub generation: u32,
    /// The oldest generation that may still be alive.
    pub oldest: u32,
}

/// All that a router's worker needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterSetup {
    /// Instance and generation.
    pub identity: Identity,
    /// The router's name, as the server knows it.
    pub name: String,
    /// The router's Ed25519 key, PKCS#8 DER.
    pub private_key: SecretBytes,
    /// The server to connect to.
    pub server: ServerPeer,
    /// All configured links, present or not.
    pub links: Vec<LinkSetup>,
    /// What the session's schedulers may take.
    pub budget: Budget,
    /// Most bytes that a session may buffer.
    pub session_memory: u64,
    /// Most flows at one time.
    pub max_flows: u32,
    /// Names of the descriptors that travel with this message; see [`descriptor`].
    pub fds: Vec<String>,
}

/// The server, seen from a router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerPeer {
    /// Where it listens; at least one.
    pub addresses: Vec<SocketAddr>,
    /// Its public key, as text.
    pub public_key: String,
    /// The key of the SNI tag, as text.
    pub tag_key: SecretText,
}

/// One WAN link of the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSetup {
    /// From 1, stable while the link is configured: its position in the configuration.
    pub id: u8,
    /// Its name in the configuration, such as `wan1`.
    pub name: String,
    /// Its network device.
    pub device: String,
    /// Used always, or only when no normal link is up.
    pub priority: Priority,
    /// Relative cost of a byte; 0 is free.
    pub cost: u32,
    /// Congestion control, or the default (BBR where the kernel has it).
    pub congestion: Option<String>,
    /// Traffic here costs money or is capped: probe rarely.
    pub metered: bool,
    /// The device exists and has carrier.
    pub present: bool,
    /// Its addresses that can reach the server: of a family that has a route, usable, not link-local.
    pub addresses: Vec<IpAddr>,
}

/// When a link is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Always.
    #[default]
    Normal,
    /// Only when no normal link is up.
    Backup,
}

/// All that a server's worker needs. It finds the machine's own addresses (refused as destinations) itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerSetup {
    /// Instance and generation.
    pub identity: Identity,
    /// The server's Ed25519 key, PKCS#8 DER.
    pub private_key: SecretBytes,
    /// The keys of the SNI tags that the server accepts, newest first, as text; the first is given to new routers.
    pub tag_keys: Vec<SecretText>,
    /// The routers that may connect.
    pub routers: Vec<AuthorisedRouter>,
    /// Resolvers behind `service:dns`; at least one.
    pub dns: Vec<SocketAddr>,
    /// Destinations that are allowed although they are private or the like.
    pub allow: Vec<IpNet>,
    /// Destination ports that are allowed although they are refused by default (25).
    pub allow_ports: Vec<u16>,
    /// Names of the routers that may send schedulers of their own.
    pub objects_from: Vec<String>,
    /// What the schedulers of a session may take.
    pub budget: Budget,
    /// Most bytes that a session may buffer.
    pub session_memory: u64,
    /// Most flows of a session at one time.
    pub max_flows: u32,
    /// Names of the descriptors that travel with this message; see [`descriptor`].
    pub fds: Vec<String>,
}

/// A router that a server lets in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorisedRouter {
    /// Its name.
    pub name: String,
    /// Its public key, as text.
    pub public_key: String,
}

/// What a router gets for its invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The name that the invitation was made for.
    pub name: String,
    /// The server's key for SNI tags, as text.
    pub tag_key: SecretText,
}

/// A worker's snapshot of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its process.
    pub pid: u32,
    /// The paths of all sessions.
    pub paths: Vec<PathStatus>,
    /// Flows alive now.
    pub flows: u64,
    /// Flows opened since the worker started.
    pub flows_opened: u64,
    /// Flows that ended in a reset since the worker started.
    pub flows_reset: u64,
    /// The schedulers in use, by session and class.
    #[serde(default)]
    pub schedulers: Vec<SchedulerReport>,
    /// Bytes held in the buffers of all sessions.
    pub memory_bytes: u64,
    /// Bytes of flows that this end sent more than once, in the sessions of the moment.
    #[serde(default)]
    pub repeated_bytes: u64,
    /// How often this end held a path stale, in the sessions of the moment.
    #[serde(default)]
    pub alarms: u64,
}

/// A path of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStatus {
    /// The other end: the router's name on a server, the server's on a router.
    pub session: String,
    /// Name of the link.
    pub link: String,
    /// Its state.
    pub state: PathState,
    /// Smoothed round trip in microseconds; 0 while unknown.
    pub srtt_us: u64,
    /// Least round trip of its connections in microseconds, without queues; 0 while unknown.
    #[serde(default)]
    pub min_rtt_us: u64,
    /// Estimated rate from here to there, bits per second; 0 while unknown.
    pub rate_bps: u64,
    /// The most that was sent on it in half a second since the worker started, bits per second (router).
    #[serde(default)]
    pub most_sent_bps: u64,
    /// The most that was received on it in half a second since the worker started, bits per second (router).
    #[serde(default)]
    pub most_received_bps: u64,
    /// Of a million segments from here to there, those that had to be sent again, by its present connections.
    #[serde(default)]
    pub repeated_ppm: u32,
    /// Connections open on it.
    pub subflows: u32,
    /// Bytes sent on it since the session began.
    pub sent_bytes: u64,
    /// Bytes received on it since the session began.
    pub received_bytes: u64,
}

/// State of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathState {
    /// Used.
    Up,
    /// Data is overdue: probed, not trusted.
    Stale,
    /// No connection.
    Down,
    /// The router says that it is gone.
    Withdrawn,
}

impl std::fmt::Display for PathState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Stale => "stale",
            Self::Down => "down",
            Self::Withdrawn => "withdrawn",
        })
    }
}
