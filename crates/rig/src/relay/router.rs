//! The router's end: captured connections, each carried to the server.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use guywire_net::listen::tproxy_listener;
use guywire_net::nft::{CaptureRules, install_capture};
use guywire_net::route::{Family, Netlink, TproxyPolicy};
use guywire_transport::key::PrivateKey;
use guywire_transport::tag::TagKey;
use guywire_transport::tls::ClientTls;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{BUFFER, pump, wire};

/// How captured packets are led here. The same numbers as in Guywire's, which is not running where
/// this is.
const TPROXY: TproxyPolicy = TproxyPolicy {
    mark: 0x4757,
    table: 21_900,
    priority: 190,
};

/// Captures what comes in by `lan` (IPv4 only) and carries it to `server`, until it is killed.
/// Prints a line when it is ready.
pub(super) async fn run(key: &PrivateKey, lan: &str, server: SocketAddr) -> Result<()> {
    let tls = ClientTls::new(key, key.public_key(), TagKey::generate()?)?;
    let connector = TlsConnector::from(tls.config());
    let listener = tproxy_listener(Family::V4, 0).context("cannot listen for captured TCP")?;
    let port = listener.local_addr()?.port();
    let netlink = Netlink::new()?;
    netlink.add_tproxy_policy(TPROXY).await?;
    // The rules live as long as this value.
    let _capture = install_capture(&CaptureRules {
        lan: vec![lan.to_owned()],
        mark: TPROXY.mark,
        port4: port,
        // Nobody listens there, so IPv6 passes by.
        port6: port,
        bypass: Vec::new(),
        reject_quic: false,
    })?;
    let listener = TcpListener::from_std(listener)?;
    println!("ready");
    loop {
        let (client, _) = listener.accept().await?;
        let connector = connector.clone();
        tokio::spawn(async move {
            if let Err(error) = carry(client, &connector, server).await {
                eprintln!("a connection: {error:#}");
            }
        });
    }
}

async fn carry(client: TcpStream, connector: &TlsConnector, server: SocketAddr) -> Result<()> {
    client.set_nodelay(true)?;
    // The listener is transparent: this is where the client wanted to go.
    let destination = client.local_addr()?;
    let stream = TcpStream::connect(server).await?;
    let name = ServerName::IpAddress(server.ip().into());
    let mut tls = connector.connect(name, wire(stream)?).await?;
    tls.get_mut().1.set_buffer_limit(Some(BUFFER));
    tls.write_all(format!("{destination}\n").as_bytes()).await?;
    Ok(pump::both(client, tls).await?)
}
