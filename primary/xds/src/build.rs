//! From what an audience may see to Envoy's messages. Plain functions of their arguments.

pub(crate) mod assignment;
pub(crate) mod cluster;
pub(crate) mod listener;
pub(crate) mod name;
pub(crate) mod route;
mod wire;

#[cfg(test)]
mod golden;
