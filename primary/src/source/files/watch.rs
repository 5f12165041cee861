//! The operating system's word that something changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::scan::file_number;

/// Wakes the thread that looks. However often it is rung meanwhile, the thread looks once.
#[derive(Clone, Debug)]
pub(super) struct Bell {
    ring: mpsc::SyncSender<()>,
    stop: Arc<AtomicBool>,
}

/// The thread's end of it.
#[derive(Debug)]
pub(super) struct Ear {
    rung: mpsc::Receiver<()>,
    stop: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    Changed,
    Stop,
    Timeout,
}

impl Bell {
    pub(super) fn new() -> (Self, Ear) {
        let (ring, rung) = mpsc::sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        (Self { ring, stop: stop.clone() }, Ear { rung, stop })
    }

    fn ring(&self) {
        // Full: it rings already. Closed: nobody is there to wake.
        let _ = self.ring.try_send(());
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring();
    }
}

impl Ear {
    pub(super) fn wait(&self, at_most: Duration) -> Wake {
        let rung = self.rung.recv_timeout(at_most);
        if self.stop.load(Ordering::Acquire) {
            return Wake::Stop;
        }
        match rung {
            Ok(()) => Wake::Changed,
            Err(mpsc::RecvTimeoutError::Timeout) => Wake::Timeout,
            Err(mpsc::RecvTimeoutError::Disconnected) => Wake::Stop,
        }
    }
}

/// A folder to watch, and whether what is below it counts too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) below: bool,
}

#[derive(Debug)]
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    /// A watch is of a folder, not of its name: one that was replaced is watched anew.
    watched: BTreeMap<Place, (u64, u64)>,
    failures: Vec<String>,
}

impl Watch {
    pub(super) fn new(bell: Bell) -> Self {
        let told = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_change(event.kind)) {
                bell.ring();
            }
        };
        match notify::recommended_watcher(told) {
            Ok(watcher) => Self { watcher: Some(watcher), ..Self::off() },
            Err(error) => Self { failures: vec![error.to_string()], ..Self::off() },
        }
    }

    /// Nothing wakes the thread but time.
    pub(super) fn off() -> Self {
        Self { watcher: None, watched: BTreeMap::new(), failures: Vec::new() }
    }

    /// Watches exactly these. True when something is watched that was not.
    pub(super) fn follow(&mut self, places: BTreeSet<Place>) -> bool {
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        self.watched.retain(|place, _| {
            let stays = places.contains(place);
            if !stays {
                // Watching too much is no harm, and the folder may be gone.
                let _ = watcher.unwatch(&place.folder);
            }
            stays
        });
        let mut new = false;
        self.failures.clear();
        for place in places {
            let Some(number) = number(&place.folder) else {
                self.watched.remove(&place);
                continue;
            };
            if self.watched.get(&place) == Some(&number) {
                continue;
            }
            let mode =
                if place.below { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            match watcher.watch(&place.folder, mode) {
                Ok(()) => {
                    self.watched.insert(place, number);
                    new = true;
                }
                Err(error) => self.failures.push(error.to_string()),
            }
        }
        new
    }

    /// What cannot be watched. Edits there are found by looking.
    pub(super) fn failures(&self) -> &[String] {
        &self.failures
    }
}

fn number(folder: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(folder).ok().filter(fs::Metadata::is_dir)?;
    Some(file_number(&metadata))
}

/// Our own reading must not wake us.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
