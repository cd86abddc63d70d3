//! The task of one subflow: it reads records and writes records, and keeps the kernel's unsent queue
//! short.
//!
//! Reading never stops, whatever the flows do: only data-level credit stops a sender. Writing stops when the
//! kernel holds as many unsent bytes as the session allows, and goes on at the edge that the kernel
//! raises when fewer than half of TCP_NOTSENT_LOWAT are left.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use guywire_flow::record::{self, RecordError};
use guywire_flow::{FlowReason, Outgoing, SessionReason, SubflowId, SubflowInfo};
use guywire_net::tcp;
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::inbox::Inbox;
use crate::inflow::Verdict;
use crate::session::{SessionHandle, SubflowSignals};
use crate::tls::{self, Arrived, Protected, TlsStream};

/// So much, and the record that ends there, is taken from the session and written at once: with what TLS adds it fits
/// into one buffer.
pub(crate) const BATCH: usize = tls::BUFFER - 2 * record::MAX_BODY;
/// The kernel's figures are not read more often than this, unless two batches were sent since: a call costs 1 to 2 us.
const INFO_SPACING: Duration = Duration::from_millis(1);
/// While data is in flight they are not older than this or an eighth of the round trip.
const INFO_AGE: Duration = Duration::from_millis(3);
/// What arrived is acknowledged after this, if only by TCP: it would wait 40 to 200 ms itself
/// (`tcp_send_delayed_ack`), and the sender would take as long to see that nothing is in flight any more.
const ANSWER: Duration = Duration::from_millis(5);

/// Why a subflow ended.
#[derive(Debug, Error)]
pub enum SubflowEnd {
    /// The other end closed it.
    #[error("closed by the other end")]
    Closed,
    /// The session wanted it closed.
    #[error("given up")]
    GivenUp,
    /// The connection broke.
    #[error("broken: {0}")]
    Broken(#[from] io::Error),
    /// What arrived is no record.
    #[error("refused: {0}")]
    Record(#[from] RecordError),
    /// What arrived ends the session.
    #[error("session refused: {0}")]
    Offence(SessionReason),
    /// The session is over.
    #[error("the session ended: {0}")]
    Session(SessionReason),
}

/// Runs a subflow until it ends.
pub(crate) async fn run(
    session: &SessionHandle,
    id: SubflowId,
    path: u8,
    stream: TlsStream,
    signals: &SubflowSignals,
) -> SubflowEnd {
    let (stream, unread) = match Protected::take_over(stream) {
        Ok(taken) => taken,
        Err(error) => return error.into(),
    };
    let mut inbox = Inbox::default();
    inbox.gather(&unread);
    // Whatever ends it, nothing that was queued is worth waiting for.
    if let Err(error) = tcp::set_reset_on_close(stream.tcp(), true) {
        return error.into();
    }
    let info = match snapshot(stream.tcp(), 0) {
        Ok(info) => info,
        Err(error) => return error.into(),
    };
    let tcp = stream.tcp();
    let ends = tcp.local_addr().and_then(|own| Ok([own, tcp.peer_addr()?]));
    tracing::debug!(subflow = id.0, path, ?ends, "subflow joined");
    session.with(|session, now| {
        session.subflow_joined(now, id, path, info);
        if let Ok(ends) = ends {
            session.set_ends(id, ends);
        }
    });
    let mut task = Task {
        session,
        id,
        stream,
        inbox,
        outgoing: Outgoing::default(),
        flushed: true,
        lowat: 0,
        info_at: Instant::now(),
        info,
        sent_since: 0,
        unanswered: None,
    };
    let end = tokio::select! {
        biased;
        () = signals.close.notified() => SubflowEnd::GivenUp,
        reason = session.ended() => SubflowEnd::Session(reason),
        end = task.run(signals) => end,
    };
    if matches!(
        end,
        SubflowEnd::Session(_) | SubflowEnd::Offence(_) | SubflowEnd::Record(_)
    ) {
        task.say_goodbye().await;
    }
    end
}

struct Task<'a> {
    session: &'a SessionHandle,
    id: SubflowId,
    stream: Protected,
    inbox: Inbox,
    outgoing: Outgoing,
    /// Whether TLS has handed everything to the kernel.
    flushed: bool,
    /// TCP_NOTSENT_LOWAT as set.
    lowat: u64,
    info_at: Instant,
    info: SubflowInfo,
    /// Bytes sent since.
    sent_since: usize,
    /// Since when it has received without sending anything that would acknowledge it.
    unanswered: Option<Instant>,
}

/// What the session wants to be told of a subflow.
#[derive(Clone, Copy)]
struct Wants {
    /// When fewer unsent bytes than this are left in the kernel.
    room: Option<u64>,
    /// The kernel's figures, while data is in flight.
    figures: bool,
}

/// What made the task wake.
enum Wake {
    Received,
    Written,
    Room,
    Signal,
    Tick,
}

impl Task<'_> {
    async fn run(&mut self, signals: &SubflowSignals) -> SubflowEnd {
        let mut tick = pin!(tokio::time::sleep(INFO_AGE));
        loop {
            match self.turn(signals, tick.as_mut()).await {
                Ok(()) => {}
                Err(SubflowEnd::Offence(reason)) => {
                    tracing::warn!(subflow = self.id.0, %reason, "the other end broke the protocol");
                    self.session.close(reason);
                    return SubflowEnd::Offence(reason);
                }
                Err(SubflowEnd::Record(error)) => {
                    tracing::warn!(subflow = self.id.0, %error, "the other end broke the protocol");
                    self.session.close(error.reason());
                    return SubflowEnd::Record(error);
                }
                Err(end) => return end,
            }
        }
    }

    /// One round: fill what can be sent, wait for anything to happen, act on it.
    async fn turn(
        &mut self,
        signals: &SubflowSignals,
        mut tick: Pin<&mut Sleep>,
    ) -> Result<(), SubflowEnd> {
        let wants = self.fill();
        let want_room = match wants.room {
            Some(bound) => self.want_room(bound)?,
            None => false,
        };
        let ticks = self.tick_at(wants.figures);
        if let Some(at) = ticks.filter(|&at| at != tick.deadline()) {
            tick.as_mut().reset(at);
        }
        let mut signal = pin!(signals.transmit.notified());
        let wake = poll_fn(|cx| {
            if let Poll::Ready(done) = self.poll_receive(cx) {
                return Poll::Ready(done.map(|()| Wake::Received));
            }
            if let Poll::Ready(done) = self.poll_send(cx) {
                return Poll::Ready(done.map(|()| Wake::Written));
            }
            if signal.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Wake::Signal));
            }
            if want_room && self.stream.tcp().poll_write_ready(cx)?.is_ready() {
                return Poll::Ready(Ok(Wake::Room));
            }
            if ticks.is_some() && tick.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Wake::Tick));
            }
            Poll::Pending
        })
        .await?;
        match wake {
            Wake::Received => {
                self.unanswered = self.unanswered.or_else(|| Some(Instant::now()));
                self.handle_received()?;
            }
            Wake::Tick => {
                self.answer()?;
                if wants.figures {
                    self.refresh()?;
                }
            }
            Wake::Room => self.refresh()?,
            Wake::Written | Wake::Signal => {
                if self.is_outdated() {
                    self.refresh()?;
                }
            }
        }
        Ok(())
    }

    /// When to look again, at figures that are wanted or at what is not answered.
    fn tick_at(&self, figures: bool) -> Option<Instant> {
        let age = (self.info.srtt / 8).clamp(INFO_SPACING, INFO_AGE);
        let figures_at = figures.then(|| self.info_at + age);
        let answer_at = self.unanswered.map(|since| since + ANSWER);
        figures_at.into_iter().chain(answer_at).min()
    }

    /// Has TCP acknowledge what arrived, if nothing was sent since that could have carried that.
    fn answer(&mut self) -> io::Result<()> {
        let due = |since: Instant| since.elapsed() >= ANSWER;
        match self.unanswered.take_if(|since| due(*since)) {
            Some(_) => tcp::acknowledge_now(self.stream.tcp()),
            None => Ok(()),
        }
    }

    /// Takes what the session has to send, once everything before was handed over.
    fn fill(&mut self) -> Wants {
        if !self.flushed {
            return Wants {
                room: None,
                figures: true,
            };
        }
        let (id, outgoing) = (self.id, &mut self.outgoing);
        let wants = self.session.with_inflow(|session, inflow, now| {
            session.poll_transmit(now, id, BATCH, outgoing);
            inflow.sent(outgoing.remaining());
            Wants {
                room: session.room_wanted(id),
                figures: session.is_busy(id),
            }
        });
        self.flushed = !self.outgoing.has_remaining();
        self.sent_since += self.outgoing.remaining();
        Wants {
            room: wants.room.filter(|_| self.flushed),
            ..wants
        }
    }

    /// Whether the task has to wait until the kernel has sent some of what it holds. Then the
    /// kernel is told to raise an edge; if it has room already, the figures are refreshed.
    fn want_room(&mut self, bound: u64) -> Result<bool, SubflowEnd> {
        self.set_lowat(2 * bound)?;
        let tcp = self.stream.tcp();
        // Asked inside `try_io`, so that tokio forgets its readiness only if the kernel says no, and not
        // if an edge has come since.
        let ready = tcp.try_io(Interest::WRITABLE, || match tcp::arm_writable(tcp)? {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        });
        if ready.is_ok() {
            // There is room, but nobody was marked for it: the next figures or events decide.
            if self.is_outdated() {
                self.refresh()?;
                self.fill();
            }
            return Ok(false);
        }
        Ok(true)
    }

    fn set_lowat(&mut self, bytes: u64) -> io::Result<()> {
        if bytes.abs_diff(self.lowat) > self.lowat / 4 {
            self.lowat = bytes;
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            tcp::set_notsent_lowat(self.stream.tcp(), bytes)?;
        }
        Ok(())
    }

    /// Whether the figures are worth reading again. On a fast path a queue of many batches leaves
    /// within [`INFO_SPACING`].
    fn is_outdated(&self) -> bool {
        self.sent_since >= 2 * BATCH || self.info_at.elapsed() >= INFO_SPACING
    }

    fn refresh(&mut self) -> io::Result<()> {
        self.sent_since = 0;
        let pending = (self.outgoing.remaining() + self.stream.unsent()) as u64;
        self.info = snapshot(self.stream.tcp(), pending)?;
        self.info_at = Instant::now();
        let (id, info) = (self.id, self.info);
        self.session
            .with(|session, now| session.handle_info(now, id, info));
        Ok(())
    }

    /// Takes what has arrived, until a batch is full or nothing is left.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SubflowEnd>> {
        while !self.inbox.is_full() {
            match self.stream.poll_receive(cx) {
                Poll::Ready(Ok(Arrived::Data(content))) => self.inbox.take(content),
                // The end, too, is told again.
                Poll::Ready(_) | Poll::Pending if !self.inbox.is_empty() => break,
                Poll::Ready(Ok(Arrived::Closed)) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(match self.inbox.is_empty() {
            true => Err(SubflowEnd::Closed),
            false => Ok(()),
        })
    }

    fn handle_received(&mut self) -> Result<(), SubflowEnd> {
        let (id, received) = (self.id, self.inbox.empty());
        let mut crumbled = Vec::new();
        self.session.with_inflow(|session, inflow, now| {
            session.handle_bytes(now, id, received.bytes);
            for record in received.records {
                match inflow.judge(now, &record) {
                    Verdict::Take => session
                        .handle_record(now, id, record)
                        .map_err(SubflowEnd::Offence)?,
                    Verdict::Crumbs(flow) => {
                        if session.reset(now, flow, FlowReason::Crumbs).is_ok() {
                            crumbled.push(flow);
                        }
                    }
                    Verdict::Flood => return Err(SubflowEnd::Offence(SessionReason::Flood)),
                }
            }
            Ok(())
        })?;
        for flow in crumbled {
            self.session.flow_reset(flow, FlowReason::Crumbs);
        }
        Ok(received.malformed.map_or(Ok(()), Err)?)
    }

    /// Writes what is in the outbox.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SubflowEnd>> {
        if self.flushed {
            return Poll::Pending;
        }
        ready!(self.stream.poll_send(cx, &mut self.outgoing))?;
        self.flushed = true;
        self.unanswered = None;
        Poll::Ready(Ok(()))
    }

    /// Writes whatever is in the outbox.
    async fn send_all(&mut self) -> io::Result<()> {
        while !self.flushed {
            if let Err(SubflowEnd::Broken(error)) = poll_fn(|cx| self.poll_send(cx)).await {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Sends what the session has left to say (GOAWAY), briefly, and waits until the other end has
    /// taken it: closing while its bytes arrive would reset the connection and throw that away.
    async fn say_goodbye(&mut self) {
        const BRIEFLY: Duration = Duration::from_millis(300);
        let farewell = async {
            self.send_all().await?;
            self.fill();
            self.send_all().await?;
            self.stream.close().await?;
            // A reset would throw away what the kernel has not sent yet.
            tcp::set_reset_on_close(self.stream.tcp(), false)
        };
        let _ = tokio::time::timeout(BRIEFLY, farewell).await;
    }
}

/// The kernel's figures; `pending` bytes are not handed to it yet.
fn snapshot(stream: &TcpStream, pending: u64) -> io::Result<SubflowInfo> {
    let info = tcp::tcp_info(stream)?;
    Ok(SubflowInfo {
        srtt: info.rtt,
        rttvar: info.rttvar,
        min_rtt: info.min_rtt,
        cwnd: info.snd_cwnd,
        mss: info.snd_mss,
        unacked: info.unacked,
        in_flight: info.in_flight(),
        notsent: u64::from(info.notsent_bytes) + pending,
        delivered: info.delivered.into(),
        repeated: info.total_retrans.into(),
        bytes_acked: info.bytes_acked,
        delivery_rate: info.delivery_rate,
        app_limited: info.app_limited,
    })
}
