//! A bare TLS relay: what somebody would write who wants the LAN's TCP carried to a server, and
//! nothing else. No bonding, no records, no credit: what Guywire costs beyond it is the price of
//! those.
//!
//! Everything else is as in Guywire, so that only the difference is measured: the capture rules,
//! the TLS configuration with its ciphers and keys, the runtime. Where one can choose it takes
//! what is fastest: 256 kB are read and written at once, on either side of TLS.
//!
//! A captured connection becomes one TLS connection, over which goes one line, the destination,
//! and then what the client says.
//!
//! - [`router`]: captured connections, carried to the server.
//! - [`server`]: TLS connections, carried to their destinations.
//! - [`pump`]: both directions of a pair of connections.

mod pump;
mod router;
mod server;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use guywire_transport::key::PrivateKey;
use tokio::io::BufReader;
use tokio::net::TcpStream;

/// So much is read and written at once, in bytes.
const BUFFER: usize = 256 * 1024;

/// One of the relay's ends, or what they need.
#[derive(Debug, Subcommand)]
pub(crate) enum End {
    /// Make the key that both ends use, PKCS #8
    Key {
        /// Where to put it
        file: PathBuf,
    },
    /// Capture the TCP of a LAN and carry it to the server
    Router {
        /// The key that both ends use
        #[arg(long)]
        key: PathBuf,
        /// The LAN's device
        #[arg(long)]
        lan: String,
        /// The server
        address: SocketAddr,
    },
    /// Connect to the destinations that the router asks for
    Server {
        /// The key that both ends use
        #[arg(long)]
        key: PathBuf,
        /// Where to listen
        address: SocketAddr,
    },
}

/// Runs one end until it is killed.
pub(crate) async fn run(end: End) -> Result<()> {
    match end {
        End::Key { file } => {
            let key = PrivateKey::generate()?.to_pkcs8();
            std::fs::write(&file, key).with_context(|| format!("cannot write {}", file.display()))
        }
        End::Router { key, lan, address } => router::run(&read_key(&key)?, &lan, address).await,
        End::Server { key, address } => server::run(&read_key(&key)?, address).await,
    }
}

fn read_key(file: &Path) -> Result<PrivateKey> {
    let key = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(PrivateKey::from_pkcs8(&key)?)
}

/// What TLS runs on. rustls reads 4 kB at a time, which would be a system call each.
type Wire = BufReader<TcpStream>;

fn wire(stream: TcpStream) -> Result<Wire> {
    stream.set_nodelay(true)?;
    Ok(BufReader::with_capacity(BUFFER, stream))
}
