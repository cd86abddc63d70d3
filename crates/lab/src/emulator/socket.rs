//! Packet sockets on the inner ends of links: frames are read from a ring that
//! the kernel fills (no call per packet, arrival times included, and room for
//! milliseconds of traffic that needs no privilege as a large socket buffer
//! would) and written in batches. VLAN tags do not survive.
//!
//! The thread's own settings that the emulator needs are here too: this is its
//! only room with system calls of its own.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int, c_void};
use std::io;
use std::mem::{size_of, zeroed};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Bytes of one frame of the ring, its header included; the longest frame is
/// about 100 bytes shorter.
const FRAME_BYTES: usize = 2_048;
/// Bytes of one block of the ring, a multiple of every page size in use.
const BLOCK_BYTES: usize = 64 << 10;
/// Blocks of the ring: 2,048 frames or 4 MiB, which is 60 ms of full packets at
/// 400 Mbit/s. The kernel keeps them in memory.
const BLOCKS: usize = 64;
const FRAMES: usize = BLOCKS * BLOCK_BYTES / FRAME_BYTES;
/// The most frames in one call of [`PacketSocket::send`].
pub(super) const SEND_BATCH: usize = 64;

/// A raw socket that sees all frames arriving at one device and sends there.
#[derive(Debug)]
pub(super) struct PacketSocket {
    fd: OwnedFd,
    ring: Ring,
    /// The frame of the ring that the kernel fills next.
    next: usize,
}

/// A frame as it arrived.
pub(super) struct Arrival<'a> {
    /// Ethernet header and all; cut when it was too long.
    pub(super) bytes: &'a [u8],
    /// Whether an offload at the sending end left it incomplete: too long, or
    /// without its checksum.
    pub(super) incomplete: bool,
    /// When it arrived, by the machine's wall clock.
    pub(super) wall_clock: Duration,
}

impl PacketSocket {
    /// Opens a socket on `device` in the network namespace of the calling
    /// thread.
    pub(super) fn open(device: &str) -> io::Result<PacketSocket> {
        let index = device_index(device)?;
        // SAFETY: no pointers are passed; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_PACKET, SOCKET_TYPE, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is fresh and owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        set(
            &fd,
            libc::PACKET_VERSION,
            &(libc::tpacket_versions::TPACKET_V2 as c_int),
        )?;
        // Else every frame sent here would be read back as one that arrived.
        set(&fd, libc::PACKET_IGNORE_OUTGOING, &1i32)?;
        set(&fd, libc::PACKET_QDISC_BYPASS, &1i32)?;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: BLOCKS as u32,
            tp_frame_size: FRAME_BYTES as u32,
            tp_frame_nr: FRAMES as u32,
        };
        set(&fd, libc::PACKET_RX_RING, &request)?;
        let ring = Ring::map(&fd)?;
        // Bound last, so that nothing arrives that the ring does not hold.
        bind(&fd, index)?;
        Ok(PacketSocket { fd, ring, next: 0 })
    }

    /// Passes the next frame that has arrived to `handle`; `None` when there
    /// is none.
    pub(super) fn receive<R>(&mut self, handle: impl FnOnce(Arrival<'_>) -> R) -> Option<R> {
        let arrival = self.ring.arrival(self.next)?;
        let result = handle(arrival);
        self.ring.give_back(self.next);
        self.next = (self.next + 1) % FRAMES;
        Some(result)
    }

    /// Sends frames, at most [`SEND_BATCH`], and returns how many were taken.
    /// An error is about the first one.
    pub(super) fn send<'a>(&self, frames: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
        // SAFETY: both are plain C structures for which zeroes are valid.
        let (mut vectors, mut headers): ([libc::iovec; SEND_BATCH], [libc::mmsghdr; SEND_BATCH]) =
            unsafe { zeroed() };
        let mut count = 0;
        for ((vector, header), frame) in vectors.iter_mut().zip(&mut headers).zip(frames) {
            vector.iov_base = frame.as_ptr().cast_mut().cast();
            vector.iov_len = frame.len();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            count += 1;
        }
        // SAFETY: the first `count` headers point to vectors that live until
        // the call returns, and these to slices that outlive it; the kernel
        // only reads what they point to.
        let sent = unsafe {
            libc::sendmmsg(
                self.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// How many frames the kernel had no room for since the last call.
    pub(super) fn missed(&self) -> u64 {
        // SAFETY: a plain C structure for which zeroes are valid.
        let mut statistics: libc::tpacket_stats = unsafe { zeroed() };
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the pointers are to live values and `len` says their size.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut len,
            )
        };
        if result == 0 {
            u64::from(statistics.tp_drops)
        } else {
            0
        }
    }

    /// Takes the error that a device going down leaves on the socket; left
    /// there, it would wake every poll.
    pub(super) fn clear_error(&self) {
        // The error itself says nothing that sending will not say again.
        let _ = rustix::net::sockopt::socket_error(&self.fd);
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Memory shared with the kernel: `FRAMES` frames, each beginning with a
/// `tpacket2_hdr` whose status says whose it is.
#[derive(Debug)]
struct Ring {
    start: NonNull<u8>,
}

// SAFETY: the mapping belongs to this value alone and may be used from any
// thread, by one at a time as `&mut` and `!Sync` ensure.
unsafe impl Send for Ring {}

impl Ring {
    const BYTES: usize = FRAMES * FRAME_BYTES;

    fn map(fd: &OwnedFd) -> io::Result<Ring> {
        let len = NonZeroUsize::new(Ring::BYTES).map_or(0, NonZeroUsize::get);
        // SAFETY: a fresh shared mapping at an address the kernel chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Ring { start })
    }

    fn frame(&self, index: usize) -> NonNull<u8> {
        assert!(index < FRAMES, "frames are counted modulo FRAMES");
        // SAFETY: the index is below FRAMES, so this stays in the mapping.
        unsafe { self.start.add(index * FRAME_BYTES) }
    }

    fn status(&self, index: usize) -> &AtomicU32 {
        // SAFETY: the status is the first field of a frame, aligned because
        // frames are, and shared with the kernel as an atomic is meant to be.
        unsafe { self.frame(index).cast().as_ref() }
    }

    /// The frame at `index`, if the kernel has filled it.
    fn arrival(&self, index: usize) -> Option<Arrival<'_>> {
        let status = self.status(index).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the status says that the kernel is done with this frame
        // until it is given back, so its header can be read.
        let header: libc::tpacket2_hdr = unsafe { self.frame(index).cast().read() };
        let start = usize::from(header.tp_mac).min(FRAME_BYTES);
        let len = (header.tp_snaplen as usize).min(FRAME_BYTES - start);
        // SAFETY: `start + len` is within the frame, which nobody writes to
        // while the borrow lasts: it is given back by `&mut` only.
        let bytes = unsafe {
            std::slice::from_raw_parts(self.frame(index).as_ptr().add(start).cast_const(), len)
        };
        Some(Arrival {
            bytes,
            incomplete: header.tp_len > header.tp_snaplen
                || status & libc::TP_STATUS_CSUMNOTREADY != 0,
            wall_clock: Duration::new(u64::from(header.tp_sec), header.tp_nsec),
        })
    }

    fn give_back(&mut self, index: usize) {
        self.status(index)
            .store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length and nothing borrows
        // from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast::<c_void>(), Ring::BYTES) };
    }
}

const SOCKET_TYPE: c_int = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

fn device_index(device: &str) -> io::Result<c_int> {
    let name = CString::new(device)?;
    // SAFETY: `name` is a live string with its final zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    match c_int::try_from(index) {
        Ok(0) | Err(_) => Err(io::Error::last_os_error()),
        Ok(index) => Ok(index),
    }
}

fn bind(fd: &OwnedFd, index: c_int) -> io::Result<()> {
    // SAFETY: a plain C structure for which zeroes are valid.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a live address of that length.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets an option at the level of packet sockets. `T` is the C type it takes.
fn set<T: Copy>(fd: &OwnedFd, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer is to a live value of that length.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes the calling thread wake up on time: exact timers, and the lowest
/// real-time priority where that is allowed. Where it is not, a short slice
/// makes the scheduler prefer it on waking (Linux 6.12 and later; anybody may
/// ask). Where that is not known either, the emulator works too; what it then
/// does late is counted.
pub(super) fn prefer_this_thread() {
    // SAFETY: no pointers are passed.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    let priority = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the pointer is to a live value; 0 is the calling thread.
    let refused = unsafe { libc::sched_setscheduler(0, policy, &raw const priority) } != 0;
    if refused {
        take_short_slices();
    }
}

/// Asks for the shortest slice of the ordinary scheduling class.
fn take_short_slices() {
    // SAFETY: a plain C structure for which zeroes are valid: the ordinary
    // class without flags.
    let mut attributes: libc::sched_attr = unsafe { zeroed() };
    attributes.size = size_of::<libc::sched_attr>() as u32;
    attributes.sched_runtime = SHORTEST_SLICE_NANOS;
    // SAFETY: the pointer is to a live value that says its size; 0 is the
    // calling thread.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// The kernel's lower bound (kernel/sched/syscalls.c, `__setparam_fair`).
const SHORTEST_SLICE_NANOS: u64 = 100_000;
