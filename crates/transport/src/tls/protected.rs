//! A TLS connection without rustls: after the handshake, and between two records.

use std::future::poll_fn;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use rustls::Connection;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::TlsStream;
use super::protection::{self, Fault, MAX_SEALED, Opened, Opener, Sealer};
use crate::pool::{Pool, Pooled};

/// So many bytes are sealed before the kernel must have taken them, or read at once, as far as they are there.
pub(crate) const BUFFER: usize = 256 * 1024;
/// What one connection has used, another one uses soon: 1 MB is kept.
static BUFFERS: Pool = Pool::new(BUFFER, 4);
/// The contents of records, with their padding; 1 MB is kept.
static CONTENTS: Pool = Pool::new(MAX_SEALED + 256, 64);

/// What has arrived.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// The content of a TLS record.
    Data(Pooled),
    /// Nothing comes any more.
    Closed,
}

/// A TLS connection whose records are sealed and opened here. While nothing moves it holds no memory but that of one
/// record at most.
#[derive(Debug)]
pub(crate) struct Protected {
    tcp: TcpStream,
    opener: Opener,
    sealer: Sealer,
    /// What was read and not opened yet.
    ahead: Option<Buffer>,
    /// The same, less than a record, while nothing more arrives.
    begun: Vec<u8>,
    /// How receiving ended.
    ended: Option<Result<(), Fault>>,
    /// What was sealed and not written yet.
    sealed: Option<Buffer>,
}

/// Bytes, and how many of them are done with.
#[derive(Debug)]
struct Buffer {
    bytes: Pooled,
    done: usize,
}

impl Buffer {
    fn new() -> Buffer {
        Buffer {
            bytes: BUFFERS.take(),
            done: 0,
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, fault)
    }
}

impl Protected {
    /// Takes over from rustls; returns also what that has opened and nobody has read.
    ///
    /// # Errors
    /// If the handshake is not over, or rustls is at work on a record.
    pub(crate) fn take_over(stream: TlsStream) -> io::Result<(Protected, Vec<u8>)> {
        let (wire, mut connection) = match stream {
            TlsStream::Client(stream) => {
                let (wire, connection) = stream.into_inner();
                (wire, Connection::from(connection))
            }
            TlsStream::Server(stream) => {
                let (wire, connection) = stream.into_inner();
                (wire, Connection::from(connection))
            }
        };
        let mut unread = Vec::new();
        match connection.reader().read_to_end(&mut unread) {
            // The end: TCP tells it, too.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if connection.wants_write() {
            return Err(io::Error::other("TLS has not sent all that it had to say"));
        }
        let tcp = wire.between_records()?;
        let keys = connection
            .dangerous_extract_secrets() // rustls' word for every use of its keys but its own
            .and_then(|keys| Ok((Opener::new(keys.rx)?, Sealer::new(keys.tx)?)));
        let (opener, sealer) = keys.map_err(io::Error::other)?;
        let protected = Protected {
            tcp,
            opener,
            sealer,
            ahead: None,
            begun: Vec::new(),
            ended: None,
            sealed: None,
        };
        Ok((protected, unread))
    }

    /// The connection itself, to be asked and set up; its bytes are read here.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// How many bytes are sealed that the kernel has not taken.
    pub(crate) fn unsent(&self) -> usize {
        let sealed = self.sealed.as_ref();
        sealed.map_or(0, |sealed| sealed.bytes.len() - sealed.done)
    }

    /// What has arrived next. How it ended is told again and again.
    ///
    /// # Errors
    /// What is wrong with what arrived, or the connection.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Arrived>> {
        while self.ended.is_none() {
            match self.open() {
                Ok(Some(Arrived::Data(content))) => return Poll::Ready(Ok(Arrived::Data(content))),
                Ok(Some(Arrived::Closed)) => self.ended = Some(Ok(())),
                Ok(None) => ready!(self.poll_read(cx))?,
                Err(fault) => self.ended = Some(Err(fault)),
            }
        }
        let ended = self.ended.unwrap_or(Ok(()));
        Poll::Ready(ended.map(|()| Arrived::Closed).map_err(io::Error::from))
    }

    /// Opens the next record, if all of it was read.
    fn open(&mut self) -> Result<Option<Arrived>, Fault> {
        let Some(Buffer { bytes, done }) = &mut self.ahead else {
            return Ok(None);
        };
        let left = &bytes[*done..];
        let Some(record) = protection::length(left)?.and_then(|length| left.get(..length)) else {
            return Ok(None);
        };
        *done += record.len();
        let mut content = CONTENTS.take_used();
        Ok(Some(match self.opener.open(record, &mut content)? {
            Opened::Data => Arrived::Data(content),
            Opened::Closed => Arrived::Closed,
        }))
    }

    /// Reads what is there. Less than a record is before it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Buffer { mut bytes, done } = self.ahead.take().unwrap_or_else(Buffer::new);
        bytes.drain(..done);
        bytes.extend_from_slice(&std::mem::take(&mut self.begun));
        match poll_read_buf(Pin::new(&mut self.tcp), cx, &mut *bytes) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(_)) => {
                self.ahead = Some(Buffer { bytes, done: 0 });
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.begun.extend_from_slice(&bytes);
                Poll::Pending
            }
        }
    }

    /// Seals and writes all of `data`.
    ///
    /// # Errors
    /// If the connection broke, or its key is worn.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut impl Buf,
    ) -> Poll<io::Result<()>> {
        while data.has_remaining() || self.sealed.is_some() {
            let bytes = &mut self.sealed.get_or_insert_with(Buffer::new).bytes;
            while data.has_remaining() && bytes.len() + MAX_SEALED <= BUFFER {
                self.sealer.seal(data, bytes)?;
            }
            ready!(self.poll_write(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is sealed.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(Buffer { bytes, done }) = &mut self.sealed {
            match &bytes[*done..] {
                [] => self.sealed = None,
                left => match ready!(Pin::new(&mut self.tcp).poll_write(cx, left))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => *done += written,
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing comes any more, and waits until the other end has said so too.
    ///
    /// # Errors
    /// If the connection broke.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_write(cx)).await?;
        let bytes = &mut self.sealed.get_or_insert_with(Buffer::new).bytes;
        self.sealer.close(bytes)?;
        poll_fn(|cx| self.poll_write(cx)).await?;
        self.tcp.shutdown().await?;
        while self.tcp.read(&mut [0; 4_096]).await? > 0 {}
        Ok(())
    }
}
