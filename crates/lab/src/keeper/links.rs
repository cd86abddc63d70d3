//! The lab's links: their devices, their emulation, and what is done to them.
//!
//! A link with emulation runs `router wanN - rN (emulator) sN - wanN core`; a
//! plain one runs `router wanN - wanN core`. Only the router's device comes
//! and goes; the provider's side stays.

use std::net::IpAddr;

use guywire_net::ethtool::offloads_off;
use guywire_net::route::{Family, Hop, MAIN_TABLE, NetlinkError, Route, RouteKind, Rule};
use ipnet::IpNet;

use super::network::{Network, NetworkError, everywhere};
use crate::emulator::{self, EmulatedDevices, Emulator, EmulatorError};
use crate::protocol::{LinkStatus, LinkVerb};
use crate::spec::{EmulatedLink, LinkSpec, LinkSpecs, LinkState, Verb};
use crate::topology::{Link, Node, gateway_of};

/// Priority of the router's rules for the direct addresses.
const DIRECT_PRIORITY: u32 = 1_000;

/// Metric of the route that refuses what cannot go by its link: the last choice.
const NOWHERE_METRIC: u32 = 10_000;

/// Why a link is not as it was asked to be.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// There is no such link.
    #[error("no link {name:?} in this lab; there are {}", existing.join(", "))]
    Unknown { name: String, existing: Vec<String> },
    /// Its device is not there.
    #[error("link {name} is removed; `add` brings it back")]
    Removed { name: String },
    /// Its device is there.
    #[error("link {name} is there already")]
    Present { name: String },
    /// It has no emulation.
    #[error("link {name} is a plain veth; only down, up, remove, add and address work on it")]
    Plain { name: String },
    /// The address leaves no room for a gateway.
    #[error("{address} leaves no room for the provider's gateway, the first address of its subnet")]
    NoGateway { address: IpNet },
    /// The emulator refuses.
    #[error(transparent)]
    Emulator(#[from] EmulatorError),
    /// The kernel refuses.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The kernel refuses, about the emulator's devices.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// A link of this lab.
struct LabLink {
    link: Link,
    /// Its emulation as it is now; none for a plain veth.
    emulation: Option<EmulatedLink>,
    state: LinkState,
    /// Whether the router's device is there.
    present: bool,
    addresses: Vec<IpNet>,
    gateways: Vec<IpAddr>,
    /// Seed of everything that happens by chance on it.
    seed: u64,
}

/// All links of this lab.
pub(super) struct Links {
    emulator: Emulator,
    links: Vec<LabLink>,
}

impl Links {
    /// Makes every link and what goes with it.
    pub(super) async fn build(
        network: &Network,
        specs: &LinkSpecs,
        seed: u64,
    ) -> Result<Links, LinkError> {
        let mut links = Links {
            emulator: Emulator::spawn()?,
            links: Vec::new(),
        };
        for (link, spec) in Link::all(specs.0.len()).zip(&specs.0) {
            let emulation = match spec {
                LinkSpec::Veth => None,
                LinkSpec::Emulated(emulation) => Some(emulation.clone()),
            };
            let lab_link = LabLink {
                link,
                emulation,
                state: LinkState::Up,
                present: true,
                addresses: own_families(network, link.router().nets()),
                gateways: link.gateway().addresses().to_vec(),
                seed: seed.wrapping_add(link.0.into()),
            };
            lab_link.lay_provider_side(network).await?;
            lab_link.lay_router_side(network).await?;
            lab_link.emulate(&links.emulator)?;
            network
                .address(Node::Core, &link.name(), link.gateway())
                .await?;
            network
                .address(Node::Internet, "eth0", link.direct())
                .await?;
            lab_link.add_direct_rules(network).await?;
            links.links.push(lab_link);
        }
        Ok(links)
    }

    /// How many links there are.
    pub(super) fn count(&self) -> usize {
        self.links.len()
    }

    /// Does something to a link.
    pub(super) async fn apply(
        &mut self,
        network: &Network,
        name: &str,
        verb: LinkVerb,
    ) -> Result<LinkStatus, LinkError> {
        let Some(index) = self.links.iter().position(|link| link.link.name() == name) else {
            let existing = self.links.iter().map(|link| link.link.name()).collect();
            return Err(LinkError::Unknown {
                name: name.into(),
                existing,
            });
        };
        let link = &mut self.links[index];
        match verb {
            LinkVerb::Emulation(Verb::State(state)) => {
                link.set_state(network, &self.emulator, state).await?
            }
            LinkVerb::Emulation(Verb::Set(settings)) => {
                link.require_present()?;
                link.require_emulation()?;
                link.emulation = Some(self.emulator.set(name, &settings)?);
            }
            LinkVerb::Remove => link.remove(network, &self.emulator).await?,
            LinkVerb::Add => link.add(network, &self.emulator).await?,
            LinkVerb::Address(address) => link.change_address(network, address).await?,
        }
        let emulated = self
            .emulator
            .status()
            .map(|status| status.links)
            .unwrap_or_default();
        Ok(self.links[index].status(&emulated))
    }

    /// How every link is.
    pub(super) fn status(&self) -> Vec<LinkStatus> {
        // A dead emulator has nothing to count; its links show that.
        let emulated = self
            .emulator
            .status()
            .map(|status| status.links)
            .unwrap_or_default();
        self.links
            .iter()
            .map(|link| link.status(&emulated))
            .collect()
    }
}

fn own_families(network: &Network, nets: [IpNet; 2]) -> Vec<IpNet> {
    nets.into_iter()
        .filter(|net| network.knows(net.addr()))
        .collect()
}

impl LabLink {
    fn status(&self, emulated: &[emulator::LinkStatus]) -> LinkStatus {
        let name = self.link.name();
        let emulated = emulated.iter().find(|emulated| emulated.name == name);
        LinkStatus {
            name,
            spec: self.spec().to_string(),
            state: if self.present {
                self.state.to_string()
            } else {
                "removed".into()
            },
            addresses: self.addresses.clone(),
            down: emulated.map(|emulated| emulated.down),
            up: emulated.map(|emulated| emulated.up),
        }
    }

    fn spec(&self) -> LinkSpec {
        match &self.emulation {
            None => LinkSpec::Veth,
            Some(emulation) => LinkSpec::Emulated(emulation.clone()),
        }
    }

    fn require_present(&self) -> Result<(), LinkError> {
        match self.present {
            true => Ok(()),
            false => Err(LinkError::Removed {
                name: self.link.name(),
            }),
        }
    }

    fn require_emulation(&self) -> Result<(), LinkError> {
        match self.emulation {
            Some(_) => Ok(()),
            None => Err(LinkError::Plain {
                name: self.link.name(),
            }),
        }
    }

    /// The provider's device, if it does not come with the router's.
    async fn lay_provider_side(&self, network: &Network) -> Result<(), LinkError> {
        let name = self.link.name();
        if self.emulation.is_some() {
            network
                .cable_home((Node::Core, &name), &self.link.core_end())
                .await?;
            // The emulator carries frames of the wire's size only.
            network
                .site(Node::Core)
                .inside(|| offloads_off(&name))?
                .map_err(system(Node::Core))?;
        }
        Ok(())
    }

    /// The router's device, with its addresses and routes.
    async fn lay_router_side(&self, network: &Network) -> Result<(), LinkError> {
        let name = self.link.name();
        if self.emulation.is_some() {
            network
                .cable_home((Node::Router, &name), &self.link.router_end())
                .await?;
            network
                .site(Node::Router)
                .inside(|| offloads_off(&name))?
                .map_err(system(Node::Router))?;
        } else {
            network
                .cable((Node::Router, &name), (Node::Core, &name))
                .await?;
        }
        for &address in &self.addresses {
            network.add_address(Node::Router, &name, address).await?;
        }
        self.add_routes(network).await
    }

    fn emulate(&self, emulator: &Emulator) -> Result<(), LinkError> {
        if let Some(spec) = &self.emulation {
            emulator.add(&EmulatedDevices {
                name: self.link.name(),
                router_end: self.link.router_end(),
                server_end: self.link.core_end(),
                spec: spec.clone(),
                seed: self.seed,
            })?;
        }
        Ok(())
    }

    /// The router's default routes by this link, for all and for the direct addresses.
    async fn add_routes(&self, network: &Network) -> Result<(), LinkError> {
        let name = self.link.name();
        let metric = self.link.metric();
        network
            .default_routes(Node::Router, &name, &self.gateways, metric, None)
            .await?;
        let table = Some(self.link.direct_table());
        Ok(network
            .default_routes(Node::Router, &name, &self.gateways, metric, table)
            .await?)
    }

    /// Sends what goes to the direct addresses by this link or not at all; the
    /// rules outlast its device.
    async fn add_direct_rules(&self, network: &Network) -> Result<(), LinkError> {
        let router = network.site(Node::Router);
        let table = self.link.direct_table();
        for address in self.link.direct().addresses() {
            if network.knows(address) {
                let rule = Rule {
                    to: Some(address.into()),
                    ..Rule::all(Family::of(address), DIRECT_PRIORITY, table)
                };
                router
                    .netlink
                    .add_rule(&rule)
                    .await
                    .map_err(router.failed())?;
                let nowhere = Route {
                    table,
                    metric: NOWHERE_METRIC,
                    kind: RouteKind::Unreachable,
                    hops: Vec::new(),
                    ..Route::via(
                        everywhere(address),
                        Hop {
                            gateway: None,
                            device: 0,
                            onlink: false,
                        },
                        0,
                    )
                };
                router
                    .netlink
                    .add_route(&nowhere)
                    .await
                    .map_err(router.failed())?;
            }
        }
        Ok(())
    }

    /// Takes the routes of [`LabLink::add_routes`] away, as far as they are there.
    async fn remove_routes(&self, network: &Network) -> Result<(), LinkError> {
        let router = network.site(Node::Router);
        let device = router.netlink.link(&self.link.name()).await?.index;
        let ours = |route: &Route| {
            route.destination.prefix_len() == 0
                && route.hops.iter().any(|hop| hop.device == device)
                && [MAIN_TABLE, self.link.direct_table()].contains(&route.table)
        };
        for route in router
            .netlink
            .routes()
            .await?
            .iter()
            .filter(|route| ours(route))
        {
            router.netlink.remove_route(route).await?;
        }
        Ok(())
    }

    /// Silent, down, or as it was.
    async fn set_state(
        &mut self,
        network: &Network,
        emulator: &Emulator,
        state: LinkState,
    ) -> Result<(), LinkError> {
        self.require_present()?;
        if !matches!(state, LinkState::Up | LinkState::Down) {
            self.require_emulation()?;
        }
        if self.emulation.is_some() {
            emulator.set_state(&self.link.name(), state)?;
        }
        self.set_carrier(network, state != LinkState::Down).await?;
        self.state = state;
        Ok(())
    }

    /// Plugs the cable in or out: the far end's state is this end's carrier.
    async fn set_carrier(&self, network: &Network, carrier: bool) -> Result<(), LinkError> {
        if self.emulation.is_some() {
            return Ok(network.own.set_up(&self.link.router_end(), carrier).await?);
        }
        let core = network.site(Node::Core);
        Ok(core
            .netlink
            .set_up(&self.link.name(), carrier)
            .await
            .map_err(core.failed())?)
    }

    async fn remove(&mut self, network: &Network, emulator: &Emulator) -> Result<(), LinkError> {
        self.require_present()?;
        let name = self.link.name();
        if self.emulation.is_some() {
            emulator.remove(&name)?;
        }
        let router = network.site(Node::Router);
        router
            .netlink
            .delete_link(&name)
            .await
            .map_err(router.failed())?;
        self.present = false;
        Ok(())
    }

    async fn add(&mut self, network: &Network, emulator: &Emulator) -> Result<(), LinkError> {
        if self.present {
            return Err(LinkError::Present {
                name: self.link.name(),
            });
        }
        self.lay_router_side(network).await?;
        if self.emulation.is_some() {
            // The new device has a new hardware address; the provider forgets the old one.
            let core = network.site(Node::Core);
            for up in [false, true] {
                core.netlink
                    .set_up(&self.link.name(), up)
                    .await
                    .map_err(core.failed())?;
            }
        } else {
            // The provider's end of a plain cable went with the router's.
            let name = self.link.name();
            network
                .address(Node::Core, &name, self.link.gateway())
                .await?;
            for (address, gateway) in self.addresses.iter().zip(&self.gateways) {
                self.serve(network, *address, *gateway).await?;
            }
        }
        self.emulate(emulator)?;
        self.present = true;
        self.state = LinkState::Up;
        Ok(())
    }

    /// Replaces the router's address of the same family.
    async fn change_address(&mut self, network: &Network, address: IpNet) -> Result<(), LinkError> {
        self.require_present()?;
        let gateway = gateway_of(address).ok_or(LinkError::NoGateway { address })?;
        let name = self.link.name();
        let router = network.site(Node::Router);
        let same_family = |ip: IpAddr| ip.is_ipv4() == address.addr().is_ipv4();
        self.serve(network, address, gateway).await?;
        self.remove_routes(network).await?;
        for old in self.addresses.iter().filter(|old| same_family(old.addr())) {
            router
                .netlink
                .remove_address(&name, *old)
                .await
                .map_err(router.failed())?;
        }
        self.addresses.retain(|old| !same_family(old.addr()));
        self.gateways.retain(|old| !same_family(*old));
        self.addresses.push(address);
        self.gateways.push(gateway);
        network.add_address(Node::Router, &name, address).await?;
        self.add_routes(network).await
    }

    /// Makes the provider serve the subnet of `address`, if it does not yet.
    async fn serve(
        &self,
        network: &Network,
        address: IpNet,
        gateway: IpAddr,
    ) -> Result<(), LinkError> {
        let core = network.site(Node::Core);
        let index = core
            .netlink
            .link(&self.link.name())
            .await
            .map_err(core.failed())?
            .index;
        let known = core.netlink.addresses().await.map_err(core.failed())?;
        if !known
            .iter()
            .any(|known| known.device == index && known.net.addr() == gateway)
        {
            let prefix = address.prefix_len();
            // The prefix length is one of the same family.
            let net = IpNet::new(gateway, prefix).map_err(|_| LinkError::NoGateway { address })?;
            network
                .add_address(Node::Core, &self.link.name(), net)
                .await?;
        }
        Ok(())
    }
}

fn system(node: Node) -> impl FnOnce(std::io::Error) -> NetworkError {
    move |reason| NetworkError::System {
        place: format!("node {node}"),
        reason,
    }
}
