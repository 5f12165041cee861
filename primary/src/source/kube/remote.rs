//! An API server and what it takes to be let in. Nothing here prints a secret.

use std::fmt;
use std::path::PathBuf;

use diolkos_facts::remote::{self, Host, RemoteCluster, Server};
use diolkos_topology::ClusterId;

/// How one cluster's API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub cluster: ClusterId,
    pub server: Server,
    /// DER; at least one.
    pub roots: Vec<Vec<u8>>,
    /// The name in its certificate, where that is not the host.
    pub tls_server_name: Option<String>,
    pub credential: Credential,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// By a kubeconfig.
    Given(remote::Credential),
    /// Read again when it changes; the own cluster's service account.
    TokenFile(PathBuf),
}

/// Text that no log, page or `Debug` repeats.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl From<&RemoteCluster> for Remote {
    fn from(remote: &RemoteCluster) -> Self {
        let connection = remote.connection.clone();
        Self {
            cluster: remote.cluster.clone(),
            server: connection.server,
            roots: connection.roots,
            tls_server_name: connection.tls_server_name,
            credential: Credential::Given(connection.credential),
        }
    }
}

impl Credential {
    /// For people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Given(remote::Credential::Token(_)) => "token",
            Self::Given(remote::Credential::ClientCertificate { .. }) => "client certificate",
            Self::TokenFile(_) => "service account",
        }
    }
}

pub(super) fn authority(server: &Server) -> String {
    match &server.host {
        Host::Address(address) => std::net::SocketAddr::new(*address, server.port).to_string(),
        Host::Name(name) => format!("{name}:{}", server.port),
    }
}

/// As TLS and resolvers want it.
pub(super) fn host(server: &Server) -> String {
    match &server.host {
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name.clone(),
    }
}
