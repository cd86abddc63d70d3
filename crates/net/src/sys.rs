//! The thinnest edge to the kernel: the few socket options, ioctls and the
//! `unshare` for which no safe wrapper exists in our dependencies.
//!
//! Nothing here knows what an option means; callers in this crate do. All
//! lengths and pointers come from slices and locals that outlive the call.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reads a socket option into `buf` and returns how many bytes the kernel wrote.
pub(crate) fn getsockopt(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    buf: &mut [u8],
) -> io::Result<usize> {
    let mut len = libc::socklen_t::try_from(buf.len()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: `buf` is valid for writes of `len` bytes and `len` is a local;
    // the kernel writes at most `len` bytes and stores how many it wrote.
    let rc = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            buf.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((len as usize).min(buf.len()))
}

/// Sets an integer socket option.
pub(crate) fn setsockopt_int(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: i32,
) -> io::Result<()> {
    // SAFETY: the pointer is to a local `i32` and the length is its size.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            mem::size_of::<i32>() as libc::socklen_t,
        )
    };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Runs an ioctl whose argument is a pointer to one `int` that the kernel fills.
pub(crate) fn ioctl_get_int(fd: BorrowedFd<'_>, request: u32) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    // SAFETY: the callers' requests (SIOCOUTQ, SIOCOUTQNSD, SIOCINQ) write
    // exactly one int through the pointer, which is to a local.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw mut value) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value)
}

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// Runs one `SIOCETHTOOL` command that takes a `struct ethtool_value` and
/// returns the value after the call. `name` is a device name of 1..=15 bytes.
pub(crate) fn ethtool(fd: BorrowedFd<'_>, name: &str, cmd: u32, data: u32) -> io::Result<u32> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("device name {name:?} is not 1 to 15 bytes long"),
        ));
    }
    let mut value = EthtoolValue { cmd, data };
    // SAFETY: an all-zero `ifreq` is valid: it holds byte arrays, integers and
    // a nullable pointer.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: `request` names a zero-terminated device and points to an
    // `ethtool_value` that lives until the end of this function; the commands
    // used (ETHTOOL_G*/S* of one value) touch nothing beyond it.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value.data)
}

/// Moves the calling thread into fresh namespaces. Callers never pass
/// `FILES`, the flag for which rustix calls this unsafe.
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    let flags = flags - rustix::thread::UnshareFlags::FILES;
    // SAFETY: without CLONE_FILES the thread keeps the process's descriptor
    // table, so descriptors held elsewhere stay valid.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}
