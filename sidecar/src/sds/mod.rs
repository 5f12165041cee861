//! The secret discovery service, for the Envoy of this pod alone.
//!
//! Over a Unix socket that only this user may open; who connects as another is turned away. Both
//! protocols: state of the world (`StreamSecrets`) and delta (`DeltaSecrets`). What a stream is
//! sent, [`state`] decides.

mod secrets;
mod serve;
mod state;

#[cfg(test)]
pub(crate) use secrets::{DEFAULT, ROOTS};
pub(crate) use serve::{bind, serve};
