//! Clients as the real ones behave, as far as a server can tell.

pub(crate) mod envoy;
pub(crate) mod grpc;
pub(crate) mod wire;
