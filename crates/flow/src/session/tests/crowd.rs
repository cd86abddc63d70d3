//! Many busy flows share the subflows of a path.

use std::time::Duration;

use guywire_sched::{SubflowId, Time};

use super::{accepted, alone, records};
use crate::SubflowInfo;
use crate::record::Record;
use crate::session::Session;

/// One path with three subflows, of which each believes that the link of 20 ms is its own: 200 Mbit/s.
const SUBFLOWS: [SubflowId; 3] = [SubflowId(1), SubflowId(2), SubflowId(3)];
/// So many busy flows are a crowd.
const FLOWS: u64 = 6;

struct Crowd {
    session: Session,
    now: Time,
    flows: Vec<u64>,
    infos: [SubflowInfo; 3],
    /// Bytes of each flow that arrived.
    cumulative: u64,
}

impl Crowd {
    fn new() -> Crowd {
        let now = Time::ZERO + Duration::from_secs(1);
        let mut session = alone(now, "default");
        let trip = Duration::from_millis(20);
        let info = SubflowInfo {
            srtt: trip,
            min_rtt: trip,
            cwnd: 1_000,
            mss: 1_000,
            delivery_rate: 25_000_000,
            ..SubflowInfo::default()
        };
        for id in SUBFLOWS {
            session.subflow_joined(now, id, 0, info);
        }
        let opened = |number| accepted(&mut session, now, SUBFLOWS[0], number);
        let flows = (0..FLOWS).map(opened).collect();
        let infos = [info; 3];
        Crowd {
            session,
            now,
            flows,
            infos,
            cumulative: 0,
        }
    }

    /// Bytes that leave when every flow has so many more.
    fn send(&mut self, bytes: usize) -> u64 {
        for &flow in &self.flows {
            let data = vec![0; bytes].into();
            self.session
                .write(self.now, flow, data)
                .expect("it is there");
        }
        let length = |record: Record| match record {
            Record::Data { bytes, .. } => bytes.len() as u64,
            _ => 0,
        };
        let sent = SUBFLOWS.map(|id| {
            let more = || records(&mut self.session, self.now, id);
            let all = std::iter::repeat_with(more).take_while(|records| !records.is_empty());
            all.flatten().map(length).sum::<u64>()
        });
        for ((id, info), sent) in SUBFLOWS.into_iter().zip(&mut self.infos).zip(sent) {
            info.delivered += sent / 1_000;
            info.bytes_acked += sent;
            self.session.handle_info(self.now, id, *info);
        }
        sent.into_iter().sum()
    }

    /// Every flow sends so much at once, and all of it arrives.
    fn carry(&mut self, bytes: usize) {
        assert_eq!(
            self.send(bytes),
            FLOWS * bytes as u64,
            "as much as there is"
        );
        self.cumulative += bytes as u64;
        for &flow in &self.flows {
            let ack = Record::Ack {
                flow,
                cumulative: self.cumulative,
                window: 1 << 20,
            };
            let told = self.session.handle_record(self.now, SUBFLOWS[0], ack);
            assert_eq!(told, Ok(()));
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.session.handle_timeout(self.now);
    }
}

#[test]
fn a_crowd_has_in_flight_what_its_path_has_proven() {
    let mut crowd = Crowd::new();
    for _ in 0..500 {
        crowd.carry(1_000);
        crowd.wait(Duration::from_millis(1));
    }
    // What piled up while nothing was scheduled: 40 ms of the 6 MB/s that were carried may be on the way.
    let burst = crowd.send(100_000);
    assert!((150_000..=300_000).contains(&burst), "{burst}");
    crowd.wait(Duration::from_millis(20));
    assert!(crowd.send(0) > 100_000, "the rest follows");
    assert_eq!(crowd.session.invariants(), Ok(()));
}
