//! What a sidecar is told at start, and why it may refuse to.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use diolkos_inject::Probes;
use diolkos_trust_client::CertificateSettings;

#[derive(Clone, Debug)]
pub struct SidecarSettings {
    /// The workload's own, of the primary that Envoy is a client of.
    pub certificate: CertificateSettings,
    pub workload: Workload,
    /// What Envoy says of itself beyond that; an empty value leaves a claim out.
    pub claims: BTreeMap<String, String>,
    pub envoy: EnvoySettings,
    /// `/healthz/ready`, `/healthz`, `/metrics`, for whoever reaches it.
    pub health: SocketAddr,
    /// The application's probes and nothing else, for whoever reaches it.
    pub probes_at: SocketAddr,
    pub probes: Probes,
    /// Where the application is probed.
    pub pod_ip: IpAddr,
    /// How long connections may live on after the sidecar was told to end.
    pub drain: Duration,
}

/// Who and where the pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub pod: String,
    pub namespace: String,
    pub service_account: String,
    /// At least one.
    pub ips: Vec<IpAddr>,
    /// Whose API server knows the token.
    pub cluster: String,
    pub network: Option<String>,
    pub cluster_domain: String,
}

#[derive(Clone, Debug)]
pub struct EnvoySettings {
    pub program: PathBuf,
    /// Bootstrap and socket are written there.
    pub dir: PathBuf,
    /// Loopback.
    pub admin: SocketAddr,
    /// Worker threads; 0 leaves it to Envoy: one for each core.
    pub concurrency: u32,
    pub log_level: String,
    /// Dials from here; `None` leaves it to the system.
    pub source: Option<IpAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    #[error("{what} cannot be served at {address}: {cause}")]
    Listen { what: &'static str, address: SocketAddr, cause: io::Error },
    #[error("{} cannot be written: {cause}; give --dir a folder that this user may write", path.display())]
    Dir { path: PathBuf, cause: io::Error },
    #[error("Envoy cannot be started: {}: {cause}; name it with --envoy", program.display())]
    Envoy { program: PathBuf, cause: io::Error },
}
