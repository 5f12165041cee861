//! Files: a mesh file and a folder of Kubernetes manifests per cluster, watched.
//!
//! One thread owns everything and looks at the whole picture each time it wakes: what is there,
//! what of it has another fingerprint than last time, what that changes. The operating system's
//! word that something changed only wakes it sooner, so a missed word costs [`Pace::rescan`] and
//! nothing else.
//!
//! Whatever goes missing by mistake is kept: a broken file, an unreadable folder and a broken mesh
//! file each keep what was last good. Only a manifest that is gone takes its objects along, and
//! only the mesh file can take a cluster away.

mod cluster;
mod mesh;
pub(super) mod scan;
#[cfg(test)]
mod tests;
mod watch;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::SourceEvent;
use mesh::Mesh;
use watch::{Bell, Ear, Wake, Watch};

/// Watches until it is dropped, or until nobody listens.
#[derive(Debug)]
pub struct FilesSource {
    mesh: PathBuf,
    bell: Bell,
}

/// How soon an edit is seen.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Look at everything this often, even if nothing seems to have changed.
    rescan: Duration,
    /// An editor saves in several steps: wait until it is quiet for so long,
    settle: Duration,
    /// but not longer than this.
    settle_max: Duration,
    watch: bool,
}

const PACE: Pace = Pace {
    rescan: Duration::from_secs(2),
    settle: Duration::from_millis(20),
    settle_max: Duration::from_millis(100),
    watch: true,
};

impl FilesSource {
    /// Reads the mesh file and every cluster's folder, then says what changes.
    pub fn spawn(mesh: &Path, events: mpsc::Sender<SourceEvent>) -> std::io::Result<Self> {
        Self::spawn_at(PACE, mesh, events)
    }

    fn spawn_at(
        pace: Pace,
        mesh: &Path,
        events: mpsc::Sender<SourceEvent>,
    ) -> std::io::Result<Self> {
        let (bell, ear) = Bell::new();
        let source = Self { mesh: mesh.to_owned(), bell: bell.clone() };
        let watch = if pace.watch { Watch::new(bell) } else { Watch::off() };
        let mesh = Mesh::new(mesh);
        std::thread::Builder::new()
            .name("files-source".into())
            .spawn(move || run(pace, mesh, watch, &ear, &events))?;
        Ok(source)
    }

    pub fn mesh(&self) -> &Path {
        &self.mesh
    }
}

impl Drop for FilesSource {
    fn drop(&mut self) {
        self.bell.stop();
    }
}

fn run(
    pace: Pace,
    mut mesh: Mesh,
    mut watch: Watch,
    ear: &Ear,
    events: &mpsc::Sender<SourceEvent>,
) {
    let mut out = Vec::new();
    while !events.is_closed() {
        mesh.refresh(&mut out);
        // What changed between the look and the watch is seen by a second look.
        loop {
            let new = watch.follow(mesh.places());
            mesh.watched(watch.failures());
            if !new {
                break;
            }
            mesh.refresh(&mut out);
        }
        for event in out.drain(..) {
            if events.blocking_send(event).is_err() {
                return;
            }
        }
        let mut wake = ear.wait(pace.rescan);
        // The end of a burst: it is quiet, or it has lasted long enough.
        let begin = Instant::now();
        while wake == Wake::Changed && begin.elapsed() < pace.settle_max {
            wake = ear.wait(pace.settle);
        }
        if wake == Wake::Stop {
            return;
        }
    }
}
