//! Which class a captured connection belongs to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};

use guywire_control::worker::ClassSetup;
use guywire_net::tcp;

/// The classes of a router, in the order in which they are tried; clones share them.
#[derive(Clone)]
pub(super) struct Classes(Arc<Inner>);

struct Inner {
    /// What accepts the connections.
    listeners: Vec<OwnedFd>,
    classes: RwLock<Vec<ClassSetup>>,
}

impl Classes {
    /// None yet.
    pub(super) fn new(listeners: &[impl AsFd]) -> io::Result<Classes> {
        let copies = listeners
            .iter()
            .map(|listener| listener.as_fd().try_clone_to_owned());
        Ok(Classes(Arc::new(Inner {
            listeners: copies.collect::<io::Result<_>>()?,
            classes: RwLock::default(),
        })))
    }

    /// They are these from now on, for new connections.
    pub(super) fn set(&self, classes: Vec<ClassSetup>) {
        if classes.iter().any(|class| !class.rule.dscp.is_empty()) {
            for listener in &self.0.listeners {
                if let Err(error) = tcp::save_syn(listener) {
                    tracing::warn!(%error, "the DSCP of connections is not known, and counts as 0");
                }
            }
        }
        *self
            .0
            .classes
            .write()
            .unwrap_or_else(PoisonError::into_inner) = classes;
    }

    /// The class of a connection; 0 if it belongs to none.
    pub(super) fn of(&self, connection: impl AsFd, client: SocketAddr, wanted: SocketAddr) -> u8 {
        let classes = self
            .0
            .classes
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let source = match client.ip() {
            IpAddr::V6(ip) => ip.to_canonical(),
            v4 => v4,
        };
        let mut dscp = None;
        let mut ask = || *dscp.get_or_insert_with(|| first_dscp(&connection));
        let takes = |class: &&ClassSetup| class.rule.takes(source, wanted.port(), &mut ask);
        classes.iter().find(takes).map_or(0, |class| class.id)
    }
}

/// What is not known counts as 0, as what is not marked does.
fn first_dscp(connection: impl AsFd) -> u8 {
    tcp::syn_dscp(connection).ok().flatten().unwrap_or(0)
}
