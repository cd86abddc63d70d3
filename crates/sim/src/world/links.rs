//! Packets on links.

use guywire_flow::{SubflowId, Time};
use guywire_lab::emulator::{DropCause, Released, Verdict};

use super::{Link, World};
use crate::network::{ROUTER, SERVER};
use crate::oracle::{Seen, Trouble};
use crate::tcp::{Acknowledgement, HEADERS, Transmission};

/// A black hole swallows packets larger than this.
const LARGE: u64 = 1_400;

/// What travels on a link.
#[derive(Clone, Copy, Debug)]
pub(super) enum Packet {
    /// A segment.
    Segment(SubflowId, Transmission),
    /// An acknowledgement.
    Ack(SubflowId, Acknowledgement),
    /// The connection is reset.
    Reset(SubflowId),
    /// What crosses the link past the sessions and returns; when it began.
    Ping(Time),
}

/// The emulator's reading of a time.
pub(super) fn lab(time: Time) -> guywire_lab::emulator::Time {
    guywire_lab::emulator::Time::from_nanos(time.as_nanos())
}

impl Link {
    /// When a packet arrives next, in either direction.
    pub(super) fn next_time(&self) -> Time {
        self.next[ROUTER].min(self.next[SERVER])
    }

    /// Something became of a direction.
    pub(super) fn look(&mut self, from: usize) {
        let next = self.directions[from].next_release();
        self.next[from] = Time::from_nanos(next.map_or(u64::MAX, |at| at.as_nanos()));
    }

    /// Whether packets pass both ways.
    pub(super) fn works(&self) -> bool {
        self.works_since.is_some()
    }
}

fn note_loss(seen: &mut Seen, swallowed: bool, packet: Packet) {
    match packet {
        Packet::Segment(..) if swallowed => seen.swallowed_data += 1,
        Packet::Ack(..) if swallowed => seen.swallowed_acks += 1,
        _ => seen.lost += 1,
    }
}

impl World<'_> {
    /// Puts a packet on a link.
    pub(super) fn offer(&mut self, from: usize, path: usize, packet: Packet) {
        let payload = match packet {
            Packet::Segment(_, segment) => segment.length,
            Packet::Ack(..) | Packet::Reset(_) | Packet::Ping(_) => 0,
        };
        let size = (payload + HEADERS) as u32;
        if self.links[path].black_hole && u64::from(size) > LARGE {
            self.seen.vanished += 1;
            return;
        }
        let link = &mut self.links[path];
        let verdict = link.directions[from].offer(lab(self.now), size, packet);
        link.look(from);
        if let Verdict::Dropped(cause, packet) = verdict {
            let swallowed = matches!(cause, DropCause::Silent | DropCause::Down);
            note_loss(&mut self.seen, swallowed, packet);
        }
    }

    /// Lets every packet arrive whose time has come.
    pub(super) fn deliver_packets(&mut self) -> Result<(), Trouble> {
        for path in 0..self.links.len() {
            for from in [ROUTER, SERVER] {
                while self.links[path].next[from] <= self.now {
                    let link = &mut self.links[path];
                    let released = link.directions[from].pop_due(lab(self.now));
                    link.look(from);
                    match released {
                        Some(Released::Deliver(packet)) => self.arrive(1 - from, path, packet)?,
                        Some(Released::Dropped(packet)) => note_loss(&mut self.seen, true, packet),
                        None => break,
                    }
                }
            }
        }
        Ok(())
    }

    /// A packet arrives at an end.
    fn arrive(&mut self, at: usize, path: usize, packet: Packet) -> Result<(), Trouble> {
        let id = match packet {
            Packet::Segment(id, ..) | Packet::Ack(id, _) | Packet::Reset(id) => id,
            Packet::Ping(sent) => {
                self.take_ping(at, path, sent);
                return Ok(());
            }
        };
        let open = self.subflows.get(&id).is_some_and(|s| s.ends[at].open);
        if !open {
            if !matches!(packet, Packet::Reset(_)) {
                // Nobody knows this connection any more.
                self.offer(at, path, Packet::Reset(id));
            }
            return Ok(());
        }
        match packet {
            Packet::Segment(id, segment) => self.take_segment(at, id, &segment),
            Packet::Ack(id, ack) => {
                self.take_ack(at, id, &ack);
                Ok(())
            }
            Packet::Reset(id) => {
                self.break_end(at, id);
                Ok(())
            }
            Packet::Ping(_) => Ok(()),
        }
    }
}
