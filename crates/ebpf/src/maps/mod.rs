//! The maps of a program: bounded when it is checked, with values that keep their address.

mod table;

use crate::memory::{self, MAX_MAPS};
use crate::object::{MapKind, MapSpec};
use crate::refusal::{Place, Problem, Refusal};
use table::Table;

/// Most bytes of a key, as of the kernel's hash maps (`MAX_BPF_STACK`).
const MAX_KEY: u32 = 512;
/// Most bytes of a value.
const MAX_VALUE: u32 = 1 << 20;
/// Most bytes that the maps of a program take together when they are full.
const MAX_MEMORY: u64 = 16 << 20;
/// Bytes that the per-socket storage of a program takes at most, however many sockets there are.
const STORAGE_MEMORY: u64 = 4 << 20;
/// What an entry costs beside key and value, roughly.
const ENTRY: u64 = 128;
/// Bytes of the key of per-socket storage: the socket's address.
const SOCKET: u32 = 8;

/// How an update treats what is there (include/uapi/linux/bpf.h, `BPF_ANY` to `BPF_EXIST`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Insert or replace.
    Any,
    /// Only insert.
    Insert,
    /// Only replace.
    Replace,
}

/// Why a map did not do what it was asked; programs see the kernel's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// `ENOENT`.
    #[error("there is no such entry")]
    Absent,
    /// `EEXIST`.
    #[error("there is such an entry already")]
    Present,
    /// `E2BIG`.
    #[error("the map is full, or has no such index")]
    Full,
    /// `EINVAL`.
    #[error("the map does not do that, or has keys or values of another size")]
    Invalid,
}

impl MapError {
    /// The number that helpers return.
    pub(crate) fn errno(self) -> i64 {
        match self {
            Self::Absent => -2,
            Self::Full => -7,
            Self::Present => -17,
            Self::Invalid => -22,
        }
    }
}

/// All maps of a program.
pub(crate) type Maps = Vec<Map>;

/// One map.
#[derive(Debug)]
pub struct Map {
    spec: MapSpec,
    /// The values, slot by slot.
    values: Vec<u8>,
    /// A slot's addresses are 1 << this apart: more than a value has bytes, so that no access
    /// reaches from one into the next.
    shift: u32,
    /// Which key has which slot; an array's key is its slot.
    table: Option<Table>,
}

/// Refuses maps that are malformed or too large.
pub(crate) fn check(specs: &[MapSpec]) -> Result<(), Refusal> {
    if specs.len() > MAX_MAPS {
        return Err(Refusal {
            place: Place::Program,
            problem: Problem::TooManyMaps {
                count: specs.len(),
                most: MAX_MAPS,
            },
        });
    }
    let mut bytes = 0;
    for spec in specs {
        let refuse = |problem| Refusal {
            place: Place::Map(spec.name.clone()),
            problem,
        };
        check_sizes(spec).map_err(refuse)?;
        bytes += capacity(spec) * entry(spec);
        if bytes > MAX_MEMORY {
            return Err(refuse(Problem::MapMemory {
                bytes,
                most: MAX_MEMORY,
            }));
        }
    }
    Ok(())
}

fn check_sizes(spec: &MapSpec) -> Result<(), Problem> {
    let size = |field, value: u32, good: bool, bounds| {
        let value = value.into();
        good.then_some(()).ok_or(Problem::MapSize {
            field,
            value,
            bounds,
        })
    };
    let (key, value, entries) = (spec.key_size, spec.value_size, spec.max_entries);
    let some_value = (1..=MAX_VALUE).contains(&value);
    size("value_size", value, some_value, "from 1 to 1048576")?;
    match spec.kind {
        MapKind::Array => size("key_size", key, key == 4, "an array's is 4")?,
        MapKind::SkStorage => {
            size("key_size", key, key == 4, "per-socket storage has 4")?;
            return size(
                "max_entries",
                entries,
                entries == 0,
                "per-socket storage has 0",
            );
        }
        MapKind::Hash | MapKind::LruHash => {
            size(
                "key_size",
                key,
                (1..=MAX_KEY).contains(&key),
                "from 1 to 512",
            )?;
        }
    }
    size("max_entries", entries, entries > 0, "at least 1")?;
    if spec.initial.len() > value as usize {
        let value = spec.initial.len() as u64;
        return Err(Problem::MapSize {
            field: "content",
            value,
            bounds: "at most value_size",
        });
    }
    Ok(())
}

/// Bytes that an entry costs.
fn entry(spec: &MapSpec) -> u64 {
    match spec.kind {
        MapKind::Array => spec.value_size.into(),
        MapKind::SkStorage => u64::from(SOCKET) + u64::from(spec.value_size) + ENTRY,
        _ => u64::from(spec.key_size) + u64::from(spec.value_size) + ENTRY,
    }
}

/// Most entries of a map.
fn capacity(spec: &MapSpec) -> u64 {
    match spec.kind {
        MapKind::SkStorage => (STORAGE_MEMORY / entry(spec)).max(1),
        _ => spec.max_entries.into(),
    }
}

impl Map {
    /// An empty map; `spec` has passed [`check`].
    pub(crate) fn new(spec: &MapSpec) -> Self {
        let capacity = capacity(spec) as usize;
        let mut values = spec.initial.clone();
        let table = match spec.kind {
            MapKind::Array => {
                values.resize(capacity * spec.value_size as usize, 0);
                None
            }
            kind => Some(Table::new(capacity, kind == MapKind::LruHash)),
        };
        Self {
            spec: spec.clone(),
            values,
            shift: (spec.value_size + 1).next_power_of_two().ilog2(),
            table,
        }
    }

    /// What the object declares.
    pub fn spec(&self) -> &MapSpec {
        &self.spec
    }

    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let slot = match &self.table {
            None => self.index(key).ok()?,
            Some(table) => table.find(key)?,
        };
        Some(self.value(slot))
    }

    /// Gives `key` a value; `.rodata` can be set too, since it is the program that must not write.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), MapError> {
        self.update(key, value, Update::Any)
    }

    /// Forgets what is kept for a socket that is gone.
    pub(crate) fn forget_socket(&mut self, address: u64) {
        if let (MapKind::SkStorage, Some(table)) = (self.spec.kind, &mut self.table) {
            table.remove(&address.to_le_bytes());
        }
    }

    /// The slot of `key`, for a program that reads or writes there.
    pub(crate) fn look_up(&mut self, key: &[u8]) -> Option<u32> {
        match &mut self.table {
            None => self.index(key).ok(),
            Some(table) => table.find_and_use(key),
        }
    }

    /// The slot of a socket's value, made from `initial` or zeroes if it has none and `create` says so.
    pub(crate) fn socket_slot(
        &mut self,
        address: u64,
        create: bool,
        initial: Option<&[u8]>,
    ) -> Option<u32> {
        let key = address.to_le_bytes();
        if let Some(slot) = self.look_up(&key) {
            return Some(slot);
        }
        let slot = self.table.as_mut().filter(|_| create)?.insert(&key)?;
        let value = self.slot_mut(slot);
        match initial {
            Some(initial) => value.copy_from_slice(initial),
            None => value.fill(0),
        }
        Some(slot)
    }

    /// As `bpf_map_update_elem`.
    pub(crate) fn update(&mut self, key: &[u8], value: &[u8], how: Update) -> Result<(), MapError> {
        let socket = self.spec.kind == MapKind::SkStorage;
        let key_size = if socket { SOCKET } else { self.spec.key_size };
        if key.len() != key_size as usize || value.len() != self.spec.value_size as usize {
            return Err(MapError::Invalid);
        }
        let found = match &self.table {
            None => Some(self.index(key)?),
            Some(table) => table.find(key),
        };
        match (found, how) {
            (Some(_), Update::Insert) => return Err(MapError::Present),
            (None, Update::Replace) => return Err(MapError::Absent),
            _ => {}
        }
        let slot = match &mut self.table {
            None => found,
            Some(table) => table.insert(key),
        };
        let slot = slot.ok_or(MapError::Full)?;
        self.slot_mut(slot).copy_from_slice(value);
        Ok(())
    }

    /// As `bpf_map_delete_elem`; an array's entries cannot go.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<(), MapError> {
        let table = self.table.as_mut().ok_or(MapError::Invalid)?;
        table.remove(key).then_some(()).ok_or(MapError::Absent)
    }

    /// An array's slot.
    fn index(&self, key: &[u8]) -> Result<u32, MapError> {
        let index = key.try_into().map(u32::from_le_bytes);
        let index = index.map_err(|_| MapError::Invalid)?;
        if index < self.spec.max_entries {
            Ok(index)
        } else {
            Err(MapError::Full)
        }
    }

    fn value(&self, slot: u32) -> &[u8] {
        let size = self.spec.value_size as usize;
        &self.values[slot as usize * size..][..size]
    }

    /// The value in `slot`, which the table has just given out.
    fn slot_mut(&mut self, slot: u32) -> &mut [u8] {
        let size = self.spec.value_size as usize;
        let start = slot as usize * size;
        if self.values.len() < start + size {
            self.values.resize(start + size, 0);
        }
        &mut self.values[start..][..size]
    }

    /// The address of the value in `slot`; `number` is the map's own.
    pub(crate) fn address(&self, number: usize, slot: u32) -> u64 {
        memory::value_address(number, slot << self.shift)
    }

    /// Where the slot starts that `offset` is in.
    pub(crate) fn slot_start(&self, offset: u32) -> u32 {
        offset >> self.shift << self.shift
    }

    /// What there is of a value from `offset` on.
    pub(crate) fn value_from(&self, offset: u32) -> Option<&[u8]> {
        let size = self.spec.value_size as usize;
        let slot = (offset >> self.shift) as usize;
        let within = (offset - self.slot_start(offset)) as usize;
        let value = self.values.get(slot.checked_mul(size)?..)?.get(..size)?;
        value.get(within..)
    }

    /// The same, if the program may write there.
    pub(crate) fn value_from_mut(&mut self, offset: u32) -> Option<&mut [u8]> {
        if !self.spec.writable {
            return None;
        }
        let size = self.spec.value_size as usize;
        let slot = (offset >> self.shift) as usize;
        let within = (offset - self.slot_start(offset)) as usize;
        let value = self.values.get_mut(slot.checked_mul(size)?..)?;
        value.get_mut(..size)?.get_mut(within..)
    }
}

#[cfg(test)]
mod tests;
