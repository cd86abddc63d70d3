//! Socket options and TCP_INFO on real loopback connections.

use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

#[test]
fn figures_follow_a_transfer() {
    let (mut near, mut far) = pair();
    near.write_all(&[7; 50_000]).unwrap();
    let mut got = vec![0; 50_000];
    far.read_exact(&mut got).unwrap();
    far.write_all(b"thanks").unwrap();
    while unread_bytes(&near).unwrap() < 6 {
        std::thread::yield_now();
    }
    let mut thanks = [0; 6];
    near.read_exact(&mut thanks).unwrap();
    assert_eq!(unread_bytes(&near).unwrap(), 0);
    let info = tcp_info(&near).unwrap();
    assert!(info.is_established());
    assert_eq!(info.bytes_sent, 50_000);
    assert_eq!(info.bytes_acked, 50_001, "the SYN counts as one");
    assert_eq!(info.bytes_received, 6);
    assert_eq!((info.notsent_bytes, info.unacked), (0, 0));
    assert!(info.delivered > 0 && info.snd_mss > 500 && info.snd_cwnd > 0);
    assert!(info.rtt > Duration::ZERO && info.rtt < Duration::from_secs(5));
    assert!(info.min_rtt <= info.rtt + info.rttvar * 8 + Duration::from_millis(1));
    assert!(info.busy_time >= info.rwnd_limited + info.sndbuf_limited);
    assert!(info.known_bytes >= 200, "kernel older than 4.18?");
}

#[test]
fn a_full_socket_arms_the_edge() {
    let (near, mut far) = pair();
    near.set_nonblocking(true).unwrap();
    assert!(arm_writable(&near).unwrap());
    let block = vec![0; 1 << 20];
    while (&near).write(&block).is_ok() {}
    assert!(!arm_writable(&near).unwrap());
    assert!(notsent_bytes(&near).unwrap() > 0);
    let unsent = tcp_info(&near).unwrap().notsent_bytes;
    assert!(unsent > 0);
    far.set_nonblocking(true).unwrap();
    let mut sink = vec![0; 1 << 20];
    while !arm_writable(&near).unwrap() {
        let _ = far.read(&mut sink);
    }
}

#[test]
fn options_are_kept() {
    let (near, _far) = pair();
    let all = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control").unwrap();
    for name in all.split_whitespace() {
        set_congestion_control(&near, name).unwrap();
        assert_eq!(congestion_control(&near).unwrap(), name);
    }
    assert!(set_congestion_control(&near, "nosuchthing").is_err());
    set_notsent_lowat(&near, 64_000).unwrap();
    assert_eq!(SockRef::from(&near).tcp_notsent_lowat().unwrap(), 64_000);
    set_user_timeout(&near, Some(Duration::from_secs(9))).unwrap();
    assert_eq!(
        SockRef::from(&near).tcp_user_timeout().unwrap(),
        Some(Duration::from_secs(9))
    );
    if set_rto_max_ms(&near, 1_000).unwrap() {
        assert!(set_rto_max_ms(&near, 1).is_err());
    }
    bind_to_device(&near, "lo").unwrap();
    assert!(bind_to_device(&near, "nosuchdev0").is_err());
}

#[test]
fn a_small_segment_size_is_obeyed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    set_maxseg(&socket, 1_220).unwrap();
    socket
        .connect(&listener.local_addr().unwrap().into())
        .unwrap();
    assert!(tcp_info(&socket).unwrap().snd_mss <= 1_220);
}

#[test]
fn closing_is_a_reset_only_when_asked() {
    let (near, mut far) = pair();
    set_reset_on_close(&near, true).unwrap();
    drop(near);
    let error = far.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let (near, mut far) = pair();
    set_reset_on_close(&near, true).unwrap();
    set_reset_on_close(&near, false).unwrap();
    drop(near);
    assert_eq!(far.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn other_sockets_are_refused() {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(tcp_info(&udp).is_err());
    assert!(congestion_control(&udp).is_err());
}

#[test]
fn an_older_kernels_structure_reads_as_zero_beyond_its_end() {
    let mut raw = [0xffu8; TCP_INFO_ROOM];
    raw[68..72].copy_from_slice(&20_000u32.to_ne_bytes());
    let info = TcpInfo::parse(&raw[..104]);
    assert_eq!(info.rtt, Duration::from_millis(20));
    assert_eq!((info.bytes_acked, info.delivered, info.snd_wnd), (0, 0, 0));
    assert_eq!(info.known_bytes, 104);
    assert_eq!(TcpInfo::parse(&[]), TcpInfo::default());
    assert_eq!(TcpInfo::parse(&raw).min_rtt, Duration::ZERO);
}

#[test]
fn the_first_packets_dscp_is_known_where_it_is_kept() {
    for ip in ["127.0.0.1", "::1"] {
        let address: std::net::IpAddr = ip.parse().unwrap();
        let listener = std::net::TcpListener::bind((address, 0)).unwrap();
        save_syn(&listener).unwrap();
        let domain = socket2::Domain::for_address(listener.local_addr().unwrap());
        let client = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        let class = 46 << 2;
        match address.is_ipv4() {
            true => client.set_tos_v4(class).unwrap(),
            false => client.set_tclass_v6(class).unwrap(),
        }
        client
            .connect(&listener.local_addr().unwrap().into())
            .unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(syn_dscp(&accepted).unwrap(), Some(46), "{ip}");
        assert_eq!(syn_dscp(&accepted).unwrap(), None, "it is kept once");
    }
    let (near, _far) = pair();
    assert_eq!(syn_dscp(&near).unwrap(), None);
}
