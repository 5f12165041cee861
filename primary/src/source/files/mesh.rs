//! The mesh file, and the clusters it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use diolkos_facts::{MeshFile, Rejection, Severity, parse_mesh};
use diolkos_topology::{ClusterId, Event};

use super::cluster::Cluster;
use super::scan::{self, Look, Seen};
use super::watch::Place;
use crate::source::{Listed, PodsChange, RejectionsChange, SourceEvent};

#[derive(Debug)]
pub(super) struct Mesh {
    path: PathBuf,
    seen: Option<Seen>,
    last_good: Option<MeshFile>,
    clusters: BTreeMap<ClusterId, Cluster>,
    /// About the file itself.
    rejections: Vec<Rejection>,
    /// About watching.
    unwatched: Vec<Rejection>,
    said: Option<Vec<Rejection>>,
    epoch: u64,
    generation: u64,
}

impl Mesh {
    pub(super) fn new(path: &Path) -> Self {
        // A later run has a later epoch, so that its word counts over what a store remembers.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            path: path.to_owned(),
            seen: None,
            last_good: None,
            clusters: BTreeMap::new(),
            rejections: Vec::new(),
            unwatched: Vec::new(),
            said: None,
            epoch: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            generation: 0,
        }
    }

    /// Looks at everything and says what is new.
    pub(super) fn refresh(&mut self, out: &mut Vec<SourceEvent>) {
        match scan::look(&self.path, &mut self.seen) {
            Look::Same => {}
            Look::Changed(text) => self.read(&text, out),
            Look::Gone => self.refuse("the mesh file does not exist"),
            Look::Unreadable(why) => self.refuse(&why),
        }
        let list = [self.rejections.as_slice(), &self.unwatched].concat();
        if self.said.as_ref() != Some(&list) {
            self.said = Some(list.clone());
            let change = RejectionsChange::All(list);
            out.push(SourceEvent::Rejections { cluster: None, change });
        }
        for cluster in self.clusters.values_mut() {
            cluster.refresh(out);
        }
    }

    /// What to watch: the folder of the mesh file, for it may be replaced, and each cluster's.
    pub(super) fn places(&self) -> BTreeSet<Place> {
        let own = Place { folder: self.base().to_owned(), below: false };
        let clusters = self.clusters.values();
        let clusters = clusters.map(|c| Place { folder: c.root().to_owned(), below: true });
        // What a missing folder will appear in.
        let above = self.clusters.values().filter(|cluster| !cluster.root().is_dir());
        let above = above.filter_map(|cluster| cluster.root().ancestors().find(|a| a.is_dir()));
        let above = above.map(|folder| Place { folder: folder.to_owned(), below: false });
        above.chain(clusters).chain([own]).collect()
    }

    pub(super) fn watched(&mut self, failures: &[String]) {
        self.unwatched = failures
            .iter()
            .map(|why| Rejection {
                file: self.name(),
                line: 0,
                object: None,
                cause: format!("a folder cannot be watched ({why})"),
                way_out: "edits there are found by looking every two seconds".into(),
                severity: Severity::Warning,
            })
            .collect();
    }

    fn base(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            Some(folder) => folder,
            None => Path::new("/"),
        }
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn refuse(&mut self, cause: &str) {
        let way_out = match self.last_good {
            Some(_) => "bring it back; until then the last good one counts",
            None => "write one, there is no mesh without it",
        };
        self.rejections = vec![Rejection {
            file: self.name(),
            line: 0,
            object: None,
            cause: cause.into(),
            way_out: way_out.into(),
            severity: Severity::Refused,
        }];
    }

    fn read(&mut self, text: &str, out: &mut Vec<SourceEvent>) {
        let (mesh, mut rejections) = parse_mesh(text);
        match mesh {
            Ok(mesh) => self.adopt(&mesh, out),
            Err(refused) => rejections.insert(0, refused),
        }
        for rejection in &mut rejections {
            rejection.file = self.name();
        }
        self.rejections = rejections;
    }

    fn adopt(&mut self, mesh: &MeshFile, out: &mut Vec<SourceEvent>) {
        if self.last_good.as_ref() == Some(mesh) {
            return;
        }
        let before = self.last_good.replace(mesh.clone());
        out.push(SourceEvent::Mesh { file: Box::new(mesh.clone()), clusters: Listed::All });
        let mut events = Vec::new();
        if before.as_ref().map(|before| &before.settings) != Some(&mesh.settings) {
            events.push(Event::Mesh(mesh.settings.clone()));
        }
        let named: BTreeSet<&ClusterId> =
            mesh.clusters.iter().map(|entry| &entry.settings.cluster).collect();
        let gone: Vec<ClusterId> =
            self.clusters.keys().filter(|cluster| !named.contains(cluster)).cloned().collect();
        for cluster in &gone {
            self.clusters.remove(cluster);
            events.push(Event::ClusterGone { cluster: cluster.clone() });
        }
        let base = self.base().to_owned();
        let networks_changed =
            before.as_ref().map(|before| &before.networks) != Some(&mesh.networks);
        for entry in &mesh.clusters {
            let settings = &entry.settings;
            let known = self.clusters.get_mut(&settings.cluster);
            if known.as_ref().map(|known| &known.entry().settings) != Some(settings) {
                events.push(Event::Cluster(settings.clone()));
            }
            match known {
                Some(known) if *known.entry() == *entry && !networks_changed => {}
                Some(known) => known.configure(entry.clone(), &mesh.networks, &base),
                None => {
                    self.generation += 1;
                    let (entry, epoch) = (entry.clone(), self.epoch);
                    let new = Cluster::new(entry, &mesh.networks, &base, epoch, self.generation);
                    self.clusters.insert(settings.cluster.clone(), new);
                }
            }
        }
        out.push(SourceEvent::Events(events));
        for cluster in gone {
            let change = PodsChange { all: true, pods: Vec::new() };
            out.push(SourceEvent::Pods { cluster: cluster.clone(), change });
            let change = RejectionsChange::All(Vec::new());
            out.push(SourceEvent::Rejections { cluster: Some(cluster), change });
        }
    }
}
