//! Kubernetes objects in, facts out.
//!
//! ```text
//!  mesh file ──> parse_mesh ──> MeshFile (settings, clusters, networks)
//!                                  │
//!  manifests ──> Folder::set ──────┼─> Folder::derive ──> facts, pods, rejections
//!                                  │
//!  objects ──> ClusterIndex::put ──┴─> Changes: the facts, pods and rejections that change
//!
//!  remote secrets ──> remote::Remotes ──> which clusters, by which connection; remarks
//! ```
//!
//! - Pure: text and objects come in as arguments; nothing here opens a file or asks for the time.
//! - Whatever is not understood becomes a [`Rejection`] that names file, line, object, cause and
//!   way out. It never spoils its neighbours, and what was last good of it stays.

mod anything;
mod derive;
mod export;
mod finding;
mod folder;
mod gateway;
mod gateway_api;
mod host;
mod index;
pub mod limit;
mod mesh;
mod mesh_networks;
mod mesh_template;
mod mesh_text;
mod names;
mod node;
mod object;
mod peer;
mod pod;
mod rejection;
pub mod remote;
mod service;
mod slice;
mod text;

pub use export::{ServiceExport, export_fact};
pub use finding::{Finding, Findings};
pub use folder::{Change, Derived, Folder, diff};
pub use gateway::{HostNames, Resolved};
pub use gateway_api::{
    Gateway, GatewayAddress, GatewayListener, GatewayParts, GatewaySpec, GatewayStatus, GatewayTls,
    gateway_parts,
};
pub use host::HostName;
pub use index::{Changes, ClusterIndex, EndpointLoss, IndexWork, ObjectId, ObjectKind, Said};
pub use mesh::{
    ClusterEntry, MeshFile, MeshGateway, MeshGatewayTarget, MeshNetworks, Origin, TokenSource,
    parse_mesh,
};
pub use mesh_template::{MeshTemplate, parse_mesh_template};
pub use node::{NodeParts, SYSTEM_NAMESPACES, namespace_fact, namespace_network, node_parts};
pub use object::Object;
pub use peer::{
    MutualTls, PeerAuthentication, PeerAuthenticationSpec, PeerModes, PeerPolicies, PeerPolicy,
    Selector, peer_policy,
};
pub use pod::{Labels, PodEntry, PodKey, PodParts, pod_parts};
pub use rejection::{Rejection, Severity};
pub use service::{GatewayLabel, Reach, ServiceParts, service_fact, service_parts};
pub use slice::{EndpointParts, SliceParts, Surroundings, UnknownPods, slice_facts, slice_parts};
