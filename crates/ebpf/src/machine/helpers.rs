//! What the helpers do (kernel/bpf/helpers.c, kernel/trace/bpf_trace.c, net/core/bpf_sk_storage.c).
//!
//! Pointers that a helper cannot use are memory faults or bad arguments: the kernel's verifier refuses
//! such programs, and this machine finds out when they run.

use guywire_sched::Quirk;

use super::BYTES_PER_UNIT;
use super::execution::{Execution, Stop, bad_argument};
use super::print::{self, Arguments};
use crate::fault::Access;
use crate::helpers::*;
use crate::kernel::{Kernel, Socket};
use crate::maps::{Map, MapError, Update};
use crate::memory;
use crate::object::MapKind;

/// What helpers return for a bad address.
const EFAULT: i64 = -14;
/// What helpers return for a bad argument.
const EINVAL: i64 = -22;
/// Create what is not there (`BPF_SK_STORAGE_GET_F_CREATE`).
const CREATE: u64 = 1;

impl<K: Kernel> Execution<'_, K> {
    /// Calls the helper of this number with r1 to r5; the answer is r0.
    pub(super) fn helper(&mut self, number: i32) -> Result<u64, Stop> {
        let [_, r1, r2, r3, r4, r5, ..] = self.registers;
        match number {
            MAP_LOOKUP_ELEM => self.map_lookup_elem(r1, r2),
            MAP_UPDATE_ELEM => self.map_update_elem(r1, r2, r3, r4),
            MAP_DELETE_ELEM => self.map_delete_elem(r1, r2),
            KTIME_GET_NS => Ok(self.memory.kernel.now_ns()),
            TRACE_PRINTK => self.trace_printk(r1, r2, [r3, r4, r5]),
            GET_PRANDOM_U32 => Ok(self.memory.kernel.random().into()),
            SK_STORAGE_GET => self.sk_storage_get(r1, r2, r3, r4),
            SK_STORAGE_DELETE => self.sk_storage_delete(r1, r2),
            PROBE_READ_KERNEL => self.probe_read_kernel(r1, r2, r3),
            SKC_TO_TCP6_SOCK => Ok(self.socket_that(r1, |socket| socket.tcp && socket.ipv6)),
            SKC_TO_TCP_SOCK => Ok(self.socket_that(r1, |socket| socket.tcp)),
            // The static pass knows the same table.
            _ => Err(Stop::NoCode),
        }
    }

    fn map_lookup_elem(&mut self, map: u64, key: u64) -> Result<u64, Stop> {
        let (number, key) = self.map_and_key("map_lookup_elem", map, key)?;
        let map = self.map(number);
        let slot = map.look_up(&key);
        Ok(slot.map_or(0, |slot| map.address(number, slot)))
    }

    fn map_update_elem(&mut self, map: u64, key: u64, value: u64, flags: u64) -> Result<u64, Stop> {
        let (number, key) = self.map_and_key("map_update_elem", map, key)?;
        let size = self.map(number).spec().value_size as usize;
        let value = self.copy(value, size)?;
        let map = self.map(number);
        if !map.spec().writable {
            return Err(bad_argument("map_update_elem", 1, "is a read-only map"));
        }
        let how = match flags {
            0 => Update::Any,
            1 => Update::Insert,
            2 => Update::Replace,
            _ => return Ok(EINVAL as u64),
        };
        let updated = map.update(&key, &value, how);
        if updated == Err(MapError::Full) {
            self.told.quirks.add(Quirk::FilledMap);
        }
        Ok(status(updated))
    }

    fn map_delete_elem(&mut self, map: u64, key: u64) -> Result<u64, Stop> {
        let (number, key) = self.map_and_key("map_delete_elem", map, key)?;
        Ok(status(self.map(number).remove(&key)))
    }

    fn sk_storage_get(&mut self, map: u64, sk: u64, value: u64, flags: u64) -> Result<u64, Stop> {
        let number = self.storage_map("sk_storage_get", map)?;
        if flags & !CREATE != 0 || self.memory.kernel.socket(sk).is_none() {
            return Ok(0);
        }
        let size = self.map(number).spec().value_size as usize;
        let initial = match value {
            0 => None,
            address => Some(self.copy(address, size)?),
        };
        let map = self.map(number);
        let slot = map.socket_slot(sk, flags & CREATE != 0, initial.as_deref());
        Ok(slot.map_or(0, |slot| map.address(number, slot)))
    }

    fn sk_storage_delete(&mut self, map: u64, sk: u64) -> Result<u64, Stop> {
        let number = self.storage_map("sk_storage_delete", map)?;
        if self.memory.kernel.socket(sk).is_none() {
            return Ok(EINVAL as u64);
        }
        Ok(status(self.map(number).remove(&sk.to_le_bytes())))
    }

    /// Reads what there may be: what cannot be read is zero, and an error.
    fn probe_read_kernel(&mut self, to: u64, size: u64, from: u64) -> Result<u64, Stop> {
        let size = size as u32 as usize;
        if self.memory.writable(to, size).is_none() {
            return Err(self.access_fault(Access::Write, to, size));
        }
        self.spend_on(size)?;
        let found = self.memory.bytes(from, size).map(<[u8]>::to_vec);
        let place = self.memory.writable(to, size);
        let place = place.expect("the same bytes were writable before");
        match found {
            Some(bytes) => {
                place.copy_from_slice(&bytes);
                Ok(0)
            }
            None => {
                place.fill(0);
                Ok(EFAULT as u64)
            }
        }
    }

    fn trace_printk(&mut self, format: u64, size: u64, values: [u64; 3]) -> Result<u64, Stop> {
        let size = size as u32 as usize;
        let limit = size.min(print::MAX_FORMAT);
        let Some(format) = self.memory.bytes(format, limit).map(<[u8]>::to_vec) else {
            return Err(self.access_fault(Access::Read, format, limit));
        };
        self.spend_on(print::MAX_LINE)?;
        let arguments = Arguments {
            values,
            string: |address| {
                let bytes = self.memory.up_to(address, print::MAX_LINE)?;
                bytes.split(|&byte| byte == 0).next()
            },
        };
        let text = print::format(&format, arguments);
        let written = text.len() as u64;
        if !self.told.log.push(self.memory.kernel.now_ns(), text) {
            self.told.quirks.add(Quirk::FloodedLog);
        }
        Ok(written)
    }

    /// `address`, if the socket there is such a one; else NULL.
    fn socket_that(&self, address: u64, is: impl FnOnce(Socket) -> bool) -> u64 {
        match self.memory.kernel.socket(address) {
            Some(socket) if is(socket) => address,
            _ => 0,
        }
    }

    /// Map number `number`, of which [`Self::map_number`] knows that it is there.
    fn map(&mut self, number: usize) -> &mut Map {
        &mut self.memory.program.maps[number]
    }

    fn map_number(&self, helper: &str, map: u64) -> Result<usize, Stop> {
        let count = self.memory.program.maps.len();
        let number = memory::map_at(map).filter(|&number| number < count);
        number.ok_or_else(|| bad_argument(helper, 1, "is no map"))
    }

    fn storage_map(&mut self, helper: &str, map: u64) -> Result<usize, Stop> {
        let number = self.map_number(helper, map)?;
        match self.map(number).spec().kind {
            MapKind::SkStorage => Ok(number),
            _ => Err(bad_argument(helper, 1, "is no per-socket storage")),
        }
    }

    /// The map, which must have keys of its own, and the key that `key` leads to.
    fn map_and_key(&mut self, helper: &str, map: u64, key: u64) -> Result<(usize, Vec<u8>), Stop> {
        let number = self.map_number(helper, map)?;
        let spec = self.map(number).spec();
        if spec.kind == MapKind::SkStorage {
            return Err(bad_argument(helper, 1, "is per-socket storage"));
        }
        let size = spec.key_size as usize;
        Ok((number, self.copy(key, size)?))
    }

    /// A copy of what is at `address`.
    fn copy(&mut self, address: u64, size: usize) -> Result<Vec<u8>, Stop> {
        self.spend_on(size)?;
        match self.memory.bytes(address, size) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(self.access_fault(Access::Read, address, size)),
        }
    }

    fn spend_on(&mut self, bytes: usize) -> Result<(), Stop> {
        self.spend(bytes as u64 / BYTES_PER_UNIT)
    }

    fn access_fault(&self, access: Access, address: u64, size: usize) -> Stop {
        Stop::Call(Box::new(self.bad_access(access, address, size)))
    }
}

/// What a helper returns that only succeeds or fails.
fn status(result: Result<(), MapError>) -> u64 {
    result.map_or_else(MapError::errno, |()| 0) as u64
}
