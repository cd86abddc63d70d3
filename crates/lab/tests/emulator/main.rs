//! The link emulator on real devices and sockets: what passes, how fast, how
//! late and what does not. Margins are wide, because other things run on this
//! machine too; what cannot be exceeded (a rate, an order) is exact.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use guywire_lab::emulator::{EmulatedDevices, EmulatorError};
use guywire_lab::spec::LinkState;
use guywire_net::route::Netlink;
use guywire_net::tcp::set_congestion_control;

mod bench;

use bench::{Bench, LINK, ROUTER, SERVER, emulated};

/// How much of a link's IP packets is payload of TCP, with timestamps.
const TCP_SHARE: f64 = 1_448.0 / 1_500.0;

/// Runs what talks netlink.
fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built")
        .block_on(work);
}

/// A UDP socket at each end, `(router, server)`, each sending to the other.
fn udp_pair(bench: &Bench) -> (UdpSocket, UdpSocket) {
    let bind = |ip| UdpSocket::bind((ip, 0)).expect("a UDP socket");
    let router = bench.at_router(|| bind(ROUTER));
    let server = bench.at_server(|| bind(SERVER));
    connect(router, server)
}

fn connect(router: UdpSocket, server: UdpSocket) -> (UdpSocket, UdpSocket) {
    let address = |socket: &UdpSocket| socket.local_addr().expect("it is bound");
    router.connect(address(&server)).expect("a route");
    server.connect(address(&router)).expect("a route");
    for socket in [&router, &server] {
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("half a second is allowed");
    }
    (router, server)
}

/// Whether a datagram arrives.
fn passes(from: &UdpSocket, to: &UdpSocket) -> bool {
    discard(to);
    from.send(b"one").expect("it is sent");
    to.recv(&mut [0; 16]).is_ok()
}

/// Takes away what has arrived earlier.
fn discard(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("it can be");
    while socket.recv(&mut [0; 2_048]).is_ok() {}
    socket.set_nonblocking(false).expect("it can be");
}

/// The shortest of some round trips of an idle link.
fn round_trip(bench: &Bench) -> Duration {
    let (router, server) = udp_pair(bench);
    assert!(passes(&router, &server), "addresses are resolved");
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20 {
                if server.recv(&mut [0; 64]).is_ok() {
                    server.send(&[0; 56]).expect("it is sent");
                }
            }
        });
        let trips = (0..20).filter_map(|_| {
            let begin = Instant::now();
            router.send(&[0; 56]).expect("it is sent");
            router.recv(&mut [0; 64]).ok().map(|_| begin.elapsed())
        });
        trips.min().expect("some come back")
    })
}

/// Sends by one TCP connection from router to server; payload in bits per
/// second, without the first second.
fn tcp_goodput(bench: &Bench, time: Duration) -> f64 {
    let listener = bench.at_server(|| TcpListener::bind((SERVER, 0)).expect("a listener"));
    let address = listener.local_addr().expect("it is bound");
    let mut sender = bench.at_router(|| TcpStream::connect(address).expect("a connection"));
    set_congestion_control(&sender, "reno").expect("reno is everywhere");
    let (mut receiver, _) = listener.accept().expect("a connection");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Ends by an error at the latest: the receiver is dropped.
            while !done.load(Ordering::Relaxed) {
                if sender.write_all(&[0; 65_536]).is_err() {
                    return;
                }
            }
        });
        let warm = count(&mut receiver, Duration::from_secs(1));
        warm.expect("bytes arrive");
        let begin = Instant::now();
        let bytes = count(&mut receiver, time).expect("bytes arrive");
        let rate = bytes as f64 * 8.0 / begin.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        drop(receiver);
        rate
    })
}

/// Bytes that arrive within `time`.
fn count(receiver: &mut TcpStream, time: Duration) -> io::Result<u64> {
    let (end, mut bytes, mut buffer) = (Instant::now() + time, 0, vec![0; 65_536]);
    while Instant::now() < end {
        bytes += receiver.read(&mut buffer)? as u64;
    }
    Ok(bytes)
}

/// Sends numbered datagrams of 1,500-byte packets at `mbit`; the numbers that
/// arrive, in order of arrival.
fn numbered(bench: &Bench, count: u32, mbit: u32) -> Vec<u32> {
    let (router, server) = udp_pair(bench);
    // The link may lose one of them.
    let resolved = (0..10).any(|_| passes(&router, &server));
    assert!(resolved, "addresses are resolved");
    thread::scope(|scope| {
        scope.spawn(|| {
            let begin = Instant::now();
            for number in 0..count {
                let due = Duration::from_micros(12_000 * u64::from(number) / u64::from(mbit));
                thread::sleep(due.saturating_sub(begin.elapsed()));
                let mut packet = [0; 1_472];
                packet[..4].copy_from_slice(&number.to_be_bytes());
                router.send(&packet).expect("it is sent");
            }
        });
        let mut numbers = Vec::new();
        let mut packet = [0; 2_048];
        while let Ok(len) = server.recv(&mut packet) {
            assert_eq!(len, 1_472);
            numbers.push(u32::from_be_bytes([
                packet[0], packet[1], packet[2], packet[3],
            ]));
        }
        numbers
    })
}

#[test]
fn a_round_trip_takes_what_the_link_says() {
    let Some(bench) = Bench::build("100mbit/20ms") else {
        return;
    };
    for (settings, millis) in [("rtt=20ms", 20), ("rtt=60ms", 60), ("downdelay=90ms", 120)] {
        bench.set(settings);
        let (trip, least) = (round_trip(&bench), Duration::from_millis(millis));
        assert!(trip >= least, "{trip:?} after {settings}");
        assert!(
            trip < least + Duration::from_millis(15),
            "{trip:?} after {settings}"
        );
    }
}

#[test]
fn tcp_fills_the_rate_and_not_more() {
    let Some(bench) = Bench::build("40mbit/20ms") else {
        return;
    };
    for (settings, rate) in [("rate=40mbit", 40e6), ("uprate=5mbit", 5e6)] {
        bench.set(settings);
        let share = tcp_goodput(&bench, Duration::from_secs(2)) / (rate * TCP_SHARE);
        // What was in the queue before may add a little.
        assert!(
            (0.75..1.03).contains(&share),
            "{share} of the rate after {settings}"
        );
    }
    let drops = bench.status().1.counters.drops;
    assert!(drops.queue > 0, "reno fills the queue");
    assert_eq!((drops.offload, drops.memory), (0, 0));
}

#[test]
fn a_flood_fills_the_queue_and_the_rest_is_counted() {
    let Some(bench) = Bench::build("20mbit/20ms/queue32p") else {
        return;
    };
    let numbers = numbered(&bench, 4_000, 60);
    let up = bench.status().1.counters;
    assert!(numbers.is_sorted());
    assert!(up.drops.queue > 1_000, "{up:?}");
    assert_eq!(up.drops.total(), up.drops.queue);
    // 4,000 packets take 0.8 s at 60 Mbit/s and a third of them fits.
    assert!((1_000..2_000).contains(&numbers.len()), "{}", numbers.len());
}

#[test]
fn loss_has_its_share_and_jitter_keeps_order() {
    let Some(bench) = Bench::build("40mbit/20ms/uploss10%/jitter8ms") else {
        return;
    };
    let numbers = numbered(&bench, 4_000, 20);
    let up = bench.status().1.counters;
    assert!(numbers.is_sorted());
    assert!((200..800).contains(&up.drops.loss), "{up:?}");
    assert_eq!(up.offered_packets - up.drops.total(), up.packets);
    bench.set("loss=0%,reorder=on");
    let numbers = numbered(&bench, 1_000, 20);
    assert!(!numbers.is_sorted());
}

#[test]
fn verbs_stop_packets_and_let_them_pass_again() {
    let Some(bench) = Bench::build("100mbit/20ms") else {
        return;
    };
    let (router, server) = udp_pair(&bench);
    // Once around first: neighbours are then known and stay so.
    assert!(passes(&router, &server) && passes(&server, &router));
    let table = [
        (LinkState::Silent, false, false),
        (LinkState::SilentIn, true, false),
        (LinkState::SilentOut, false, true),
        (LinkState::Down, false, false),
        (LinkState::Up, true, true),
    ];
    for (state, up, down) in table {
        bench.set_state(state);
        assert_eq!(passes(&router, &server), up, "towards the server, {state}");
        assert_eq!(
            passes(&server, &router),
            down,
            "towards the router, {state}"
        );
        let status = bench.emulator.status().expect("the emulator answers");
        assert_eq!(status.links[0].state, state);
    }
    let (down, up) = bench.status();
    // Ours, and what the kernels had to say to each other meanwhile.
    for drops in [down.counters.drops, up.counters.drops] {
        assert!(drops.silent >= 2 && drops.down >= 1, "{drops:?}");
    }
}

#[test]
fn ipv6_finds_its_neighbours() {
    let Some(bench) = Bench::build("100mbit/20ms") else {
        return;
    };
    let address = |last| Ipv6Addr::new(0x2001, 0xdb8, 0x101, 0, 0, 0, 0, last);
    block_on(async {
        for (netns, last) in [(&bench.router, 2), (&bench.server, 1)] {
            let netlink = Netlink::in_netns(netns).expect("a netlink socket");
            let net = format!("{}/64", address(last)).parse().expect("a network");
            netlink.add_address("wan1", net).await.expect("an address");
        }
    });
    let bind = |last| UdpSocket::bind(SocketAddr::from((address(last), 0)));
    let router = bench.at_router(|| bind(2)).expect("a UDP socket");
    let server = bench.at_server(|| bind(1)).expect("a UDP socket");
    let (router, server) = connect(router, server);
    assert!(passes(&router, &server) && passes(&server, &router));
}

#[test]
fn a_device_that_was_down_passes_packets_again() {
    let Some(bench) = Bench::build("100mbit/20ms") else {
        return;
    };
    let (router, server) = udp_pair(&bench);
    assert!(passes(&router, &server) && passes(&server, &router));
    for up in [false, true] {
        block_on(async {
            let netlink = Netlink::in_netns(&bench.router).expect("a netlink socket");
            netlink.set_up("wan1", up).await.expect("it is there");
        });
        // Down, the router's end cannot even send, so the server's is asked.
        assert_eq!(passes(&server, &router), up);
    }
    assert!(passes(&router, &server));
}

#[test]
fn a_device_that_goes_away_harms_nothing_else() {
    let Some(bench) = Bench::build("100mbit/20ms") else {
        return;
    };
    block_on(async {
        let netlink = Netlink::in_netns(&bench.router).expect("a netlink socket");
        netlink.delete_link("wan1").await.expect("it is there");
    });
    let server = bench.at_server(|| UdpSocket::bind((SERVER, 0)).expect("a UDP socket"));
    // Asks who has the address, on and on.
    server.send_to(b"anyone", (ROUTER, 9)).expect("it is sent");
    let before = bench.emulator.status().expect("the emulator answers");
    thread::sleep(Duration::from_millis(500));
    let after = bench.emulator.status().expect("the emulator answers");
    // Half a second of spinning would be half a second of processor time.
    let busy = after.cpu_seconds - before.cpu_seconds;
    assert!(busy < 0.2, "{busy} s of processor time for nothing");
    bench.emulator.remove(LINK).expect("the link is there");
    let gone = bench.emulator.status().expect("the emulator answers");
    assert_eq!((gone.links.len(), gone.buffers_in_use), (0, 0));
}

#[test]
fn errors_name_link_and_device() {
    let Some(bench) = Bench::build("100mbit/20ms") else {
        return;
    };
    let mut link = EmulatedDevices {
        name: LINK.to_string(),
        router_end: "r1".to_string(),
        server_end: "nosuch".to_string(),
        spec: emulated("1mbit"),
        seed: 1,
    };
    let error = bench.emulator.add(&link).expect_err("wan1 exists");
    assert!(matches!(error, EmulatorError::Exists { .. }), "{error}");
    link.name = "wan2".to_string();
    let error = bench.emulator.add(&link).expect_err("no such device");
    let text = error.to_string();
    assert!(
        text.contains("link wan2") && text.contains("device nosuch"),
        "{text}"
    );
    let error = bench.emulator.remove("wan2").expect_err("it was not added");
    assert_eq!(
        error.to_string(),
        "there is no emulated link wan2; there are: wan1"
    );
    link.spec = emulated("trace:/no/such/trace");
    let text = bench.emulator.add(&link).expect_err("no trace").to_string();
    assert!(
        text.contains("wan2") && text.contains("/no/such/trace"),
        "{text}"
    );
}
