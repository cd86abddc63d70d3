//! The story that `guywire lab` tells.

/// Its links.
pub const LINKS: &str = "100mbit/20ms,50mbit/60ms,20mbit/120ms/loss0.5%";
