//! A service on a router that answers at once, and a client that asks it all the time: what a person at an SSH
//! session feels.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(20);

/// The service.
#[derive(Debug, Args)]
pub(crate) struct Echo {
    /// Where it listens
    listen: SocketAddr,
}

/// The client.
#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// For how many seconds
    #[arg(long)]
    seconds: u32,
    /// The service
    address: SocketAddr,
}

/// Echoes single bytes until it is ended; says when it listens.
pub(crate) async fn echo(echo: Echo) -> Result<()> {
    let listener = TcpListener::bind(echo.listen)
        .await
        .with_context(|| format!("cannot listen on {}", echo.listen))?;
    println!("listening");
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            while let Ok(byte) = stream.read_u8().await {
                if stream.write_u8(byte).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Asks, and prints how often and the longest time to an answer, in ms.
pub(crate) async fn probe(probe: Probe) -> Result<()> {
    let mut stream = TcpStream::connect(probe.address).await?;
    stream.set_nodelay(true)?;
    let (start, mut ticks) = (Instant::now(), interval(EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut count, mut worst) = (0, Duration::ZERO);
    while start.elapsed() < Duration::from_secs(probe.seconds.into()) {
        ticks.tick().await;
        let asked = Instant::now();
        stream.write_u8(1).await?;
        stream.read_u8().await?;
        worst = worst.max(asked.elapsed());
        count += 1;
    }
    println!("{count} {:.2}", worst.as_secs_f64() * 1e3);
    Ok(())
}
