//! The LAN's DNS questions travel over flows to `service:dns` at the server, which asks its resolvers.
//!
//! On a flow, messages are framed as in DNS over TCP (RFC 1035, section 4.2.2): two bytes of length, then the
//! message.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use guywire_control::dns::{self, ANSWER_BOUND};
use guywire_flow::{Destination, FlowKind, FlowReason, Gone};
use guywire_net::tcp;
use guywire_transport::flow::FlowHandle;
use guywire_transport::relay;
use guywire_transport::router::Router;
use tokio::net::{TcpListener, UdpSocket};

/// The service's name in OPEN.
pub(super) const SERVICE: &str = "dns";
/// So many questions by UDP are under way at once; more are dropped, and the asker tries again.
const QUESTIONS: usize = 512;

/// Answers the questions that come to a UDP socket.
pub(super) async fn relay_udp(socket: UdpSocket, router: Router) {
    let ask = |question: Vec<u8>| {
        let router = router.clone();
        async move { ask(&router, &question).await.ok() }
    };
    dns::answer_udp(socket, QUESTIONS, ask).await;
}

/// Asks one question over a flow of its own.
async fn ask(router: &Router, question: &[u8]) -> Result<Vec<u8>, Gone> {
    let flow = router
        .session()
        .open(
            Destination::Service(SERVICE.to_owned()),
            FlowKind::default(),
        )
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
                    && let Ok(flow) = router.session().open(service, FlowKind::default())
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
            match dns::resolve(&question, resolvers).await {
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
        let mut rest = Bytes::from(dns::framed(message));
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
