//! The server's end: TLS connections, each carried to the destination that it names.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use guywire_net::listen::tcp_listener;
use guywire_transport::enrol::limit::LimiterSettings;
use guywire_transport::key::PrivateKey;
use guywire_transport::tag::TagKey;
use guywire_transport::tls::{Authorised, AuthorisedSet, ServerTls};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{BUFFER, pump, wire};

/// The longest destination, in bytes: an IPv6 address with brackets, scope and port.
const DESTINATION: usize = 64;

/// Serves the router of the same `key` at `address`, until it is killed. Prints a line when it is
/// ready.
pub(super) async fn run(key: &PrivateKey, address: SocketAddr) -> Result<()> {
    let router = (key.public_key(), TagKey::generate()?);
    let authorised = Authorised::new(AuthorisedSet::of_routers([router]));
    let tls = ServerTls::new(key, authorised, LimiterSettings::default())?;
    let acceptor = TlsAcceptor::from(tls.config());
    let listener = tcp_listener(address, false)
        .with_context(|| format!("cannot listen on {address}"))
        .and_then(|listener| Ok(TcpListener::from_std(listener)?))?;
    println!("ready");
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Err(error) = carry(stream, &acceptor).await {
                eprintln!("a connection: {error:#}");
            }
        });
    }
}

async fn carry(stream: TcpStream, acceptor: &TlsAcceptor) -> Result<()> {
    let mut tls = acceptor.accept(wire(stream)?).await?;
    tls.get_mut().1.set_buffer_limit(Some(BUFFER));
    let destination = destination(&mut tls).await?;
    let stream = TcpStream::connect(destination).await?;
    stream.set_nodelay(true)?;
    Ok(pump::both(tls, stream).await?)
}

/// Reads the line that says where to connect to.
async fn destination(from: &mut (impl AsyncRead + Unpin)) -> Result<SocketAddr> {
    let mut line = Vec::new();
    while line.len() < DESTINATION {
        match from.read_u8().await? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    let line = String::from_utf8(line)?;
    line.parse()
        .with_context(|| format!("{line:?} is no destination"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_a_destination_and_no_byte_more() {
        let mut from = &b"203.0.113.1:80\nGET /"[..];
        let read = destination(&mut from).await.expect("it is one");
        assert_eq!(read.to_string(), "203.0.113.1:80");
        assert_eq!(from, b"GET /");
        for wrong in ["", "\n", "internet:80\n", &"1".repeat(100)] {
            assert!(destination(&mut wrong.as_bytes()).await.is_err(), "{wrong}");
        }
    }
}
