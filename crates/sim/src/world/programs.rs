//! The programs that talk over a network, and what the oracle lets happen to them.

use bytes::Bytes;
use guywire_flow::{Destination, Event, FlowKind, FlowReason, Read, SessionReason, Time};

use super::{ENDS, Errand, World};
use crate::network::{Answer, ROUTER, SERVER};
use crate::oracle::Trouble;

/// So much is read or written at once.
const PIECE: usize = 65_536;
/// What is written where nobody looks at it.
static ZEROES: [u8; PIECE] = [0; PIECE];
/// Directions whose ends lie further apart than this were half closed.
const HALF_CLOSED: std::time::Duration = std::time::Duration::from_millis(100);

/// How far a talk has come.
#[derive(Debug)]
pub(super) struct TalkState {
    pub(super) flow: Option<u64>,
    pub(super) began: Time,
    pub(super) moved: Time,
    pub(super) sides: [SideState; 2],
}

/// How far it has come at one end.
#[derive(Debug, Default)]
pub(super) struct SideState {
    open: bool,
    written: u64,
    pub(super) read: u64,
    finished: bool,
    read_end: Option<Time>,
    pub(super) over: Option<Over>,
    paced_at: Time,
}

/// How a talk ended at one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Complete,
    Reset,
    /// By the program itself.
    Left,
}

impl TalkState {
    pub(super) fn new() -> TalkState {
        TalkState {
            flow: None,
            began: Time::ZERO,
            moved: Time::ZERO,
            sides: Default::default(),
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.flow.is_some()
    }

    /// Nothing of it is to come. One that the router left may never reach the server.
    pub(super) fn is_over(&self) -> bool {
        let [router, server] = &self.sides;
        router.over.is_some()
            && (server.over.is_some() || (!server.open && router.over != Some(Over::Complete)))
    }
}

/// What position `at` of a talk's direction holds.
fn content(talk: usize, side: usize, at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9)
        .wrapping_add(talk as u64 * 31 + side as u64)
        >> 11) as u8
}

/// Whether bytes that were read, from number `from` on, are those that were written.
fn check_content(talk: usize, side: usize, from: u64, bytes: &[u8]) -> Result<(), Trouble> {
    let wrong = (from..)
        .zip(bytes)
        .find(|&(at, &byte)| byte != content(talk, 1 - side, at));
    match wrong {
        Some((at, _)) => Err(Trouble::Content { talk, at }),
        None => Ok(()),
    }
}

impl World<'_> {
    /// The client of a talk connects.
    pub(super) fn begin(&mut self, talk: usize) -> Result<(), Trouble> {
        let now = self.now;
        let to = Destination::Service(talk.to_string());
        let state = &mut self.talks[talk];
        let flow = match self.ends[ROUTER].open(now, to, FlowKind::default()) {
            Ok(flow) => flow,
            Err(FlowReason::SessionEnded) if self.network.ends => {
                state.flow = Some(0);
                state.sides[ROUTER].over = Some(Over::Reset);
                return Ok(());
            }
            Err(reason) => return Err(Trouble::NotOpened { talk, reason }),
        };
        state.flow = Some(flow);
        (state.began, state.moved) = (now, now);
        state.sides[ROUTER].open = true;
        if let Some(metering) = &mut self.metering {
            metering.begin(now, talk);
        }
        self.by_flow.insert(flow, talk);
        self.wake_later(ROUTER, talk);
        Ok(())
    }

    /// Runs the program now and when it wakes from deafness.
    fn wake_later(&mut self, side: usize, talk: usize) {
        self.dirty.insert((side, talk));
        if let Some((_, until)) = self.network.talks[talk].programs[side].deaf {
            let at = self.talks[talk].began + until;
            self.agenda.insert((at, Errand::Wake(side, talk)));
        }
    }

    pub(super) fn program_event(&mut self, side: usize, event: Event) -> Result<(), Trouble> {
        match event {
            Event::Open { flow, to } => self.opened(flow, &to),
            Event::Readable(flow) | Event::Writable(flow) | Event::Accepted(flow) => {
                if let Some(&talk) = self.by_flow.get(&flow) {
                    self.dirty.insert((side, talk));
                }
                Ok(())
            }
            Event::Complete(flow) => self.completed(side, flow),
            Event::Reset { flow, reason } => self.was_reset(side, flow, reason),
            _ => Ok(()),
        }
    }

    /// The server is to connect.
    fn opened(&mut self, flow: u64, to: &Destination) -> Result<(), Trouble> {
        let talk = match to {
            Destination::Service(name) => name.parse().unwrap_or(usize::MAX),
            Destination::Address(_) => usize::MAX,
        };
        let now = self.now;
        let known = self
            .talks
            .get_mut(talk)
            .filter(|state| state.flow == Some(flow));
        let Some(state) = known.filter(|state| !state.sides[SERVER].open) else {
            return Err(Trouble::OpenedTwice { talk });
        };
        state.sides[SERVER].open = true;
        state.moved = now;
        match self.network.talks[talk].answer {
            Answer::Accept => self.accept(talk),
            Answer::AcceptAfter(time) => {
                self.agenda.insert((now + time, Errand::Accept(talk)));
            }
            Answer::Refuse => {
                self.seen.refusals += 1;
                state.sides[SERVER].over = Some(Over::Left);
                let _ = self.ends[SERVER].refuse(now, flow, FlowReason::Refused);
            }
        }
        Ok(())
    }

    /// The destination accepts, unless the client is gone.
    pub(super) fn accept(&mut self, talk: usize) {
        let Some(flow) = self.talks[talk].flow else {
            return;
        };
        self.talks[talk].moved = self.now;
        if self.ends[SERVER].accept(flow).is_ok() {
            self.wake_later(SERVER, talk);
        }
    }

    fn completed(&mut self, side: usize, flow: u64) -> Result<(), Trouble> {
        let Some(&talk) = self.by_flow.get(&flow) else {
            return Ok(());
        };
        let now = self.now;
        let state = &mut self.talks[talk];
        state.moved = now;
        let (read, written) = (state.sides[side].read, state.sides[1 - side].written);
        let whole = read == written && state.sides.iter().all(|side| side.finished);
        if !whole {
            return Err(Trouble::Truncated {
                talk,
                read,
                written,
            });
        }
        let mine = &mut state.sides[side];
        // Where the last bytes completed the flow, that is its end.
        mine.read_end.get_or_insert(now);
        mine.over = Some(Over::Complete);
        if let Some(metering) = &mut self.metering {
            metering.read_end(talk, side);
        }
        if state
            .sides
            .iter()
            .all(|side| side.over == Some(Over::Complete))
        {
            self.seen.complete += 1;
            let ends = [state.sides[ROUTER].read_end, state.sides[SERVER].read_end];
            if let [Some(a), Some(b)] = ends {
                let apart = a.since(b).max(b.since(a));
                self.seen.half_closed += u64::from(apart > HALF_CLOSED);
            }
        }
        Ok(())
    }

    /// A flow was reset at an end: was that called for?
    fn was_reset(&mut self, side: usize, flow: u64, reason: FlowReason) -> Result<(), Trouble> {
        let Some(&talk) = self.by_flow.get(&flow) else {
            return Ok(());
        };
        let state = &mut self.talks[talk];
        state.moved = self.now;
        let left = state.sides[1 - side].over == Some(Over::Left);
        let refused = self.network.talks[talk].answer == Answer::Refuse;
        let called_for = match reason {
            FlowReason::ResetByPeer => left,
            FlowReason::Refused => left && refused && side == ROUTER,
            FlowReason::SessionEnded => self.network.ends && self.ends[side].is_ended(),
            _ => false,
        };
        if !called_for {
            let end = ENDS[side];
            return Err(Trouble::Reset { talk, end, reason });
        }
        state.sides[side].over = Some(Over::Reset);
        Ok(())
    }

    pub(super) fn session_ended(
        &mut self,
        side: usize,
        reason: SessionReason,
    ) -> Result<(), Trouble> {
        self.seen.ended += 1;
        let patience = std::time::Duration::from_secs(300);
        let allowed = self.network.ends
            && reason == SessionReason::NoPath
            && self.elapsed() >= patience
            && self.links.iter().all(|link| !link.works());
        match allowed {
            true => Ok(()),
            false => Err(Trouble::Ended {
                end: ENDS[side],
                reason,
            }),
        }
    }

    /// A program does what it can do now.
    pub(super) fn run_program(&mut self, side: usize, talk: usize) -> Result<(), Trouble> {
        loop {
            let state = &self.talks[talk].sides[side];
            if !state.open || state.over.is_some() {
                return Ok(());
            }
            let limit = self.network.talks[talk].programs[side].resets_after;
            if limit.is_some_and(|limit| state.read + state.written >= limit) {
                self.leave(side, talk);
                return Ok(());
            }
            let wrote = self.write_some(side, talk);
            let read = self.read_some(side, talk)?;
            if !wrote && !read {
                return Ok(());
            }
            self.talks[talk].moved = self.now;
        }
    }

    fn leave(&mut self, side: usize, talk: usize) {
        let now = self.now;
        let state = &mut self.talks[talk];
        state.sides[side].over = Some(Over::Left);
        state.moved = now;
        self.seen.program_resets += 1;
        if let Some(flow) = state.flow {
            let _ = self.ends[side].reset(now, flow, FlowReason::ResetByPeer);
        }
    }

    /// Writes one piece, or ends the direction; returns whether it did.
    fn write_some(&mut self, side: usize, talk: usize) -> bool {
        let now = self.now;
        let program = self.network.talks[talk].programs[side];
        let Some(flow) = self.talks[talk].flow else {
            return false;
        };
        let state = &mut self.talks[talk].sides[side];
        if state.finished || (program.answers && state.read_end.is_none()) {
            return false;
        }
        let left = program.bytes - state.written;
        if left == 0 {
            state.finished = true;
            return self.ends[side].finish(flow).is_ok();
        }
        let most = match program.pace {
            Some(_) if state.paced_at > now => return false,
            Some((piece, every)) => {
                state.paced_at = now + every;
                self.agenda.insert((now + every, Errand::Wake(side, talk)));
                piece
            }
            None => PIECE as u64,
        };
        let Ok(room) = self.ends[side].writable(flow) else {
            return false;
        };
        let count = (room as u64).min(left).min(most);
        if count == 0 {
            self.seen.window_full += 1;
            return false;
        }
        let from = state.written;
        state.written += count;
        let bytes = match ZEROES.get(..count as usize) {
            Some(zeroes) if self.metering.is_some() => Bytes::from_static(zeroes),
            _ => (from..from + count)
                .map(|at| content(talk, side, at))
                .collect(),
        };
        self.ends[side].write(now, flow, bytes).is_ok()
    }

    /// Reads one piece; returns whether there was any, or the end.
    fn read_some(&mut self, side: usize, talk: usize) -> Result<bool, Trouble> {
        let now = self.now;
        let state = &mut self.talks[talk];
        let Some(flow) = state.flow else {
            return Ok(false);
        };
        let deaf = self.network.talks[talk].programs[side].deaf;
        if deaf
            .is_some_and(|(from, until)| (state.began + from..state.began + until).contains(&now))
        {
            self.seen.deaf += 1;
            return Ok(false);
        }
        let state = &mut state.sides[side];
        if state.read_end.is_some() {
            return Ok(false);
        }
        match self.ends[side].read(now, flow, PIECE) {
            Ok(Read::Bytes(bytes)) => {
                match &mut self.metering {
                    Some(metering) => metering.read(now, (talk, side), bytes.len() as u64),
                    None => check_content(talk, side, state.read, &bytes)?,
                }
                state.read += bytes.len() as u64;
                self.seen.bytes += bytes.len() as u64;
                let _ = self.ends[side].consume(now, flow, bytes.len());
                Ok(true)
            }
            Ok(Read::End) => {
                state.read_end = Some(now);
                if let Some(metering) = &mut self.metering {
                    metering.read_end(talk, side);
                }
                let (read, written) = (state.read, self.talks[talk].sides[1 - side].written);
                match read == written && self.talks[talk].sides[1 - side].finished {
                    true => Ok(true),
                    false => Err(Trouble::Truncated {
                        talk,
                        read,
                        written,
                    }),
                }
            }
            Ok(Read::Blocked) | Err(_) => Ok(false),
        }
    }
}
