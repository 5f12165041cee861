//! Remote clusters: from Secrets, or from a folder of kubeconfigs, to connections that may be made.
//!
//! ```text
//!  Secret (key: kubeconfig, ...) ──> Remotes::set ───────┐      one owner for each cluster;
//!                                                        ├──> RemoteChange: Put or Gone
//!  folder of kubeconfigs ──────────> Remotes::set_files ─┘      remarks: what is not, and why
//! ```
//!
//! - A kubeconfig is a hostile document (threat A4). It is read by an allow-list: what is not known
//!   to be harmless refuses the whole, with a [`Code`], the reason and the way out. Nothing in it is
//!   executed, and no path in it is opened.
//! - What it holds is secret: tokens and keys are overwritten when dropped and have no text form, and
//!   no error repeats a value of the document.
//! - Values that mean the same are equal: a comment more is no rotation.
//! - What was last good of an entry counts while the entry is broken.

mod claims;
mod code;
mod credential;
mod destination;
mod document;
mod forbidden;
mod kubeconfig;
mod pem;
mod remotes;
mod secret;
mod server;

use std::fmt;

use diolkos_topology::{ClusterId, ClusterSettings, NetworkId};
use diolkos_trust::TrustDomain;

pub use claims::Claims;
pub use code::Code;
pub use credential::{Credential, KeyKind, PrivateKey, Token};
pub use destination::{AllowedRanges, ForbiddenAddress, may_connect};
pub use remotes::{Origin, RemoteChange, Remotes};
pub use secret::{Outcome, Remark, RemoteSecret, read_file, read_secret};
pub use server::{Host, Server};

/// The label that makes a Secret one of remote clusters.
pub const MULTI_CLUSTER_LABEL: &str = "istio/multiCluster";

/// A cluster that is reached by its API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCluster {
    pub cluster: ClusterId,
    pub connection: Connection,
    pub claims: Claims,
}

/// Everything it takes to speak to an API server, and nothing else that a kubeconfig could say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    pub server: Server,
    /// DER certificates that may vouch for the server; at least one.
    pub roots: Vec<Vec<u8>>,
    /// What the server's certificate must name, where that is not the server's host.
    pub tls_server_name: Option<String>,
    pub credential: Credential,
}

/// Where the primary stands.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The primary's own cluster, which no secret may replace.
    pub own: ClusterId,
    /// Secrets count in this namespace alone.
    pub namespace: String,
    pub allowed: AllowedRanges,
}

impl RemoteCluster {
    /// What the core is told of it. `trust_domain` and `network` count where the secret names none
    /// and the cluster's own namespace names none.
    pub fn settings(&self, trust_domain: &TrustDomain, network: NetworkId) -> ClusterSettings {
        let trust_domain = self.claims.trust_domain.as_ref().unwrap_or(trust_domain);
        ClusterSettings {
            cluster: self.cluster.clone(),
            trust_domain: trust_domain.clone(),
            network,
            addresses: self.claims.addresses.clone(),
            grants: self.claims.grants.clone(),
        }
    }
}

/// `https://host:port by a token`
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.server)?;
        if let Some(name) = &self.tls_server_name {
            write!(f, " as {name}")?;
        }
        write!(f, " by {}", self.credential)
    }
}
