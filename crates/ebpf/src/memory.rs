//! What a program can address: its stack, its context, the values of its maps, and the kernel's
//! objects.
//!
//! An address is a *handle* in the upper 32 bits and an offset in the lower ones; it says nothing about
//! where the bytes are in the host. Every object has a handle of its own (a map has one for all its
//! values, with a gap after each), so an offset that leaves an object reaches no other.
//!
//! | handle | object |
//! |---|---|
//! | 0 | nothing: NULL and what is near it |
//! | 1 to 8 | the stack frames, outermost first |
//! | 16 | the context |
//! | `0x100` + n | map number n itself, which has no bytes |
//! | `0x200` + n | the values of map number n |
//! | `0x8000_0000` + n | object number n of the kernel |
//!
//! Memory is little-endian, whatever the host is: so are the objects.

use std::fmt;

use crate::kernel::Kernel;
use crate::maps::Maps;

/// Bytes of a stack frame (`MAX_BPF_STACK`, include/linux/filter.h).
pub const FRAME: usize = 512;
/// Frames there are (`MAX_CALL_FRAMES`, include/linux/bpf_verifier.h). Each has its own
/// [`FRAME`] bytes; the kernel lets all share that many.
pub const FRAMES: usize = 8;

/// All stack frames.
pub(crate) type Frames = [[u8; FRAME]; FRAMES];

const STACK: u32 = 1;
const CONTEXT: u32 = 16;
const MAP: u32 = 0x100;
const VALUES: u32 = 0x200;
const KERNEL: u32 = 0x8000_0000;

/// Most maps of a program: what the handles have room for is more.
pub(crate) const MAX_MAPS: usize = 64;

const fn address(handle: u32, offset: u32) -> u64 {
    (handle as u64) << 32 | offset as u64
}

const fn handle(address: u64) -> u32 {
    (address >> 32) as u32
}

/// The address of object number `number` of the kernel; there are 2^31 numbers.
pub const fn object_address(number: u32) -> u64 {
    address(KERNEL | number, 0)
}

/// Number and offset of an address within the kernel's objects.
pub const fn object_at(address: u64) -> Option<(u32, u32)> {
    if handle(address) & KERNEL == 0 {
        None
    } else {
        Some((handle(address) & !KERNEL, address as u32))
    }
}

/// What the context's pointer is.
pub(crate) const CONTEXT_ADDRESS: u64 = address(CONTEXT, 0);

/// What r10 is in frame number `frame`, from 0.
pub(crate) const fn frame_top(frame: usize) -> u64 {
    address(STACK + frame as u32, FRAME as u32)
}

/// What a reference to map number `number` is.
pub(crate) fn map_address(number: usize) -> u64 {
    debug_assert!(number < MAX_MAPS);
    address(MAP + number as u32, 0)
}

/// The map that such a reference means.
pub(crate) fn map_at(address: u64) -> Option<usize> {
    let number = handle(address).wrapping_sub(MAP) as usize;
    (number < MAX_MAPS && address as u32 == 0).then_some(number)
}

/// The address of `offset` in the values of map number `number`.
pub(crate) fn value_address(number: usize, offset: u32) -> u64 {
    debug_assert!(number < MAX_MAPS);
    address(VALUES + number as u32, offset)
}

/// The memory that is the program's own, for kfuncs: iterators live there.
pub struct ProgramMemory<'a> {
    pub(crate) frames: &'a mut Frames,
    pub(crate) context: &'a mut [u8],
    pub(crate) context_writable: bool,
    pub(crate) maps: &'a mut Maps,
}

impl ProgramMemory<'_> {
    /// The `N` bytes at `address`, if they are all there.
    pub fn read<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        self.from(address)?.first_chunk().copied()
    }

    /// Writes `bytes` at `address`, if the program itself could.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Option<()> {
        self.writable(address, bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    /// What there is from `address` to the end of its object.
    #[inline(always)]
    fn from(&self, address: u64) -> Option<&[u8]> {
        let offset = address as u32 as usize;
        let frame = handle(address).wrapping_sub(STACK) as usize;
        if let Some(frame) = self.frames.get(frame) {
            return frame.get(offset..);
        }
        if handle(address) == CONTEXT {
            return self.context.get(offset..);
        }
        value(self.maps, address)
    }

    #[inline(always)]
    fn writable(&mut self, address: u64, length: usize) -> Option<&mut [u8]> {
        let offset = address as u32 as usize;
        let frame = handle(address).wrapping_sub(STACK) as usize;
        if let Some(frame) = self.frames.get_mut(frame) {
            return frame.get_mut(offset..)?.get_mut(..length);
        }
        if handle(address) == CONTEXT && self.context_writable {
            return self.context.get_mut(offset..)?.get_mut(..length);
        }
        value_mut(self.maps, address)?.get_mut(..length)
    }

    /// Name and length of the object that has `handle`, and where it starts for an access at `offset`.
    fn extent(&self, handle: u32, offset: u32) -> Option<Extent> {
        let extent = |name: String, length: usize| {
            Some(Extent {
                name,
                start: 0,
                length,
            })
        };
        let frame = handle.wrapping_sub(STACK) as usize;
        let map = handle.wrapping_sub(MAP) as usize;
        let values = handle.wrapping_sub(VALUES) as usize;
        if frame < FRAMES {
            extent(format!("stack frame {frame}"), FRAME)
        } else if handle == CONTEXT {
            extent("the context".to_owned(), self.context.len())
        } else if let Some(map) = self.maps.get(map) {
            extent(format!("map `{}` itself", map.spec().name), 0)
        } else {
            let map = self.maps.get(values)?;
            let start = map.slot_start(offset);
            map.value_from(start)?;
            Some(Extent {
                name: format!("a value of map `{}`", map.spec().name),
                start: start.into(),
                length: map.spec().value_size as usize,
            })
        }
    }
}

/// What there is of a map's value from `address` on. The way there is longer than a call: out of line,
/// the loop over the instructions stays small.
#[inline(never)]
fn value(maps: &Maps, address: u64) -> Option<&[u8]> {
    let number = handle(address).wrapping_sub(VALUES) as usize;
    maps.get(number)?.value_from(address as u32)
}

/// The same, if the program may write there.
#[inline(never)]
fn value_mut(maps: &mut Maps, address: u64) -> Option<&mut [u8]> {
    let number = handle(address).wrapping_sub(VALUES) as usize;
    maps.get_mut(number)?.value_from_mut(address as u32)
}

/// All memory: the program's and the kernel's.
pub(crate) struct Memory<'a, K> {
    pub(crate) program: ProgramMemory<'a>,
    pub(crate) kernel: &'a mut K,
}

impl<K: Kernel> Memory<'_, K> {
    /// What there is from `address` to the end of its object.
    #[inline(always)]
    fn from(&self, address: u64) -> Option<&[u8]> {
        match object_at(address) {
            Some((number, offset)) => self.kernel.object(number)?.get(offset as usize..),
            None => self.program.from(address),
        }
    }

    /// The `N` bytes at `address`, if they are all there.
    #[inline(always)]
    pub(crate) fn read<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        self.from(address)?.first_chunk().copied()
    }

    /// `length` bytes at `address`, if they are all there.
    pub(crate) fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        self.from(address)?.get(..length)
    }

    /// What there is at `address`, but at most `length` bytes.
    pub(crate) fn up_to(&self, address: u64, length: usize) -> Option<&[u8]> {
        let bytes = self.from(address)?;
        Some(&bytes[..bytes.len().min(length)])
    }

    /// `length` bytes at `address`, if they are all there and may be written.
    #[inline(always)]
    pub(crate) fn writable(&mut self, address: u64, length: usize) -> Option<&mut [u8]> {
        match object_at(address) {
            Some((number, offset)) => self.kernel.writable(number, offset as usize, length),
            None => self.program.writable(address, length),
        }
    }

    /// What is at or next to an access that failed.
    pub(crate) fn near(&self, address: u64, size: usize) -> Near {
        let (handle, offset) = (handle(address), address as u32);
        if handle == 0 && offset < 0x1_0000 {
            return Near::Null;
        }
        // What begins before its object has the handle below it.
        let before = i64::from(offset) - (1 << 32);
        let found = if before > -0x1_0000 {
            (self.extent(handle.wrapping_add(1), 0), before)
        } else {
            (self.extent(handle, offset), offset.into())
        };
        let (Some(extent), offset) = found else {
            return Near::Nothing;
        };
        let offset = offset - extent.start;
        let inside = offset >= 0 && offset + size as i64 <= extent.length as i64;
        let (object, length) = (extent.name, extent.length);
        if inside {
            Near::Within { object, offset }
        } else {
            Near::Beside {
                object,
                offset,
                length,
            }
        }
    }

    fn extent(&self, handle: u32, offset: u32) -> Option<Extent> {
        match object_at(address(handle, offset)) {
            Some((number, _)) => Some(Extent {
                name: self.kernel.name(number)?,
                start: 0,
                length: self.kernel.object(number)?.len(),
            }),
            None => self.program.extent(handle, offset),
        }
    }
}

/// Where an object is.
struct Extent {
    name: String,
    /// Its first byte, within its handle.
    start: i64,
    length: usize,
}

/// What is at or next to an access that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Near {
    /// NULL, or a field of an object at NULL.
    Null,
    /// No object.
    Nothing,
    /// The access is within an object that does not allow it.
    Within {
        /// The object.
        object: String,
        /// Where in it.
        offset: i64,
    },
    /// The access begins or ends beside an object.
    Beside {
        /// The object.
        object: String,
        /// Where, seen from its start.
        offset: i64,
        /// Its length in bytes.
        length: usize,
    },
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("a NULL pointer"),
            Self::Nothing => f.write_str("there is no object near it"),
            Self::Within { object, offset } => {
                write!(f, "byte {offset} of {object}, which is not to be written")
            }
            Self::Beside {
                object,
                offset,
                length,
            } => write!(f, "byte {offset} of {object}, which has {length}"),
        }
    }
}
