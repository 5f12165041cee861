//! Kubernetes objects in, facts out.
//!
//! ```text
//!  mesh file ──> parse_mesh ──> MeshFile (settings, clusters, networks)
//!                                  │
//!  manifests ──> Folder::set ──────┴─> Folder::derive ──> facts, pods, rejections
//! ```
//!
//! - Pure: text and objects come in as arguments; nothing here opens a file or asks for the time.
//! - Whatever is not understood becomes a [`Rejection`] that names file, line, object, cause and
//!   way out. It never spoils its neighbours, and what was last good of it stays.

mod folder;
mod mesh;
mod pod;
mod rejection;

pub use folder::{Change, Derived, Folder, diff};
pub use mesh::{ClusterEntry, MeshFile, MeshGateway, MeshGatewayTarget, MeshNetworks, parse_mesh};
pub use pod::PodEntry;
pub use rejection::{Rejection, Severity};
