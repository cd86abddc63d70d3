//! Both directions of a pair of connections, a large buffer each.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};
use tokio_util::io::poll_read_buf;

use super::BUFFER;

/// Carries what each of the two says to the other, until both have ended or one broke.
pub(super) async fn both(
    one: impl AsyncRead + AsyncWrite,
    other: impl AsyncRead + AsyncWrite,
) -> io::Result<()> {
    let ((from_one, to_one), (from_other, to_other)) = (split(one), split(other));
    tokio::try_join!(pump(from_one, to_other), pump(from_other, to_one))?;
    Ok(())
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(BUFFER);
    while poll_fn(|context| fill(&mut from, &mut buffer, context)).await? {
        to.write_all_buf(&mut buffer).await?;
        to.flush().await?;
        // Nothing else holds a part of it: this takes the same memory again.
        buffer.reserve(BUFFER);
    }
    to.shutdown().await
}

/// Takes all that is there, up to a whole buffer; false at the end of the stream.
fn fill(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<bool>> {
    while buffer.len() < BUFFER {
        match poll_read_buf(Pin::new(from), context, buffer) {
            // The end is told again by the next read.
            Poll::Ready(Ok(0)) => return Poll::Ready(Ok(!buffer.is_empty())),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending if buffer.is_empty() => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(Ok(true))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[tokio::test]
    async fn both_directions_arrive_whole_and_end() {
        let (mut client, near) = duplex(1_000);
        let (far, mut server) = duplex(100_000);
        let relay = tokio::spawn(both(near, far));
        let question: Vec<u8> = (0..600_000_u32).map(|n| n as u8).collect();
        let asked = question.clone();
        let asking = tokio::spawn(async move {
            client.write_all(&asked).await.expect("the relay reads");
            client.shutdown().await.expect("a pipe ends");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("it ends");
            answer
        });
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.expect("it ends");
        assert!(heard == question, "other bytes arrived");
        server.write_all(b"understood").await.expect("it is open");
        drop(server);
        assert_eq!(asking.await.expect("no panic"), "understood");
        relay.await.expect("no panic").expect("nothing broke");
    }
}
