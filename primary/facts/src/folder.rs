//! The manifests of one cluster, by file, and the last good state of each object in them.
//!
//! One rule decides what a new text of a file does:
//!
//! 1. An object that can be read takes effect.
//! 2. An object that is refused, but says its kind and name, stays as it was.
//! 3. While anything in the file cannot even be told by kind and name, nothing disappears from the
//!    file: it might be any of the objects that are no longer found. The same holds for a file
//!    that says nothing at all, which is what an editor leaves for a moment while it saves. (A
//!    List without items says that there is nothing.)
//!
//! So an object goes only by a text that can be read and does not have it, or with its file.

use std::collections::{BTreeMap, BTreeSet};

use diolkos_topology::{ClusterSettings, Fact, FactKey};

use crate::derive::derive;
use crate::gateway::HostNames;
use crate::mesh::MeshNetworks;
use crate::object::{self, Object, ObjectKey, Outcome, Read};
use crate::pod::{PodEntry, PodKey};
use crate::rejection::{Rejection, Severity};

#[derive(Clone, Debug)]
pub struct Folder {
    pub(crate) settings: ClusterSettings,
    pub(crate) networks: MeshNetworks,
    pub(crate) names: HostNames,
    pub(crate) files: BTreeMap<String, File>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    pub(crate) documents: Vec<Document>,
    pub(crate) rejections: Vec<Rejection>,
}

#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) line: u32,
    pub(crate) key: ObjectKey,
    pub(crate) object: Object,
}

/// What a folder says, taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Derived {
    pub facts: BTreeMap<FactKey, Fact>,
    pub pods: BTreeMap<PodKey, PodEntry>,
    /// By file and line.
    pub rejections: Vec<Rejection>,
}

impl Folder {
    pub fn new(settings: &ClusterSettings, networks: &MeshNetworks) -> Self {
        Self {
            settings: settings.clone(),
            networks: networks.clone(),
            names: HostNames::Refused,
            files: BTreeMap::new(),
        }
    }

    /// What gateways by name come to.
    pub fn set_names(&mut self, names: HostNames) {
        self.names = names;
    }

    /// The mesh file changed.
    pub fn configure(&mut self, settings: &ClusterSettings, networks: &MeshNetworks) {
        self.settings = settings.clone();
        self.networks = networks.clone();
    }

    /// A file's new text; `None` when the file is gone. Answers what is wrong with that file alone.
    pub fn set(&mut self, path: &str, text: Option<&str>) -> Vec<Rejection> {
        let Some(text) = text else {
            self.files.remove(path);
            return Vec::new();
        };
        let before = self.files.remove(path).unwrap_or_default();
        let mut rejections = Vec::new();
        let reads = object::read(text, &mut rejections);
        let (documents, kept) = merged(before.documents, reads, &mut rejections);
        for rejection in &mut rejections {
            path.clone_into(&mut rejection.file);
            // A refusal inside an object that was taken keeps nothing back.
            let about_kept = match &rejection.object {
                Some(object) => kept.contains(object),
                None => !kept.is_empty(),
            };
            if about_kept && rejection.severity == Severity::Refused {
                rejection.way_out.push_str(" (until then the last good version counts)");
            }
        }
        rejections.sort_by_key(|rejection| rejection.line);
        self.files.insert(path.into(), File { documents, rejections: rejections.clone() });
        rejections
    }

    /// The file is there and cannot be read as text: what it said before stays.
    pub fn set_unreadable(&mut self, path: &str, cause: &str) -> Vec<Rejection> {
        let file = self.files.entry(path.into()).or_default();
        file.rejections = vec![Rejection {
            file: path.into(),
            line: 0,
            object: None,
            cause: cause.into(),
            way_out: "make it readable; until then what it said before counts".into(),
            severity: Severity::Refused,
        }];
        file.rejections.clone()
    }

    /// Everything, derived anew.
    pub fn derive(&self) -> Derived {
        derive(self)
    }

    pub fn facts(&self) -> BTreeMap<FactKey, Fact> {
        self.derive().facts
    }

    pub fn pod(&self, namespace: &str, name: &str) -> Option<PodEntry> {
        let documents = self.files.values().flat_map(|file| &file.documents);
        documents.into_iter().find_map(|document| match &document.object {
            Object::Pod(pod)
                if pod.namespace.as_str() == namespace && pod.name.as_str() == name =>
            {
                Some(pod.entry.clone())
            }
            _ => None,
        })
    }

    pub fn rejections(&self) -> Vec<Rejection> {
        self.derive().rejections
    }
}

/// The rule of this module. Also says which objects of the former text stay.
fn merged(
    before: Vec<Document>,
    reads: Option<Vec<Read>>,
    rejections: &mut Vec<Rejection>,
) -> (Vec<Document>, BTreeSet<String>) {
    let silent = reads.is_none();
    let reads = reads.unwrap_or_default();
    let illegible = silent || reads.iter().any(|read| read.key.is_none());
    let mut documents = Vec::new();
    let mut decided = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for Read { line, key, outcome } in reads {
        let Some(key) = key else { continue };
        match outcome {
            Outcome::Refused => {
                refused.insert(key);
            }
            Outcome::Skipped => {
                decided.insert(key);
            }
            Outcome::Taken(object) => {
                decided.insert(key.clone());
                documents.push(Document { line, key, object });
            }
        }
    }
    let stays = |document: &Document| {
        !decided.contains(&document.key) && (illegible || refused.contains(&document.key))
    };
    let taken = documents.len();
    documents.extend(before.into_iter().filter(stays));
    let kept: BTreeSet<_> = documents[taken..].iter().map(|kept| kept.key.to_string()).collect();
    documents.sort_by_key(|document| document.line);
    if silent {
        rejections.push(no_objects(!kept.is_empty()));
    }
    (documents, kept)
}

fn no_objects(kept: bool) -> Rejection {
    let (cause, way_out) = if kept {
        ("the file holds no objects; what it said before counts", "delete the file to take it back")
    } else {
        ("the file holds no objects", "delete it, or write one")
    };
    Rejection {
        file: String::new(),
        line: 0,
        object: None,
        cause: cause.into(),
        way_out: way_out.into(),
        severity: Severity::Warning,
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
