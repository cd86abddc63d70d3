//! Offloads of a device, switched off where packets must be what they look like.
//!
//! A link emulator that counts wire packets may not be handed 64 kB segments,
//! nor packets whose checksum is still to be filled in.

use std::io;
use std::os::fd::AsFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::sys;

/// An offload of a device, with its `ETHTOOL_G*` and `ETHTOOL_S*` commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// Checksums of sent packets. Without it the kernel segments in software too.
    TxChecksum,
    /// Checksums of received packets.
    RxChecksum,
    /// TCP segmentation by the device.
    Tso,
    /// Segmentation just before the device.
    Gso,
    /// Merging of received packets.
    Gro,
}

/// Order matters: segmentation goes before the checksums it needs.
const ALL: [Offload; 5] = [
    Offload::Tso,
    Offload::Gso,
    Offload::Gro,
    Offload::TxChecksum,
    Offload::RxChecksum,
];

impl Offload {
    /// linux/ethtool.h: the commands that get and set it.
    fn commands(self) -> (u32, u32) {
        match self {
            Self::RxChecksum => (0x14, 0x15),
            Self::TxChecksum => (0x16, 0x17),
            Self::Tso => (0x1e, 0x1f),
            Self::Gso => (0x23, 0x24),
            Self::Gro => (0x2b, 0x2c),
        }
    }
}

/// Whether the offload is on, for a device of the calling thread's network namespace.
///
/// # Errors
/// `ENODEV` when there is no such device.
pub fn offload(device: &str, which: Offload) -> io::Result<bool> {
    Ok(sys::ethtool(any_socket()?.as_fd(), device, which.commands().0, 0)? != 0)
}

/// Switches an offload of a device in the calling thread's network namespace.
///
/// # Errors
/// `ENODEV` when there is no such device, `EOPNOTSUPP` when it cannot be
/// switched there, `PermissionDenied` without CAP_NET_ADMIN over the namespace.
pub fn set_offload(device: &str, which: Offload, on: bool) -> io::Result<()> {
    sys::ethtool(
        any_socket()?.as_fd(),
        device,
        which.commands().1,
        u32::from(on),
    )?;
    Ok(())
}

/// Switches TSO, GSO, GRO and the checksum offloads of a device off. What the
/// device cannot switch (`EOPNOTSUPP`) is passed over when it is off already.
///
/// # Errors
/// As [`set_offload`].
pub fn offloads_off(device: &str) -> io::Result<()> {
    for which in ALL {
        match set_offload(device, which, false) {
            Err(error)
                if error.raw_os_error() == Some(libc::EOPNOTSUPP)
                    && !offload(device, which).unwrap_or(false) => {}
            other => other?,
        }
    }
    Ok(())
}

/// The ioctl wants a socket of the namespace, of any kind.
fn any_socket() -> io::Result<impl AsFd> {
    socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::run_in_netns;
    use crate::route::Netlink;
    use crate::testing::{fresh_netns, runtime};

    #[test]
    fn a_veth_end_loses_all_offloads() {
        let Some(netns) = fresh_netns() else { return };
        runtime().block_on(async {
            let netlink = Netlink::in_netns(&netns).unwrap();
            netlink.add_veth("r1", "s1").await.unwrap();
        });
        run_in_netns(&netns, || {
            assert!(offload("r1", Offload::Tso).unwrap());
            offloads_off("r1").unwrap();
            for which in ALL {
                assert!(!offload("r1", which).unwrap(), "{which:?} is still on");
            }
            set_offload("r1", Offload::TxChecksum, true).unwrap();
            assert!(offload("r1", Offload::TxChecksum).unwrap());
            let error = offloads_off("nosuchdev").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
            assert!(offload("a-name-that-is-too-long", Offload::Tso).is_err());
        })
        .unwrap();
    }
}
