//! A scheduler as it is chosen: a name, and how a session gets instances of it.

use std::fmt;
use std::sync::Arc;

use crate::{NATIVE, Native, Scheduler};

/// A value for a map of a scheduler: what `bpftool map update` does for one that is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapValue {
    /// The map.
    pub map: String,
    /// The key's bytes.
    pub key: Vec<u8>,
    /// The value's bytes.
    pub value: Vec<u8>,
}

/// Makes an instance for one direction of a flow. All that a maker made may share state, as the
/// flows of one kernel share a program's maps.
pub type Maker = Box<dyn Fn() -> Box<dyn Scheduler> + Send + Sync>;

/// A scheduler that sessions can use. Each starts it for itself: they share nothing.
#[derive(Clone)]
pub struct Factory {
    name: Arc<str>,
    hash: Option<[u8; 32]>,
    safe: bool,
    start: Arc<dyn Fn() -> Maker + Send + Sync>,
}

impl Factory {
    /// One called `name`, which `start` starts for a session.
    pub fn new(name: &str, start: impl Fn() -> Maker + Send + Sync + 'static) -> Factory {
        Factory {
            name: name.into(),
            hash: None,
            safe: false,
            start: Arc::new(start),
        }
    }

    /// The same, made from an object with this SHA-256.
    pub fn of_object(self, hash: [u8; 32]) -> Factory {
        Factory {
            hash: Some(hash),
            ..self
        }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its object, if it was made from one.
    pub fn hash(&self) -> Option<[u8; 32]> {
        self.hash
    }

    /// Whether both run the same code: what one does, the other would.
    pub fn is_same(&self, other: &Factory) -> bool {
        (self.hash, &self.name) == (other.hash, &other.name)
    }

    /// Whether it is `default` itself: nothing steps in for it.
    pub fn is_default(&self) -> bool {
        self.safe
    }

    /// Starts it for one session.
    pub fn start(&self) -> Maker {
        (self.start)()
    }
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Factory").field(&self.name).finish()
    }
}

/// `default` itself.
impl Default for Factory {
    fn default() -> Factory {
        Factory::from(&NATIVE[0])
    }
}

impl From<&'static Native> for Factory {
    fn from(native: &'static Native) -> Factory {
        let make = native.make;
        Factory {
            safe: native.name == NATIVE[0].name,
            ..Factory::new(native.name, move || Box::new(make))
        }
    }
}
