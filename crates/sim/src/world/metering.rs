//! What is measured while a network is played: each transfer by the lab's own meter, its order, pings.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guywire_flow::record::Record;
use guywire_flow::{Session, Time};
use guywire_lab::measure::Meter;

use super::links::Packet;
use super::{EPOCH, Errand, World};
use crate::counted::Counts;
use crate::measured::{LinkUse, Measured, Transfer};
use crate::network::{ROUTER, SERVER};

/// Pauses of this length or more are listed.
const LISTED: Duration = Duration::from_millis(5);

/// All that is measured.
pub(super) struct Metering {
    /// What stands for the epoch: the lab's meter reads real clocks elsewhere.
    epoch: Instant,
    counts: Arc<Counts>,
    /// By talk and reading end.
    readings: Vec<[Reading; 2]>,
    /// Round trips of pings, by link.
    pings: Vec<Vec<f64>>,
}

/// One direction of a talk, where it is read.
#[derive(Default)]
struct Reading {
    meter: Option<Meter>,
    ended: bool,
    order: Order,
}

/// In which order chunks arrive; they are never cut again, so a number names one.
#[derive(Default)]
struct Order {
    chunks: u64,
    late: u64,
    again: u64,
    waiting: u64,
    /// Behind the last byte of all that arrived.
    furthest: u64,
    /// What arrived beyond what was read.
    early: BTreeSet<u64>,
}

impl Metering {
    pub(super) fn new(counts: Arc<Counts>, talks: usize, links: usize) -> Metering {
        Metering {
            epoch: Instant::now(),
            counts,
            readings: (0..talks).map(|_| Default::default()).collect(),
            pings: vec![Vec::new(); links],
        }
    }

    fn instant(&self, now: Time) -> Instant {
        self.epoch + now.since(EPOCH)
    }

    /// A talk begins.
    pub(super) fn begin(&mut self, now: Time, talk: usize) {
        let start = self.instant(now);
        for reading in &mut self.readings[talk] {
            reading.meter = Some(Meter::start(start).listing(Some(LISTED)));
        }
    }

    /// A program read.
    pub(super) fn read(&mut self, now: Time, (talk, side): (usize, usize), bytes: u64) {
        let at = self.instant(now);
        if let Some(meter) = &mut self.readings[talk][side].meter {
            meter.record(at, bytes);
        }
    }

    /// A program read to the end.
    pub(super) fn read_end(&mut self, talk: usize, side: usize) {
        self.readings[talk][side].ended = true;
    }

    /// Nothing more is measured.
    fn stop(&mut self, now: Time) {
        let at = self.instant(now);
        for reading in self.readings.iter_mut().flatten() {
            if let Some(meter) = reading.meter.as_mut().filter(|_| !reading.ended) {
                meter.stop(at);
            }
        }
    }
}

impl Order {
    /// A chunk arrives; everything below `read` was read.
    fn take(&mut self, dsn: u64, length: u64, read: u64) {
        self.early = self.early.split_off(&read);
        self.chunks += 1;
        if dsn < read || !self.early.insert(dsn) {
            self.again += 1;
        } else if dsn < self.furthest {
            self.late += 1;
        }
        self.furthest = self.furthest.max(dsn + length);
        if dsn > read {
            self.waiting = self.waiting.max(self.furthest - read);
        }
    }
}

impl World<'_> {
    /// A record arrived at an end.
    pub(super) fn note_record(&mut self, at: usize, record: &Record) {
        let Some(metering) = &mut self.metering else {
            return;
        };
        if let Record::Data { flow, dsn, bytes } = record
            && let Some(&talk) = self.by_flow.get(flow)
        {
            let read = self.talks[talk].sides[at].read;
            let order = &mut metering.readings[talk][at].order;
            order.take(*dsn, bytes.len() as u64, read);
        }
    }

    /// A ping leaves the router on every link; the next ones are to come.
    pub(super) fn ping(&mut self) {
        for path in 0..self.links.len() {
            self.offer(ROUTER, path, Packet::Ping(self.now));
        }
        if let Some(every) = self.network.pings {
            self.agenda.insert((self.now + every, Errand::Ping));
        }
    }

    /// A ping is at the server, which answers, or back.
    pub(super) fn take_ping(&mut self, at: usize, path: usize, sent: Time) {
        if at == SERVER {
            self.offer(SERVER, path, Packet::Ping(sent));
        } else if let Some(metering) = &mut self.metering {
            metering.pings[path].push(self.now.since(sent).as_secs_f64() * 1e3);
        }
    }

    /// What was measured.
    pub(crate) fn measured(&mut self) -> Measured {
        let (now, begin) = (self.now, self.network.begin);
        let mut metering = self.metering.take().expect("it was measured");
        metering.stop(now);
        let scenario_time = |time: Duration| time.saturating_sub(begin);
        let mut transfers = Vec::new();
        for (talk, readings) in metering.readings.iter().enumerate() {
            for (side, direction) in [(ROUTER, "down"), (SERVER, "up")] {
                let writes = self.network.talks[talk].programs[1 - side].bytes > 0;
                let reading = &readings[side];
                let Some(meter) = reading.meter.as_ref().filter(|_| writes) else {
                    continue;
                };
                let began = scenario_time(self.network.talks[talk].at);
                let transfer = Transfer::new(direction, began, meter);
                transfers.push(reading.complete(transfer, meter));
            }
        }
        transfers.sort_by(|a, b| a.began.total_cmp(&b.began));
        let pings = std::mem::take(&mut metering.pings);
        Measured {
            scheduler: self.network.scheduler.name().to_owned(),
            seed: self.network.seed,
            seconds: scenario_time(self.elapsed()).as_secs_f64(),
            transfers,
            links: self.link_uses(pings),
            decisions: metering.counts.decisions(),
            instructions: metering.counts.instructions(),
            overrides: metering.counts.overrides(),
            repeated: self.ends.iter().map(Session::repeated_bytes).sum(),
            incidents: self.ejected.clone(),
        }
    }

    fn link_uses(&self, pings: Vec<Vec<f64>>) -> Vec<LinkUse> {
        let links = self.links.iter().zip(pings);
        let uses = links.map(|(link, pings)| {
            let [up, down] = link.directions.each_ref().map(|it| *it.counters());
            LinkUse {
                down_bytes: down.bytes,
                up_bytes: up.bytes,
                dropped: down.drops.total() + up.drops.total(),
                pings,
            }
        });
        uses.collect()
    }
}

impl Reading {
    /// Adds what the meter does not know.
    fn complete(&self, transfer: Transfer, meter: &Meter) -> Transfer {
        let Order {
            chunks,
            late,
            again,
            waiting,
            ..
        } = self.order;
        Transfer {
            completed: self.ended.then(|| meter.last().as_secs_f64()),
            chunks,
            late,
            again,
            waiting,
            ..transfer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_chunks_and_copies_are_told_apart() {
        let mut order = Order::default();
        for (dsn, read) in [
            (0, 0),
            (20, 10),
            (30, 10),
            (20, 10),
            (10, 10),
            (0, 40),
            (30, 40),
        ] {
            order.take(dsn, 10, read);
        }
        assert_eq!((order.chunks, order.late, order.again), (7, 1, 3));
        assert_eq!(order.waiting, 30);
    }
}
