//! One nftables transaction: the messages of a table, and their way into the
//! kernel and the answer.
//!
//! Only the last message asks for an ack: an ack for each would overrun the
//! receive buffer. A refused message is answered in any case, and the kernel
//! then applies none of them.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, Hook, HookNumber, InetHookNumber, ListAttribute,
    NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetElementAttribute,
    SetElementFlags, SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute,
    TableFlags, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

use super::NftError;
use super::expr::Expr;
use crate::sys;

/// The kernel answers at once; a lock held elsewhere may take a moment.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A nested attribute holds 65,535 bytes and wraps silently beyond: elements per message.
const ELEMENTS_PER_MESSAGE: usize = 500;
/// `NFNL_SUBSYS_NFTABLES`, what a batch is for.
const SUBSYSTEM: u16 = 10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NFT_MSG_NEWTABLE` of the nftables subsystem.
const NEW_TABLE: u16 = SUBSYSTEM << 8;

/// Where a chain is hooked in, and at which priority.
#[derive(Debug, Clone, Copy)]
pub(super) struct HookAt {
    pub(super) kind: &'static str,
    pub(super) hook: InetHookNumber,
    pub(super) priority: i32,
}

/// The type of a set's keys, as `nft` names it, with its number and length.
#[derive(Debug, Clone, Copy)]
pub(super) enum KeyType {
    Ipv4,
    Ipv6,
    DeviceName,
}

impl KeyType {
    fn number_and_length(self) -> (u32, u32) {
        match self {
            Self::Ipv4 => (7, 4),
            Self::Ipv6 => (8, 16),
            Self::DeviceName => (41, DEVICE_NAME_LENGTH as u32),
        }
    }
}

/// `IFNAMSIZ`: names are compared with their padding.
const DEVICE_NAME_LENGTH: usize = 16;

/// A transaction being written. Every message belongs to one table.
pub(super) struct Batch {
    table: &'static str,
    messages: Vec<(u16, NfTablesMessage)>,
    sets: u32,
}

impl Batch {
    /// Starts with an empty table of that name, whatever was there before.
    pub(super) fn replacing(table: &'static str, flags: TableFlags) -> Self {
        let mut batch = Self {
            table,
            messages: Vec::new(),
            sets: 0,
        };
        // Deleting needs something to be there, so the table is made first.
        batch.new_table(flags);
        batch.delete_table();
        batch.new_table(flags);
        batch
    }

    /// Deletes the table, which must be there.
    pub(super) fn deleting(table: &'static str) -> Self {
        let mut batch = Self {
            table,
            messages: Vec::new(),
            sets: 0,
        };
        batch.delete_table();
        batch
    }

    fn new_table(&mut self, flags: TableFlags) {
        let attributes = vec![
            TableAttribute::Name(self.table.to_owned()),
            TableAttribute::Flags(flags),
        ];
        self.create(NfTablesMessage::NewTable(TableMessage { attributes }));
    }

    fn delete_table(&mut self) {
        let attributes = vec![TableAttribute::Name(self.table.to_owned())];
        let message = NfTablesMessage::DeleteTable(TableMessage { attributes });
        self.messages.push((0, message));
    }

    fn create(&mut self, message: NfTablesMessage) {
        self.messages.push((NLM_F_CREATE, message));
    }

    /// Adds a chain that sees packets at a hook; what it does not decide passes.
    pub(super) fn chain(&mut self, name: &str, at: HookAt) {
        let attributes = vec![
            ChainAttribute::Table(self.table.to_owned()),
            ChainAttribute::Name(name.to_owned()),
            ChainAttribute::Hook(vec![
                Hook::Number(HookNumber::Inet(at.hook)),
                Hook::Priority(at.priority.cast_unsigned()),
            ]),
            ChainAttribute::Type(at.kind.to_owned()),
        ];
        self.create(NfTablesMessage::NewChain(ChainMessage { attributes }));
    }

    /// Adds a rule; `comment` tells readers of `nft list ruleset` what it is for.
    pub(super) fn rule(&mut self, chain: &str, comment: &str, steps: &[Vec<Expr>]) {
        let attributes = vec![
            RuleAttribute::Table(self.table.to_owned()),
            RuleAttribute::Chain(chain.to_owned()),
            RuleAttribute::Expressions(steps.concat()),
            RuleAttribute::UserData(comment_data(comment)),
        ];
        // Without NLM_F_APPEND rules would come out in reverse order.
        let flags = NLM_F_CREATE | netlink_packet_core::NLM_F_APPEND;
        let message = NfTablesMessage::NewRule(RuleMessage { attributes });
        self.messages.push((flags, message));
    }

    /// Adds a set of device names.
    pub(super) fn device_set(&mut self, name: &str, devices: &[String]) {
        self.set(name, KeyType::DeviceName, SetFlags::empty());
        let elements = devices.iter().map(|device| {
            let mut key = device.as_bytes().to_vec();
            key.resize(DEVICE_NAME_LENGTH, 0);
            element(key, SetElementFlags::empty())
        });
        self.elements(name, elements.collect());
    }

    /// Adds a set of address ranges of one family, from networks of both.
    pub(super) fn network_set(&mut self, name: &str, key: KeyType, networks: &[IpNet]) {
        self.set(name, key, SetFlags::Interval);
        let wanted: Vec<IpNet> = networks
            .iter()
            .filter(|net| match key {
                KeyType::Ipv4 => net.addr().is_ipv4(),
                KeyType::Ipv6 | KeyType::DeviceName => net.addr().is_ipv6(),
            })
            .copied()
            .collect();
        // Overlapping ranges are refused by the kernel: merge them.
        let mut elements = Vec::new();
        for net in IpNet::aggregate(&wanted) {
            elements.push(element(octets(net.network()), SetElementFlags::empty()));
            if let Some(end) = after(net.broadcast()) {
                elements.push(element(end, SetElementFlags::IntervalEnd));
            }
        }
        self.elements(name, elements);
    }

    fn set(&mut self, name: &str, key: KeyType, flags: SetFlags) {
        self.sets += 1;
        let (number, length) = key.number_and_length();
        let attributes = vec![
            SetAttribute::Table(self.table.to_owned()),
            SetAttribute::Name(name.to_owned()),
            SetAttribute::Flags(flags),
            SetAttribute::KeyType(number),
            SetAttribute::KeyLen(length),
            SetAttribute::Id(self.sets),
        ];
        self.create(NfTablesMessage::NewSet(SetMessage { attributes }));
    }

    fn elements(&mut self, set: &str, elements: Vec<ListAttribute<SetElementAttribute>>) {
        for part in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let attributes = vec![
                SetElementList::Table(self.table.to_owned()),
                SetElementList::Set(set.to_owned()),
                SetElementList::Elements(part.to_vec()),
            ];
            let message = SetElementMessage { attributes };
            self.create(NfTablesMessage::NewSetElement(message));
        }
    }

    /// The whole transaction as bytes, and the sequence number that will be acked.
    fn encode(self) -> (Vec<u8>, u32) {
        let last = self.messages.len();
        let mut bytes = Vec::new();
        push(&mut bytes, control(ControlMessage::BatchBegin), 0, 0);
        for (index, (flags, message)) in self.messages.into_iter().enumerate() {
            let ack = if index + 1 == last { NLM_F_ACK } else { 0 };
            push(&mut bytes, inet(message), flags | ack, sequence(index + 1));
        }
        push(
            &mut bytes,
            control(ControlMessage::BatchEnd),
            0,
            sequence(last + 1),
        );
        (bytes, sequence(last))
    }
}

/// Messages are numbered from 0; a batch has far fewer than 2^32.
fn sequence(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn element(key: Vec<u8>, flags: SetElementFlags) -> ListAttribute<SetElementAttribute> {
    let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(key))];
    if !flags.is_empty() {
        attributes.push(SetElementAttribute::Flags(flags));
    }
    ListAttribute::Element(attributes)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The first address behind a range; none behind the last of all.
fn after(end: IpAddr) -> Option<Vec<u8>> {
    match end {
        IpAddr::V4(ip) => Some(ip.to_bits().checked_add(1)?.to_be_bytes().to_vec()),
        IpAddr::V6(ip) => Some(ip.to_bits().checked_add(1)?.to_be_bytes().to_vec()),
    }
}

/// A comment as `nft` keeps it: type, length, text, zero.
fn comment_data(comment: &str) -> Vec<u8> {
    let text = &comment.as_bytes()[..comment.len().min(120)];
    let mut data = vec![0, text.len() as u8 + 1];
    data.extend(text);
    data.push(0);
    data
}

fn control(message: ControlMessage) -> NetfilterMessage {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM);
    NetfilterMessage::new(header, message)
}

fn inet(message: impl Into<NetfilterMessageInner>) -> NetfilterMessage {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0);
    NetfilterMessage::new(header, message)
}

fn push(bytes: &mut Vec<u8>, message: NetfilterMessage, flags: u16, sequence: u32) {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | flags;
    message.header.sequence_number = sequence;
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..start + message.buffer_len()]);
}

/// A netlink socket for nftables in the calling thread's network namespace.
pub(super) fn open() -> Result<OwnedFd, NftError> {
    let open = || -> io::Result<OwnedFd> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(NETFILTER),
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        // Refusals then carry no copy of what was sent, but a text where the kernel has one.
        sys::setsockopt_int(socket.as_fd(), libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1)?;
        sys::setsockopt_int(socket.as_fd(), libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1)?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(socket)
    };
    open().map_err(NftError::Open)
}

/// Applies a transaction: all of it or, on an error, nothing.
pub(super) fn commit(socket: &impl AsFd, batch: Batch) -> Result<(), NftError> {
    let table = batch.table;
    // A socket kept for long may hold an answer that nobody waited for.
    while recv(socket, &mut [0; 256], RecvFlags::DONTWAIT).is_ok() {}
    let (bytes, last) = batch.encode();
    send(socket, &bytes).map_err(|source| NftError::Transport { table, source })?;
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let length =
            receive(socket, &mut buffer).map_err(|source| NftError::Transport { table, source })?;
        for reply in Replies(&buffer[..length]) {
            if reply.kind != NLMSG_ERROR {
                continue;
            }
            if let Some(refusal) = reply.refusal() {
                return Err(NftError::refused(table, refusal));
            }
            if reply.sequence == last {
                return Ok(());
            }
        }
    }
}

/// The names of all tables of family inet.
pub(super) fn inet_tables() -> Result<Vec<String>, NftError> {
    let failed = |source| NftError::List { source };
    let socket = open()?;
    let request = NfTablesMessage::GetTable(TableMessage { attributes: vec![] });
    let mut bytes = Vec::new();
    push(&mut bytes, inet(request), NLM_F_DUMP, 1);
    send(&socket, &bytes).map_err(failed)?;
    let mut names = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = receive(&socket, &mut buffer).map_err(failed)?;
        for reply in Replies(&buffer[..length]) {
            match reply.kind {
                NLMSG_DONE => return Ok(names),
                NLMSG_ERROR => {
                    let code = reply.refusal().map_or(0, |(code, _)| code);
                    return Err(failed(io::Error::from_raw_os_error(code)));
                }
                NEW_TABLE => names.extend(reply.table_name()),
                _ => {}
            }
        }
    }
}

fn send(socket: &impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(socket, bytes, SendFlags::empty(), &kernel)?;
    Ok(())
}

fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _)) => return Ok(length),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let text = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The messages of a datagram from the kernel.
struct Replies<'a>(&'a [u8]);

/// One of them: header fields and what follows.
struct Reply<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Iterator for Replies<'a> {
    type Item = Reply<'a>;

    fn next(&mut self) -> Option<Reply<'a>> {
        let (header, _) = self.0.split_first_chunk::<16>()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let body = self.0.get(16..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Reply {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            body,
        })
    }
}

impl Reply<'_> {
    /// The error number and the kernel's text, if this is no plain ack.
    fn refusal(&self) -> Option<(i32, String)> {
        const NLM_F_ACK_TLVS: u16 = 0x200;
        const TEXT: u16 = 1;
        let (code, rest) = self.body.split_first_chunk::<4>()?;
        let code = i32::from_ne_bytes(*code);
        if code == 0 {
            return None;
        }
        // With NETLINK_CAP_ACK only the header of the refused message follows.
        let text = (self.flags & NLM_F_ACK_TLVS != 0)
            .then(|| attribute(rest.get(16..)?, TEXT))
            .flatten();
        Some((-code, text.unwrap_or_default()))
    }

    /// The name in a table message: after `struct nfgenmsg` of four bytes.
    fn table_name(&self) -> Option<String> {
        const NFTA_TABLE_NAME: u16 = 1;
        attribute(self.body.get(4..)?, NFTA_TABLE_NAME)
    }
}

/// Finds a text attribute.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<String> {
    loop {
        let (&[l0, l1, k0, k1], _) = bytes.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(4..length)?;
        if u16::from_ne_bytes([k0, k1]) == wanted {
            let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
            return Some(String::from_utf8_lossy(&value[..end]).into_owned());
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}
