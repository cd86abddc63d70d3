//! TCP as TLS reads it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use guywire_flow::{Pool, Pooled};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

/// So much is read at once, as far as it is there; rustls asks for 4 kB at a time, which would be a system call each.
/// What one connection has read, another one reads over soon: two pieces are kept, 512 kB.
static AHEAD: Pool = Pool::new(256 * 1024, 2);

/// A TCP connection that is read ahead of TLS. While nothing arrives it holds no memory.
#[derive(Debug)]
pub struct Wire {
    tcp: TcpStream,
    ahead: Option<Ahead>,
}

/// What was read, and how much of it TLS has taken.
#[derive(Debug)]
struct Ahead {
    bytes: Pooled,
    taken: usize,
}

impl Wire {
    pub(super) fn new(tcp: TcpStream) -> Wire {
        Wire { tcp, ahead: None }
    }

    /// The connection itself, to be asked and set up; its bytes are read here.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Wire { tcp, ahead } = self.get_mut();
        let mut now = match ahead.take() {
            Some(now) => now,
            None => {
                let mut bytes = AHEAD.take();
                ready!(poll_read_buf(Pin::new(tcp), cx, &mut *bytes))?;
                Ahead { bytes, taken: 0 }
            }
        };
        let left = &now.bytes[now.taken..];
        let count = left.len().min(into.remaining());
        into.put_slice(&left[..count]);
        now.taken += count;
        *ahead = Some(now).filter(|now| now.taken < now.bytes.len());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
