//! One flow as a task sees it: reads, writes, and how it ended.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use guywire_flow::{Event, FlowReason, Gone, Read};
use tokio::sync::Notify;

use crate::session::SessionHandle;

/// How a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both directions are complete at both ends.
    Complete,
    /// It broke or was refused.
    Reset(FlowReason),
}

/// What a flow's tasks wait for.
#[derive(Debug, Default)]
pub(crate) struct FlowSignals {
    readable: Notify,
    writable: Notify,
    accepted: Notify,
    ended: Notify,
    outcome: OnceLock<Outcome>,
}

impl FlowSignals {
    pub(crate) fn wake(&self, event: &Event) {
        match event {
            Event::Readable(_) => self.readable.notify_one(),
            Event::Writable(_) => self.writable.notify_one(),
            Event::Accepted(_) => self.accepted.notify_one(),
            _ => {}
        }
    }

    pub(crate) fn end(&self, outcome: Outcome) {
        // The first outcome stands.
        let _ = self.outcome.set(outcome);
        self.readable.notify_one();
        self.writable.notify_one();
        self.accepted.notify_one();
        self.ended.notify_one();
    }
}

/// One flow. Dropped before its end, it is reset at both ends.
#[derive(Debug)]
pub struct FlowHandle {
    session: SessionHandle,
    id: u64,
    signals: Arc<FlowSignals>,
}

impl FlowHandle {
    pub(crate) fn new(session: SessionHandle, id: u64, signals: Arc<FlowSignals>) -> FlowHandle {
        FlowHandle {
            session,
            id,
            signals,
        }
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.signals.outcome.get().copied()
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Outcome {
        loop {
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            self.signals.ended.notified().await;
        }
    }

    /// How many bytes may be written, at least 1; waits until there are.
    ///
    /// # Errors
    /// [`Gone`] once the flow has ended.
    pub async fn writable(&self) -> Result<usize, Gone> {
        loop {
            match self.session.with(|session, _| session.writable(self.id))? {
                0 => self.signals.writable.notified().await,
                count => return Ok(count),
            }
        }
    }

    /// Writes, at most what [`FlowHandle::writable`] told.
    ///
    /// # Errors
    /// [`Gone`] once the flow has ended.
    pub fn write(&self, bytes: Bytes) -> Result<(), Gone> {
        self.session
            .with(|session, now| session.write(now, self.id, bytes))
    }

    /// Whether a small piece may be written by itself now, or the session has written so many of them
    /// lately that more should be gathered first.
    pub(crate) fn may_write_crumb(&self) -> bool {
        self.session
            .with_inflow(|_, inflow, now| inflow.may_send_crumb(now))
    }

    /// Ends the direction that is written.
    ///
    /// # Errors
    /// [`Gone`] once the flow has ended.
    pub fn finish(&self) -> Result<(), Gone> {
        self.session.with(|session, _| session.finish(self.id))
    }

    /// Waits for bytes and appends the pieces that are there, about `enough` bytes. Returns false at the end
    /// of the direction. What was read must be reported by [`FlowHandle::consume`].
    ///
    /// # Errors
    /// [`Gone`] once the flow has ended.
    pub async fn read(&self, pieces: &mut Vec<Bytes>, enough: usize) -> Result<bool, Gone> {
        loop {
            let read = self.session.with(|session, now| {
                let mut count = 0;
                while count < enough {
                    match session.read(now, self.id, enough - count)? {
                        Read::Bytes(bytes) => {
                            count += bytes.len();
                            pieces.push(bytes);
                        }
                        Read::Blocked if count == 0 => return Ok(None),
                        Read::End if count == 0 => return Ok(Some(false)),
                        Read::Blocked | Read::End => break,
                    }
                }
                Ok(Some(true))
            })?;
            match read {
                Some(more) => return Ok(more),
                None => self.signals.readable.notified().await,
            }
        }
    }

    /// So many bytes that were read have been passed on: their room is granted again.
    pub fn consume(&self, count: usize) {
        // A flow that has ended has no room to grant.
        let _ = self
            .session
            .with(|session, now| session.consume(now, self.id, count));
    }

    /// Breaks the flow at both ends.
    pub fn reset(&self, reason: FlowReason) {
        if self
            .session
            .with(|session, now| session.reset(now, self.id, reason))
            .is_ok()
        {
            self.session.flow_reset(self.id, reason);
        }
    }

    /// Server: the destination accepted.
    ///
    /// # Errors
    /// [`Gone`] once the flow has ended.
    pub fn accept(&self) -> Result<(), Gone> {
        self.session.with(|session, _| session.accept(self.id))
    }

    /// Server: the destination did not accept.
    pub fn refuse(&self, reason: FlowReason) {
        if self
            .session
            .with(|session, now| session.refuse(now, self.id, reason))
            .is_ok()
        {
            self.session.flow_reset(self.id, reason);
        }
    }
}

impl Drop for FlowHandle {
    fn drop(&mut self) {
        if self.outcome().is_none() {
            self.reset(FlowReason::ShuttingDown);
        }
    }
}
