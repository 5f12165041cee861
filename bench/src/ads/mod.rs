//! Light clients of ADS: what a server costs must not be hidden behind what its clients cost.

mod fleet;
mod frame;
mod node;

pub(crate) use fleet::{Ask, Fleet, Way};
pub(crate) use frame::Response;
pub(crate) use node::Claims;
