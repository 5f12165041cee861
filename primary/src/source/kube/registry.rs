//! Which clusters there are, and which generation of each speaks.
//!
//! A new credential becomes a new generation beside the one that speaks; only when it is complete
//! does it take over, and only then does the former end. A credential that does not work changes
//! nothing. Only an operator's word takes a cluster away.

mod reconcile;
mod swap;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use diolkos_facts::remote::{Origin, RemoteSecret, Remotes, Setup};
use diolkos_facts::{
    ClusterEntry, MeshFile, MeshTemplate, Rejection, Severity, parse_mesh_template,
};
use diolkos_topology::{ClusterId, ClusterSettings};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::client::ApiClient;
use super::cluster::{Report, Running, Surroundings};
use super::connect::Reach;
use super::directory::Directory;
use super::feed::Word;
use super::guard::Watchman;
use super::limit::Pace;
use super::remote::Remote;
use super::review::Clients;
use super::secrets::Letter;
use super::sight::Board;
use super::writer::Orders;
use crate::source::files::scan::{Look, Seen, look};
use crate::source::{Listed, RejectionsChange, SourceEvent};
use crate::store::{Stored, StoredCluster};

pub(super) struct Registry {
    pub(super) own: Remote,
    pub(super) mesh: PathBuf,
    pub(super) pace: Pace,
    pub(super) reach: Reach,
    pub(super) board: Board,
    pub(super) clients: Clients,
    pub(super) around: Surroundings,
    pub(super) directory: Option<Directory>,
    /// What is written into clusters, if anything is.
    pub(super) orders: Option<Orders>,
    pub(super) state: Now,
}

/// What changes.
pub(super) struct Now {
    seen: Option<Seen>,
    template: Option<MeshTemplate>,
    remotes: Remotes,
    /// Whoever registers clusters was heard.
    listed: bool,
    /// An empty list is believed at the second look.
    doubted: Option<tokio::time::Instant>,
    members: BTreeMap<ClusterId, Member>,
    stored: BTreeMap<ClusterId, StoredCluster>,
    said: Option<(MeshFile, Listed)>,
    generation: u64,
    /// About the mesh file, about how clusters fit into it, and about secrets.
    rejections: [Vec<Rejection>; 3],
    told: Vec<Rejection>,
}

impl Now {
    pub(super) fn new(setup: Setup, stored: Stored) -> Self {
        Self {
            seen: None,
            template: None,
            remotes: Remotes::new(setup),
            listed: false,
            doubted: None,
            members: BTreeMap::new(),
            stored: stored.clusters,
            said: None,
            generation: 0,
            rejections: Default::default(),
            told: Vec::new(),
        }
    }
}

/// One cluster.
struct Member {
    entry: ClusterEntry,
    /// The registration that is followed; `None` for one that only the store knows.
    remote: Option<Remote>,
    live: Option<Generation>,
    next: Option<Generation>,
    guard: Watchman,
    /// Endpoints that an earlier life of this primary knew of.
    restored: Option<usize>,
}

struct Generation {
    remote: Remote,
    client: ApiClient,
    running: Running,
    /// Writes into the cluster once this generation speaks for it.
    writes: JoinSet<()>,
    /// It could speak.
    full: bool,
}

/// A cluster as it should be.
struct Wanted {
    cluster: ClusterId,
    by: String,
    /// `None` for one that only the store knows.
    remote: Option<Remote>,
    /// Why its registration, as it is now, does not count.
    refused: Option<String>,
    settings: ClusterSettings,
}

impl Registry {
    pub(super) async fn run(
        mut self,
        mut secrets: mpsc::Receiver<((), Word<Letter>)>,
        mut reports: mpsc::Receiver<Report>,
    ) {
        let mut look = tokio::time::interval(self.pace.files);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => self.look().await,
                Some(((), word)) = secrets.recv(), if self.directory.is_none() => {
                    self.hear(word).await;
                }
                Some(report) = reports.recv() => self.report(report).await,
            }
            self.tell().await;
        }
    }

    /// Files, and whatever waits for a second look.
    async fn look(&mut self) {
        let mut changed = self.look_at_mesh();
        if let Some(directory) = &mut self.directory
            && let Some(files) = directory.look()
        {
            self.state.remotes.set_files(&files);
            self.state.listed = true;
            changed = true;
        }
        if self.state.doubted.is_some_and(|until| until <= tokio::time::Instant::now()) {
            self.state.doubted = None;
            self.state.remotes.reset(&[]);
            self.state.listed = true;
            changed = true;
        }
        if changed {
            self.reconcile().await;
        }
        self.swap_held().await;
    }

    /// True when there is another mesh file.
    fn look_at_mesh(&mut self) -> bool {
        let text = match look(&self.mesh, &mut self.state.seen) {
            Look::Same => return false,
            Look::Changed(text) => text,
            Look::Gone => {
                self.refuse_mesh("the mesh file does not exist");
                return false;
            }
            Look::Unreadable(why) => {
                self.refuse_mesh(&why);
                return false;
            }
        };
        let (template, mut rejections) = parse_mesh_template(&text);
        let template = template.map_err(|refused| rejections.insert(0, refused)).ok();
        for rejection in &mut rejections {
            rejection.file = self.mesh_name();
        }
        self.state.rejections[0] = rejections;
        match template {
            Some(template) if self.state.template.as_ref() != Some(&template) => {
                self.state.template = Some(template);
                true
            }
            _ => false,
        }
    }

    fn mesh_name(&self) -> String {
        self.mesh.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn refuse_mesh(&mut self, cause: &str) {
        let way_out = match self.state.template {
            Some(_) => "bring it back; until then the last good one counts",
            None => "write one, there is no mesh without it",
        };
        self.state.rejections[0] = vec![Rejection {
            file: self.mesh_name(),
            line: 0,
            object: None,
            cause: cause.into(),
            way_out: way_out.into(),
            severity: Severity::Refused,
        }];
    }

    async fn hear(&mut self, word: Word<Letter>) {
        match word {
            Word::Listed(_, letters) => {
                let all: Option<Vec<RemoteSecret>> =
                    letters.into_iter().map(|(_, letter)| letter).collect();
                let Some(secrets) = all else {
                    tracing::warn!("a secret that registers clusters cannot be read");
                    return;
                };
                if secrets.is_empty() && self.knows_remotes() {
                    // A server that lost its memory says the same as an operator who cleaned up.
                    let hold = self.pace.hold;
                    let until = tokio::time::Instant::now() + hold;
                    self.state.doubted.get_or_insert(until);
                    tracing::warn!(
                        "no secret registers a cluster any more; believed in {} s",
                        hold.as_secs()
                    );
                    return;
                }
                self.state.doubted = None;
                self.state.remotes.reset(&secrets);
                self.state.listed = true;
            }
            Word::Put(_, Some(Some(secret))) => drop(self.state.remotes.set(&secret)),
            Word::Put(name, None) | Word::Removed(name) => {
                self.state.remotes.remove(&name.namespace, &name.name);
            }
            Word::Put(_, Some(None)) | Word::Missing => return,
        }
        self.reconcile().await;
    }

    fn knows_remotes(&self) -> bool {
        let own = &self.own.cluster;
        self.state.members.keys().chain(self.state.stored.keys()).any(|cluster| cluster != own)
    }

    /// Says what is wrong, when that is something else than before.
    async fn tell(&mut self) {
        let list = self.state.rejections.concat();
        if list != self.state.told {
            self.state.told.clone_from(&list);
            let change = RejectionsChange::All(list);
            self.say(SourceEvent::Rejections { cluster: None, change }).await;
        }
    }

    async fn say(&self, event: SourceEvent) {
        // The owner ends only with the process.
        let _ = self.around.out.send(event).await;
    }
}

/// As Istio writes it.
fn registered_by(origin: &Origin) -> String {
    match origin {
        Origin::File(name) => name.clone(),
        Origin::Secret { namespace, name } => format!("{namespace}/{name}"),
    }
}
