//! API servers: the own cluster's, and those that remote secrets register.
//!
//! ```text
//!  secrets, files ─> registry ─┬─> generation of a cluster ─> SourceEvent
//!  mesh file ──────────────────┘     feeds (one per kind), probe, index
//! ```
//!
//! - A cluster's facts come through a **generation**: one credential. A new one takes over when it
//!   is complete, in one step, and the difference is all that anyone sees.
//! - Losing sight of a server removes nothing. Only an operator's word does, and what a server
//!   removes itself, unless there is doubt about who it is.
//! - Nothing is trusted to be small, quick, or what was asked for: see [`limit`].

mod backoff;
mod client;
mod cluster;
mod connect;
mod directory;
mod error;
mod feed;
mod guard;
mod kinds;
mod lease;
pub mod limit;
mod lines;
mod names;
mod own;
mod plan;
mod registry;
mod remote;
mod review;
pub mod rights;
mod scope;
mod secrets;
mod sight;
mod speech;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use diolkos_facts::remote::{AllowedRanges, Setup};
use hickory_resolver::TokioResolver;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::client::ApiClient;
use self::cluster::Surroundings;
use self::connect::Reach;
use self::directory::Directory;
use self::feed::{Bell, Feed};
use self::registry::{Now, Registry};
use self::scope::Scope;
use self::writer::Orders;
use super::SourceEvent;
use crate::store::{FileStore, Keeper, Stored};

pub use self::error::ApiError;
pub use self::lease::LeaseSettings;
pub use self::limit::Pace;
pub use self::names::{NamesPace, build as build_resolver, system_resolver};
pub use self::own::{SERVICE_ACCOUNT_DIR, by_kubeconfig, in_cluster};
pub use self::remote::{Credential, Remote};
pub use self::review::{ReviewError, Reviewer};
pub(crate) use self::sight::{Board, ClusterSource, Measured};

/// How a primary in a cluster finds its clusters.
#[derive(Clone)]
pub struct KubeSettings {
    /// The own cluster's API server.
    pub own: Remote,
    /// Where remote secrets are: the mesh's own namespace.
    pub namespace: String,
    /// Of clusters that several meshes share, only namespaces labelled `istio.io/rev` with this, and
    /// the mesh's own, are of the mesh; `None`: all are.
    pub revision: Option<String>,
    /// Kubeconfigs in a folder instead of remote secrets.
    pub directory: Option<PathBuf>,
    /// Reserved ranges where a remote's API server may be all the same.
    pub allowed: AllowedRanges,
    pub pace: Pace,
    pub names: NamesPace,
    /// Where it is kept what clusters said last; `None` keeps nothing.
    pub store: Option<PathBuf>,
    /// `None`: nothing is ever written into a cluster.
    pub write: Option<WriteSettings>,
    /// Whatever vanishes from a cluster is meant to: nothing is held for a second look.
    pub accept_removal: bool,
    /// `None`: gateways by name have no addresses, and that is said.
    pub resolver: Option<TokioResolver>,
    /// Told how to ask each cluster.
    pub reviewer: Reviewer,
}

/// What is written into clusters.
#[derive(Clone, Debug)]
pub struct WriteSettings {
    /// The roots that workloads are to trust, as PEM; read again when they change.
    pub roots: PathBuf,
    /// The webhook configuration that is given the roots, too.
    pub injector: String,
    /// `None`: there is only one of us.
    pub lease: Option<LeaseSettings>,
}

impl std::fmt::Debug for KubeSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeSettings")
            .field("own", &self.own)
            .field("namespace", &self.namespace)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct KubeSource {
    _tasks: JoinSet<()>,
    board: Board,
    keeper: Keeper,
    sync: Duration,
}

impl KubeSource {
    /// Says what the clusters say, beginning with what they said in an earlier life.
    ///
    /// # Errors
    /// When the own API server's credential cannot be used at all.
    pub fn spawn(
        settings: KubeSettings,
        mesh: &Path,
        out: mpsc::Sender<SourceEvent>,
    ) -> Result<Self, String> {
        let KubeSettings {
            own,
            namespace,
            revision,
            directory,
            allowed,
            pace,
            names,
            store,
            write,
            accept_removal,
            resolver,
            reviewer,
        } = settings;
        let (keeper, stored) = match &store {
            Some(path) => Keeper::open(FileStore::new(path)),
            None => (Keeper::default(), Stored::default()),
        };
        let epoch = epoch();
        let mut tasks = JoinSet::new();
        let client = ApiClient::new(&own, &Reach::Anywhere, pace)?;
        let scope = Scope { revision, system: namespace.clone() };
        let orders = write.map(|write| orders(write, &client, &scope, &mut tasks));
        let (words, secrets) = mpsc::channel(limit::WORDS_MAX);
        if directory.is_none() {
            let feed = Feed {
                client,
                plan: secrets::plan(&namespace),
                tag: (),
                words,
                sight: Arc::default(),
                bell: Arc::new(Bell::default()),
            };
            tasks.spawn(feed.run());
        }
        let (news, mut told) = mpsc::channel::<names::Answer>(limit::WORDS_MAX);
        let kept = keeper.clone();
        tasks.spawn(async move {
            while let Some((name, answer)) = told.recv().await {
                kept.name(&name, &answer.addresses);
            }
        });
        let (names, desk) = names::Names::desk(resolver, names, stored.names.clone(), news);
        tasks.spawn(desk);
        let (reports, reported) = mpsc::channel(limit::WORDS_MAX);
        let board = Board::default();
        let setup = Setup { own: own.cluster.clone(), namespace, allowed: allowed.clone() };
        let registry = Registry {
            own,
            mesh: mesh.to_owned(),
            pace,
            reach: Reach::Allowed(allowed),
            board: board.clone(),
            clients: reviewer.0.clone(),
            around: Surroundings {
                out,
                reports,
                names,
                keeper: keeper.clone(),
                epoch,
                accept_removal,
                scope,
                clients: reviewer.0,
            },
            directory: directory.as_deref().map(Directory::new),
            orders,
            state: Now::new(setup, stored),
        };
        tasks.spawn(registry.run(secrets, reported));
        Ok(Self { _tasks: tasks, board, keeper, sync: pace.sync })
    }

    pub(crate) fn board(&self) -> Board {
        self.board.clone()
    }

    /// For people: each cluster's registration, generations and kinds.
    pub fn shown(&self) -> serde_json::Value {
        let shown = self.board.shown(self.sync).into_iter();
        let shown = shown.map(|(cluster, source)| (cluster.to_string(), json(&source)));
        serde_json::Value::Object(shown.collect())
    }

    /// How the store is; `None` without one.
    pub fn store_shown(&self) -> Option<serde_json::Value> {
        self.keeper.shown(SystemTime::now()).map(|shown| json(&shown))
    }

    /// Something waits to be written to the store.
    pub fn unwritten(&self) -> bool {
        self.keeper.unwritten()
    }

    pub(crate) fn keeper(&self) -> Keeper {
        self.keeper.clone()
    }
}

impl Drop for KubeSource {
    fn drop(&mut self) {
        self.keeper.end();
    }
}

/// A later run has a later one.
fn epoch() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The roots, as the file has them, and whether this replica may write them.
fn orders(
    write: WriteSettings,
    client: &ApiClient,
    scope: &Scope,
    tasks: &mut JoinSet<()>,
) -> Orders {
    let (told, roots) = watch::channel(String::new());
    let every = client.pace().files;
    let path = write.roots;
    tasks.spawn(async move {
        loop {
            // A small local file: read in place. One that is not there takes nothing back.
            if let Ok(text) = std::fs::read_to_string(&path)
                && !text.trim().is_empty()
            {
                told.send_if_modified(|known| {
                    let other = *known != text;
                    known.clone_from(&text);
                    other
                });
            }
            tokio::time::sleep(every).await;
        }
    });
    let (held, leads) = watch::channel(write.lease.is_none());
    match write.lease {
        Some(settings) => {
            let (client, namespace) = (client.clone(), scope.system.clone());
            tasks.spawn(lease::run(client, namespace, settings, held));
        }
        // Kept, so that nobody takes it for ended.
        None => drop(tasks.spawn(async move { held.closed().await })),
    }
    Orders { roots, leads, injector: write.injector.into(), scope: scope.clone() }
}

fn json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}
