//! The operating system's word that something changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::scan::file_number;

/// Why the thread wakes.
#[derive(Debug)]
pub(super) enum Wake {
    Changed,
    Stop,
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
    pub(super) fn new(wake: mpsc::Sender<Wake>) -> Self {
        let told = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_change(event.kind)) {
                // Nobody wakes a thread that has ended.
                let _ = wake.send(Wake::Changed);
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
