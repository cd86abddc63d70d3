//! TCP sockets as the flow core sees them: the kernel's figures (`TCP_INFO`)
//! and the socket options that subflows and client connections use.
//!
//! Every function takes anything that lends a descriptor (std, tokio and
//! socket2 sockets alike) and is one system call unless it says otherwise.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use crate::sys;

/// `TCP_RTO_MAX_MS` of linux/tcp.h, since Linux 6.15; libc lacks it.
const TCP_RTO_MAX_MS: i32 = 44;
/// `SIOCOUTQNSD` of linux/sockios.h: bytes queued but not yet sent.
const SIOCOUTQNSD: u32 = 0x894B;
/// `TCP_SAVE_SYN` and `TCP_SAVED_SYN` of linux/tcp.h, since Linux 4.2.
const TCP_SAVE_SYN: i32 = 27;
const TCP_SAVED_SYN: i32 = 28;
/// Room for the longest IPv6 header with a few extensions, and the longest TCP header.
const SYN_ROOM: usize = 256;
/// Room for `struct tcp_info`, 248 bytes in Linux 6.18, to grow.
const TCP_INFO_ROOM: usize = 384;

/// What the kernel knows about a TCP connection: the part of `struct
/// tcp_info` (linux/tcp.h) that Guywire reads.
///
/// Fields that an older kernel does not have are zero, and
/// [`TcpInfo::known_bytes`] tells how much it filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Connection state, one of the kernel's `TCP_*` numbers; see [`TcpInfo::is_established`].
    pub state: u8,
    /// Congestion control state: 0 open, 1 disorder, 2 CWR, 3 recovery, 4 loss.
    pub ca_state: u8,
    /// Retransmissions of the segment at the head that had no answer yet.
    pub retransmits: u8,
    /// Exponent of the retransmission back-off.
    pub backoff: u8,
    /// The delivery rate was limited by the application, not by the path.
    pub app_limited: bool,
    /// Retransmission time-out now.
    pub rto: Duration,
    /// Sender's maximum segment size in bytes of payload.
    pub snd_mss: u32,
    /// Segments in flight, not yet acknowledged (SACKed ones included).
    pub unacked: u32,
    /// Segments in flight that were acknowledged selectively.
    pub sacked: u32,
    /// Segments in flight that are thought lost.
    pub lost: u32,
    /// Segments in flight that were sent again.
    pub retrans: u32,
    /// Segments ever sent again.
    pub total_retrans: u32,
    /// Time since the last acknowledgement came; ticks in jiffies (1 to 10 ms).
    pub last_ack_recv: Duration,
    /// Time since the last data came; ticks in jiffies.
    pub last_data_recv: Duration,
    /// Path MTU in bytes.
    pub pmtu: u32,
    /// Smoothed round trip time, queues included.
    pub rtt: Duration,
    /// Mean deviation of the round trip time.
    pub rttvar: Duration,
    /// Smallest round trip time in the kernel's window (5 minutes by default); zero before the first sample.
    pub min_rtt: Duration,
    /// Congestion window in segments.
    pub snd_cwnd: u32,
    /// Slow start threshold in segments (`i32::MAX` before the first loss).
    pub snd_ssthresh: u32,
    /// Window the peer offers, in bytes (since Linux 5.4).
    pub snd_wnd: u32,
    /// Rate at which the kernel paces, in bytes a second; `u64::MAX` for no limit.
    pub pacing_rate: u64,
    /// Latest measured rate of delivery, in bytes a second.
    pub delivery_rate: u64,
    /// Bytes acknowledged cumulatively.
    pub bytes_acked: u64,
    /// Payload bytes received in order.
    pub bytes_received: u64,
    /// Payload bytes sent, those sent again included (since Linux 4.19).
    pub bytes_sent: u64,
    /// Payload bytes sent again (since Linux 4.19).
    pub bytes_retrans: u64,
    /// Bytes in the send queue that were never sent.
    pub notsent_bytes: u32,
    /// Segments delivered, SACKed ones included (since Linux 4.18).
    pub delivered: u32,
    /// Time spent with data to send.
    pub busy_time: Duration,
    /// Part of `busy_time` in which the peer's window was the limit.
    pub rwnd_limited: Duration,
    /// Part of `busy_time` in which the send buffer was the limit.
    pub sndbuf_limited: Duration,
    /// How many bytes of the structure this kernel filled.
    pub known_bytes: usize,
}

impl TcpInfo {
    /// Whether both directions are open (kernel state `TCP_ESTABLISHED`).
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.state == 1
    }

    /// Segments that may still arrive or be lost: what was received out of order and what is thought lost
    /// is not among them (`tcp_packets_in_flight`).
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        let left = self.sacked + self.lost;
        (self.unacked + self.retrans).saturating_sub(left)
    }

    /// Reads the kernel's structure; what lies beyond `raw` reads as zero.
    fn parse(raw: &[u8]) -> Self {
        let info = Raw(raw);
        Self {
            state: info.u8(0),
            ca_state: info.u8(1),
            retransmits: info.u8(2),
            backoff: info.u8(4),
            app_limited: info.u8(7) & APP_LIMITED_BIT != 0,
            rto: info.micros32(8),
            snd_mss: info.u32(16),
            unacked: info.u32(24),
            sacked: info.u32(28),
            lost: info.u32(32),
            retrans: info.u32(36),
            total_retrans: info.u32(100),
            last_ack_recv: info.millis32(56),
            last_data_recv: info.millis32(52),
            pmtu: info.u32(60),
            rtt: info.micros32(68),
            rttvar: info.micros32(72),
            min_rtt: info.min_rtt(),
            snd_cwnd: info.u32(80),
            snd_ssthresh: info.u32(76),
            snd_wnd: info.u32(228),
            pacing_rate: info.u64(104),
            delivery_rate: info.u64(160),
            bytes_acked: info.u64(120),
            bytes_received: info.u64(128),
            bytes_sent: info.u64(200),
            bytes_retrans: info.u64(208),
            notsent_bytes: info.u32(144),
            delivered: info.u32(192),
            busy_time: info.micros64(168),
            rwnd_limited: info.micros64(176),
            sndbuf_limited: info.micros64(184),
            known_bytes: raw.len(),
        }
    }
}

/// Where `tcpi_delivery_rate_app_limited:1` lies in byte 7: C bit-fields start
/// at the low end on little-endian machines and at the high end on the others.
const APP_LIMITED_BIT: u8 = if cfg!(target_endian = "little") {
    0x01
} else {
    0x80
};

/// Fields of a C structure by offset, zero beyond its end.
struct Raw<'a>(&'a [u8]);

impl Raw<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        if let Some(found) = self.0.get(at..at + N) {
            out.copy_from_slice(found);
        }
        out
    }
    fn u8(&self, at: usize) -> u8 {
        self.bytes::<1>(at)[0]
    }
    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.bytes(at))
    }
    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.bytes(at))
    }
    fn micros32(&self, at: usize) -> Duration {
        Duration::from_micros(u64::from(self.u32(at)))
    }
    fn micros64(&self, at: usize) -> Duration {
        Duration::from_micros(self.u64(at))
    }
    fn millis32(&self, at: usize) -> Duration {
        Duration::from_millis(u64::from(self.u32(at)))
    }
    /// The kernel shows "no sample yet" as all ones.
    fn min_rtt(&self) -> Duration {
        match self.u32(148) {
            u32::MAX => Duration::ZERO,
            micros => Duration::from_micros(u64::from(micros)),
        }
    }
}

/// Reads `TCP_INFO` (1 to 2 us a call).
///
/// # Errors
/// What `getsockopt` says, for instance that this is no TCP socket.
pub fn tcp_info(socket: impl AsFd) -> io::Result<TcpInfo> {
    let mut raw = [0; TCP_INFO_ROOM];
    let len = sys::getsockopt(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut raw)?;
    Ok(TcpInfo::parse(&raw[..len]))
}

/// The name of the congestion control in use, such as `bbr`.
///
/// # Errors
/// What `getsockopt` says.
pub fn congestion_control(socket: impl AsFd) -> io::Result<String> {
    let name = SockRef::from(&socket).tcp_congestion()?;
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}

/// Chooses the congestion control.
///
/// # Errors
/// `NotFound` when the kernel has no such module, `PermissionDenied` when it
/// is not in `net.ipv4.tcp_allowed_congestion_control` and the process lacks
/// CAP_NET_ADMIN.
pub fn set_congestion_control(socket: impl AsFd, name: &str) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_congestion(name.as_bytes())
}

/// Bounds what may wait unsent in the kernel, in bytes; the socket turns
/// writable again below half of it.
///
/// # Errors
/// What `setsockopt` says.
pub fn set_notsent_lowat(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_notsent_lowat(bytes)
}

/// Acknowledges at once what has arrived, if the kernel delays that.
///
/// # Errors
/// What `setsockopt` says.
pub fn acknowledge_now(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_tcp_quickack(socket, true)?)
}

/// Lets the kernel end the connection when sent data stays unacknowledged for
/// `timeout` (whole milliseconds); `None` restores the system's default.
///
/// # Errors
/// What `setsockopt` says.
pub fn set_user_timeout(socket: impl AsFd, timeout: Option<Duration>) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_user_timeout(timeout)
}

/// Bounds the back-off of retransmissions, in milliseconds (1,000 to
/// 120,000). `Ok(false)`: this kernel, older than 6.15, has no such option.
///
/// # Errors
/// `InvalidInput` for a value outside the kernel's range, else what
/// `setsockopt` says.
pub fn set_rto_max_ms(socket: impl AsFd, millis: u32) -> io::Result<bool> {
    let value = i32::try_from(millis).unwrap_or(i32::MAX);
    match sys::setsockopt_int(socket.as_fd(), libc::IPPROTO_TCP, TCP_RTO_MAX_MS, value) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Bounds the segment size in both directions; call it before connecting.
///
/// # Errors
/// What `setsockopt` says.
pub fn set_maxseg(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_mss(bytes)
}

/// Makes closing the socket, by a crash too, a reset (`SO_LINGER` of zero
/// seconds) instead of a clean end; `false` restores the ordinary close.
///
/// # Errors
/// What `setsockopt` says.
pub fn set_reset_on_close(socket: impl AsFd, reset: bool) -> io::Result<()> {
    SockRef::from(&socket).set_linger(reset.then_some(Duration::ZERO))
}

/// Lets a listener keep the first packet of each connection that it accepts from now on, for [`syn_dscp`].
///
/// # Errors
/// What `setsockopt` says.
pub fn save_syn(listener: impl AsFd) -> io::Result<()> {
    sys::setsockopt_int(listener.as_fd(), libc::IPPROTO_TCP, TCP_SAVE_SYN, 1)
}

/// The DSCP of the first packet of an accepted connection; `None` if it was not kept ([`save_syn`]) or was asked
/// for before.
///
/// # Errors
/// What `getsockopt` says.
pub fn syn_dscp(socket: impl AsFd) -> io::Result<Option<u8>> {
    let mut headers = [0; SYN_ROOM];
    let length = sys::getsockopt(
        socket.as_fd(),
        libc::IPPROTO_TCP,
        TCP_SAVED_SYN,
        &mut headers,
    )?;
    Ok(dscp(&headers[..length]))
}

/// The DSCP of an IP packet: the upper six bits of the second byte (IPv4), or of the eight that follow the
/// version (IPv6).
fn dscp(packet: &[u8]) -> Option<u8> {
    match *packet {
        [first, second, ..] if first >> 4 == 4 => Some(second >> 2),
        [first, second, ..] if first >> 4 == 6 => Some((first << 4 | second >> 4) >> 2),
        _ => None,
    }
}

/// Sends by this device only. Without CAP_NET_RAW it works once per socket.
///
/// # Errors
/// `NotFound`-like `ENODEV` when there is no such device, else what
/// `setsockopt` says.
pub fn bind_to_device(socket: impl AsFd, device: &str) -> io::Result<()> {
    SockRef::from(&socket).bind_device(Some(device.as_bytes()))
}

/// Asks whether the socket is writable now; if not, the kernel has been told
/// to raise an edge when it is.
///
/// An edge-triggered waiter (tokio) hears of room only after somebody found
/// none: a sender that stops at its own bound must arm the edge so.
///
/// # Errors
/// What `poll` says. Sockets in error count as writable.
pub fn arm_writable(socket: impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now))?;
    Ok(!fds[0].revents().is_empty())
}

/// Bytes that have arrived on the socket and were not read yet (`FIONREAD`); none at its end, too.
///
/// # Errors
/// What `ioctl` says, for instance `InvalidInput` on a listening socket.
pub fn unread_bytes(socket: impl AsFd) -> io::Result<usize> {
    let bytes = rustix::io::ioctl_fionread(socket)?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Reads what has arrived on a socket that does not block, and appends it as far as `into` has room; returns its
/// length, 0 at the end.
///
/// # Errors
/// What `read` says: `WouldBlock` while nothing has arrived.
pub fn read(socket: impl AsFd, into: &mut Vec<u8>) -> io::Result<usize> {
    Ok(rustix::io::read(
        socket,
        rustix::buffer::spare_capacity(into),
    )?)
}

/// Bytes written to the socket that the kernel has not sent yet.
///
/// # Errors
/// What `ioctl` says, for instance `InvalidInput` on a listening socket.
pub fn notsent_bytes(socket: impl AsFd) -> io::Result<u32> {
    let bytes = sys::ioctl_get_int(socket.as_fd(), SIOCOUTQNSD)?;
    Ok(u32::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests;
