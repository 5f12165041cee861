//! View deltas in, xDS resources out, and one session per client stream.
//!
//! ```text
//!  ViewDelta ──> Hub ──CatalogDelta──> Catalog of an audience (CDS, EDS) ─┐
//!                 └────CatalogDelta──> Catalog of a scope     (LDS, RDS) ─┴─> Session ──> Response
//!                                                   client's requests, acks, nacks ─────────┘
//! ```
//!
//! - Inputs: [`ViewDelta`](diolkos_topology::ViewDelta)s, who asks, and the client's requests.
//!   Outputs: resources whose version is a hash of their content, and the responses that carry
//!   them. No I/O, no clock, no randomness; equal inputs give equal bytes.
//! - A resource is encoded once per audience, whatever the number of its clients; responses
//!   are concatenations of those bytes.
//! - Work follows the change: what is not touched is not encoded, and what is encoded to the
//!   same bytes is not sent. [`Work`] counts it.
//! - Closure: nothing a client is given names a cluster, endpoints or routes that it could not be
//!   given at that moment.
//! - A session keeps the versions a client has, never a queue; asked again, it sends the difference
//!   to now.

pub mod bootstrap;
mod build;
pub mod callers;
mod catalog;
mod hub;
pub mod limit;
mod resource;
mod session;

pub use catalog::{Catalog, CatalogDelta, CatalogKey, Changed};
pub use hub::{Hub, HubSettings, Inbound, InboundPort, Scope, ScopeId, SecretSource, Work};
pub use resource::{Resource, ResourceType};
pub use session::{Catalogs, Nack, Protocol, Refusal, Request, Response, Session};
