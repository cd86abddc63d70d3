//! TCP as rustls reads it: one record at a time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::protection::HEADER;

/// A TCP connection of which rustls is given what belongs to the record that it is at, so that a subflow can go on by
/// itself after it (`Protected`). For handshakes: each record takes two system calls.
#[derive(Debug)]
pub struct Wire {
    tcp: TcpStream,
    at: Position,
}

/// Where in the stream of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// So many bytes of a header were read, and these they are.
    Header([u8; HEADER], usize),
    /// So many bytes are left of a record.
    Body(usize),
}

impl Position {
    const BETWEEN: Position = Position::Header([0; HEADER], 0);

    /// How many bytes may be read and all be of one record.
    fn room(self) -> usize {
        match self {
            Position::Header(_, known) => HEADER - known,
            Position::Body(left) => left,
        }
    }

    /// `bytes` were read, no more than there was room for.
    fn pass(self, bytes: &[u8]) -> Position {
        let next = match self {
            Position::Header(mut header, known) => {
                let end = known + bytes.len();
                header[known..end].copy_from_slice(bytes);
                match header {
                    [_, _, _, high, low] if end == HEADER => {
                        Position::Body(u16::from_be_bytes([high, low]).into())
                    }
                    _ => Position::Header(header, end),
                }
            }
            Position::Body(left) => Position::Body(left - bytes.len()),
        };
        match next {
            Position::Body(0) => Position::BETWEEN,
            next => next,
        }
    }
}

impl Wire {
    pub(super) fn new(tcp: TcpStream) -> Wire {
        Wire {
            tcp,
            at: Position::BETWEEN,
        }
    }

    /// The connection itself, to be asked and set up; its bytes are read here.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The connection, if it is between two records.
    pub(super) fn between_records(self) -> io::Result<TcpStream> {
        match self.at {
            Position::BETWEEN => Ok(self.tcp),
            _ => Err(io::Error::other("a TLS record is read in part")),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Wire { tcp, at } = self.get_mut();
        let room = at.room().min(into.remaining());
        let mut piece = ReadBuf::new(into.initialize_unfilled_to(room));
        ready!(Pin::new(tcp).poll_read(cx, &mut piece))?;
        *at = at.pass(piece.filled());
        let count = piece.filled().len();
        into.advance(count);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_read_goes_beyond_a_record(
            lengths in prop::collection::vec(0..400_u16, 1..8),
            most in 1..300_usize,
        ) {
            let mut wire = Vec::new();
            let mut ends = vec![0];
            for length in &lengths {
                wire.extend_from_slice(&[23, 3, 3]);
                wire.extend_from_slice(&length.to_be_bytes());
                wire.resize(wire.len() + usize::from(*length), 7);
                ends.push(wire.len());
            }
            let (mut position, mut at) = (Position::BETWEEN, 0);
            while at < wire.len() {
                prop_assert_eq!(position == Position::BETWEEN, ends.contains(&at));
                let upto = (at + position.room().min(most)).min(wire.len());
                prop_assert!(upto > at && !ends.iter().any(|&end| at < end && end < upto));
                position = position.pass(&wire[at..upto]);
                at = upto;
            }
            prop_assert_eq!(position, Position::BETWEEN);
        }
    }
}
