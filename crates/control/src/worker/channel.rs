//! The channel itself: JSON lines over a Unix stream socket, with descriptors.
//!
//! Descriptors ride on the first byte of the line that names them ([`Message::descriptors`]), so they have all arrived
//! when the line is complete. Every length is bounded: a peer that breaks a bound gets an error, and the channel is
//! then over.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use guywire_net::fdpass;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::{FromWorker, Message, ToWorker};

/// Longest line in bytes, the newline included.
pub const MAX_LINE: usize = 1 << 20;
/// Most descriptors in one message.
pub const MAX_DESCRIPTORS: usize = fdpass::MAX_FDS;
/// Environment variable that tells a worker the number of its end of the channel. It is always 0: standard input can be
/// handed over and taken without unsafe code, and a worker has no other use for it.
pub const WORKER_FD_ENV: &str = "GUYWIRE_WORKER_FD";

/// The channel as the supervisor holds it.
pub type SupervisorChannel = WorkerChannel<ToWorker, FromWorker>;
/// The channel as the worker holds it.
pub type WorkerEnd = WorkerChannel<FromWorker, ToWorker>;

/// Why the channel cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The socket failed.
    #[error("worker channel: {0}")]
    Io(#[from] io::Error),
    /// A line longer than [`MAX_LINE`], either way.
    #[error("worker channel: a message of {length} bytes is over the bound of {MAX_LINE}")]
    LineTooLong {
        /// Bytes so far.
        length: usize,
    },
    /// The line is no message of this channel.
    #[error("worker channel: not a message: {0}")]
    BadMessage(#[from] serde_json::Error),
    /// The descriptors that came (or were to be sent) are not those that the message names.
    #[error(
        "worker channel: the message names {named} descriptors, there are {present} (at most {MAX_DESCRIPTORS})"
    )]
    Descriptors {
        /// How many the message names.
        named: usize,
        /// How many there are.
        present: usize,
    },
    /// This process was not started by a supervisor.
    #[error(
        "{WORKER_FD_ENV} is not set: a worker is started by `guywire router run` or `guywire server run`"
    )]
    NotAWorker,
}

/// One end of the channel: sends `S`, receives `R`.
#[derive(Debug)]
pub struct WorkerChannel<S, R> {
    sender: Sender<S>,
    receiver: Receiver<R>,
}

/// The sending half. One message at a time (`&mut`), so lines never mix.
#[derive(Debug)]
pub struct Sender<S> {
    stream: Arc<UnixStream>,
    /// A `send` was dropped in the middle of a line: nothing more may follow.
    broken: bool,
    message: PhantomData<fn(S)>,
}

/// The receiving half.
#[derive(Debug)]
pub struct Receiver<R> {
    stream: Arc<UnixStream>,
    /// Bytes received and not yet handed out; `scanned` of them are known to hold no newline.
    buffer: Vec<u8>,
    scanned: usize,
    /// Descriptors received and not yet handed out.
    descriptors: VecDeque<OwnedFd>,
    message: PhantomData<fn() -> R>,
}

/// A connected pair: the supervisor's end, and the descriptor to start the worker with (as its standard input).
///
/// # Errors
/// When the process has no descriptors left. Must be called inside a tokio runtime.
pub fn pair() -> io::Result<(SupervisorChannel, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    Ok((WorkerChannel::from_std(ours)?, theirs.into()))
}

impl WorkerEnd {
    /// The channel of this worker process, from the environment. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ChannelError::NotAWorker`] when no supervisor started this process, or its standard input is no socket.
    pub fn from_env() -> Result<Self, ChannelError> {
        if std::env::var_os(WORKER_FD_ENV).is_none_or(|number| number != "0") {
            return Err(ChannelError::NotAWorker);
        }
        let fd = io::stdin().as_fd().try_clone_to_owned()?;
        if rustix::net::sockopt::socket_domain(&fd).ok() != Some(rustix::net::AddressFamily::UNIX) {
            return Err(ChannelError::NotAWorker);
        }
        Ok(Self::from_std(fd.into())?)
    }
}

impl<S: Message, R: Message> WorkerChannel<S, R> {
    /// A channel over a connected Unix stream socket. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made non-blocking or registered.
    pub fn from_std(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = Arc::new(UnixStream::from_std(stream)?);
        Ok(Self {
            sender: Sender {
                stream: stream.clone(),
                broken: false,
                message: PhantomData,
            },
            receiver: Receiver {
                stream,
                buffer: Vec::new(),
                scanned: 0,
                descriptors: VecDeque::new(),
                message: PhantomData,
            },
        })
    }

    /// Sends one message; see [`Sender::send`].
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn send(&mut self, message: &S, fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        self.sender.send(message, fds).await
    }

    /// Receives one message; see [`Receiver::recv`].
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub async fn recv(&mut self) -> Result<Option<(R, Vec<OwnedFd>)>, ChannelError> {
        self.receiver.recv().await
    }

    /// The two halves, for two tasks.
    #[must_use]
    pub fn into_split(self) -> (Sender<S>, Receiver<R>) {
        (self.sender, self.receiver)
    }
}

impl<S: Message> Sender<S> {
    /// Sends one message with its descriptors: as many as [`Message::descriptors`] names, in that order. Waits while the
    /// peer does not read. When the future is dropped in the middle of a line, later calls fail.
    ///
    /// # Errors
    /// The message is too long, the descriptors do not fit it, or the peer is gone.
    pub async fn send(&mut self, message: &S, fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        let named = message.descriptors().len();
        if named != fds.len() || named > MAX_DESCRIPTORS {
            return Err(ChannelError::Descriptors {
                named,
                present: fds.len(),
            });
        }
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        if line.len() > MAX_LINE {
            return Err(ChannelError::LineTooLong { length: line.len() });
        }
        if std::mem::replace(&mut self.broken, true) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        let mut sent = 0;
        while sent < line.len() {
            let riding = if sent == 0 { fds } else { &[] };
            let stream = &*self.stream;
            sent += stream
                .async_io(Interest::WRITABLE, || {
                    fdpass::send_with_fds(stream, &line[sent..], riding)
                })
                .await?;
        }
        self.broken = false;
        Ok(())
    }
}

impl<R: Message> Receiver<R> {
    /// The next message and its descriptors in the order of [`Message::descriptors`], or `None` when the peer is gone.
    /// Cancel-safe: what has arrived is kept when the future is dropped.
    ///
    /// # Errors
    /// The peer broke a bound or sent something else than a message.
    pub async fn recv(&mut self) -> Result<Option<(R, Vec<OwnedFd>)>, ChannelError> {
        loop {
            if let Some(line) = self.take_line()? {
                let message: R = serde_json::from_slice(&line)?;
                let named = message.descriptors().len();
                let present = self.descriptors.len();
                if named > present {
                    return Err(ChannelError::Descriptors { named, present });
                }
                return Ok(Some((message, self.descriptors.drain(..named).collect())));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// A complete line without its newline, if one is here.
    fn take_line(&mut self) -> Result<Option<Vec<u8>>, ChannelError> {
        match self.buffer[self.scanned..]
            .iter()
            .position(|&byte| byte == b'\n')
        {
            Some(position) => {
                let end = self.scanned + position;
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.truncate(end);
                self.scanned = 0;
                Ok(Some(line))
            }
            None if self.buffer.len() >= MAX_LINE => Err(ChannelError::LineTooLong {
                length: self.buffer.len(),
            }),
            None => {
                self.scanned = self.buffer.len();
                Ok(None)
            }
        }
    }

    /// Receives what is there; false at the end of the stream.
    async fn fill(&mut self) -> Result<bool, ChannelError> {
        let mut bytes = vec![0; 16 << 10];
        let stream = &*self.stream;
        let received = stream
            .async_io(Interest::READABLE, || {
                fdpass::recv_with_fds(stream, &mut bytes)
            })
            .await;
        let (length, fds) = match received {
            // The peer ended with messages unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            received => received?,
        };
        self.descriptors.extend(fds);
        if self.descriptors.len() > MAX_DESCRIPTORS {
            let present = self.descriptors.len();
            return Err(ChannelError::Descriptors { named: 0, present });
        }
        self.buffer.extend_from_slice(&bytes[..length]);
        Ok(length > 0)
    }
}

#[cfg(test)]
mod tests;
