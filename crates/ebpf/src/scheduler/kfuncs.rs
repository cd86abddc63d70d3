//! What the kernel's functions do here (net/mptcp/bpf.c of the trees that have the hook).

use super::connection::Connection;
use super::fields::Place;
use crate::kernel::{BadArgument, Kernel, Kfunc, Socket};
use crate::memory::ProgramMemory;
use crate::model::Type;
use crate::model::kfuncs::{self, number};

const COUNT: usize = kfuncs::KFUNCS.len();

/// The model's table, as the machine wants it.
static TABLE: [Kfunc; COUNT] = {
    let none = Kfunc {
        name: "",
        arguments: 0,
        returns: false,
    };
    let mut table = [none; COUNT];
    let mut index = 0;
    while index < COUNT {
        let kfunc = &kfuncs::KFUNCS[index];
        table[index] = Kfunc {
            name: kfunc.name,
            arguments: kfunc.params.len() as u8,
            returns: !matches!(kfunc.result, Type::Void),
        };
        index += 1;
    }
    table
};

const SET_SCHEDULED: usize = number("mptcp_subflow_set_scheduled");
const CTX_BY_POS: usize = number("bpf_mptcp_subflow_ctx_by_pos");
const CTX: usize = number("bpf_mptcp_subflow_ctx");
const SUBFLOW_SOCK: usize = number("bpf_mptcp_subflow_tcp_sock");
const ITER_NEW: usize = number("bpf_iter_mptcp_subflow_new");
const ITER_NEXT: usize = number("bpf_iter_mptcp_subflow_next");
const ITER_DESTROY: usize = number("bpf_iter_mptcp_subflow_destroy");
const ACTIVE: usize = number("mptcp_subflow_active");
const SET_TIMEOUT: usize = number("mptcp_set_timeout");
const WND_END: usize = number("mptcp_wnd_end");
const TCP_MEMORY_FREE: usize = number("tcp_stream_memory_free");
const SK_MEMORY_FREE: usize = number("bpf_sk_stream_memory_free");
const QUEUES_EMPTY: usize = number("bpf_mptcp_subflow_queues_empty");
const CHK_STALE: usize = number("mptcp_pm_subflow_chk_stale");
const RDONLY_CAST: usize = number("bpf_rdonly_cast");
const BPF_WND_END: usize = number("bpf_mptcp_wnd_end");
const BPF_SND_NXT: usize = number("bpf_mptcp_snd_nxt");
const BPF_SET_TIMEOUT: usize = number("bpf_mptcp_set_timeout");

const EINVAL: u64 = -22_i64 as u64;

impl Kernel for Connection {
    const KFUNCS: &'static [Kfunc] = &TABLE;

    #[inline]
    fn object(&self, number: u32) -> Option<&[u8]> {
        Connection::object(self, number).map(|(_, bytes)| bytes)
    }

    fn writable(&mut self, number: u32, offset: usize, length: usize) -> Option<&mut [u8]> {
        let (structure, _) = Connection::object(self, number)?;
        let mut members = structure.members.iter();
        let held = |place: Place| place.holds(offset, length);
        members.find(|member| member.writable && held(Place::of(0, member)))?;
        self.object_mut(number)?
            .get_mut(offset..)?
            .get_mut(..length)
    }

    fn name(&self, number: u32) -> Option<String> {
        Connection::name(self, number)
    }

    fn socket(&self, address: u64) -> Option<Socket> {
        self.is_tcp_socket(address)
            .map(|tcp| Socket { tcp, ipv6: false })
    }

    fn call(
        &mut self,
        kfunc: usize,
        [r1, r2, ..]: [u64; 5],
        memory: &mut ProgramMemory<'_>,
    ) -> Result<u64, BadArgument> {
        match kfunc {
            SET_SCHEDULED => self.set_scheduled(r1, r2 as u8 != 0),
            CTX_BY_POS => self.ctx_by_pos(r1, r2 as u32),
            CTX => Ok(self.by_sock(r1).map_or(0, |subflow| subflow.address())),
            SUBFLOW_SOCK => Ok(self
                .by_context(r1)
                .map_or(0, |subflow| subflow.sock_address())),
            ITER_NEW => self.iter_new(r1, r2, memory),
            ITER_NEXT => self.iter_next(r1, memory),
            ACTIVE => {
                let subflow = self.by_context(r1).ok_or_else(|| bad(1, "is no subflow"))?;
                Ok(subflow.is_active().into())
            }
            WND_END | BPF_WND_END => Ok(self.window_end),
            BPF_SND_NXT => Ok(self.sent()),
            // A queue beyond its bound takes nothing here, whoever asks.
            TCP_MEMORY_FREE | SK_MEMORY_FREE => Ok(self
                .by_sock(r1)
                .is_some_and(|subflow| subflow.has_room())
                .into()),
            QUEUES_EMPTY => {
                let subflow = self
                    .by_sock(r1)
                    .ok_or_else(|| bad(1, "is no subflow's socket"))?;
                Ok(subflow.is_all_acked().into())
            }
            CHK_STALE => {
                let subflow = self
                    .by_sock(r2)
                    .ok_or_else(|| bad(2, "is no subflow's socket"))?;
                subflow.check_stale();
                Ok(0)
            }
            RDONLY_CAST => Ok(r1),
            // The session has timers of its own, and iterators nothing to give back.
            SET_TIMEOUT | ITER_DESTROY => Ok(0),
            // The kernel's verifier sees to its type, so nobody may rely on any other.
            BPF_SET_TIMEOUT if r1 != self.address() => Err(bad(1, "is no `mptcp_sock`")),
            BPF_SET_TIMEOUT => Ok(0),
            _ => unreachable!("the program was checked against the table"),
        }
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// SplitMix64: equal runs are to be equal.
    fn random(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u32
    }
}

impl Connection {
    /// The kernel does not look at its argument; here what is no subflow, or not shown, is a stranger.
    fn set_scheduled(&mut self, subflow: u64, scheduled: bool) -> Result<u64, BadArgument> {
        let Some(subflow) = self.by_context(subflow) else {
            self.marked_stranger = true;
            return Err(bad(1, "is no subflow that was given"));
        };
        subflow.schedule(scheduled);
        Ok(0)
    }

    fn ctx_by_pos(&self, data: u64, position: u32) -> Result<u64, BadArgument> {
        if data != self.data_address() {
            return Err(bad(1, "is not what the callback was given"));
        }
        let subflow = self.at(position as usize);
        Ok(subflow.map_or(0, |subflow| subflow.address()))
    }

    /// An iterator is the `mptcp_sock` and the next position. A failed one has neither: it ends at once.
    fn iter_new(
        &mut self,
        iterator: u64,
        msk: u64,
        memory: &mut ProgramMemory<'_>,
    ) -> Result<u64, BadArgument> {
        let known = msk == self.address();
        let msk = if known { msk } else { 0 };
        put_iterator(memory, iterator, [msk, 0])?;
        Ok(if known { 0 } else { EINVAL })
    }

    fn iter_next(
        &mut self,
        iterator: u64,
        memory: &mut ProgramMemory<'_>,
    ) -> Result<u64, BadArgument> {
        let bytes = memory
            .read::<16>(iterator)
            .ok_or_else(|| bad(1, "is no iterator"))?;
        let (words, _) = bytes.as_chunks::<8>();
        let [msk, position] = [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])];
        if msk != self.address() {
            return Ok(0);
        }
        let Some(subflow) = self.at(usize::try_from(position).unwrap_or(usize::MAX)) else {
            return Ok(0);
        };
        let address = subflow.address();
        put_iterator(memory, iterator, [msk, position + 1])?;
        Ok(address)
    }
}

fn put_iterator(
    memory: &mut ProgramMemory<'_>,
    at: u64,
    words: [u64; 2],
) -> Result<(), BadArgument> {
    let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
    let written = memory.write(at, &bytes);
    written.ok_or_else(|| bad(1, "is no place for an iterator"))
}

fn bad(argument: u8, problem: &str) -> BadArgument {
    BadArgument {
        argument,
        problem: problem.to_owned(),
    }
}
