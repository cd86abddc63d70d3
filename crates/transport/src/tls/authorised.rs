//! Who may open subflows: a shared set that changes while the server runs.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::watch;

use crate::key::PublicKey;
use crate::tag::TagKey;

/// What a server admits at one moment.
#[derive(Debug, Clone, Default)]
pub struct AuthorisedSet {
    /// The keys of all enrolled routers.
    pub routers: HashSet<PublicKey>,
    /// The tag keys accepted: the server's own and, while it is being replaced, the one before.
    /// Each costs one HMAC per ClientHello that carries a tag.
    pub tag_keys: Vec<TagKey>,
}

impl AuthorisedSet {
    /// The set of these routers, each with the tag key it was given; equal tag keys count once.
    pub fn of_routers(routers: impl IntoIterator<Item = (PublicKey, TagKey)>) -> Self {
        let mut set = Self::default();
        for (router, tag_key) in routers {
            set.routers.insert(router);
            if !set.tag_keys.contains(&tag_key) {
                set.tag_keys.push(tag_key);
            }
        }
        set
    }
}

/// A handle on the set; clones share it. Reading is cheap and never waits for a writer's work.
///
/// Removing a router keeps it from connecting again. Whoever holds its live connections closes
/// them: [`Authorised::subscribe`] says when to look.
#[derive(Debug, Clone)]
pub struct Authorised(Arc<watch::Sender<Arc<AuthorisedSet>>>);

impl Authorised {
    /// A handle on a set that starts as `set`.
    pub fn new(set: AuthorisedSet) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(set))))
    }

    /// Replaces the set; handshakes that are under way see the new one.
    pub fn replace(&self, set: AuthorisedSet) {
        self.0.send_replace(Arc::new(set));
    }

    /// The set as it is now.
    pub fn snapshot(&self) -> Arc<AuthorisedSet> {
        self.0.borrow().clone()
    }

    /// Whether this router is in the set now.
    pub fn contains(&self, router: &PublicKey) -> bool {
        self.0.borrow().routers.contains(router)
    }

    /// Learns of every replacement from now on.
    pub fn subscribe(&self) -> watch::Receiver<Arc<AuthorisedSet>> {
        self.0.subscribe()
    }
}
