//! Sources of facts. Each yields the same events; only where they come from differs.

mod files;

use std::collections::BTreeMap;
use std::sync::Arc;

use diolkos_facts::{MeshFile, PodEntry, Rejection};
use diolkos_topology::{ClusterId, Event};

pub use files::FilesSource;

/// The pods of one cluster, by (namespace, name).
pub type Pods = Arc<BTreeMap<(String, String), PodEntry>>;

/// What a source says. The order of arrival is the order to apply.
#[derive(Clone, Debug)]
pub enum SourceEvent {
    /// One change, however many events: applied at once.
    Events(Vec<Event>),
    /// The mesh file as it is now. Sent before any event that depends on it.
    Mesh(Box<MeshFile>),
    /// Replaces what was known of the cluster's pods; empty once the cluster is gone. Sent before
    /// the events that name them.
    Pods { cluster: ClusterId, pods: Pods },
    /// Replaces the current list of the cluster, or (`None`) of the mesh file.
    Rejections { cluster: Option<ClusterId>, list: Vec<Rejection> },
}
