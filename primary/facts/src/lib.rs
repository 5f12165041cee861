//! Kubernetes objects in, facts out.
//!
//! ```text
//!  mesh file ──> parse_mesh ──> MeshFile (settings, clusters, networks)
//!                                  │
//!  manifests ──> Folder::set ──────┴─> Folder::derive ──> facts, pods, rejections
//!
//!  remote secrets ──> remote::Remotes ──> which clusters, by which connection; remarks
//! ```
//!
//! - Pure: text and objects come in as arguments; nothing here opens a file or asks for the time.
//! - Whatever is not understood becomes a [`Rejection`] that names file, line, object, cause and
//!   way out. It never spoils its neighbours, and what was last good of it stays.

mod derive;
mod export;
mod finding;
mod folder;
mod gateway;
pub mod limit;
mod mesh;
mod mesh_networks;
mod mesh_text;
mod names;
mod node;
mod object;
mod pod;
mod rejection;
pub mod remote;
mod service;
mod slice;
mod text;

pub use export::{ServiceExport, export_fact};
pub use finding::{Finding, Findings};
pub use folder::{Change, Derived, Folder, diff};
pub use gateway::gateway_facts;
pub use mesh::{
    ClusterEntry, MeshFile, MeshGateway, MeshGatewayTarget, MeshNetworks, TokenSource, parse_mesh,
};
pub use node::{NodeParts, SYSTEM_NAMESPACES, namespace_fact, node_parts};
pub use pod::{PodEntry, PodParts, pod_parts};
pub use rejection::{Rejection, Severity};
pub use service::{GatewayLabel, Reach, ServiceParts, service_fact, service_parts};
pub use slice::{EndpointParts, SliceParts, Surroundings, slice_fact, slice_parts};
