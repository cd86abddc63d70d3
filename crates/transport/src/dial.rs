//! Dialling: a TCP connection bound to a link, with the socket options of a subflow.
//!
//! All options are set before `connect`, so the first segment already leaves by the right device
//! and the handshake already uses the right segment size. What the kernel refuses for want of a
//! privilege or a module (congestion control) is replaced and reported; what decides *where* the
//! connection goes (device, source) must succeed.
//!
//! A worker without capabilities may bind a socket to a device once, and may choose only what
//! `net.ipv4.tcp_allowed_congestion_control` lists.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use guywire_net::tcp;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpSocket, TcpStream};

/// The congestion control that subflows use where the kernel permits it. On a lossy link alone
/// it moved 18.2 Mbit/s of 20 where CUBIC moved 2.9 (measured, 0.5 % loss at 120 ms).
pub const PREFERRED_CONGESTION: &str = "bbr";

/// Options of a subflow's socket at either end. The default leaves everything but congestion
/// control and TCP_NODELAY to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TcpOptions {
    /// Congestion control wanted; `None`: [`PREFERRED_CONGESTION`]. Where the kernel refuses it,
    /// [`PREFERRED_CONGESTION`] and then the kernel's default take its place.
    pub congestion: Option<String>,
    /// Largest segment, bytes (TCP_MAXSEG, 88 to 32,767); for paths that lose full-size ones.
    /// Counts only before the connection exists.
    pub max_segment: Option<u32>,
    /// How long sent data may stay unacknowledged before the kernel gives the connection up
    /// (TCP_USER_TIMEOUT).
    pub user_timeout: Option<Duration>,
    /// Unsent bytes below half of which the socket becomes writable (TCP_NOTSENT_LOWAT).
    pub notsent_lowat: Option<u32>,
    /// Longest retransmission timeout (TCP_RTO_MAX_MS, Linux 6.15; 1 to 120 s). Kernels without
    /// it are left as they are.
    pub rto_max: Option<Duration>,
}

/// Which way a connection leaves, and its socket options.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DialOptions {
    /// The device to leave by, whatever the routes say (SO_BINDTODEVICE).
    pub device: Option<String>,
    /// The source address; must be of the remote's family.
    pub source: Option<IpAddr>,
    /// Socket options.
    pub tcp: TcpOptions,
}

/// A connection that was dialled.
#[derive(Debug)]
pub struct Dialled {
    /// The connection.
    pub stream: TcpStream,
    /// The congestion control in use, which may be another than was wanted.
    pub congestion: String,
}

/// What was being done when dialling failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialStep {
    /// Making the socket.
    Open,
    /// Binding it to the device.
    Device,
    /// Binding it to the source address.
    Source,
    /// Setting the named option.
    Option(&'static str),
    /// Waiting for the far end's answer.
    Connect,
}

impl std::fmt::Display for DialStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open => f.write_str("open a socket"),
            Self::Device => f.write_str("bind to the device"),
            Self::Source => f.write_str("bind to the source address"),
            Self::Option(name) => write!(f, "set {name}"),
            Self::Connect => f.write_str("connect"),
        }
    }
}

/// No connection came about.
#[derive(Debug, Error)]
pub enum DialError {
    /// The kernel or the network refused.
    #[error("cannot reach {remote}{}: {step}: {source}", by(device))]
    Failed {
        /// Where to.
        remote: SocketAddr,
        /// By which device; `None`: as the routes say.
        device: Option<String>,
        /// What was being done.
        step: DialStep,
        /// Why it failed.
        source: io::Error,
    },
    /// No answer came in time.
    #[error("cannot reach {remote}{}: no answer within {bound:?}", by(device))]
    TimedOut {
        /// Where to.
        remote: SocketAddr,
        /// By which device; `None`: as the routes say.
        device: Option<String>,
        /// The time allowed.
        bound: Duration,
    },
}

impl DialError {
    /// What was being done.
    pub fn step(&self) -> DialStep {
        match self {
            Self::Failed { step, .. } => *step,
            Self::TimedOut { .. } => DialStep::Connect,
        }
    }
}

fn by(device: &Option<String>) -> String {
    match device {
        Some(device) => format!(" by device {device}"),
        None => String::new(),
    }
}

/// Dials `remote` within `bound`.
///
/// # Errors
/// Names remote, device, and the step that failed.
pub async fn dial(
    remote: SocketAddr,
    options: &DialOptions,
    bound: Duration,
) -> Result<Dialled, DialError> {
    let failed = |(step, source)| DialError::Failed {
        remote,
        device: options.device.clone(),
        step,
        source,
    };
    let (socket, congestion) = prepare(remote, options).map_err(failed)?;
    match tokio::time::timeout(bound, socket.connect(remote)).await {
        Ok(Ok(stream)) => Ok(Dialled { stream, congestion }),
        Ok(Err(source)) => Err(failed((DialStep::Connect, source))),
        Err(_) => Err(DialError::TimedOut {
            remote,
            device: options.device.clone(),
            bound,
        }),
    }
}

/// A socket that only has to connect, and the congestion control that it uses.
fn prepare(
    remote: SocketAddr,
    options: &DialOptions,
) -> Result<(TcpSocket, String), (DialStep, io::Error)> {
    let open = |e| (DialStep::Open, e);
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket =
        Socket::new(Domain::for_address(remote), kind, Some(Protocol::TCP)).map_err(open)?;
    if let Some(device) = &options.device {
        tcp::bind_to_device(&socket, device).map_err(|e| (DialStep::Device, e))?;
    }
    if let Some(source) = options.source {
        socket
            .bind(&SocketAddr::new(source, 0).into())
            .map_err(|e| (DialStep::Source, e))?;
    }
    let congestion =
        apply(&socket, &options.tcp).map_err(|(name, e)| (DialStep::Option(name), e))?;
    // tokio takes over any socket as a std stream, connected or not.
    Ok((TcpSocket::from_std_stream(socket.into()), congestion))
}

/// Gives an accepted connection the options of a subflow; the congestion control in use.
///
/// # Errors
/// Names the option that the kernel refused.
pub fn tune_accepted(stream: &TcpStream, options: &TcpOptions) -> Result<String, TuneError> {
    apply(stream, options).map_err(|(option, source)| TuneError { option, source })
}

/// The kernel refused a socket option.
#[derive(Debug, Error)]
#[error("cannot set {option} on an accepted connection: {source}")]
pub struct TuneError {
    /// The option.
    pub option: &'static str,
    /// Why.
    pub source: io::Error,
}

fn apply(socket: &impl AsFd, options: &TcpOptions) -> Result<String, (&'static str, io::Error)> {
    let at = |option: &'static str| move |e: io::Error| (option, e);
    socket2::SockRef::from(socket)
        .set_tcp_nodelay(true)
        .map_err(at("TCP_NODELAY"))?;
    // A far end that lost its power says nothing: after two minutes of silence its connections are gone.
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    socket2::SockRef::from(socket)
        .set_tcp_keepalive(&keepalive)
        .map_err(at("SO_KEEPALIVE"))?;
    if let Some(bytes) = options.max_segment {
        tcp::set_maxseg(socket, bytes).map_err(at("TCP_MAXSEG"))?;
    }
    if options.user_timeout.is_some() {
        tcp::set_user_timeout(socket, options.user_timeout).map_err(at("TCP_USER_TIMEOUT"))?;
    }
    if let Some(bytes) = options.notsent_lowat {
        tcp::set_notsent_lowat(socket, bytes).map_err(at("TCP_NOTSENT_LOWAT"))?;
    }
    if let Some(longest) = options.rto_max {
        let millis = u32::try_from(longest.as_millis()).unwrap_or(u32::MAX);
        tcp::set_rto_max_ms(socket, millis).map_err(at("TCP_RTO_MAX_MS"))?;
    }
    choose_congestion(socket, options.congestion.as_deref()).map_err(at("TCP_CONGESTION"))
}

/// Tries what is wanted, then the preferred one, and reports what is in use then.
fn choose_congestion(socket: &impl AsFd, wanted: Option<&str>) -> io::Result<String> {
    for name in wanted.into_iter().chain([PREFERRED_CONGESTION]) {
        // A kernel without it and one that forbids it are the same here: the next best is taken.
        if tcp::set_congestion_control(socket, name).is_ok() {
            break;
        }
    }
    tcp::congestion_control(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::TcpListener;

    const BOUND: Duration = Duration::from_secs(10);

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn permitted(name: &str) -> bool {
        std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
            .is_ok_and(|all| all.split_whitespace().any(|one| one == name))
    }

    #[tokio::test]
    async fn options_are_in_force_on_both_ends() {
        let (listener, address) = listener().await;
        let options = DialOptions {
            device: Some("lo".to_owned()),
            source: Some(Ipv4Addr::new(127, 0, 0, 9).into()),
            tcp: TcpOptions {
                max_segment: Some(1220),
                user_timeout: Some(Duration::from_secs(30)),
                notsent_lowat: Some(128 * 1024),
                rto_max: Some(Duration::from_secs(1)),
                ..TcpOptions::default()
            },
        };
        let dialled = dial(address, &options, BOUND).await.unwrap();
        let (accepted, from) = listener.accept().await.unwrap();
        assert_eq!(from.ip(), options.source.unwrap());
        assert!(dialled.stream.nodelay().unwrap());
        let info = socket2::SockRef::from(&dialled.stream);
        assert_eq!(info.device().unwrap().as_deref(), Some(&b"lo"[..]));
        assert_eq!(info.tcp_user_timeout().unwrap(), options.tcp.user_timeout);
        assert_eq!(info.tcp_notsent_lowat().unwrap(), 128 * 1024);
        let segment = info.tcp_mss().unwrap();
        assert!(segment <= 1220, "segments of {segment} bytes");
        let there = tune_accepted(&accepted, &TcpOptions::default()).unwrap();
        assert!(accepted.nodelay().unwrap());
        if permitted(PREFERRED_CONGESTION) {
            assert_eq!(dialled.congestion, PREFERRED_CONGESTION);
            assert_eq!(there, PREFERRED_CONGESTION);
        } else {
            eprintln!("skipped: this kernel does not permit bbr to everybody");
        }
    }

    #[tokio::test]
    async fn a_wanted_congestion_control_is_used_or_replaced() {
        let (_listener, address) = listener().await;
        let with = |name: &str| DialOptions {
            tcp: TcpOptions {
                congestion: Some(name.to_owned()),
                ..TcpOptions::default()
            },
            ..DialOptions::default()
        };
        let reno = dial(address, &with("reno"), BOUND).await.unwrap();
        if permitted("reno") {
            assert_eq!(reno.congestion, "reno");
        }
        let unknown = dial(address, &with("no-such-cc"), BOUND).await.unwrap();
        let default = dial(address, &DialOptions::default(), BOUND).await.unwrap();
        assert_eq!(unknown.congestion, default.congestion);
    }

    #[tokio::test]
    async fn errors_name_remote_device_and_step() {
        let (listener, address) = listener().await;
        let options = DialOptions {
            device: Some("no-such-dev".to_owned()),
            ..DialOptions::default()
        };
        let error = dial(address, &options, BOUND).await.unwrap_err();
        assert_eq!(error.step(), DialStep::Device);
        let text = error.to_string();
        let start = format!("cannot reach {address} by device no-such-dev: bind to the device: ");
        assert!(text.starts_with(&start), "{text}");

        let options = DialOptions {
            source: Some(Ipv4Addr::new(192, 0, 2, 1).into()),
            ..DialOptions::default()
        };
        let error = dial(address, &options, BOUND).await.unwrap_err();
        assert_eq!(error.step(), DialStep::Source);

        drop(listener);
        let error = dial(address, &DialOptions::default(), BOUND)
            .await
            .unwrap_err();
        assert_eq!(error.step(), DialStep::Connect);
    }

    /// A listener whose queue is full leaves a SYN unanswered, as a dead link does.
    #[tokio::test]
    async fn an_unanswered_dial_ends_in_time() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let short = Duration::from_millis(300);
        let mut held = Vec::new();
        let error = loop {
            match dial(address, &DialOptions::default(), short).await {
                Ok(dialled) => held.push(dialled),
                Err(error) => break error,
            }
            assert!(held.len() < 64, "the queue never fills");
        };
        let text = error.to_string();
        assert_eq!(
            text,
            format!("cannot reach {address}: no answer within 300ms")
        );
    }
}
