//! The LAN's DNS questions travel over flows to `service:dns` at the server, which asks its resolvers.
//!
//! On a flow, messages are framed as in DNS over TCP (RFC 1035, section 4.2.2): two bytes of length, then the
//! message. Nothing here looks into a message beyond its id and its flags.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use guywire_flow::{Destination, FlowReason, Gone};
use guywire_net::tcp;
use guywire_transport::flow::FlowHandle;
use guywire_transport::relay;
use guywire_transport::router::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// The service's name in OPEN.
pub(super) const SERVICE: &str = "dns";
/// So many questions by UDP are under way at once; more are dropped, and the asker tries again.
const QUESTIONS: usize = 512;
/// An asker waits this long at most.
const ANSWER_BOUND: Duration = Duration::from_secs(5);
/// A resolver has this long before the next one is asked.
const RESOLVER_BOUND: Duration = Duration::from_millis(1_500);
/// A message has at least its header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
/// An answer by UDP is at most this long; a question may announce less, which the resolver minds.
const UDP_ANSWER: usize = 4_096;

/// Answers the questions that come to a UDP socket.
pub(super) async fn relay_udp(socket: UdpSocket, router: Router) {
    let socket = Arc::new(socket);
    let turns = Arc::new(Semaphore::new(QUESTIONS));
    let mut buffer = vec![0; UDP_ANSWER];
    loop {
        let (length, asker) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An earlier answer could not be delivered, most likely.
                tracing::debug!(%error, "dns socket");
                continue;
            }
        };
        let Ok(turn) = turns.clone().try_acquire_owned() else {
            continue;
        };
        let question = buffer[..length].to_vec();
        let (socket, router) = (socket.clone(), router.clone());
        tokio::spawn(async move {
            let asked = tokio::time::timeout(ANSWER_BOUND, ask(&router, &question)).await;
            if let Ok(Ok(answer)) = asked {
                let _ = socket.send_to(&answer, asker).await;
            }
            drop(turn);
        });
    }
}

/// Asks one question over a flow of its own.
async fn ask(router: &Router, question: &[u8]) -> Result<Vec<u8>, Gone> {
    let flow = router
        .session()
        .open(Destination::Service(SERVICE.to_owned()), 0)
        .map_err(|_| Gone)?;
    let mut messages = Messages::new(&flow);
    messages.send(question).await?;
    let answer = messages.next().await?.ok_or(Gone)?;
    flow.finish()?;
    // The flow ends by itself; the answer does not wait for that.
    tokio::spawn(async move {
        let _ = tokio::time::timeout(ANSWER_BOUND, drain(&flow)).await;
    });
    Ok(answer)
}

async fn drain(flow: &FlowHandle) -> Result<(), Gone> {
    let mut messages = Messages::new(flow);
    while messages.next().await?.is_some() {}
    flow.ended().await;
    Ok(())
}

/// Relays connections to a TCP listener.
pub(super) async fn relay_tcp(listener: TcpListener, router: Router) {
    loop {
        match listener.accept().await {
            Ok((local, _)) => {
                let service = Destination::Service(SERVICE.to_owned());
                if tcp::set_reset_on_close(&local, true).is_ok()
                    && let Ok(flow) = router.session().open(service, 0)
                {
                    tokio::spawn(relay(local, flow));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for dns");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves `service:dns` on a flow until the other end has no more questions.
pub(super) async fn serve(flow: FlowHandle, resolvers: &[SocketAddr]) {
    if flow.accept().is_err() {
        return;
    }
    let mut messages = Messages::new(&flow);
    let served = async {
        while let Some(question) = messages.next().await? {
            match resolve(&question, resolvers).await {
                Some(answer) => messages.send(&answer).await?,
                None => {
                    flow.reset(FlowReason::TimedOut);
                    return Err(Gone);
                }
            }
        }
        flow.finish()
    };
    if served.await.is_ok() {
        let _ = tokio::time::timeout(ANSWER_BOUND, flow.ended()).await;
    }
}

/// Asks the resolvers one after the other.
async fn resolve(question: &[u8], resolvers: &[SocketAddr]) -> Option<Vec<u8>> {
    if question.len() < HEADER {
        return None;
    }
    for &resolver in resolvers {
        let asked = tokio::time::timeout(RESOLVER_BOUND, ask_resolver(question, resolver)).await;
        match asked {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "no answer"),
            Err(_) => tracing::debug!(%resolver, "no answer in time"),
        }
    }
    None
}

/// By UDP first; by TCP if the answer was cut short.
async fn ask_resolver(question: &[u8], resolver: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    // A socket of its own for each question: its random port is half of what a forger must guess.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut answer = vec![0; UDP_ANSWER];
    loop {
        let length = socket.recv(&mut answer).await?;
        if length >= HEADER && answer[..2] == question[..2] {
            answer.truncate(length);
            break;
        }
    }
    /// The TC bit of the header's third byte.
    const TRUNCATED: u8 = 0x02;
    if answer[2] & TRUNCATED == 0 {
        return Ok(answer);
    }
    ask_by_tcp(question, resolver).await
}

async fn ask_by_tcp(question: &[u8], resolver: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    stream.write_all(&framed(question)).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(&message[..length.into()]);
    framed
}

/// Framed messages on a flow.
struct Messages<'a> {
    flow: &'a FlowHandle,
    received: BytesMut,
}

impl<'a> Messages<'a> {
    fn new(flow: &'a FlowHandle) -> Messages<'a> {
        Messages {
            flow,
            received: BytesMut::new(),
        }
    }

    async fn send(&mut self, message: &[u8]) -> Result<(), Gone> {
        let mut rest = Bytes::from(framed(message));
        while !rest.is_empty() {
            let room = self.flow.writable().await?;
            self.flow.write(rest.split_to(room.min(rest.len())))?;
        }
        Ok(())
    }

    /// The next message; `None` at the end of the flow's direction.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Gone> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            let mut pieces = Vec::new();
            if !self.flow.read(&mut pieces, 1 << 16).await? {
                return Ok(None);
            }
            for piece in pieces {
                self.received.extend_from_slice(&piece);
                self.flow.consume(piece.len());
            }
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.received.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let message = rest.get(..length)?.to_vec();
        self.received.advance(2 + length);
        Some(message)
    }
}
