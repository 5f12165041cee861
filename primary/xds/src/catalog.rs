//! What there is to send: names to resources, and what changed since when.

use std::collections::BTreeMap;
use std::sync::Arc;

use diolkos_topology::AudienceId;

use crate::hub::ScopeId;
use crate::limit;
use crate::resource::{Resource, ResourceType};

/// Clusters and endpoints are an audience's; listeners and routes a scope's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CatalogKey {
    Audience(AudienceId),
    Scope(ScopeId),
}

/// To be applied in the order in which the hub yields them: then at no moment does any catalog
/// name what another lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogDelta {
    pub key: CatalogKey,
    pub upserts: Vec<Arc<Resource>>,
    pub removes: Vec<(ResourceType, Arc<str>)>,
}

/// Each change has a serial. The log that answers "what changed since" is bounded: a name stands in
/// it once, and one who asks about a time before its beginning compares everything.
#[derive(Debug, Default)]
pub struct Catalog {
    serial: u64,
    shelves: [Shelf; 4],
}

#[derive(Debug, Default)]
struct Shelf {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Serial of the last change -> name, removals included.
    log: BTreeMap<u64, Arc<str>>,
    /// Changes up to and including this serial may be missing from the log.
    forgotten: u64,
}

#[derive(Debug)]
struct Entry {
    changed: u64,
    /// `None`: removed, and remembered only while the log says so.
    resource: Option<Arc<Resource>>,
}

/// What changed since a serial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    Names(Vec<Arc<str>>),
    /// The log does not reach back that far.
    Unknown,
}

impl Catalog {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn apply(&mut self, delta: &CatalogDelta) {
        for resource in &delta.upserts {
            self.put(resource.kind, &resource.name, Some(Arc::clone(resource)));
        }
        for (kind, name) in &delta.removes {
            self.put(*kind, name, None);
        }
    }

    /// Of the latest change; 0 before any.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.shelves[kind.index()].entries.get(name)?.resource.as_ref()
    }

    /// By name.
    pub fn resources(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<Resource>> {
        self.shelves[kind.index()].entries.values().filter_map(|entry| entry.resource.as_ref())
    }

    /// Costs what it answers.
    pub fn changed_since(&self, kind: ResourceType, serial: u64) -> Changed {
        let shelf = &self.shelves[kind.index()];
        if serial < shelf.forgotten {
            return Changed::Unknown;
        }
        Changed::Names(shelf.log.range(serial + 1..).map(|(_, name)| Arc::clone(name)).collect())
    }

    fn put(&mut self, kind: ResourceType, name: &Arc<str>, resource: Option<Arc<Resource>>) {
        self.serial += 1;
        let shelf = &mut self.shelves[kind.index()];
        let entry = Entry { changed: self.serial, resource };
        if let Some(old) = shelf.entries.insert(Arc::clone(name), entry) {
            shelf.log.remove(&old.changed);
        }
        shelf.log.insert(self.serial, Arc::clone(name));
        while shelf.log.len() > limit::CATALOG_LOG_ENTRIES_MAX {
            shelf.forget_oldest();
        }
    }
}

impl Shelf {
    fn forget_oldest(&mut self) {
        let Some((serial, name)) = self.log.pop_first() else { return };
        self.forgotten = serial;
        if self.entries.get(&name).is_some_and(|entry| entry.resource.is_none()) {
            self.entries.remove(&name);
        }
    }
}
