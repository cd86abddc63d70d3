//! The kernel's objects for one direction of a flow: an `mptcp_sock`, its subflows, their sockets.
//!
//! Each has a number of its own, and so an address that is no address of the host's. A subflow keeps
//! its numbers as long as it lives, and nobody else gets them: programs keep addresses, and compare them.

use guywire_sched::{FlowView, Marks, SubflowId, SubflowView};

use super::fields::{self, Age, Place};
use crate::memory::{object_address, object_at};
use crate::model::{self, Struct, offset_of};

const fn structure(name: &str) -> &'static Struct {
    match model::structure(name) {
        Some(structure) => structure,
        None => panic!("the model has no such structure"),
    }
}

const MPTCP_SOCK: &Struct = structure("mptcp_sock");
const SCHED_DATA: &Struct = structure("mptcp_sched_data");
const SUBFLOW_CONTEXT: &Struct = structure("mptcp_subflow_context");
const TCP: &Struct = structure("tcp_sock");

const fn place(of: &str, member: &str) -> Place {
    Place::of(0, model::member(of, member))
}

const MSK: usize = MPTCP_SOCK.size as usize;
const DATA: usize = SCHED_DATA.size as usize;
const CONTEXT: usize = SUBFLOW_CONTEXT.size as usize;
const SOCK: usize = TCP.size as usize;

const SND_NXT: Place = place("mptcp_sock", "snd_nxt");
const SND_BURST: Place = place("mptcp_sock", "snd_burst");
const FIRST: Place = place("mptcp_sock", "first");
const TCP_SOCK: Place = place("mptcp_subflow_context", "tcp_sock");
const SCHEDULED: Place = place("mptcp_subflow_context", "scheduled");
const STALE: Place = place("mptcp_subflow_context", "stale");
const STALE_COUNT: Place = place("mptcp_subflow_context", "stale_count");
const REINJECT: Place = place("mptcp_sched_data", "reinject");
const SUBFLOWS: Place = place("mptcp_sched_data", "subflows");
const RTX_QUEUE: Place = place("sock", "tcp_rtx_queue");
const WMEM_QUEUED: Place = place("sock", "sk_wmem_queued");
const SNDBUF: Place = place("sock", "sk_sndbuf");

const CONN_LIST: u64 = offset_of("mptcp_sock", "conn_list") as u64;
const NODE: u64 = offset_of("mptcp_subflow_context", "node") as u64;
const CONTEXTS: usize = offset_of("mptcp_sched_data", "contexts") as usize;

/// Subflows that are remembered, shown or not: a path that is stale comes back.
const REMEMBERED: usize = 32;
/// How many numbers there are.
const NUMBERS: u32 = 1 << 31;

/// Gives numbers to objects.
#[derive(Debug, Default)]
pub(super) struct Numbers(u32);

impl Numbers {
    /// Two that follow each other. After 2^31 they begin anew: a program would have to remember an
    /// address for that many objects to be misled.
    pub(super) fn pair(&mut self) -> u32 {
        let number = self.0;
        self.0 = (number + 2) % NUMBERS;
        number
    }
}

/// A subflow and its socket: objects `number` and `number + 1`.
#[derive(Debug)]
pub(super) struct Subflow {
    id: SubflowId,
    path: u8,
    number: u32,
    context: [u8; CONTEXT],
    sock: [u8; SOCK],
    /// Segments that have arrived, and how many had when it was last checked for staleness.
    delivered: u64,
    checked: u64,
}

impl Subflow {
    fn new(view: &SubflowView, number: u32) -> Subflow {
        let mut subflow = Subflow {
            id: view.id,
            path: view.path,
            number,
            context: [0; CONTEXT],
            sock: [0; SOCK],
            delivered: view.delivered,
            checked: view.delivered,
        };
        let sock = subflow.sock_address();
        TCP_SOCK.set(&mut subflow.context, sock);
        subflow.fill_with(view, 0, |age| age == Age::Fixed);
        subflow
    }

    pub(super) fn address(&self) -> u64 {
        object_address(self.number)
    }

    pub(super) fn sock_address(&self) -> u64 {
        object_address(self.number + 1)
    }

    fn fill(&mut self, view: &SubflowView, position: usize) {
        self.fill_with(view, position, |age| age != Age::Fixed);
        SCHEDULED.set(&mut self.context, 0);
        self.delivered = view.delivered;
    }

    fn fill_with(&mut self, view: &SubflowView, position: usize, wanted: impl Fn(Age) -> bool) {
        for field in fields::CONTEXT.iter().filter(|field| wanted(field.age)) {
            let value = (field.value)(view, position);
            field.place.set(&mut self.context, value);
        }
        for field in fields::SOCK.iter().filter(|field| wanted(field.age)) {
            let value = (field.value)(view, position);
            field.place.set(&mut self.sock, value);
        }
    }

    pub(super) fn schedule(&mut self, scheduled: bool) {
        SCHEDULED.set(&mut self.context, scheduled.into());
    }

    pub(super) fn is_active(&self) -> bool {
        STALE.get(&self.context) == 0
    }

    /// As `sk_stream_memory_free`.
    pub(super) fn has_room(&self) -> bool {
        WMEM_QUEUED.get(&self.sock) < SNDBUF.get(&self.sock)
    }

    pub(super) fn is_all_acked(&self) -> bool {
        RTX_QUEUE.get(&self.sock) == 0
    }

    /// As `mptcp_pm_subflow_chk_stale`, up to the consequence: which path is stale, the session judges.
    pub(super) fn check_stale(&mut self) {
        let moved = self.delivered != self.checked;
        let count = STALE_COUNT.get(&self.context);
        let count = if moved && count > 0 {
            0
        } else {
            (count + 1).min(255)
        };
        STALE_COUNT.set(&mut self.context, count);
        self.checked = self.delivered;
    }
}

/// See the module. Objects `number` (the `mptcp_sock`) and `number + 1` (`mptcp_sched_data`).
#[derive(Debug)]
pub(super) struct Connection {
    number: u32,
    msk: [u8; MSK],
    data: [u8; DATA],
    /// The subflows shown, in their order, and behind them others that were.
    subflows: Vec<Subflow>,
    shown: usize,
    pub(super) window_end: u64,
    pub(super) now_ns: u64,
    pub(super) random: u64,
    /// A mark was set on what is no subflow.
    pub(super) marked_stranger: bool,
}

impl Connection {
    /// One without subflows yet.
    pub(super) fn new(numbers: &mut Numbers) -> Connection {
        let number = numbers.pair();
        Connection {
            number,
            msk: [0; MSK],
            data: [0; DATA],
            subflows: Vec::new(),
            shown: 0,
            window_end: 0,
            now_ns: 0,
            random: u64::from(number),
            marked_stranger: false,
        }
    }

    pub(super) fn address(&self) -> u64 {
        object_address(self.number)
    }

    pub(super) fn data_address(&self) -> u64 {
        object_address(self.number + 1)
    }

    /// The addresses of all sockets, for those who forget them.
    pub(super) fn sockets(&self) -> impl Iterator<Item = u64> {
        let subflows = self.subflows.iter().map(Subflow::sock_address);
        subflows.chain([self.address()])
    }

    /// Lays out what the program sees of a flow. Returns a socket that is forgotten, if there are too
    /// many.
    pub(super) fn show(
        &mut self,
        flow: &FlowView<'_>,
        reinject: bool,
        numbers: &mut Numbers,
    ) -> Option<u64> {
        for (position, view) in flow.subflows.iter().enumerate() {
            let known = self
                .subflows
                .iter()
                .position(|subflow| subflow.id == view.id);
            let at = known.unwrap_or_else(|| {
                self.subflows.push(Subflow::new(view, numbers.pair()));
                self.subflows.len() - 1
            });
            self.subflows.swap(position, at);
            self.subflows[position].fill(view, position);
        }
        self.shown = flow.subflows.len();
        for field in fields::CONNECTION {
            field.place.set(&mut self.msk, (field.value)(flow));
        }
        self.window_end = flow.sent.saturating_add(flow.window_free);
        self.now_ns = flow.now.as_nanos();
        self.marked_stranger = false;
        self.link();
        self.fill_data(reinject);
        let forgotten = (self.subflows.len() > REMEMBERED).then(|| self.subflows.pop());
        forgotten.flatten().map(|subflow| subflow.sock_address())
    }

    /// The list that begins and ends in the `mptcp_sock`.
    fn link(&mut self) {
        let head = self.address() + CONN_LIST;
        let shown = &mut self.subflows[..self.shown];
        let nodes: Vec<u64> = shown
            .iter()
            .map(|subflow| subflow.address() + NODE)
            .collect();
        let node = |at: Option<&u64>| at.copied().unwrap_or(head);
        for (position, subflow) in shown.iter_mut().enumerate() {
            let previous = position.checked_sub(1).and_then(|before| nodes.get(before));
            let (next, previous) = (node(nodes.get(position + 1)), node(previous));
            put_list(&mut subflow.context, NODE as usize, next, previous);
        }
        let ends = (node(nodes.first()), node(nodes.last()));
        put_list(&mut self.msk, CONN_LIST as usize, ends.0, ends.1);
        let first = shown.first().map_or(0, Subflow::sock_address);
        FIRST.set(&mut self.msk, first);
    }

    fn fill_data(&mut self, reinject: bool) {
        REINJECT.set(&mut self.data, reinject.into());
        SUBFLOWS.set(&mut self.data, self.shown as u64);
        let contexts = self.data[CONTEXTS..].chunks_exact_mut(8);
        for (position, context) in contexts.enumerate() {
            let address = self.subflows[..self.shown]
                .get(position)
                .map_or(0, Subflow::address);
            context.copy_from_slice(&address.to_le_bytes());
        }
    }

    /// Bytes of the flow scheduled so far.
    pub(super) fn sent(&self) -> u64 {
        SND_NXT.get(&self.msk)
    }

    /// What is left of the burst, as programs see it.
    pub(super) fn set_burst(&mut self, bytes: u64) {
        SND_BURST.set(&mut self.msk, bytes.min(i32::MAX as u64));
    }

    /// The burst that the program set; none that is not above zero.
    pub(super) fn burst(&self) -> u64 {
        let burst = SND_BURST.get(&self.msk) as u32 as i32;
        u64::try_from(burst).unwrap_or(0)
    }

    /// The subflows that are flagged, and takes the flags back.
    pub(super) fn take_marks(&mut self, marks: &mut Marks) {
        for (position, subflow) in self.subflows[..self.shown].iter_mut().enumerate() {
            if SCHEDULED.get(&subflow.context) != 0 {
                marks.mark(position);
                subflow.schedule(false);
            }
        }
    }

    /// The subflow at a position.
    pub(super) fn at(&self, position: usize) -> Option<&Subflow> {
        self.subflows[..self.shown].get(position)
    }

    /// The subflow, shown now, whose context is at an address.
    pub(super) fn by_context(&mut self, address: u64) -> Option<&mut Subflow> {
        let shown = &mut self.subflows[..self.shown];
        shown
            .iter_mut()
            .find(|subflow| subflow.address() == address)
    }

    /// The subflow, shown now, whose socket is at an address.
    pub(super) fn by_sock(&mut self, address: u64) -> Option<&mut Subflow> {
        let shown = &mut self.subflows[..self.shown];
        shown
            .iter_mut()
            .find(|subflow| subflow.sock_address() == address)
    }

    /// Whether an object is a socket, and if so whether it is TCP's.
    pub(super) fn is_tcp_socket(&self, address: u64) -> Option<bool> {
        let (number, offset) = object_at(address)?;
        let of_subflow = |subflow: &Subflow| subflow.number + 1 == number;
        match offset {
            0 if number == self.number => Some(false),
            0 => self.subflows.iter().any(of_subflow).then_some(true),
            _ => None,
        }
    }

    /// An object, and the structure that it is.
    pub(super) fn object(&self, number: u32) -> Option<(&'static Struct, &[u8])> {
        let of_subflow = |subflow: &&Subflow| number & !1 == subflow.number;
        if number == self.number {
            return Some((MPTCP_SOCK, &self.msk));
        }
        if let Some(subflow) = self.subflows.iter().find(of_subflow) {
            return Some(match number == subflow.number {
                true => (SUBFLOW_CONTEXT, &subflow.context),
                false => (TCP, &subflow.sock),
            });
        }
        (number == self.number + 1).then_some((SCHED_DATA, &self.data[..]))
    }

    /// The same, to write to; which bytes may be written, the model says.
    pub(super) fn object_mut(&mut self, number: u32) -> Option<&mut [u8]> {
        let of_subflow = |subflow: &&mut Subflow| number & !1 == subflow.number;
        if number == self.number {
            return Some(&mut self.msk);
        }
        let subflow = self.subflows.iter_mut().find(of_subflow)?;
        (number == subflow.number).then_some(&mut subflow.context[..])
    }

    /// What to call an object in messages.
    pub(super) fn name(&self, number: u32) -> Option<String> {
        let structure = self.object(number)?.0.name;
        let of_subflow = |subflow: &&Subflow| number & !1 == subflow.number;
        Some(match self.subflows.iter().find(of_subflow) {
            Some(subflow) => format!("the {structure} of path {}", subflow.path),
            None => format!("the {structure}"),
        })
    }
}

fn put_list(object: &mut [u8], at: usize, next: u64, previous: u64) {
    object[at..][..8].copy_from_slice(&next.to_le_bytes());
    object[at + 8..][..8].copy_from_slice(&previous.to_le_bytes());
}
