//! Puts the parts together and takes them apart again.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use diolkos_ops::metrics::Registry;
use diolkos_ops::{AdminRoutes, Shutdown, Trigger, serve_admin};
use diolkos_tls::{Expect, Identity, Roots, TlsError};
use diolkos_topology::{ClusterId, Tick};
use diolkos_trust::TrustDomain;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::admin;
use crate::ads::{Listener, Served};
use crate::core::{Core, CoreSettings, Ledger, Readiness};
use crate::limit;
use crate::metrics::Metrics;
use crate::owner::{Clock, Owner};
use crate::settings::{OwnIdentity, PrimaryError, PrimarySettings, SourceSettings};
use crate::source::{FilesSource, KubeSource, SourceEvent};
use crate::store::Keeper;
use crate::webhook::{Webhook, WebhookSettings};

/// A running primary. It ends by its `Shutdown`.
#[derive(Debug)]
pub struct Primary {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    webhook: Option<SocketAddr>,
    health: Option<SocketAddr>,
    /// Health is answered until this is dropped: a drain can be seen.
    _answering: Trigger,
    tasks: Vec<JoinHandle<()>>,
    reload: Option<JoinHandle<()>>,
    _source: Running,
}

/// Ends when it is dropped.
#[derive(Debug)]
enum Running {
    Files { _source: FilesSource },
    Kubernetes(KubeSource),
}

/// Runs a primary until `shutdown`.
///
/// # Errors
/// When it cannot start: no identity, an address that is taken, a mesh file that cannot be watched.
pub async fn run(settings: PrimarySettings, shutdown: Shutdown) -> Result<(), PrimaryError> {
    Primary::start(settings, shutdown).await?.ended().await;
    Ok(())
}

impl Primary {
    /// # Errors
    /// As [`run`].
    pub async fn start(
        mut settings: PrimarySettings,
        shutdown: Shutdown,
    ) -> Result<Self, PrimaryError> {
        let cluster = ClusterId::new(&settings.cluster)
            .map_err(|cause| PrimaryError::Cluster { cluster: settings.cluster.clone(), cause })?;
        let (identity, roots) = own_identity(&settings.identity)?;
        let trust_domain = identity.spiffe_id().trust_domain();
        let expect = Expect::AnyOf(vec![trust_domain.clone()]);
        let tls = diolkos_tls::open_server_config(&identity, &roots, expect, &["h2"]);

        let listen = |cause| PrimaryError::Listen { address: settings.listen, cause };
        let listener = Listener::bind(settings.listen).map_err(listen)?;
        let address = listener.address().map_err(listen)?;

        let mut registry = settings.registry.take().unwrap_or_default();
        let metrics = Metrics::new(&mut registry);
        let ready = Readiness::new();
        let clock = Clock::new();
        let (events, incoming) = mpsc::channel(limit::EVENTS_MAX);
        let source = source(&settings, events)?;
        let core_settings = core_settings(&settings, &source, cluster.clone(), trust_domain);
        let core = Core::new(core_settings, metrics.clone(), ready.clone());
        let tokens = core.token_issuers();
        let own = settings.own_issuers.clone();
        let (owner, task) = Owner::new(core, clock, settings.mesh.clone(), own, incoming);

        let webhook = webhook(settings.webhook.take(), &identity, &mut registry)?;
        let webhook_address = webhook.as_ref().and_then(|webhook| webhook.address().ok());
        let registry = registry.shared();
        let (answering, over) = Shutdown::new();
        let routes = || admin::health(ready.clone(), registry.clone(), shutdown.clone());
        let health = answer(settings.health, routes, over).await.map_err(PrimaryError::Health)?;
        let denials = Arc::new(Mutex::new(Ledger::default()));
        let routes = || admin::routes(&owner, cluster, ready.clone(), registry, denials.clone());
        let admin = answer(settings.admin, routes, shutdown.clone()).await;
        let admin = admin.map_err(PrimaryError::Admin)?;
        let served = Arc::new(Served {
            tls,
            identity: identity.clone(),
            roots: roots.clone(),
            tokens,
            strangers: Semaphore::new(limit::STRANGERS_MAX).into(),
            owner,
            metrics,
            stall_max: settings.stall_max,
            denials,
            beside: settings.beside,
        });
        let own_id = identity.spiffe_id();
        tracing::info!(%address, ?admin, identity = %own_id, "primary started");
        let mut tasks = vec![tokio::spawn(task.run(shutdown.clone()))];
        tasks.extend(webhook.map(|webhook| tokio::spawn(webhook.serve(shutdown.clone()))));
        tasks.push(tokio::spawn(listener.serve(served, shutdown)));
        let reload = match settings.identity {
            OwnIdentity::Folder(dir) => Some(diolkos_tls::spawn_reload(identity, roots, dir)),
            OwnIdentity::Live { .. } => None,
        };
        Ok(Self {
            address,
            admin,
            webhook: webhook_address,
            health,
            _answering: answering,
            tasks,
            reload,
            _source: source,
        })
    }

    /// Where clients find it; matters when the port asked for was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    pub fn webhook(&self) -> Option<SocketAddr> {
        self.webhook
    }

    pub fn health(&self) -> Option<SocketAddr> {
        self.health
    }

    /// Returns once it has shut down.
    pub async fn ended(self) {
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the primary ended badly");
            }
        }
        if let Some(reload) = self.reload {
            reload.abort();
        }
    }
}

fn own_identity(from: &OwnIdentity) -> Result<(Identity, Roots), TlsError> {
    match from {
        OwnIdentity::Folder(dir) => {
            let identity = Identity::load(dir)?;
            let roots = Roots::load(dir, &identity.spiffe_id().trust_domain())?;
            Ok((identity, roots))
        }
        OwnIdentity::Live { identity, roots } => Ok((identity.clone(), roots.clone())),
    }
}

fn core_settings(
    settings: &PrimarySettings,
    source: &Running,
    cluster: ClusterId,
    trust_domain: TrustDomain,
) -> CoreSettings {
    let (sources, keeper) = match source {
        Running::Files { .. } => (None, Keeper::default()),
        Running::Kubernetes(source) => (Some((source.board(), settings.sync())), source.keeper()),
    };
    CoreSettings {
        sources,
        keeper,
        cluster,
        trust_domain,
        secrets: settings.secrets.clone(),
        registered: settings.registered.clone(),
        linger_ms: millis(settings.linger),
        ready_by: Tick(millis(settings.ready_max)),
    }
}

fn webhook(
    asked: Option<WebhookSettings>,
    identity: &Identity,
    registry: &mut Registry,
) -> Result<Option<Webhook>, PrimaryError> {
    let bind = |asked: WebhookSettings| {
        let address = asked.listen;
        let bound = Webhook::bind(asked, identity, registry);
        bound.map_err(|cause| PrimaryError::Listen { address, cause })
    };
    asked.map(bind).transpose()
}

async fn answer(
    address: Option<SocketAddr>,
    routes: impl FnOnce() -> AdminRoutes,
    over: Shutdown,
) -> io::Result<Option<SocketAddr>> {
    match address {
        None => Ok(None),
        Some(address) => Ok(Some(serve_admin(address, routes(), over).await?)),
    }
}

fn source(
    settings: &PrimarySettings,
    events: mpsc::Sender<SourceEvent>,
) -> Result<Running, PrimaryError> {
    match &settings.source {
        SourceSettings::Files => {
            let watch = |cause| PrimaryError::Watch { path: settings.mesh.clone(), cause };
            let source = FilesSource::spawn(&settings.mesh, events).map_err(watch)?;
            Ok(Running::Files { _source: source })
        }
        SourceSettings::Kubernetes(kube) => {
            let source = KubeSource::spawn(kube.as_ref().clone(), &settings.mesh, events);
            source.map(Running::Kubernetes).map_err(PrimaryError::ApiServer)
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
