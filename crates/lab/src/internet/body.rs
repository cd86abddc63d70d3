//! A response body that is made while it is sent, as fast as the client reads
//! or paced to a rate.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::content::Content;
use crate::spec::Rate;

/// Bytes per frame: large enough to be cheap, small enough for 300 clients.
const FRAME: u64 = 64 * 1024;

/// A paced body sends what this long is worth at a time.
const PACE: Duration = Duration::from_millis(10);

/// How far a paced body may catch up after the client made it wait.
const CATCH_UP: Duration = Duration::from_millis(100);

/// The first bytes of the stream, as a body.
pub struct ContentBody {
    content: Arc<Content>,
    /// Bytes produced so far.
    offset: u64,
    /// The same, for others to see.
    produced: Produced,
    /// Where the body ends; a deadline may move it forward to `offset`.
    end: u64,
    pace: Option<Pace>,
    /// No byte is produced after this.
    until: Option<std::time::Instant>,
}

/// How much of a body was produced, seen from outside.
#[derive(Clone, Default)]
pub struct Produced(Arc<AtomicU64>);

impl Produced {
    /// Bytes produced so far.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// When the next frame may be sent.
struct Pace {
    bits_per_second: u64,
    next: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl ContentBody {
    /// The first `length` bytes, at most at `rate`.
    pub fn new(content: Arc<Content>, length: u64, rate: Option<Rate>) -> ContentBody {
        let pace = rate.map(|rate| Pace {
            bits_per_second: rate.bits_per_second().max(1),
            next: Instant::now(),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
        });
        ContentBody {
            content,
            offset: 0,
            produced: Produced::default(),
            end: length,
            pace,
            until: None,
        }
    }

    /// A view of how far the body got.
    pub fn produced(&self) -> Produced {
        self.produced.clone()
    }

    /// Ends the body at `until`, however many bytes were sent by then. Its
    /// length is then unknown beforehand, so it travels chunked.
    pub fn until(mut self, until: std::time::Instant) -> ContentBody {
        self.until = Some(until);
        self
    }
}

impl Body for ContentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self
            .until
            .is_some_and(|until| std::time::Instant::now() >= until)
        {
            self.end = self.offset;
        }
        let left = self.end - self.offset;
        if left == 0 {
            return Poll::Ready(None);
        }
        let mut length = left.min(FRAME);
        if let Some(pace) = &mut self.pace {
            length = ready!(pace.poll_length(context)).min(length);
        }
        let mut bytes = vec![0; length as usize];
        self.content.fill(self.offset, &mut bytes);
        self.offset += length;
        self.produced.0.store(self.offset, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.offset == self.end
    }

    fn size_hint(&self) -> SizeHint {
        match self.until {
            None => SizeHint::with_exact(self.end - self.offset),
            Some(_) => SizeHint::default(),
        }
    }
}

impl Pace {
    /// Waits for the next frame's time; the frame's length follows from the rate.
    fn poll_length(&mut self, context: &mut Context<'_>) -> Poll<u64> {
        ready!(self.sleep.as_mut().poll(context));
        let now = Instant::now();
        self.next = self.next.max(now.checked_sub(CATCH_UP).unwrap_or(now));
        let length = (self.bits_per_second * PACE.as_millis() as u64 / 8_000).clamp(1, FRAME);
        let nanoseconds = u128::from(length) * 8 * 1_000_000_000 / u128::from(self.bits_per_second);
        self.next += Duration::from_nanos(nanoseconds.min(u128::from(u64::MAX)) as u64);
        self.sleep.as_mut().reset(self.next);
        Poll::Ready(length)
    }
}
