//! One cluster's folder: what it said last, and what it says now.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use diolkos_facts::{
    Change, ClusterEntry, Derived, Folder, MeshNetworks, PodEntry, PodKey, Rejection, Severity,
    diff,
};
use diolkos_topology::{Event, Fact, FactKey, FactKind, Generation, Source, Stamp};

use super::scan::{self, Look, Seen};
use crate::source::{PodsChange, RejectionsChange, SourceEvent};

#[derive(Debug)]
pub(super) struct Cluster {
    entry: ClusterEntry,
    root: PathBuf,
    source: Source,
    epoch: u64,
    seq: u64,
    folder: Folder,
    seen: BTreeMap<String, Option<Seen>>,
    said: Derived,
    sight: Sight,
    /// The mesh file says something new of it.
    reconfigured: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Live,
    /// Declared, and not seen yet; `true` once that was said.
    Never(bool),
    Stale,
}

impl Cluster {
    pub(super) fn new(
        entry: ClusterEntry,
        networks: &MeshNetworks,
        base: &Path,
        epoch: u64,
        generation: u64,
    ) -> Self {
        Self {
            root: base.join(entry.folder()),
            source: Source {
                cluster: entry.settings.cluster.clone(),
                generation: Generation(generation),
            },
            epoch,
            seq: 0,
            folder: Folder::new(&entry.settings, networks),
            seen: BTreeMap::new(),
            said: Derived::default(),
            sight: Sight::Never(false),
            reconfigured: true,
            entry,
        }
    }

    pub(super) fn entry(&self) -> &ClusterEntry {
        &self.entry
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn configure(&mut self, entry: ClusterEntry, networks: &MeshNetworks, base: &Path) {
        if entry.origin == self.entry.origin {
            self.folder.configure(&entry.settings, networks);
        } else {
            self.root = base.join(entry.folder());
            self.folder = Folder::new(&entry.settings, networks);
            self.seen.clear();
        }
        self.entry = entry;
        self.reconfigured = true;
    }

    /// Looks at the folder and says what is new.
    pub(super) fn refresh(&mut self, out: &mut Vec<SourceEvent>) {
        let found = match scan::manifests(&self.root) {
            Ok(found) if found.is_empty() => Err("holds no manifests".into()),
            Ok(found) => Ok(found),
            Err(error) if error.kind() == ErrorKind::NotFound => Err("does not exist".into()),
            Err(error) => Err(format!("cannot be read ({error})")),
        };
        match found {
            Ok(found) => self.seen_now(&found, out),
            Err(why) => self.out_of_sight(&why, out),
        }
    }

    fn seen_now(&mut self, found: &BTreeMap<String, PathBuf>, out: &mut Vec<SourceEvent>) {
        let changed = self.read(found);
        if !changed && !self.reconfigured && self.sight == Sight::Live {
            return;
        }
        self.reconfigured = false;
        let derived = self.folder.derive();
        let mut events = match self.sight {
            Sight::Never(_) => self.reset(&derived.facts),
            Sight::Live | Sight::Stale => self.changes(&derived.facts),
        };
        if matches!(self.sight, Sight::Stale | Sight::Never(true)) {
            events.push(Event::ClusterFresh { cluster: self.source.cluster.clone() });
        }
        self.sight = Sight::Live;
        self.say(derived, events, out);
    }

    /// Nothing is taken back: what was seen last still counts.
    fn out_of_sight(&mut self, why: &str, out: &mut Vec<SourceEvent>) {
        let mut derived = self.said.clone();
        derived.rejections = vec![Rejection {
            file: self.entry.folder().to_owned(),
            line: 0,
            object: Some(format!("cluster {}", self.source.cluster)),
            cause: format!("the folder {why}, so the cluster is out of sight; what it said counts"),
            way_out: "bring the folder back, or take the cluster out of the mesh file".into(),
            severity: Severity::Refused,
        }];
        let was = self.sight;
        self.sight = match was {
            Sight::Live | Sight::Stale => Sight::Stale,
            Sight::Never(_) => Sight::Never(true),
        };
        let mut events = Vec::new();
        if was != self.sight {
            events.push(Event::ClusterStale { cluster: self.source.cluster.clone() });
        }
        self.say(derived, events, out);
    }

    /// Reads what changed. True when anything did.
    fn read(&mut self, found: &BTreeMap<String, PathBuf>) -> bool {
        let mut changed = false;
        let gone: Vec<String> =
            self.seen.keys().filter(|name| !found.contains_key(*name)).cloned().collect();
        for name in gone {
            self.seen.remove(&name);
            self.folder.set(&self.display(&name), None);
            changed = true;
        }
        for (name, path) in found {
            let seen = self.seen.entry(name.clone()).or_default();
            let look = scan::look(path, seen);
            let display = self.display(name);
            match look {
                Look::Same => {}
                Look::Changed(text) => {
                    self.folder.set(&display, Some(&text));
                    changed = true;
                }
                Look::Gone => {
                    self.seen.remove(name);
                    self.folder.set(&display, None);
                    changed = true;
                }
                Look::Unreadable(why) => {
                    self.folder.set_unreadable(&display, &why);
                    changed = true;
                }
            }
        }
        changed
    }

    /// As a person finds the file from where the mesh file is.
    fn display(&self, name: &str) -> String {
        format!("{}/{name}", self.entry.folder())
    }

    fn say(&mut self, derived: Derived, events: Vec<Event>, out: &mut Vec<SourceEvent>) {
        let cluster = &self.source.cluster;
        let pods = pods_changed(&self.said.pods, &derived.pods);
        if !pods.is_empty() {
            let change = PodsChange { all: false, pods };
            out.push(SourceEvent::Pods { cluster: cluster.clone(), change });
        }
        if !events.is_empty() {
            out.push(SourceEvent::Events(events));
        }
        if derived.rejections != self.said.rejections {
            let change = RejectionsChange::All(derived.rejections.clone());
            out.push(SourceEvent::Rejections { cluster: Some(cluster.clone()), change });
        }
        self.said = derived;
    }

    fn stamp(&mut self) -> Stamp {
        self.seq += 1;
        Stamp::new(self.epoch, self.seq)
    }

    /// Everything from the beginning.
    fn reset(&mut self, facts: &BTreeMap<FactKey, Fact>) -> Vec<Event> {
        let source = self.source.clone();
        let mut events = Vec::with_capacity(facts.len() + 2 * FactKind::ALL.len() + 1);
        for kind in FactKind::ALL {
            let begin = self.stamp();
            events.push(Event::ResetBegin { source: source.clone(), kind, stamp: begin });
            for (_, fact) in facts.iter().filter(|(key, _)| key.kind() == kind) {
                let (source, fact) = (source.clone(), fact.clone());
                events.push(Event::Upsert { source, stamp: self.stamp(), fact });
            }
            events.push(Event::ResetEnd { source: source.clone(), kind, begin });
        }
        events.push(Event::Activate { source });
        events
    }

    fn changes(&mut self, facts: &BTreeMap<FactKey, Fact>) -> Vec<Event> {
        let changes = diff(&self.said.facts, facts);
        let event = |change| {
            let (source, stamp) = (self.source.clone(), self.stamp());
            match change {
                Change::Remove(key) => Event::Remove { source, stamp, key },
                Change::Upsert(fact) => Event::Upsert { source, stamp, fact },
            }
        };
        changes.into_iter().map(event).collect()
    }
}

fn pods_changed(
    old: &BTreeMap<PodKey, PodEntry>,
    new: &BTreeMap<PodKey, PodEntry>,
) -> Vec<(PodKey, Option<PodEntry>)> {
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), None));
    let said = new.iter().filter(|(key, entry)| old.get(*key) != Some(*entry));
    gone.chain(said.map(|(key, entry)| (key.clone(), Some(entry.clone())))).collect()
}
