//! An application that knows nothing of the mesh, and a client of it: what stands behind and before a
//! sidecar.

mod client;
mod kept;
mod server;
mod tally;

pub(crate) use client::call;
pub(crate) use server::{Who, serve};
