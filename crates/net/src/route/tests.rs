//! Devices, addresses, routes and rules in namespaces of their own.

use super::*;
use crate::namespace::{new_netns, write_sysctl};
use crate::testing::{fresh_netns, runtime};
use ipnet::IpNet;
use socket2::{Domain, Socket, Type};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Runs a test that would otherwise wait for ever when it fails.
fn within_bounds(test: impl Future<Output = ()>) {
    runtime().block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test)
            .await
            .expect("the test hangs");
    });
}

/// A namespace with a veth pair `wan1`, `far1`, up, with addresses.
async fn with_wan() -> Option<(OwnedFd, Netlink)> {
    let netns = fresh_netns()?;
    let netlink = Netlink::in_netns(&netns).unwrap();
    netlink.add_veth("wan1", "far1").await.unwrap();
    for name in ["lo", "wan1", "far1"] {
        netlink.set_up(name, true).await.unwrap();
    }
    netlink
        .add_address("wan1", net("10.0.1.2/24"))
        .await
        .unwrap();
    netlink
        .add_address("wan1", net("2001:db8:101::2/64"))
        .await
        .unwrap();
    Some((netns, netlink))
}

#[test]
fn devices_are_made_moved_changed_and_deleted() {
    within_bounds(async {
        let (Some(near), Some(far)) = (fresh_netns(), fresh_netns()) else {
            return;
        };
        let here = Netlink::in_netns(&near).unwrap();
        let there = Netlink::in_netns(&far).unwrap();
        here.add_veth("a", "b").await.unwrap();
        assert!(here.add_veth("a", "c").await.unwrap_err().is(libc::EEXIST));
        here.move_to_netns("b", &far).await.unwrap();
        there.rename("b", "wan1").await.unwrap();
        there.set_mtu("wan1", 1400).await.unwrap();
        there.set_tx_queue_len("wan1", 77).await.unwrap();
        there.set_up("wan1", true).await.unwrap();
        let device = there.link("wan1").await.unwrap();
        assert!(device.up && !device.carrier && device.mtu == 1400);
        assert_eq!(device.hardware_address.len(), 6);
        here.set_up("a", true).await.unwrap();
        assert!(there.link("wan1").await.unwrap().usable());
        there.delete_link("wan1").await.unwrap();
        let error = here.link("a").await.unwrap_err();
        assert!(matches!(error, NetlinkError::NoDevice(name) if name == "a"));

        here.add_veth_between(("x", &near), ("y", &far))
            .await
            .unwrap();
        assert!(here.link("x").await.is_ok() && here.link("y").await.is_err());
        assert!(there.link("y").await.is_ok());
        assert!(here.links().await.unwrap()[0].loopback);
    });
}

#[test]
fn impossible_names_are_refused() {
    within_bounds(async {
        let Some(netns) = fresh_netns() else { return };
        let netlink = Netlink::in_netns(&netns).unwrap();
        for name in ["", "sixteen-bytes-xx", "a/b", "a b", ".."] {
            let error = netlink.add_veth(name, "ok").await.unwrap_err();
            assert!(
                matches!(error, NetlinkError::BadName(_)),
                "{name:?}: {error}"
            );
        }
    });
}

#[test]
fn addresses_come_and_go() {
    within_bounds(async {
        let Some((_netns, netlink)) = with_wan().await else {
            return;
        };
        let index = netlink.link("wan1").await.unwrap().index;
        let all = netlink.addresses().await.unwrap();
        for wanted in ["10.0.1.2/24", "2001:db8:101::2/64"] {
            let found = all
                .iter()
                .find(|address| address.net == net(wanted))
                .unwrap();
            assert_eq!(found.device, index);
            assert!(!found.tentative && !found.local_only);
        }
        let again = netlink.add_address("wan1", net("10.0.1.2/24")).await;
        let error = again.unwrap_err();
        assert!(error.is(libc::EEXIST));
        assert!(error.to_string().contains("10.0.1.2/24 to device wan1"));
        netlink
            .remove_address("wan1", net("10.0.1.2/24"))
            .await
            .unwrap();
        let all = netlink.addresses().await.unwrap();
        assert!(!all.iter().any(|address| address.net == net("10.0.1.2/24")));
    });
}

#[test]
fn routes_are_listed_as_they_were_added() {
    within_bounds(async {
        let Some((_netns, netlink)) = with_wan().await else {
            return;
        };
        let device = netlink.link("wan1").await.unwrap().index;
        let hop = |gateway: &str| Hop {
            gateway: Some(ip(gateway)),
            device,
            onlink: false,
        };
        let multipath = Route {
            hops: vec![hop("10.0.1.1"), hop("10.0.1.9")],
            table: 5000,
            ..Route::via(net("198.51.100.0/24"), hop("10.0.1.1"), 7)
        };
        let unreachable = Route {
            kind: RouteKind::Unreachable,
            hops: vec![],
            ..Route::via(net("192.0.2.0/24"), hop("10.0.1.1"), 0)
        };
        let all = [
            Route::via(net("0.0.0.0/0"), hop("10.0.1.1"), 101),
            Route::via(net("::/0"), hop("2001:db8:101::1"), 101),
            Route::via(net("203.0.113.7/32"), hop("2001:db8:101::1"), 5),
            multipath,
            unreachable,
        ];
        for route in &all {
            netlink.add_route(route).await.unwrap();
            assert!(netlink.routes().await.unwrap().contains(route), "{route:?}");
            assert!(netlink.add_route(route).await.unwrap_err().is(libc::EEXIST));
        }
        let hops = netlink.default_hops("wan1").await.unwrap();
        assert_eq!(hops.v4, Some(hop("10.0.1.1")));
        assert_eq!(hops.v6, Some(hop("2001:db8:101::1")));
        assert_eq!(
            netlink.default_hops("far1").await.unwrap(),
            DefaultHops::default()
        );
        for route in &all {
            netlink.remove_route(route).await.unwrap();
            assert!(!netlink.routes().await.unwrap().contains(route));
        }
    });
}

/// local, main and default for IPv4, local and main for IPv6.
const KERNELS_RULES: usize = 5;

/// Rules and routes without those that the kernel makes and changes itself.
async fn not_the_kernels(netlink: &Netlink) -> (Vec<Rule>, Vec<Route>) {
    let (mut rules, mut routes) = (
        netlink.rules().await.unwrap(),
        netlink.routes().await.unwrap(),
    );
    rules.retain(|rule| rule.protocol != 2);
    routes.retain(|route| route.protocol != 2);
    (rules, routes)
}

#[test]
fn our_policy_is_repeatable_and_cleaned_up_alone() {
    within_bounds(async {
        let Some((_netns, netlink)) = with_wan().await else {
            return;
        };
        let foreign_rule = Rule {
            to: Some(net("203.0.113.101/32")),
            ..Rule::all(Family::V4, 900, 1001)
        };
        netlink.add_rule(&foreign_rule).await.unwrap();
        let before = not_the_kernels(&netlink).await;
        let policy = TproxyPolicy {
            mark: 0x6777,
            table: 21_900,
            priority: 9_000,
        };
        let device = netlink.link("wan1").await.unwrap().index;
        let mut link = LinkTable {
            device: "wan1".into(),
            table: 21_901,
            priority: 9_001,
            hops: DefaultHops {
                v4: Some(Hop {
                    gateway: Some(ip("10.9.9.1")),
                    device,
                    onlink: false,
                }),
                v6: Some(Hop {
                    gateway: Some(ip("fe80::1")),
                    device,
                    onlink: false,
                }),
            },
        };
        for _ in 0..2 {
            netlink.add_tproxy_policy(policy).await.unwrap();
            netlink.set_link_table(&link).await.unwrap();
        }
        let rules = netlink.rules().await.unwrap();
        assert_eq!(rules.len(), before.0.len() + KERNELS_RULES + 4);
        let ours = netlink.our_routes(21_901).await.unwrap();
        assert!(
            ours.iter()
                .any(|route| route.destination == net("10.0.1.0/24"))
        );
        assert!(
            ours.iter()
                .any(|route| route.destination == net("0.0.0.0/0"))
        );

        link.hops.v6 = None;
        netlink.set_link_table(&link).await.unwrap();
        assert_eq!(
            netlink.rules().await.unwrap().len(),
            before.0.len() + KERNELS_RULES + 3
        );
        netlink.remove_link_table(21_901).await.unwrap();
        assert_eq!(netlink.our_routes(21_901).await.unwrap(), []);
        netlink.set_link_table(&link).await.unwrap();

        let removed = netlink.remove_ours().await.unwrap();
        assert!(removed.len() >= 6, "{removed:?}");
        let after = not_the_kernels(&netlink).await;
        assert_eq!(before, after);
    });
}

/// No table but `wan2`'s own knows a gateway. Without it the kernel would
/// take the destination for a neighbour; with it the gateway is asked.
#[test]
fn a_bound_socket_finds_its_links_gateway() {
    within_bounds(async {
        let (Some((netns, netlink)), Some(beyond)) = (with_wan().await, fresh_netns()) else {
            return;
        };
        netlink
            .add_veth_between(("wan2", &netns), ("far2", &beyond))
            .await
            .unwrap();
        let far = Netlink::in_netns(&beyond).unwrap();
        netlink.set_up("wan2", true).await.unwrap();
        netlink
            .add_address("wan2", net("10.0.2.2/24"))
            .await
            .unwrap();
        far.set_up("far2", true).await.unwrap();
        far.set_up("lo", true).await.unwrap();
        far.add_address("far2", net("10.0.2.1/24")).await.unwrap();
        far.add_address("lo", net("203.0.113.1/32")).await.unwrap();
        let listener = run_in_netns(&beyond, || {
            write_sysctl("net.ipv4.conf.all.arp_ignore", "1").unwrap();
            TcpListener::bind("203.0.113.1:80").unwrap()
        })
        .unwrap();
        let link = LinkTable {
            device: "wan2".into(),
            table: 21_902,
            priority: 9_001,
            hops: DefaultHops {
                v4: Some(Hop {
                    gateway: Some(ip("10.0.2.1")),
                    device: 0,
                    onlink: false,
                }),
                v6: None,
            },
        };
        netlink.set_link_table(&link).await.unwrap();
        run_in_netns(&netns, || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            crate::tcp::bind_to_device(&socket, "wan2").unwrap();
            let to: SocketAddr = "203.0.113.1:80".parse().unwrap();
            socket
                .connect_timeout(&to.into(), Duration::from_secs(10))
                .unwrap();
        })
        .unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), ip("10.0.2.2"));
    });
}

#[test]
fn changes_are_announced() {
    within_bounds(async {
        let Some(netns) = fresh_netns() else { return };
        let mut changes = Changes::watch_in_netns(&netns).unwrap();
        let netlink = Netlink::in_netns(&netns).unwrap();
        netlink.add_veth("wan1", "far1").await.unwrap();
        netlink.set_up("wan1", true).await.unwrap();
        netlink
            .add_address("wan1", net("10.0.1.2/24"))
            .await
            .unwrap();
        netlink.delete_link("wan1").await.unwrap();
        let mut seen = Vec::new();
        while !matches!(seen.last(), Some(Change::DeviceGone(device)) if device.name == "wan1") {
            seen.push(changes.next().await.unwrap());
        }
        assert!(
            seen.iter()
                .any(|c| matches!(c, Change::Device(d) if d.name == "wan1" && d.up))
        );
        assert!(
            seen.iter()
                .any(|c| matches!(c, Change::Address(a) if a.net == net("10.0.1.2/24")))
        );
        assert!(seen.contains(&Change::Route));
    });
}

#[test]
fn a_flood_is_reported_as_lost_and_does_not_grow() {
    within_bounds(async {
        let Some(netns) = fresh_netns() else { return };
        let mut changes = Changes::watch_in_netns(&netns).unwrap();
        let netlink = Netlink::in_netns(&netns).unwrap();
        netlink.add_veth("wan1", "far1").await.unwrap();
        for mtu in 0..600 {
            netlink.set_mtu("wan1", 1000 + mtu).await.unwrap();
        }
        while changes.next().await.unwrap() != Change::Lost {}
        netlink.delete_link("wan1").await.unwrap();
        loop {
            if let Change::DeviceGone(device) = changes.next().await.unwrap()
                && device.name == "wan1"
            {
                break;
            }
        }
    });
}

#[test]
fn many_tasks_may_share_a_handle() {
    within_bounds(async {
        let Ok(netns) = new_netns() else {
            fresh_netns();
            return;
        };
        crate::namespace::run_in_netns(&netns, || {
            write_sysctl("net.ipv4.ip_forward", "1").unwrap();
        })
        .unwrap();
        let netlink = Netlink::in_netns(&netns).unwrap();
        let tasks = (0..32).map(|_| {
            let netlink = netlink.clone();
            tokio::spawn(async move { netlink.routes().await.map(|routes| routes.len()) })
        });
        for task in futures::future::join_all(tasks).await {
            task.unwrap().unwrap();
        }
    });
}
