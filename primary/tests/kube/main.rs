//! The API server source over a server that misbehaves as it is told, and the core behind it.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod fake;
mod hostile;
mod istio;
mod loss;
mod names;
mod pages;
mod registry;
mod review;
mod rotation;
mod scope;
mod store;
mod sync;
mod world;
mod writer;
