//! A session that runs: the state machine of `guywire-flow` behind one lock, the tasks it wakes, and
//! its clock.
//!
//! Whoever touches the state machine does so through [`SessionHandle::with`], which then hands out the events
//! it left: each subflow and each flow has a task that waits for its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use guywire_flow::record::{Choice, ChoiceResult, Piece};
use guywire_flow::{
    Config, Destination, Event, FlowKind, FlowReason, Incident, PathReport, Session, SessionReason,
    SubflowId, Time,
};
use tokio::sync::{Notify, mpsc, watch};

use crate::flow::{FlowHandle, FlowSignals, Outcome};
use crate::inflow::Inflow;
use crate::tls::TlsStream;

/// So many flows may wait to be taken over by the one who made the session; more are refused. What is handed on at
/// once (`crate::inbox`) holds some 8,000 opens.
const WAITING_OPENS: usize = 16_384;
/// So many choices and pieces of objects may wait to be looked at; more are dropped. An object has at most half
/// as many pieces.
const WAITING_CHOICES: usize = 256;

/// Requests of a session to the one who made it.
#[derive(Debug)]
pub enum Request {
    /// Server: the router opened a flow.
    Open {
        /// The flow; to be accepted or refused.
        flow: FlowHandle,
        /// Where it leads.
        to: Destination,
    },
    /// Router: one more subflow is wanted on this path.
    Dial {
        /// The path.
        path: u8,
        /// Whether full-size segments seem to be lost on it.
        small_segments: bool,
    },
    /// Server: the router wants another scheduler for the flows of a class.
    Choice(Choice),
    /// Server: a piece of an object.
    ObjectPiece(Piece),
    /// Router: what the server says to a choice.
    ChoiceResult(ChoiceResult),
    /// A scheduler was ejected.
    Ejected(Box<Incident>),
}

/// Counts of a session since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Flows open now.
    pub flows: u64,
    /// Flows opened so far.
    pub opened: u64,
    /// Flows that ended in a reset.
    pub reset: u64,
    /// Bytes held in memory.
    pub held: u64,
    /// Bytes sent more than once.
    pub repeated: u64,
    /// How often this end has held a path stale.
    pub alarms: u64,
}

/// A handle on a running session; clones share it.
#[derive(Clone)]
pub struct SessionHandle(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    epoch: Instant,
    timer: Notify,
    requests: mpsc::UnboundedSender<Request>,
    ended: watch::Sender<Option<SessionReason>>,
}

struct State {
    session: Session,
    subflows: HashMap<SubflowId, Arc<SubflowSignals>>,
    flows: HashMap<u64, Arc<FlowSignals>>,
    next_subflow: u32,
    opened: u64,
    reset: u64,
    /// The deadline that the clock's task sleeps until.
    armed: Option<Time>,
    /// What the other end may tell how fast.
    inflow: Inflow,
    /// Flows that the other end opened and nobody has taken over yet.
    waiting_opens: usize,
    /// Choices and pieces of objects that nobody has looked at yet.
    waiting_choices: usize,
}

/// What a subflow's task waits for.
#[derive(Default)]
pub(crate) struct SubflowSignals {
    pub(crate) transmit: Notify,
    pub(crate) close: Notify,
}

impl std::fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionHandle")
    }
}

impl SessionHandle {
    /// Starts a session. Its requests come on the channel, which is bounded by what the session permits: so many
    /// flows, so many subflows.
    pub fn start(config: Config) -> (SessionHandle, mpsc::UnboundedReceiver<Request>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        let handle = SessionHandle(Arc::new(Shared {
            state: Mutex::new(State {
                session: Session::new(config),
                subflows: HashMap::new(),
                flows: HashMap::new(),
                next_subflow: 0,
                opened: 0,
                reset: 0,
                armed: None,
                inflow: Inflow::new(),
                waiting_opens: 0,
                waiting_choices: 0,
            }),
            epoch: Instant::now(),
            timer: Notify::new(),
            requests,
            ended: watch::Sender::new(None),
        }));
        tokio::spawn(handle.clone().keep_time());
        (handle, receiver)
    }

    /// Gives the state machine to `work` with the time, and hands out the events it leaves.
    pub fn with<T>(&self, work: impl FnOnce(&mut Session, Time) -> T) -> T {
        self.with_inflow(|session, _, now| work(session, now))
    }

    /// As [`SessionHandle::with`], with what the other end may tell how fast.
    pub(crate) fn with_inflow<T>(
        &self,
        work: impl FnOnce(&mut Session, &mut Inflow, Time) -> T,
    ) -> T {
        let now = self.now();
        // A panic inside the state machine must not take the worker's other sessions along.
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State {
            session, inflow, ..
        } = &mut *state;
        let result = work(session, inflow, now);
        self.hand_out(&mut state, now);
        let next = state.session.next_deadline();
        if next.is_some_and(|next| state.armed.is_none_or(|armed| next < armed)) {
            state.armed = next;
            self.0.timer.notify_one();
        }
        result
    }

    fn now(&self) -> Time {
        Time::ZERO + self.0.epoch.elapsed()
    }

    fn hand_out(&self, state: &mut State, now: Time) {
        while let Some(event) = state.session.poll_event() {
            match event {
                Event::Transmit(id) => {
                    if let Some(signals) = state.subflows.get(&id) {
                        signals.transmit.notify_one();
                    }
                }
                Event::Close(id) => {
                    if let Some(signals) = state.subflows.get(&id) {
                        signals.close.notify_one();
                    }
                }
                Event::Readable(id) | Event::Writable(id) | Event::Accepted(id) => {
                    if let Some(signals) = state.flows.get(&id) {
                        signals.wake(&event);
                    }
                }
                Event::Complete(id) => state.end_flow(id, Outcome::Complete),
                Event::Reset { flow, reason } => state.end_flow(flow, Outcome::Reset(reason)),
                Event::Open { flow, .. } if state.waiting_opens >= WAITING_OPENS => {
                    // It may be gone already; then there is nobody to tell.
                    let _ = state.session.refuse(now, flow, FlowReason::TooMany);
                }
                Event::Open { flow, to } => {
                    state.waiting_opens += 1;
                    let flow = self.register(state, flow);
                    self.request(Request::Open { flow, to });
                }
                Event::Dial {
                    path,
                    small_segments,
                } => self.request(Request::Dial {
                    path,
                    small_segments,
                }),
                Event::Path { path, state } => tracing::info!(path, %state, "path"),
                Event::Chosen(_) | Event::ObjectPiece(_)
                    if state.waiting_choices >= WAITING_CHOICES => {}
                Event::Chosen(choice) => {
                    state.waiting_choices += 1;
                    self.request(Request::Choice(choice));
                }
                Event::ObjectPiece(piece) => {
                    state.waiting_choices += 1;
                    self.request(Request::ObjectPiece(piece));
                }
                Event::ChoiceResult(result) => self.request(Request::ChoiceResult(result)),
                Event::Ejected(incident) => {
                    tracing::warn!(
                        scheduler = incident.scheduler.name(),
                        reason = %incident.offence.reason,
                        text = incident.offence.text,
                        "a scheduler was ejected: its flows go on with `default`"
                    );
                    self.request(Request::Ejected(incident));
                }
                Event::Ended(reason) => {
                    self.0.ended.send_replace(Some(reason));
                }
            }
        }
    }

    /// A session whose maker is gone asks for nothing any more: it is about to be dropped.
    fn request(&self, request: Request) {
        let _ = self.0.requests.send(request);
    }

    fn register(&self, state: &mut State, id: u64) -> FlowHandle {
        let signals = Arc::new(FlowSignals::default());
        state.flows.insert(id, signals.clone());
        state.opened += 1;
        FlowHandle::new(self.clone(), id, signals)
    }

    /// Router: opens a flow.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open(&self, to: Destination, kind: FlowKind) -> Result<FlowHandle, FlowReason> {
        let id = self.with(|session, now| session.open(now, to, kind))?;
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let flow = self.register(&mut state, id);
        // It may have ended before it could be registered.
        if state.session.is_ended() {
            state.end_flow(id, Outcome::Reset(FlowReason::SessionEnded));
        }
        Ok(flow)
    }

    /// Takes in an authenticated subflow on `path` and runs it until it closes.
    pub async fn run_subflow(&self, path: u8, stream: TlsStream) {
        let signals = Arc::new(SubflowSignals::default());
        let id = {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.next_subflow += 1;
            let id = SubflowId(state.next_subflow);
            state.subflows.insert(id, signals.clone());
            id
        };
        let reason = crate::subflow::run(self, id, path, stream, &signals).await;
        tracing::debug!(subflow = id.0, path, %reason, "subflow closed");
        self.with(|session, now| session.subflow_closed(now, id));
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.subflows.remove(&id);
    }

    /// A flow that the other end opened was taken over.
    pub(crate) fn open_taken(&self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting_opens = state.waiting_opens.saturating_sub(1);
    }

    /// A choice or a piece of an object was looked at.
    pub(crate) fn choice_taken(&self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting_choices = state.waiting_choices.saturating_sub(1);
    }

    /// This end has reset a flow.
    pub(crate) fn flow_reset(&self, id: u64, reason: FlowReason) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.end_flow(id, Outcome::Reset(reason));
    }

    /// Ends the session at both ends.
    pub fn close(&self, reason: SessionReason) {
        self.with(|session, _| session.close(reason));
    }

    /// Waits until the session has ended, and tells why.
    pub async fn ended(&self) -> SessionReason {
        let mut ended = self.0.ended.subscribe();
        loop {
            if let Some(reason) = *ended.borrow_and_update() {
                return reason;
            }
            // The sender lives as long as `self`.
            if ended.changed().await.is_err() {
                return SessionReason::Drain;
            }
        }
    }

    /// Whether both are handles on one session.
    pub fn is_same(&self, other: &SessionHandle) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the session has ended.
    pub fn is_ended(&self) -> bool {
        self.0.ended.borrow().is_some()
    }

    /// The paths as they are now.
    pub fn paths(&self) -> Vec<PathReport> {
        self.with(|session, now| session.paths(now))
    }

    /// Counts for status.
    pub fn counts(&self) -> Counts {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        Counts {
            flows: state.session.flow_count() as u64,
            opened: state.opened,
            reset: state.reset,
            held: state.session.held_bytes(),
            repeated: state.session.repeated_bytes(),
            alarms: state.session.alarms(),
        }
    }

    /// Calls the state machine when its deadlines come, until the session has ended and nobody else
    /// holds it.
    async fn keep_time(self) {
        /// How long an idle session sleeps before it looks whether it is wanted still.
        const IDLE: Duration = Duration::from_secs(1);
        while !(self.is_ended() && Arc::strong_count(&self.0) == 1) {
            let wait = {
                let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.armed = state.session.next_deadline();
                state
                    .armed
                    .map_or(IDLE, |at| at.since(self.now()).min(IDLE))
            };
            if wait.is_zero() {
                self.with(|session, now| session.handle_timeout(now));
                continue;
            }
            let _ = tokio::time::timeout(wait, self.0.timer.notified()).await;
        }
    }
}

impl State {
    fn end_flow(&mut self, id: u64, outcome: Outcome) {
        self.reset += u64::from(matches!(outcome, Outcome::Reset(_)));
        if let Some(signals) = self.flows.remove(&id) {
            signals.end(outcome);
        }
    }
}
