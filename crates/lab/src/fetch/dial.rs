//! From a URL to an HTTP connection.

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Empty;
use http_body_util::combinators::BoxBody;
use hyper::Uri;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::FetchOptions;

/// What to ask, and whom.
#[derive(Clone, Debug)]
pub struct Target {
    uri: Uri,
    host: String,
    port: u16,
}

/// Why a URL cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No URL at all.
    #[error("{text:?} is no URL: {reason}; http://internet/bytes/1000000 is one")]
    NoUrl {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: hyper::http::uri::InvalidUri,
    },
    /// Not plain HTTP, or no host.
    #[error("{text:?} is not a plain http:// URL with a host")]
    NotHttp {
        /// What was given.
        text: String,
    },
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Target, TargetError> {
        let uri: Uri = text.parse().map_err(|reason| TargetError::NoUrl {
            text: text.into(),
            reason,
        })?;
        let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(TargetError::NotHttp { text: text.into() });
        };
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = uri.port_u16().unwrap_or(80);
        Ok(Target { uri, host, port })
    }
}

impl Target {
    /// The URL as given.
    pub fn url(&self) -> String {
        self.uri.to_string()
    }

    /// Host and port as the `Host` header wants them.
    pub(super) fn authority(&self) -> &str {
        self.uri
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    /// Path and query.
    pub(super) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

/// Which addresses of a host to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// All, in the resolver's order.
    #[default]
    Any,
    /// Only IPv4.
    V4,
    /// Only IPv6.
    V6,
}

impl Family {
    fn takes(self, address: &SocketAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

/// The body of every request.
pub(super) type RequestBody = BoxBody<Bytes, std::convert::Infallible>;

/// A request without a body.
pub(super) fn no_body() -> RequestBody {
    Empty::new().boxed()
}

/// An HTTP connection, and what is known of its socket.
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) address: SocketAddr,
    pub(super) congestion: Option<String>,
}

/// Resolves, connects to the first address that accepts within the options'
/// patience, and starts HTTP on it. The connection lives as long as its sender.
pub(super) async fn connect(options: &FetchOptions) -> io::Result<Connection> {
    let FetchOptions {
        target,
        family,
        patience,
        mptcp,
        ..
    } = options;
    let patience: Duration = *patience;
    let resolved = timeout(
        patience,
        tokio::net::lookup_host((target.host.as_str(), target.port)),
    )
    .await
    .map_err(|_| timed_out("resolving", &target.host))?
    .map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot resolve {}: {error}", target.host),
        )
    })?;
    let mut failure = io::Error::new(
        io::ErrorKind::NotFound,
        format!("{} has no address of that family", target.host),
    );
    for address in resolved.filter(|address| family.takes(address)) {
        match timeout(patience, dial(address, *mptcp)).await {
            Ok(Ok(stream)) => return start(stream, address).await,
            Ok(Err(error)) => failure = io::Error::new(error.kind(), format!("{address}: {error}")),
            Err(_) => failure = timed_out("connecting to", &address.to_string()),
        }
    }
    Err(failure)
}

/// Connects, by TCP or by the kernel's own MPTCP.
async fn dial(address: SocketAddr, mptcp: bool) -> io::Result<TcpStream> {
    if !mptcp {
        return TcpStream::connect(address).await;
    }
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::MPTCP))?;
    socket.set_nonblocking(true)?;
    TcpSocket::from_std_stream(socket.into())
        .connect(address)
        .await
}

async fn start(stream: TcpStream, address: SocketAddr) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let congestion = guywire_net::tcp::congestion_control(&stream).ok();
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // What breaks on the connection reaches the request and its body too.
    tokio::spawn(async move { drop(connection.await) });
    Ok(Connection {
        sender,
        address,
        congestion,
    })
}

fn timed_out(doing: &str, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("{doing} {what} took too long"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let rows = [
            ("http://internet/bytes/10", "internet", 80, "/bytes/10"),
            ("http://internet:81", "internet", 81, "/"),
            (
                "http://[2001:db8:1::1]/sink?samples",
                "2001:db8:1::1",
                80,
                "/sink?samples",
            ),
        ];
        for (url, host, port, path) in rows {
            let target: Target = url.parse().expect(url);
            assert_eq!(
                (target.host.as_str(), target.port, target.path()),
                (host, port, path)
            );
        }
        for url in ["https://internet/", "internet", "/bytes/10", "http://", ""] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }
}
