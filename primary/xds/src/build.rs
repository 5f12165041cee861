//! From what an audience may see to Envoy's messages. Plain functions of their arguments.

pub(crate) mod assignment;
pub(crate) mod cluster;
mod filter;
pub(crate) mod inbound;
pub(crate) mod listener;
mod mtls;
pub(crate) mod name;
pub(crate) mod outbound;
mod retry;
pub(crate) mod route;
mod wire;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_redirect;
