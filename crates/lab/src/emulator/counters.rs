//! What a direction counts.

use serde::{Deserialize, Serialize};

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// It was larger than the largest that passes.
    Size,
    /// By the link's loss.
    Loss,
    /// The queue was full.
    Queue,
    /// The queue dropped it early (RED).
    Early,
    /// The link was down.
    Down,
    /// The link was silent.
    Silent,
    /// More packets under way than the emulator has memory for.
    Memory,
    /// Longer than a buffer or without its checksum: an offload is still on at
    /// the sending end.
    Offload,
    /// The emulator read too late and the kernel had no room left.
    Missed,
    /// The receiving end did not take it: its device is down or gone.
    Unsent,
}

/// Dropped packets by cause; see [`DropCause`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Drops {
    pub size: u64,
    pub loss: u64,
    pub queue: u64,
    pub early: u64,
    pub down: u64,
    pub silent: u64,
    pub memory: u64,
    pub offload: u64,
    pub missed: u64,
    pub unsent: u64,
}

/// What has passed a direction since it was made. Bytes are those of IP
/// packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets that arrived.
    pub offered_packets: u64,
    /// Bytes that arrived.
    pub offered_bytes: u64,
    /// Packets that were delivered; [`Drops::unsent`] of them were not taken.
    pub packets: u64,
    /// Bytes that were delivered.
    pub bytes: u64,
    /// Bytes under way now.
    pub in_flight_bytes: u64,
    /// Packets delivered more than 2 ms after their time. A measurement with
    /// more than one in a thousand is void: the machine was too slow for it.
    pub late_packets: u64,
    /// Packets that were dropped.
    pub drops: Drops,
}

impl Drops {
    /// Counts `packets` of one cause.
    pub fn add(&mut self, cause: DropCause, packets: u64) {
        let count = match cause {
            DropCause::Size => &mut self.size,
            DropCause::Loss => &mut self.loss,
            DropCause::Queue => &mut self.queue,
            DropCause::Early => &mut self.early,
            DropCause::Down => &mut self.down,
            DropCause::Silent => &mut self.silent,
            DropCause::Memory => &mut self.memory,
            DropCause::Offload => &mut self.offload,
            DropCause::Missed => &mut self.missed,
            DropCause::Unsent => &mut self.unsent,
        };
        *count += packets;
    }

    /// Packets dropped for any cause.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.size
            + self.loss
            + self.queue
            + self.early
            + self.down
            + self.silent
            + self.memory
            + self.offload
            + self.missed
            + self.unsent
    }

    /// Packets dropped because the emulator or the machine was not up to it,
    /// not because the link is so.
    #[must_use]
    pub fn of_emulator(&self) -> u64 {
        self.memory + self.offload + self.missed + self.unsent
    }
}

impl Counters {
    /// The share of delivered packets that were late.
    #[must_use]
    pub fn late_share(&self) -> f64 {
        self.late_packets as f64 / self.packets.max(1) as f64
    }
}
