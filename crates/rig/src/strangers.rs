//! Connections of routers that no server knows, at a steady rate: each says its whole ClientHello
//! and is turned away. A new connection for each, as strangers come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use guywire_net::tcp::set_reset_on_close;
use guywire_transport::key::PrivateKey;
use guywire_transport::tag::TagKey;
use guywire_transport::tls::ClientTls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_rustls::rustls::ClientConnection;
use tokio_rustls::rustls::pki_types::ServerName;

/// So many wait for their refusal at once, at most; the server takes 512.
const AT_ONCE: usize = 400;
/// How often some of them come.
const TICK: Duration = Duration::from_millis(2);

/// A flood of strangers.
#[derive(Debug, Args)]
pub(crate) struct Flood {
    /// How many a second
    #[arg(long)]
    rate: u32,
    /// For how many seconds
    #[arg(long)]
    seconds: u32,
    /// The server
    address: SocketAddr,
}

/// Runs the flood and prints how many were refused a second.
pub(crate) async fn run(flood: Flood) -> Result<()> {
    let hello: Arc<[u8]> = client_hello()?.into();
    let (refused, waiting) = (Arc::new(AtomicU32::new(0)), Semaphore::new(AT_ONCE));
    let waiting = Arc::new(waiting);
    let start = Instant::now();
    let mut ticks = interval(TICK);
    // What the machine cannot do is not made up for later: the rate that was reached is told.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut come = 0;
    while start.elapsed() < Duration::from_secs(flood.seconds.into()) {
        ticks.tick().await;
        let due = (start.elapsed().as_secs_f64() * f64::from(flood.rate)) as u32;
        for _ in come..due {
            let Ok(place) = waiting.clone().try_acquire_owned() else {
                break;
            };
            let (hello, refused) = (hello.clone(), refused.clone());
            tokio::spawn(async move {
                if be_refused(flood.address, &hello).await.is_ok() {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                drop(place);
            });
        }
        come = due;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", f64::from(refused.load(Ordering::Relaxed)) / seconds);
    Ok(())
}

/// The ClientHello of a router that was enrolled at another server.
fn client_hello() -> Result<Vec<u8>> {
    let (key, server, tag) = (
        PrivateKey::generate()?,
        PrivateKey::generate()?.public_key(),
        TagKey::generate()?,
    );
    let name = ServerName::try_from(tag.make(0)?)?;
    let tls = ClientTls::new(&key, server, tag)?;
    let mut connection = ClientConnection::new(tls.config(), name)?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello)?;
    Ok(hello)
}

/// Connects, says its ClientHello, and is turned away without a word.
async fn be_refused(address: SocketAddr, hello: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    // So many of them would use up the ports.
    set_reset_on_close(&stream, true)?;
    stream.write_all(hello).await?;
    let answer = stream.read(&mut [0; 16]).await;
    ensure!(!matches!(answer, Ok(1..)), "a stranger got an answer");
    Ok(())
}
