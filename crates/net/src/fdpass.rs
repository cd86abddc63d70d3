//! Descriptors over Unix sockets: bytes and the descriptors that ride with them.
//!
//! Both calls are one `sendmsg` or `recvmsg`: they work on blocking and on
//! non-blocking sockets (where they return `WouldBlock`; under tokio wrap them
//! in `UnixStream::try_io` or `async_io`). On a stream the descriptors belong
//! to the first byte of the message, so the line that names them must be what
//! is sent with them.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Most descriptors that one message may carry (the kernel's own limit is 253).
pub const MAX_FDS: usize = 32;

const SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// Sends `bytes` with `fds` and returns how many bytes went out.
///
/// A short count is possible on non-blocking streams; the descriptors went
/// with the first byte, so the rest is sent with an empty `fds`.
///
/// # Errors
/// `InvalidInput` for more than [`MAX_FDS`] descriptors, or for descriptors
/// without a byte to carry them; else what `sendmsg` says. Never raises SIGPIPE.
pub fn send_with_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > MAX_FDS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{} descriptors in one message, at most {MAX_FDS}",
                fds.len()
            ),
        ));
    }
    if bytes.is_empty() && !fds.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "descriptors need at least one byte to ride with",
        ));
    }
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("no room for the control message"));
    }
    let sent = sendmsg(
        socket.as_fd(),
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(sent)
}

/// Receives into `buf` and returns the number of bytes (0 = end of stream) and
/// the descriptors that came with them, all close-on-exec.
///
/// # Errors
/// `InvalidData` when the control message was truncated (more than
/// [`MAX_FDS`] descriptors, or none left in this process): everything that did
/// arrive is closed, and the bytes are lost, so close the socket. Else what
/// `recvmsg` says.
pub fn recv_with_fds(socket: impl AsFd, buf: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(buf)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "control message truncated: more than {MAX_FDS} descriptors in one message, or \
                 too many open in this process"
            ),
        ));
    }
    Ok((message.bytes, fds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_travels_with_its_line() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut far, near) = UnixStream::pair().unwrap();
        let sent = send_with_fds(&a, b"take this\n", &[near.as_fd()]).unwrap();
        assert_eq!(sent, 10);
        let mut buf = [0; 64];
        let (n, fds) = recv_with_fds(&b, &mut buf).unwrap();
        assert_eq!(&buf[..n], b"take this\n");
        assert_eq!(fds.len(), 1);
        let flags = rustix::io::fcntl_getfd(&fds[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        drop(near);
        File::from(fds.into_iter().next().unwrap())
            .write_all(b"hello")
            .unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn bytes_alone_and_the_end_of_the_stream() {
        let (a, b) = UnixStream::pair().unwrap();
        send_with_fds(&a, b"x", &[]).unwrap();
        drop(a);
        let mut buf = [0; 8];
        let (n, fds) = recv_with_fds(&b, &mut buf).unwrap();
        assert_eq!((n, fds.len()), (1, 0));
        assert_eq!(recv_with_fds(&b, &mut buf).unwrap().0, 0);
    }

    #[test]
    fn too_many_are_refused_before_anything_is_sent() {
        let (a, b) = UnixStream::pair().unwrap();
        let many = vec![a.as_fd(); MAX_FDS + 1];
        let error = send_with_fds(&a, b"x", &many).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(send_with_fds(&a, b"", &[b.as_fd()]).is_err());
        b.set_nonblocking(true).unwrap();
        let mut buf = [0; 8];
        assert_eq!(
            recv_with_fds(&b, &mut buf).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }

    /// A sender of ours never exceeds the bound, so a larger message is built
    /// by hand: what fits arrives, is closed, and the call fails.
    #[test]
    fn a_truncated_control_message_closes_what_came() {
        let (a, b) = UnixStream::pair().unwrap();
        let (far, near) = UnixStream::pair().unwrap();
        const MANY: usize = MAX_FDS + 8;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MANY))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [near.as_fd(); MANY];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&a, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
        let mut buf = [0; 8];
        let error = recv_with_fds(&b, &mut buf).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        drop(near);
        far.set_nonblocking(true).unwrap();
        let read = (&far).read(&mut buf).unwrap();
        assert_eq!(read, 0, "a copy of the descriptor is still open");
    }
}
