//! TCP as TLS reads it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

/// So much is read at once, in bytes. rustls asks for 4 kB at a time, which would be a system call each.
const AHEAD: usize = 64 * 1024;
/// The same while that is there again and again.
const FAR_AHEAD: usize = 256 * 1024;

/// A TCP connection that is read ahead of TLS. While nothing arrives it holds no memory.
#[derive(Debug)]
pub struct Wire {
    tcp: TcpStream,
    ahead: BytesMut,
    /// What is read at once next.
    size: usize,
}

impl Wire {
    pub(super) fn new(tcp: TcpStream) -> Wire {
        Wire {
            tcp,
            ahead: BytesMut::new(),
            size: AHEAD,
        }
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
        let Wire { tcp, ahead, size } = self.get_mut();
        if ahead.is_empty() {
            ahead.reserve(*size);
            let read = poll_read_buf(Pin::new(tcp), cx, ahead);
            if read.is_pending() {
                *ahead = BytesMut::new();
            }
            *size = if ready!(read)? < AHEAD {
                AHEAD
            } else {
                FAR_AHEAD
            };
        }
        let count = ahead.len().min(into.remaining());
        into.put_slice(&ahead[..count]);
        ahead.advance(count);
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
