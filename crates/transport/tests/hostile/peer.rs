//! A scripted peer: TLS and HELLO as they should be, then anything.

use guywire_flow::record::{self, Control, Record};
use guywire_flow::{Destination, FlowKind, FlowReason, SessionReason};
use guywire_transport::dial::{DialOptions, dial};
use guywire_transport::hello::{Endpoint, Instance, RouterHello, exchange_as_router};
use guywire_transport::tls::{ClientTls, TlsStream, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{BOUND, House, attributes, bounded};

/// One subflow under the control of a test.
pub(crate) struct Peer {
    pub(crate) stream: TlsStream,
    inbox: Vec<u8>,
    /// The next control number.
    pub(crate) number: u64,
}

/// What of a record the tests look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Opened(u64),
    Refused(u64, FlowReason),
    Reset(u64, FlowReason),
    GoAway(SessionReason),
    Pong(u64),
    Data(u64, Vec<u8>),
    /// Something else.
    Other,
    /// The connection is closed.
    Closed,
}

impl Peer {
    pub(crate) fn new(stream: TlsStream) -> Peer {
        Peer {
            stream,
            inbox: Vec::new(),
            number: 0,
        }
    }

    /// Joins a path as a router's worker of this generation.
    pub(crate) async fn join(house: &House, path: u8, generation: u32) -> Peer {
        let tls = ClientTls::new(
            &house.hostile,
            house.server_key.public_key(),
            house.tag.clone(),
        );
        let dialled = dial(house.address, &DialOptions::default(), BOUND)
            .await
            .unwrap();
        let mut stream = connect(dialled.stream, &tls.unwrap(), 0, BOUND)
            .await
            .unwrap();
        let hello = RouterHello {
            version: 1,
            endpoint: Endpoint {
                instance: Instance([9; 16]),
                generation,
                oldest: 1,
            },
            path,
            link: attributes(),
        };
        exchange_as_router(&mut stream, &hello, BOUND)
            .await
            .unwrap();
        Peer::new(stream)
    }

    /// Sends bytes as they are. What is sent to one that has closed is lost, as it should be.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = bounded(async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await;
    }

    pub(crate) fn put(&mut self, out: &mut Vec<u8>, control: &Control) {
        record::put_control(out, self.number, control);
        self.number += 1;
    }

    pub(crate) async fn control(&mut self, control: Control) {
        let mut out = Vec::new();
        self.put(&mut out, &control);
        self.send(&out).await;
    }

    pub(crate) async fn data(&mut self, flow: u64, dsn: u64, bytes: &[u8]) {
        let mut out = Vec::new();
        put_data(&mut out, flow, dsn, bytes);
        self.send(&out).await;
    }

    /// Waits until its subflow has joined: the other end takes HELLOs in any order.
    pub(crate) async fn joined(mut self) -> Peer {
        let mut out = Vec::new();
        record::put_ping(&mut out, 1);
        self.send(&out).await;
        self.until(&Heard::Pong(1)).await;
        self
    }

    /// Opens a flow and waits for the answer.
    pub(crate) async fn open(&mut self, flow: u64, service: &str, window: u64) {
        self.control(open(flow, service, window)).await;
        self.until(&Heard::Opened(flow)).await;
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            let mut rest = &self.inbox[..];
            if let Some(record) = record::take(&mut rest).expect("an honest end sends records") {
                let heard = heard(record);
                self.inbox.drain(..self.inbox.len() - rest.len());
                return heard;
            }
            let mut buffer = [0; 16_384];
            match bounded(self.stream.read(&mut buffer)).await {
                Ok(0) | Err(_) => return Heard::Closed,
                Ok(count) => self.inbox.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// Reads until it hears that.
    #[track_caller]
    pub(crate) fn until(&mut self, wanted: &Heard) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            loop {
                let heard = self.hear().await;
                if heard == *wanted {
                    return;
                }
                let over = matches!(heard, Heard::Closed | Heard::GoAway(_) | Heard::Reset(..));
                assert!(!over, "{heard:?}, not {wanted:?}: {caller}");
            }
        }
    }

    /// Reads until the connection is closed; the reason that was told before, if any.
    pub(crate) async fn farewell(&mut self) -> Option<SessionReason> {
        let mut told = None;
        loop {
            match self.hear().await {
                Heard::GoAway(reason) => told = Some(reason),
                Heard::Closed => return told,
                _ => {}
            }
        }
    }
}

fn heard(record: Record) -> Heard {
    match record {
        Record::Control(_, Control::Opened { flow, .. }) => Heard::Opened(flow),
        Record::Control(_, Control::Refused { flow, reason }) => Heard::Refused(flow, reason),
        Record::Control(_, Control::Reset { flow, reason }) => Heard::Reset(flow, reason),
        Record::Control(_, Control::GoAway(reason)) => Heard::GoAway(reason),
        Record::Pong { stamp } => Heard::Pong(stamp),
        Record::Data { flow, bytes, .. } => Heard::Data(flow, bytes.to_vec()),
        _ => Heard::Other,
    }
}

pub(crate) fn open(flow: u64, service: &str, window: u64) -> Control {
    Control::Open {
        flow,
        to: Destination::Service(service.to_owned()),
        window,
        kind: FlowKind::default(),
    }
}

pub(crate) fn put_data(out: &mut Vec<u8>, flow: u64, dsn: u64, bytes: &[u8]) {
    out.extend_from_slice(&record::data_header(flow, dsn, bytes.len()));
    out.extend_from_slice(bytes);
}
