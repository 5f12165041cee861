//! The manifests of one cluster, by file.

use std::collections::BTreeMap;

use diolkos_topology::{ClusterSettings, Fact, FactKey};

use crate::mesh::MeshNetworks;
use crate::pod::PodEntry;
use crate::rejection::Rejection;

#[derive(Clone, Debug)]
pub struct Folder {
    settings: ClusterSettings,
    networks: MeshNetworks,
}

/// What a folder says, taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Derived {
    pub facts: BTreeMap<FactKey, Fact>,
    /// By (namespace, name).
    pub pods: BTreeMap<(String, String), PodEntry>,
    /// By file and line.
    pub rejections: Vec<Rejection>,
}

impl Folder {
    pub fn new(settings: &ClusterSettings, networks: &MeshNetworks) -> Self {
        Self { settings: settings.clone(), networks: networks.clone() }
    }

    /// The mesh file changed.
    pub fn configure(&mut self, settings: &ClusterSettings, networks: &MeshNetworks) {
        self.settings = settings.clone();
        self.networks = networks.clone();
    }

    /// A file's new text; `None` when the file is gone. Answers what is wrong with that file alone.
    pub fn set(&mut self, path: &str, text: Option<&str>) -> Vec<Rejection> {
        let _ = (path, text);
        Vec::new()
    }

    /// The file is there and cannot be read: what it said before stays.
    pub fn set_unreadable(&mut self, path: &str, cause: &str) {
        let _ = (path, cause);
    }

    /// Everything, derived anew.
    pub fn derive(&self) -> Derived {
        let _ = (&self.settings, &self.networks);
        Derived::default()
    }

    pub fn facts(&self) -> BTreeMap<FactKey, Fact> {
        self.derive().facts
    }

    pub fn pod(&self, namespace: &str, name: &str) -> Option<PodEntry> {
        self.derive().pods.remove(&(namespace.to_owned(), name.to_owned()))
    }

    pub fn rejections(&self) -> Vec<Rejection> {
        self.derive().rejections
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Remove(FactKey),
    Upsert(Fact),
}

/// What leads from `old` to `new`: removals first, then upserts, each in key order.
pub fn diff(old: &BTreeMap<FactKey, Fact>, new: &BTreeMap<FactKey, Fact>) -> Vec<Change> {
    let gone = old.keys().filter(|key| !new.contains_key(*key)).cloned().map(Change::Remove);
    let said = new.iter().filter(|(key, fact)| old.get(*key) != Some(*fact));
    gone.chain(said.map(|(_, fact)| Change::Upsert(fact.clone()))).collect()
}
