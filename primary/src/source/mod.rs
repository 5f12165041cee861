//! Sources of facts. Each yields the same events; only where they come from differs.

mod files;
pub mod kube;

use diolkos_facts::{MeshFile, PodEntry, PodKey, Rejection};
use diolkos_topology::{ClusterId, Event};

pub use files::FilesSource;
pub use kube::KubeSource;

/// What a source says. The order of arrival is the order to apply.
#[derive(Clone, Debug)]
pub enum SourceEvent {
    /// One change, however many events: applied at once.
    Events(Vec<Event>),
    /// The mesh file as it is now. Sent before any event that depends on it.
    Mesh { file: Box<MeshFile>, clusters: Listed },
    /// What changed of the cluster's pods, sent before the events that name them.
    Pods { cluster: ClusterId, change: PodsChange },
    /// What is wrong now, with the cluster's objects or (`None`) with the mesh file.
    Rejections { cluster: Option<ClusterId>, change: RejectionsChange },
}

/// Whether the mesh file names every cluster that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    All,
    /// Whoever lists them has not been heard yet.
    SoFar,
}

#[derive(Clone, Debug)]
pub struct PodsChange {
    /// What is not said here is gone.
    pub all: bool,
    /// `None` is a removal. The last word on a pod counts.
    pub pods: Vec<(PodKey, Option<PodEntry>)>,
}

#[derive(Clone, Debug)]
pub enum RejectionsChange {
    /// All there is to say.
    All(Vec<Rejection>),
    /// By object; an empty list means that nothing is wrong with it any more.
    Of(Vec<(String, Vec<Rejection>)>),
}
