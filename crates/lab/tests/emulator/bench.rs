//! A router and a server with nothing but one emulated link between them, in
//! three network namespaces that vanish with the value.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use guywire_lab::emulator::{DirectionStatus, EmulatedDevices, Emulator};
use guywire_lab::spec::{EmulatedLink, LinkSpec, LinkState};
use guywire_net::ethtool::offloads_off;
use guywire_net::namespace::{new_netns, run_in_netns, write_sysctl};
use guywire_net::route::Netlink;

/// The router's address on the link.
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
/// The server's address on the link.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
/// The link's name.
pub(crate) const LINK: &str = "wan1";

/// Both ends and what is between them.
pub(crate) struct Bench {
    /// The namespace of the router's end.
    pub(crate) router: OwnedFd,
    /// The namespace of the server's end.
    pub(crate) server: OwnedFd,
    /// The emulator, which runs in a third one.
    pub(crate) emulator: Emulator,
}

impl Bench {
    /// Builds it with this link, or prints why this machine cannot.
    pub(crate) fn build(spec: &str) -> Option<Bench> {
        let mut namespaces = Vec::new();
        for _ in 0..3 {
            match new_netns() {
                Ok(netns) => namespaces.push(netns),
                Err(error) => {
                    eprintln!("skipped: no network namespace can be made here: {error}");
                    return None;
                }
            }
        }
        let [router, server, middle] = namespaces.try_into().expect("three were made");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built")
            .block_on(async {
                end(&router, ("r1", &middle), ROUTER).await;
                end(&server, ("s1", &middle), SERVER).await;
            });
        let emulator = Emulator::spawn_in(middle).expect("the emulator starts");
        let link = EmulatedDevices {
            name: LINK.to_string(),
            router_end: "r1".to_string(),
            server_end: "s1".to_string(),
            spec: emulated(spec),
            seed: 7,
        };
        emulator.add(&link).expect("the link can be added");
        Some(Bench {
            router,
            server,
            emulator,
        })
    }

    /// Runs `work` at the router's end.
    pub(crate) fn at_router<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        run_in_netns(&self.router, work).expect("the router's namespace can be entered")
    }

    /// Runs `work` at the server's end.
    pub(crate) fn at_server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        run_in_netns(&self.server, work).expect("the server's namespace can be entered")
    }

    /// Status of `(down, up)`.
    pub(crate) fn status(&self) -> (DirectionStatus, DirectionStatus) {
        let status = self.emulator.status().expect("the emulator answers");
        (status.links[0].down, status.links[0].up)
    }

    /// Changes properties of the link.
    pub(crate) fn set(&self, settings: &str) -> EmulatedLink {
        let settings = settings.parse().expect("good settings");
        self.emulator
            .set(LINK, &settings)
            .expect("the link is there")
    }

    /// Changes the link's state.
    pub(crate) fn set_state(&self, state: LinkState) {
        self.emulator
            .set_state(LINK, state)
            .expect("the link is there");
    }
}

/// Reads the text of an emulated link.
pub(crate) fn emulated(spec: &str) -> EmulatedLink {
    match spec.parse() {
        Ok(LinkSpec::Emulated(link)) => link,
        other => panic!("{spec} reads as {other:?}"),
    }
}

/// Makes one end: `wan1` with its address in `netns`, its peer in the middle.
async fn end(netns: &OwnedFd, (peer, middle): (&str, &OwnedFd), address: Ipv4Addr) {
    run_in_netns(middle, || {
        // Else the emulator's own namespace would speak on the link.
        write_sysctl("net.ipv6.conf.default.disable_ipv6", "1")
    })
    .and_then(|written| written)
    .expect("the middle keeps quiet");
    let outside = Netlink::in_netns(netns.as_fd()).expect("a netlink socket");
    let inside = Netlink::in_netns(middle.as_fd()).expect("a netlink socket");
    outside
        .add_veth_between(("wan1", netns.as_fd()), (peer, middle.as_fd()))
        .await
        .expect("a veth pair");
    let net = format!("{address}/24").parse().expect("a network");
    outside.add_address("wan1", net).await.expect("an address");
    run_in_netns(netns, || offloads_off("wan1"))
        .and_then(|off| off)
        .expect("offloads can be switched off");
    outside.set_up("wan1", true).await.expect("wan1 goes up");
    inside.set_up(peer, true).await.expect("the peer goes up");
}
