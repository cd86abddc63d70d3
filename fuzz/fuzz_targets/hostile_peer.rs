//! A session of either side whose peer sends anything: it never panics, holds no more than its
//! memory, and keeps its invariants.
//!
//! The input is a list of steps: bytes as they are, records with fields that matter, what the local
//! end does, and time.
#![no_main]

use std::time::Duration;

use bytes::{BufMut, Bytes};
use guywire_flow::record::{self, CLASSES, Choice, Control, PathNotice};
use guywire_flow::{
    Answer, Config, Destination, Event, FlowKind, FlowReason, Outgoing, PathAttributes, Read,
    Session, SessionReason, Side, SubflowId, SubflowInfo, Time,
};
use libfuzzer_sys::fuzz_target;

const MEMORY: u64 = 1 << 20;
const MAX_FLOWS: u64 = 8;
/// What the local end reads or writes at once, at most.
const PIECE: usize = 1 << 16;

fuzz_target!(|input: &[u8]| {
    let mut steps = Steps(input);
    let side = match steps.byte() {
        Some(byte) if byte & 1 == 0 => Side::Server,
        Some(_) => Side::Router,
        None => return,
    };
    let mut end = End::new(side);
    while let Some(step) = steps.byte() {
        end.step(step, &mut steps);
        end.settle();
    }
});

/// The rest of the input.
struct Steps<'a>(&'a [u8]);

impl<'a> Steps<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn some(&mut self, count: usize) -> &'a [u8] {
        let (some, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        some
    }

    /// A small number mostly, a huge one rarely.
    fn number(&mut self) -> u64 {
        let byte = u64::from(self.byte().unwrap_or(0));
        match byte {
            0..192 => byte,
            192..240 => (byte & 15) << 12,
            240..250 => 1 << (byte - 220),
            _ => (1 << 62) - 1 - (byte & 3),
        }
    }
}

struct End {
    session: Session,
    side: Side,
    now: Time,
    /// The peer's next control number.
    number: u64,
    subflows: Vec<SubflowId>,
    next_subflow: u32,
    flows: Vec<u64>,
    /// Flows that the peer opened and nobody has accepted or refused.
    undecided: Vec<u64>,
    /// What the kernel has seen delivered of everything.
    delivered: u64,
    /// Bytes that were read and not passed on.
    taken: Vec<(u64, usize)>,
    written: Vec<u8>,
}

impl End {
    fn new(side: Side) -> End {
        let mut session = Session::new(Config {
            side,
            memory: MEMORY,
            max_flows: MAX_FLOWS,
            scheduler: guywire_sched::Factory::default(),
            limits: Default::default(),
        });
        let now = Time::ZERO + Duration::from_secs(1);
        session.set_peer(MEMORY, MAX_FLOWS);
        for path in 0..2 {
            session.add_path(now, path, PathAttributes::default());
        }
        let mut end = End {
            session,
            side,
            now,
            number: 0,
            subflows: Vec::new(),
            next_subflow: 0,
            flows: Vec::new(),
            undecided: Vec::new(),
            delivered: 0,
            taken: Vec::new(),
            written: Vec::new(),
        };
        end.join(0);
        end.join(1);
        end
    }

    fn join(&mut self, path: u8) {
        self.next_subflow += 1;
        let id = SubflowId(self.next_subflow);
        self.subflows.push(id);
        let info = self.info(20, 0);
        self.session.subflow_joined(self.now, id, path, info);
    }

    fn info(&mut self, srtt: u64, step: u32) -> SubflowInfo {
        self.delivered += u64::from(step % 2);
        SubflowInfo {
            srtt: Duration::from_millis(srtt + 1),
            rttvar: Duration::from_millis(srtt / 4),
            min_rtt: Duration::from_millis(srtt + 1),
            cwnd: 10,
            mss: 1_448,
            unacked: step % 4,
            in_flight: step % 4,
            notsent: u64::from(step % 3) * 1_000,
            delivered: self.delivered,
            repeated: self.delivered / 7,
            bytes_acked: self.delivered * 1_448,
            delivery_rate: 1_000_000,
            app_limited: step.is_multiple_of(5),
        }
    }

    fn subflow(&self, step: u8) -> SubflowId {
        let count = self.subflows.len().max(1);
        let at = usize::from(step >> 4) % count;
        self.subflows.get(at).copied().unwrap_or(SubflowId(1))
    }

    fn flow(&self, steps: &mut Steps<'_>) -> u64 {
        let number = steps.number();
        match self.flows.get(number as usize % 8) {
            Some(&flow) => flow,
            None => number,
        }
    }

    fn step(&mut self, step: u8, steps: &mut Steps<'_>) {
        let on = self.subflow(step);
        let now = self.now;
        match step % 16 {
            0 => {
                let count = steps.number() as usize;
                self.receive(on, steps.some(count));
            }
            1..6 => {
                let mut out = Vec::new();
                self.put_record(step % 16, steps, &mut out);
                self.receive(on, &out);
            }
            6 => self.now = now + Duration::from_millis(steps.number().min(400_000)),
            7 => {
                let info = self.info(steps.number().min(1_000), steps.number() as u32);
                self.session.handle_info(now, on, info);
            }
            8 => {
                let mut outgoing = Outgoing::default();
                self.session.poll_transmit(now, on, PIECE, &mut outgoing);
                self.written.clear();
                self.written.put(outgoing);
            }
            9 => {
                self.session.subflow_closed(now, on);
                self.subflows.retain(|&other| other != on);
                if self.side == Side::Router {
                    self.session.dial_failed(now, step >> 4 & 1);
                }
            }
            10 => self.join(step >> 4 & 1),
            11 if self.side == Side::Router => {
                let to = Destination::Service("x".to_owned());
                if let Ok(flow) = self.session.open(now, to, FlowKind::default()) {
                    self.flows.push(flow);
                }
            }
            11 => {
                if let Some(flow) = self.undecided.pop() {
                    // It may be gone already.
                    let _ = match step >> 4 & 3 {
                        0 => self.session.refuse(now, flow, FlowReason::Refused),
                        _ => self.session.accept(flow),
                    };
                }
            }
            12 => self.write(steps),
            13 => self.read(steps),
            14 => self.pass_on(),
            _ => {
                let flow = self.flow(steps);
                let _ = match step >> 4 & 1 {
                    0 => self.session.finish(flow),
                    _ => self.session.reset(now, flow, FlowReason::ResetByPeer),
                };
            }
        }
    }

    fn put_record(&mut self, kind: u8, steps: &mut Steps<'_>, out: &mut Vec<u8>) {
        let flow = self.flow(steps);
        match kind {
            1 => {
                let dsn = steps.number();
                let count = steps.number().clamp(1, 16_000) as usize;
                out.extend_from_slice(&record::data_header(flow, dsn, count));
                // The content follows from the place, or not.
                let twist = steps.byte().unwrap_or(0) / 200;
                out.extend((0..count as u64).map(|at| (dsn + at) as u8 ^ twist));
            }
            2 => record::put_ack(out, flow, steps.number(), steps.number()),
            3 => record::put_control_ack(out, steps.number()),
            _ => {
                let control = self.control(flow, steps);
                record::put_control(out, self.number, &control);
                self.number += 1;
            }
        }
    }

    fn control(&self, flow: u64, steps: &mut Steps<'_>) -> Control {
        let number = steps.number();
        match steps.byte().unwrap_or(0) % 12 {
            0..4 => Control::Open {
                flow: 2 * (self.number + 1),
                to: Destination::Service("x".to_owned()),
                window: number,
                kind: FlowKind {
                    class: number as u8 % CLASSES,
                    dscp: 0,
                },
            },
            4 => Control::Opened {
                flow,
                window: number,
            },
            5 => Control::Refused {
                flow,
                reason: FlowReason::Refused,
            },
            6 | 7 => Control::Fin { flow, end: number },
            8 => Control::Reset {
                flow,
                reason: FlowReason::ResetByPeer,
            },
            9 => Control::Done { flow },
            10 => Control::PathStatus {
                path: number as u8 % 4,
                notice: match number % 3 {
                    0 => PathNotice::Up,
                    1 => PathNotice::Stale,
                    _ => PathNotice::Withdrawn,
                },
                backup: number.is_multiple_of(2),
            },
            _ => Control::Scheduler(Choice {
                class: number as u8 % CLASSES,
                serial: number,
                name: "redundant".to_owned(),
                hash: None,
                in_turn: false,
                maps: Vec::new(),
            }),
        }
    }

    fn receive(&mut self, on: SubflowId, bytes: &[u8]) {
        self.session.handle_bytes(self.now, on, bytes.len());
        let mut rest = bytes;
        loop {
            let said = match record::take(&mut rest) {
                Ok(Some(record)) => self.session.handle_record(self.now, on, record),
                Ok(None) => return,
                Err(error) => Err(error.reason()),
            };
            if let Err(reason) = said {
                assert_ne!(reason, SessionReason::Drain);
                return self.session.close(reason);
            }
        }
    }

    fn write(&mut self, steps: &mut Steps<'_>) {
        let flow = self.flow(steps);
        let wanted = (steps.number() as usize).saturating_mul(64);
        let room = self.session.writable(flow).unwrap_or(0);
        let bytes = Bytes::from(vec![0; wanted.min(room).min(PIECE)]);
        if !bytes.is_empty() {
            let written = self.session.write(self.now, flow, bytes);
            written.expect("it was there");
        }
    }

    fn read(&mut self, steps: &mut Steps<'_>) {
        let flow = self.flow(steps);
        let most = steps.number().clamp(1, PIECE as u64) as usize;
        if let Ok(Read::Bytes(bytes)) = self.session.read(self.now, flow, most) {
            assert!(!bytes.is_empty() && bytes.len() <= most);
            self.taken.push((flow, bytes.len()));
        }
    }

    fn pass_on(&mut self) {
        for (flow, count) in std::mem::take(&mut self.taken) {
            let _ = self.session.consume(self.now, flow, count);
        }
    }

    /// Takes the events, lets due timers run, and checks what must hold.
    fn settle(&mut self) {
        for _ in 0..100 {
            while let Some(event) = self.session.poll_event() {
                match event {
                    Event::Open { flow, .. } => {
                        self.flows.push(flow);
                        self.undecided.push(flow);
                    }
                    Event::Close(id) => {
                        self.subflows.retain(|&other| other != id);
                        self.session.subflow_closed(self.now, id);
                    }
                    Event::Reset { flow, .. } | Event::Complete(flow) => {
                        self.flows.retain(|&other| other != flow);
                    }
                    Event::Chosen(choice) => {
                        let found = guywire_sched::native(&choice.name).map(Into::into);
                        let answer = Answer::Use(found);
                        self.session.answer_choice(self.now, &choice, answer);
                    }
                    _ => {}
                }
            }
            match self.session.next_deadline() {
                Some(deadline) if deadline <= self.now => self.session.handle_timeout(self.now),
                _ => break,
            }
        }
        // Half of the memory each way is for all flows alike; nothing exceeds it.
        let held = self.session.held_bytes();
        assert!(held <= 2 * MEMORY, "{held} bytes held");
        assert!(self.session.flow_count() as u64 <= MAX_FLOWS);
        if let Err(broken) = self.session.invariants() {
            panic!("{broken}");
        }
    }
}
