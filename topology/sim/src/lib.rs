//! A whole mesh in one thread: fake clusters, the network between them and one primary, and the
//! primary's clients, under a seeded network and a virtual clock.
//!
//! ```text
//!  Truth ─Wire─> ┐           deliver, drop, overtake, duplicate, partition
//!  Truth ─Wire─> ├─> Primary { Federation, Hub, Catalogs } ─Session─> Envoy, gRPC, gateway
//!  Truth ─Wire─> ┘                                          pump, slow, cut, refuse
//! ```
//!
//! - A run is a [`Shape`] and a list of [`Action`]s, both of which follow from a seed. Equal runs
//!   give equal logs: no clock, no threads, no hash order.
//! - After each action the [`Invariant`]s hold; after [`Verb::Settle`] everyone has what the oracle
//!   derives of the truth.
//! - A failed run is written to a file that can be replayed and reduced; a good one leaves nothing.
#![allow(missing_debug_implementations, reason = "a failed run prints its event log instead")]

mod action;
mod advertised;
mod client;
mod invariant;
mod liveness;
mod primary;
mod random;
mod resource;
mod run;
mod shape;
mod source;
mod truth;
mod world;

pub use action::{Action, Class, Verb};
pub use invariant::{Checked, Invariant, Violation};
pub use run::{Failure, Run};
pub use shape::{Addresses, Export, Sabotage, Shape};
pub use world::World;
