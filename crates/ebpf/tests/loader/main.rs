//! The loader: what it makes of good objects, and what it says of others.

mod hostile;
mod rebuilt;
mod refused;
mod shapes;
mod support;
