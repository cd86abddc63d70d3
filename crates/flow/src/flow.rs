//! One flow: both directions, its scheduler, and when its acknowledgement is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use guywire_sched::guard::Watch;
use guywire_sched::{Scheduler, SubflowId, Time, Traffic};

use crate::reader::Reader;
use crate::recv::RecvHalf;
use crate::send::SendHalf;

/// So many bytes, or this share of the window if that is more, are acknowledged at once, ...
const ACK_BYTES: u64 = 256 << 10;
/// See [`ACK_BYTES`].
const ACK_SHARE: u64 = 8;
/// ... and in any case this share of a small window.
const ACK_LARGEST_SHARE: u64 = 4;
/// Acknowledgements of a flow are not closer than this.
const ACK_SPACING: Duration = Duration::from_millis(1);
/// The last change is acknowledged after this at the latest: without the trailing acknowledgement a
/// small window would stand still for ever. Each one costs both ends some 30 us together, so no sooner on the
/// shortest path either: one in 1 ms took 3 % of all CPU time.
const ACK_TRAILING: Duration = Duration::from_millis(5);

/// One proxied connection.
pub(crate) struct Flow {
    /// Below [`CLASSES`](crate::record::CLASSES).
    pub(crate) class: u8,
    pub(crate) traffic: Traffic,
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    pub(crate) scheduler: Box<dyn Scheduler>,
    /// Judges how long it waits for the scheduler.
    pub(crate) watch: Watch,
    /// While the answer to OPEN is awaited: the subflows that carried it. Nothing of the flow may
    /// overtake it elsewhere.
    pub(crate) opening: Option<BTreeSet<SubflowId>>,
    /// Server: the local end has not said yet whether the destination accepts.
    pub(crate) undecided: bool,
    /// Subflows lent to it, one a path.
    pub(crate) own: BTreeMap<u8, SubflowId>,
    /// Chunks that several subflows were to carry, for the turns of those of a path.
    pub(crate) copied: usize,
    /// Bytes of its window that came from the growth half of the budget.
    pub(crate) growth: u64,
    /// The window it is granted beyond what was read.
    pub(crate) window: u64,
    pub(crate) reader: Reader,
    pub(crate) ack: AckClock,
    pub(crate) queue: Queue,
    /// The local writer met a full window and waits.
    pub(crate) write_blocked: bool,
    /// The local reader was told that there is something to read.
    pub(crate) read_told: bool,
    /// DONE was sent for the other direction.
    pub(crate) done_told: bool,
    /// When it last had anything to send.
    pub(crate) last_busy: Time,
}

impl Flow {
    pub(crate) fn new(
        class: u8,
        traffic: Traffic,
        scheduler: Box<dyn Scheduler>,
        send_limit: u64,
        window: u64,
        growth: u64,
        now: Time,
    ) -> Flow {
        Flow {
            class,
            traffic,
            send: SendHalf::new(send_limit),
            recv: RecvHalf::new(window),
            scheduler,
            watch: Watch::default(),
            opening: None,
            undecided: false,
            own: BTreeMap::new(),
            copied: 0,
            growth,
            window,
            reader: Reader::new(now),
            ack: AckClock::default(),
            queue: Queue::Absent,
            write_blocked: false,
            read_told: false,
            done_told: false,
            last_busy: now,
        }
    }

    /// When its next acknowledgement is due; `None` if there is nothing to tell.
    pub(crate) fn ack_due(&self, srtt: Duration) -> Option<Time> {
        let [enough, _] = self.worth_telling();
        self.ack.due(self.recv.cumulative(), enough, srtt)
    }

    /// Whether what was read since makes enough new room to tell of.
    pub(crate) fn has_new_room(&self) -> bool {
        let [_, enough] = self.worth_telling();
        self.recv.consumed() + self.window >= self.ack.told_limit() + enough
    }

    /// So many bytes that arrived, and so much new room, are told at once. A reader that leaves half of the window
    /// waiting does not need the other half sooner.
    fn worth_telling(&self) -> [u64; 2] {
        let window = self.window;
        if self.reader.is_behind() {
            return [window / 2; 2];
        }
        let room = window / ACK_LARGEST_SHARE;
        [ACK_BYTES.max(window / ACK_SHARE).min(room), room]
    }

    /// Both directions are complete at both ends.
    pub(crate) fn is_complete(&self) -> bool {
        self.send.is_done() && self.recv.is_consumed()
    }
}

/// Where a flow stands among those with something to schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Nothing to schedule.
    Absent,
    /// In turn.
    Waiting,
    /// Nothing was marked, or everything marked was full: asked again when that may have changed, in the order of
    /// these tickets.
    Parked(u64),
}

/// When the next acknowledgement of a flow is due.
#[derive(Debug, Default)]
pub(crate) struct AckClock {
    /// Cumulative number and limit last told.
    told: (u64, u64),
    told_at: Option<Time>,
    changed_at: Option<Time>,
    /// The last acknowledgement is repeated on another path then, unless data comes before.
    pub(crate) repeat_at: Option<Time>,
    /// Where the last one went.
    pub(crate) carrier: Option<SubflowId>,
}

impl AckClock {
    /// Something arrived or the window moved by enough to matter.
    pub(crate) fn change(&mut self, now: Time) {
        self.changed_at = Some(now);
        self.repeat_at = None;
    }

    /// When it is due, at once after `enough` bytes; `None` if there is nothing to tell.
    fn due(&self, cumulative: u64, enough: u64, srtt: Duration) -> Option<Time> {
        let changed = self.changed_at?;
        let Some(told_at) = self.told_at else {
            return Some(changed);
        };
        if cumulative - self.told.0 >= enough {
            return Some(told_at + ACK_SPACING);
        }
        let spaced = told_at + (srtt / 4).max(ACK_TRAILING);
        Some(spaced.min(changed + ACK_TRAILING))
    }

    /// It is told now.
    pub(crate) fn tell(
        &mut self,
        now: Time,
        cumulative: u64,
        limit: u64,
        srtt: Duration,
        carrier: SubflowId,
    ) {
        let news = self.told.0 != cumulative;
        self.told = (cumulative, limit);
        self.told_at = Some(now);
        self.changed_at = None;
        self.repeat_at = news.then(|| now + srtt.max(4 * ACK_TRAILING));
        self.carrier = Some(carrier);
    }

    /// The limit last told.
    pub(crate) fn told_limit(&self) -> u64 {
        self.told.1
    }
}
