//! What a sidecar is told at start, and why it may refuse to.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use diolkos_inject::Probes;
use diolkos_trust::{SpiffeId, TrustDomain};

#[derive(Clone, Debug)]
pub struct SidecarSettings {
    pub primary: PrimaryName,
    /// A projected service-account token; read anew for each request.
    pub token_file: PathBuf,
    /// Whom to believe that it is the primary; read anew for each request.
    pub root_file: PathBuf,
    pub trust_domain: TrustDomain,
    /// The workload's own: what the primary must answer with.
    pub id: SpiffeId,
    pub workload: Workload,
    /// What Envoy says of itself beyond that; an empty value leaves a claim out.
    pub claims: BTreeMap<String, String>,
    /// Asked for; the CA may give less.
    pub ttl: Duration,
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

/// `name:port`: dialled by that name, and expected to have a certificate for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryName {
    pub host: String,
    pub port: u16,
    /// Expected instead of the host, where the primary is reached by another way.
    pub server: Option<String>,
}

impl PrimaryName {
    /// The name in the primary's certificate.
    pub fn server(&self) -> &str {
        self.server.as_deref().unwrap_or(&self.host)
    }
}

impl FromStr for PrimaryName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("{text:?} is not NAME:PORT, such as primary.example:15012");
        let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match port.parse() {
            Ok(port @ 1..) if !host.is_empty() => {
                Ok(Self { host: host.to_owned(), port, server: None })
            }
            _ => Err(shape()),
        }
    }
}

impl fmt::Display for PrimaryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_is_a_name_and_a_port() {
        for (text, host, port) in [
            (
                "diolkos-primary.diolkos-system.svc:15012",
                "diolkos-primary.diolkos-system.svc",
                15012,
            ),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[fd00::1]:15012", "fd00::1", 15012),
        ] {
            let name: PrimaryName = text.parse().unwrap();
            assert_eq!((name.host.as_str(), name.port), (host, port));
            assert_eq!(name.to_string(), text);
            assert_eq!(name.server(), host);
        }
        for text in ["", "primary", "primary:", "primary:0", ":15012", "primary:70000"] {
            assert!(text.parse::<PrimaryName>().is_err(), "{text}");
        }
    }
}
