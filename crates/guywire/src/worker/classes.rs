//! Which class a captured connection belongs to.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError, RwLock};

use guywire_control::worker::ClassSetup;
use guywire_flow::FlowKind;
use guywire_net::tcp;

/// The classes of a router, in the order in which they are tried; clones share them.
#[derive(Clone, Default)]
pub(super) struct Classes(Arc<RwLock<Vec<ClassSetup>>>);

impl Classes {
    /// None yet. `listeners` keep the first packet of what they accept from now on.
    pub(super) fn new(listeners: &[impl AsFd]) -> Classes {
        for listener in listeners {
            if let Err(error) = tcp::save_syn(listener) {
                tracing::warn!(%error, "the DSCP of connections is not known, and counts as 0");
            }
        }
        Classes::default()
    }

    /// They are these from now on, for new connections.
    pub(super) fn set(&self, classes: Vec<ClassSetup>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = classes;
    }

    /// What a connection is.
    pub(super) fn of(
        &self,
        connection: impl AsFd,
        client: SocketAddr,
        wanted: SocketAddr,
    ) -> FlowKind {
        let classes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let source = match client.ip() {
            IpAddr::V6(ip) => ip.to_canonical(),
            v4 => v4,
        };
        let dscp = first_dscp(&connection);
        let takes = |class: &&ClassSetup| class.rule.takes(source, wanted.port(), dscp);
        FlowKind {
            class: classes.iter().find(takes).map_or(0, |class| class.id),
            dscp,
        }
    }
}

/// What is not known counts as 0, as what is not marked does.
fn first_dscp(connection: impl AsFd) -> u8 {
    tcp::syn_dscp(connection).ok().flatten().unwrap_or(0)
}
