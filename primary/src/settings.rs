//! What a primary is told at start, and why it may refuse to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use diolkos_ops::metrics::Registry;
use diolkos_tls::{Identity, Issuers, Roots, TlsError};
use diolkos_xds::SecretSource;

use crate::beside::Beside;
use crate::limit;
use crate::registered::Registered;
use crate::source::kube::KubeSettings;
use crate::webhook::WebhookSettings;

/// Where the primary's own certificate comes from.
#[derive(Clone, Debug)]
pub enum OwnIdentity {
    /// `cert-chain.pem`, `key.pem`, `root-cert.pem`; read again when they change.
    Folder(PathBuf),
    /// Somebody else keeps it fresh, as a primary with a CA does.
    Live { identity: Identity, roots: Roots },
}

#[derive(Debug)]
pub struct PrimarySettings {
    /// The mesh file.
    pub mesh: PathBuf,
    pub source: SourceSettings,
    /// Told which clusters there are, and what each was granted.
    pub registered: Registered,
    /// The cluster this primary runs in.
    pub cluster: String,
    /// Where clients find the ADS.
    pub listen: SocketAddr,
    pub identity: OwnIdentity,
    /// The CAs whose leaves' subjects this primary wrote, and so believes: they name the cluster.
    pub own_issuers: Issuers,
    /// Answers on the same port; with it, clients without a certificate may connect there.
    pub beside: Option<Beside>,
    pub webhook: Option<WebhookSettings>,
    /// Of whoever registered metrics already that belong on the same page.
    pub registry: Option<Registry>,
    /// Where `/healthz/ready`, `/healthz` and `/metrics` answer whoever reaches them.
    pub health: Option<SocketAddr>,
    /// Loopback only.
    pub admin: Option<SocketAddr>,
    /// Where an Envoy reads its own key and its roots.
    pub secrets: SecretSource,
    /// Clients are served once every declared cluster was heard, and at the latest then.
    pub ready_max: Duration,
    /// How long the view of an audience outlives its last client.
    pub linger: Duration,
    /// A client that cannot be written to for so long is cut.
    pub stall_max: Duration,
}

impl PrimarySettings {
    pub fn new(mesh: PathBuf, cluster: String, listen: SocketAddr, identity_dir: PathBuf) -> Self {
        Self {
            mesh,
            source: SourceSettings::Files,
            registered: Registered::default(),
            cluster,
            listen,
            identity: OwnIdentity::Folder(identity_dir),
            own_issuers: Issuers::default(),
            beside: None,
            webhook: None,
            registry: None,
            health: None,
            admin: None,
            secrets: SecretSource::default(),
            ready_max: limit::READY_MAX,
            linger: limit::LINGER,
            stall_max: limit::STALL_MAX,
        }
    }
}

impl PrimarySettings {
    /// After how long without a first word a registered cluster is shown as `timeout`.
    pub(crate) fn sync(&self) -> Duration {
        match &self.source {
            SourceSettings::Files => self.ready_max,
            SourceSettings::Kubernetes(kube) => kube.pace.sync,
        }
    }
}

/// Where facts come from.
#[derive(Clone, Debug)]
pub enum SourceSettings {
    /// The folders that the mesh file names.
    Files,
    Kubernetes(Box<KubeSettings>),
}

#[derive(Debug, thiserror::Error)]
pub enum PrimaryError {
    #[error("identity: {0}")]
    Identity(#[from] TlsError),
    #[error("cluster {cluster:?}: {cause}")]
    Cluster { cluster: String, cause: diolkos_topology::NameError },
    #[error("cannot listen on {address}: {cause}")]
    Listen { address: SocketAddr, cause: std::io::Error },
    #[error("{0}")]
    Admin(std::io::Error),
    #[error("health cannot be answered: {0}")]
    Health(std::io::Error),
    #[error("the own API server: {0}")]
    ApiServer(String),
    #[error("cannot watch {}: {cause}", path.display())]
    Watch { path: PathBuf, cause: std::io::Error },
}
