//! Both tables in namespaces of their own: client - router - far. The kernel
//! itself says whether a transaction is right, and packets say whether the
//! rules are.

use super::*;
use crate::listen::tproxy_listener;
use crate::namespace::{run_in_netns, write_sysctl};
use crate::route::{Family, Hop, Netlink, Route, TproxyPolicy};
use crate::testing::fresh_netns;
use netlink_packet_netfilter::nftables::TableFlags;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MARK: u32 = 0x6777;
/// Long enough for a loaded machine; only failing tests wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn capture_rules(port4: u16, port6: u16) -> CaptureRules {
    CaptureRules {
        lan: names(&["lan0"]),
        mark: MARK,
        port4,
        port6,
        bypass: vec!["203.0.113.101/32".parse().unwrap()],
        reject_quic: true,
    }
}

fn nat_rules(closed: bool) -> NatRules {
    NatRules {
        wan: names(&["wan1"]),
        lan: names(&["lan0"]),
        closed,
    }
}

/// The ruleset as `nft` reads it back, or `None` after printing why not.
fn listed() -> Option<String> {
    match Command::new("nft").args(["list", "ruleset"]).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            eprintln!("skipped: reading the ruleset back needs nft: {error}");
            None
        }
    }
}

#[test]
fn both_tables_are_taken_read_back_replaced_and_removed() {
    let Some(netns) = fresh_netns() else { return };
    run_in_netns(&netns, || {
        let owner = install_capture(&capture_rules(1041, 1061)).unwrap();
        install_nat(&nat_rules(true)).unwrap();
        install_nat(&nat_rules(false)).unwrap();
        let mut rules = capture_rules(1042, 1062);
        rules.reject_quic = false;
        update_capture(&owner, &rules).unwrap();
        if let Some(text) = listed() {
            for wanted in [
                "tproxy ip to 127.0.0.1:1042 meta mark set 0x00006777 accept",
                "tproxy ip6 to [::1]:1062 meta mark set 0x00006777 accept",
                "ct status snat return",
                "elements = { 203.0.113.101 }",
                "10.0.0.0/8",
                "fc00::/7",
                "iifname @lan oifname @wan masquerade",
                "reject with tcp reset",
                "flags owner",
            ] {
                assert!(text.contains(wanted), "no {wanted:?} in {text}");
            }
            assert!(!text.contains("1041") && !text.contains("443"), "{text}");
            assert!(!text.contains("closed"), "{text}");
        }
        drop(owner);
        assert_eq!(remove_tables().unwrap(), [NAT_TABLE]);
        assert_eq!(remove_tables().unwrap(), [""; 0]);
    })
    .unwrap();
}

#[test]
fn tables_of_others_are_not_touched() {
    let Some(netns) = fresh_netns() else { return };
    run_in_netns(&netns, || {
        commit(
            &open().unwrap(),
            Batch::replacing("foreign", TableFlags::empty()),
        )
        .unwrap();
        let owner = install_capture(&capture_rules(1041, 1061)).unwrap();
        install_nat(&nat_rules(false)).unwrap();
        let all = inet_tables().unwrap();
        assert_eq!(all.len(), 3, "{all:?}");
        drop(owner);
        remove_tables().unwrap();
        assert_eq!(inet_tables().unwrap(), ["foreign"]);
    })
    .unwrap();
}

#[test]
fn only_the_owner_changes_the_capture_table() {
    let Some(netns) = fresh_netns() else { return };
    run_in_netns(&netns, || {
        let owner = install_capture(&capture_rules(1041, 1061)).unwrap();
        install_nat(&nat_rules(false)).unwrap();
        let rules = capture_rules(1042, 1062);
        for error in [
            install_capture(&rules).unwrap_err(),
            remove_tables().unwrap_err(),
        ] {
            assert!(matches!(error, NftError::NotPermitted { table } if table == CAPTURE_TABLE));
        }
        assert_eq!(inet_tables().unwrap(), [CAPTURE_TABLE]);
        // A refused transaction leaves what was there.
        let mut wrong = rules.clone();
        wrong.lan = names(&["a-name-that-is-too-long"]);
        assert!(matches!(
            update_capture(&owner, &wrong),
            Err(NftError::BadDevice(_))
        ));
        update_capture(&owner, &rules).unwrap();
    })
    .unwrap();
}

/// A copy of the descriptor in another process keeps the table; a kill -9 of
/// the last holder ends it.
#[test]
fn the_capture_table_lives_as_long_as_a_holder() {
    let Some(netns) = fresh_netns() else { return };
    run_in_netns(&netns, || {
        let owner = install_capture(&capture_rules(1041, 1061)).unwrap();
        // The descriptor becomes the child's input and so survives exec.
        let mut holder = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::from(owner))
            .spawn()
            .unwrap();
        assert_eq!(inet_tables().unwrap(), [CAPTURE_TABLE]);
        holder.kill().unwrap();
        holder.wait().unwrap();
        let start = Instant::now();
        while !inet_tables().unwrap().is_empty() {
            assert!(start.elapsed() < PATIENCE, "the table outlived its owner");
            std::thread::sleep(Duration::from_millis(5));
        }
    })
    .unwrap();
}

#[test]
fn many_overlapping_networks_are_merged_and_split_over_messages() {
    let Some(netns) = fresh_netns() else { return };
    run_in_netns(&netns, || {
        let mut rules = capture_rules(1041, 1061);
        rules.bypass = (0..MAX_BYPASS as u32 - 4)
            .map(|n| {
                let ip = std::net::Ipv4Addr::from_bits(0x0b00_0000 + n * 512);
                IpNet::new(ip.into(), 24).unwrap()
            })
            .collect();
        for net in ["11.0.0.0/30", "255.255.255.255/32", "ffff::/16", "2000::/3"] {
            rules.bypass.push(net.parse().unwrap());
        }
        let owner = install_capture(&rules).unwrap();
        rules.bypass.push("9.9.9.9/32".parse().unwrap());
        let error = update_capture(&owner, &rules).unwrap_err();
        assert_eq!(
            error.to_string(),
            "4097 networks that bypass Guywire, at most 4096 are possible"
        );
        rules.bypass = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        update_capture(&owner, &rules).unwrap();
    })
    .unwrap();
}

/// Three namespaces in a row, as DESIGN's lab has them, with one link.
struct Row {
    client: OwnedFd,
    router: OwnedFd,
    far: OwnedFd,
    netlink: Netlink,
    runtime: tokio::runtime::Runtime,
}

const FAR4: &str = "203.0.113.1";
const FAR6: &str = "2001:db8:1::1";

async fn connect(near: (&str, &OwnedFd, [&str; 2]), far: (&str, &OwnedFd, [&str; 2])) {
    let netlink = Netlink::in_netns(near.1).unwrap();
    netlink
        .add_veth_between((near.0, near.1), (far.0, far.1))
        .await
        .unwrap();
    for (name, netns, addresses) in [near, far] {
        let netlink = Netlink::in_netns(netns).unwrap();
        netlink.set_up("lo", true).await.unwrap();
        netlink.set_up(name, true).await.unwrap();
        for address in addresses {
            let address = address.parse().unwrap();
            netlink.add_address(name, address).await.unwrap();
        }
    }
}

async fn default_routes(netns: &OwnedFd, gateways: [&str; 2]) {
    let netlink = Netlink::in_netns(netns).unwrap();
    for (to, gateway) in ["0.0.0.0/0", "::/0"].into_iter().zip(gateways) {
        let hop = Hop {
            gateway: Some(gateway.parse().unwrap()),
            device: 0,
            onlink: false,
        };
        let route = Route::via(to.parse().unwrap(), hop, 100);
        netlink.add_route(&route).await.unwrap();
    }
}

impl Row {
    fn new() -> Option<Self> {
        let (client, router, far) = (fresh_netns()?, fresh_netns()?, fresh_netns()?);
        run_in_netns(&router, || {
            write_sysctl("net.ipv4.ip_forward", "1").unwrap();
            write_sysctl("net.ipv6.conf.all.forwarding", "1").unwrap();
            write_sysctl("net.ipv4.conf.all.rp_filter", "0").unwrap();
        })
        .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let netlink = runtime.block_on(async {
            connect(
                ("lan0", &client, ["192.168.77.2/24", "2001:db8:77::2/64"]),
                ("lan0", &router, ["192.168.77.1/24", "2001:db8:77::1/64"]),
            )
            .await;
            connect(
                ("wan1", &router, ["10.0.1.2/24", "2001:db8:101::2/64"]),
                ("wan1", &far, ["10.0.1.1/24", "2001:db8:101::1/64"]),
            )
            .await;
            default_routes(&client, ["192.168.77.1", "2001:db8:77::1"]).await;
            default_routes(&router, ["10.0.1.1", "2001:db8:101::1"]).await;
            let away = Netlink::in_netns(&far).unwrap();
            for address in ["203.0.113.1/32", "203.0.113.101/32", "2001:db8:1::1/128"] {
                away.add_address("lo", address.parse().unwrap())
                    .await
                    .unwrap();
            }
            let netlink = Netlink::in_netns(&router).unwrap();
            let policy = TproxyPolicy {
                mark: MARK,
                table: 21_900,
                priority: 9_000,
            };
            netlink.add_tproxy_policy(policy).await.unwrap();
            netlink
        });
        Some(Self {
            client,
            router,
            far,
            netlink,
            runtime,
        })
    }

    /// A listener at the far end; each connection is told who it comes from.
    fn far_listener(&self, address: &str) -> TcpListener {
        let address: SocketAddr = address.parse().unwrap();
        patient(run_in_netns(&self.far, || TcpListener::bind(address).unwrap()).unwrap())
    }

    /// The transparent listeners of the router, and the capture rules to them.
    fn capture(&self) -> (TcpListener, TcpListener, OwnedFd) {
        run_in_netns(&self.router, || {
            let four = tproxy_listener(Family::V4, 0).unwrap();
            let six = tproxy_listener(Family::V6, 0).unwrap();
            let (four, six) = (patient(four), patient(six));
            let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
            let owner = install_capture(&capture_rules(port(&four), port(&six))).unwrap();
            (four, six, owner)
        })
        .unwrap()
    }

    fn nat(&self, closed: bool) {
        run_in_netns(&self.router, || install_nat(&nat_rules(closed)).unwrap()).unwrap();
    }

    /// Connects from the client, waiting at most `patience`.
    fn dial_for(&self, to: &str, patience: Duration) -> io::Result<TcpStream> {
        let to: SocketAddr = to.parse().unwrap();
        run_in_netns(&self.client, || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.connect_timeout(&to.into(), patience)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(TcpStream::from(socket))
        })
        .unwrap()
    }

    fn dial(&self, to: &str) -> TcpStream {
        self.dial_for(to, PATIENCE)
            .unwrap_or_else(|error| panic!("dialling {to}: {error}"))
    }

    fn up(&self, device: &str, up: bool) {
        self.runtime
            .block_on(self.netlink.set_up(device, up))
            .unwrap();
    }
}

/// Makes `accept` give up after a while, where a failing test would hang.
fn patient(listener: TcpListener) -> TcpListener {
    listener.set_nonblocking(false).unwrap();
    let socket = SockRef::from(&listener);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    listener
}

/// Says something over a pair of ends and checks that it comes through.
fn talk(near: &mut TcpStream, far: &mut TcpStream) {
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = [0; 4];
    near.write_all(b"ping").unwrap();
    far.read_exact(&mut heard).unwrap();
    far.write_all(b"pong").unwrap();
    near.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"pong");
}

#[test]
fn tcp_of_the_lan_is_captured_with_its_original_destination() {
    let Some(row) = Row::new() else { return };
    let (four, six, owner) = row.capture();
    row.nat(false);
    // Else the kernel finds established sockets before any rule is asked.
    run_in_netns(&row.router, || {
        write_sysctl("net.ipv4.tcp_early_demux", "0").unwrap();
    })
    .unwrap();
    for (listener, to) in [
        (&four, format!("{FAR4}:443")),
        (&six, format!("[{FAR6}]:8080")),
    ] {
        let mut near = row.dial(&to);
        let (mut far, peer) = listener.accept().unwrap();
        assert_eq!(far.local_addr().unwrap().to_string(), to);
        assert_eq!(peer, near.local_addr().unwrap());
        talk(&mut near, &mut far);
        // New rules do not disturb it.
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let mut rules = capture_rules(port(&four), port(&six));
        rules.bypass = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        update_capture(&owner, &rules).unwrap();
        talk(&mut near, &mut far);
        rules.bypass.clear();
        update_capture(&owner, &rules).unwrap();
    }
}

#[test]
fn what_is_left_alone_passes_masqueraded() {
    let Some(row) = Row::new() else { return };
    let (four, six, owner) = row.capture();
    four.set_nonblocking(true).unwrap();
    six.set_nonblocking(true).unwrap();
    row.nat(false);
    for to in ["203.0.113.101:80", "10.0.1.1:80"] {
        let listener = row.far_listener(to);
        let mut near = row.dial(to);
        let (mut far, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), "10.0.1.2".parse::<IpAddr>().unwrap());
        talk(&mut near, &mut far);
    }
    let own = "[2001:db8:101::2]:53";
    let service = run_in_netns(&row.router, || TcpListener::bind(own).unwrap()).unwrap();
    row.dial(own);
    patient(service).accept().unwrap();
    assert_eq!(six.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    // What a LAN device leads to is no business of ours either.
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let mut rules = capture_rules(port(&four), port(&six));
    rules.lan.push("wan1".to_owned());
    update_capture(&owner, &rules).unwrap();
    let listener = row.far_listener(&format!("{FAR4}:80"));
    row.dial(&format!("{FAR4}:80"));
    listener.accept().unwrap();
    assert_eq!(four.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn without_a_listener_new_connections_pass_and_stay_when_it_returns() {
    let Some(row) = Row::new() else { return };
    let (four, six, owner) = row.capture();
    row.nat(false);
    drop((four, six));
    for (to, from) in [
        (format!("{FAR4}:80"), "10.0.1.2"),
        (format!("[{FAR6}]:80"), "2001:db8:101::2"),
    ] {
        let away = row.far_listener(&to);
        let mut near = row.dial(&to);
        let (mut far, peer) = away.accept().unwrap();
        assert_eq!(peer.ip(), from.parse::<IpAddr>().unwrap());
        talk(&mut near, &mut far);
        let (listener, ports) = run_in_netns(&row.router, || {
            let four = tproxy_listener(Family::V4, 0).unwrap();
            let six = tproxy_listener(Family::V6, 0).unwrap();
            let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
            let ports = (port(&four), port(&six));
            ((four, six), ports)
        })
        .unwrap();
        update_capture(&owner, &capture_rules(ports.0, ports.1)).unwrap();
        talk(&mut near, &mut far);
        drop(listener);
        talk(&mut near, &mut far);
    }
}

/// The sockets of a captured connection vanish without the client hearing of
/// it (the LAN was unplugged); its next packet meets a reset, not a link.
#[test]
fn a_captured_connection_that_lost_its_socket_is_reset() {
    let Some(row) = Row::new() else { return };
    let (four, six, _owner) = row.capture();
    row.nat(false);
    let away = row.far_listener(&format!("{FAR4}:80"));
    let mut near = row.dial(&format!("{FAR4}:80"));
    let (mut far, _) = four.accept().unwrap();
    talk(&mut near, &mut far);
    row.up("lan0", false);
    crate::tcp::set_reset_on_close(&far, true).unwrap();
    drop((far, four, six));
    row.up("lan0", true);
    near.write_all(b"anybody?").unwrap();
    let error = near.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    away.set_nonblocking(true).unwrap();
    assert!(away.accept().is_err());
}

/// Conntrack saw nothing of this connection's beginning.
#[test]
fn a_connection_nobody_knows_is_reset() {
    let Some(row) = Row::new() else { return };
    // Without masquerading the far end needs the way back.
    row.runtime.block_on(async {
        let away = Netlink::in_netns(&row.far).unwrap();
        let hop = Hop {
            gateway: Some("10.0.1.2".parse().unwrap()),
            device: 0,
            onlink: false,
        };
        let back = Route::via("192.168.77.0/24".parse().unwrap(), hop, 0);
        away.add_route(&back).await.unwrap();
    });
    let away = row.far_listener(&format!("{FAR4}:80"));
    let mut near = row.dial(&format!("{FAR4}:80"));
    let (mut far, peer) = away.accept().unwrap();
    assert_eq!(peer.ip(), "192.168.77.2".parse::<IpAddr>().unwrap());
    talk(&mut near, &mut far);
    row.nat(false);
    near.write_all(b"anybody?").unwrap();
    let error = near.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let sent = run_in_netns(&row.far, resets_sent).unwrap();
    assert_eq!(sent, 0, "the packet reached the far end, which reset it");
}

/// TCP resets sent by the calling thread's network namespace.
fn resets_sent() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    names
        .split(' ')
        .zip(values.split(' '))
        .find_map(|(name, value)| (name == "OutRsts").then(|| value.parse().unwrap()))
        .unwrap()
}

#[test]
fn closed_lets_nothing_out() {
    let Some(row) = Row::new() else { return };
    row.nat(true);
    let away = row.far_listener(&format!("{FAR4}:80"));
    let short = Duration::from_millis(300);
    let error = row.dial_for(&format!("{FAR4}:80"), short).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    row.nat(false);
    row.dial(&format!("{FAR4}:80"));
    away.accept().unwrap();
}

#[test]
fn quic_is_refused_and_other_udp_passes() {
    let Some(row) = Row::new() else { return };
    let (_four, _six, _owner) = row.capture();
    row.nat(false);
    for far in [FAR4, FAR6] {
        let far: IpAddr = far.parse().unwrap();
        let ask = |port: u16| {
            run_in_netns(&row.client, || {
                let any: IpAddr = if far.is_ipv4() {
                    "0.0.0.0".parse().unwrap()
                } else {
                    "::".parse().unwrap()
                };
                let socket = UdpSocket::bind((any, 0)).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.connect((far, port)).unwrap();
                socket.send(b"hello").unwrap();
                socket.recv(&mut [0; 8])
            })
            .unwrap()
        };
        assert_eq!(ask(443).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let echo = run_in_netns(&row.far, || UdpSocket::bind((far, 3478)).unwrap()).unwrap();
        let answering = std::thread::spawn(move || {
            let mut buffer = [0; 8];
            let (length, from) = echo.recv_from(&mut buffer).unwrap();
            echo.send_to(&buffer[..length], from).unwrap();
        });
        assert_eq!(ask(3478).unwrap(), 5);
        answering.join().unwrap();
    }
}

#[test]
fn refusals_name_the_table() {
    let Some(netns) = fresh_netns() else { return };
    run_in_netns(&netns, || {
        let error = commit(&open().unwrap(), Batch::deleting("nosuch")).unwrap_err();
        let text = error.to_string();
        let lacking = NftError::refused(NAT_TABLE, (libc::ENOENT, String::new()));
        let lacking = lacking.with_modules(NAT_MODULES).to_string();
        assert!(
            lacking.ends_with("nft_masq, nft_ct, nft_reject_inet"),
            "{lacking}"
        );
        assert!(
            text.starts_with("nftables refused table inet nosuch: No such file"),
            "{text}"
        );
    })
    .unwrap();
}
