//! A scheduler as it is chosen: a name, and how a session gets instances of it.

use std::fmt;
use std::sync::Arc;

use crate::{NATIVE, Native, Scheduler, native};

/// Makes an instance for one direction of a flow. All that a maker made may share state, as the
/// flows of one kernel share a program's maps.
pub type Maker = Box<dyn Fn() -> Box<dyn Scheduler> + Send + Sync>;

/// A scheduler that sessions can use. Each starts it for itself: they share nothing.
#[derive(Clone)]
pub struct Factory {
    name: Arc<str>,
    safe: bool,
    start: Arc<dyn Fn() -> Maker + Send + Sync>,
}

impl Factory {
    /// One called `name`, which `start` starts for a session.
    pub fn new(name: &str, start: impl Fn() -> Maker + Send + Sync + 'static) -> Factory {
        Factory {
            name: name.into(),
            safe: false,
            start: Arc::new(start),
        }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
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

/// Finds the scheduler that the other end asks for, if it may have that.
pub type Catalogue = Arc<dyn Fn(&str) -> Option<Factory> + Send + Sync>;

/// A catalogue of the native schedulers.
pub fn natives() -> Catalogue {
    Arc::new(|name| native(name).map(Factory::from))
}
