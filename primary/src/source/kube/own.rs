//! The API server of the cluster that this primary runs in.

use std::path::Path;

use diolkos_facts::remote::{self, AllowedRanges, Host, Server, Setup};
use diolkos_topology::ClusterId;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::remote::{Credential, Remote};

/// Where the kubelet puts what a pod needs to ask its own API server.
pub const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// As a pod finds it: the address in its environment, token and CA in `dir`.
///
/// # Errors
/// Says what of it is not there.
pub fn in_cluster(cluster: &ClusterId, dir: &Path) -> Result<Remote, String> {
    let read = |name: &str| {
        std::env::var(name)
            .map_err(|_| format!("{name} is not set; run in a pod, or use --kubeconfig"))
    };
    let (host, port) = (read("KUBERNETES_SERVICE_HOST")?, read("KUBERNETES_SERVICE_PORT")?);
    let port = port.parse().map_err(|_| format!("KUBERNETES_SERVICE_PORT: {port:?} is no port"))?;
    let path = dir.join("ca.crt");
    let failed = |why: String| format!("{}: {why}", path.display());
    let pem = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let roots = roots.map_err(|_| failed("not a certificate in PEM".into()))?;
    let host = match host.parse() {
        Ok(address) => Host::Address(address),
        Err(_) => Host::Name(host.to_ascii_lowercase()),
    };
    Ok(Remote {
        cluster: cluster.clone(),
        server: Server { host, port, path: String::new() },
        roots: roots.into_iter().map(|root| root.to_vec()).collect(),
        tls_server_name: None,
        credential: Credential::TokenFile(dir.join("token")),
    })
}

/// By a kubeconfig, read by the same rules as those of remote clusters; only, it may lead anywhere.
///
/// # Errors
/// Says what of it is refused and repeats no secret.
pub fn by_kubeconfig(cluster: &ClusterId, path: &Path) -> Result<Remote, String> {
    let named = |why: String| format!("{}: {why}", path.display());
    let bytes = std::fs::read(path).map_err(|error| named(error.to_string()))?;
    let everywhere = ["0.0.0.0/0", "::/0"].map(|range| range.parse());
    let everywhere = everywhere.into_iter().filter_map(Result::ok).collect();
    let setup = Setup {
        // No cluster has such a name, so the kubeconfig may call this one what it likes.
        own: ClusterId::new("0").map_err(|error| error.to_string())?,
        namespace: String::new(),
        allowed: AllowedRanges(everywhere),
    };
    let read = remote::read_file(&path.to_string_lossy(), &bytes, &setup);
    let read = read.map_err(|remark| remark.to_string())?;
    Ok(Remote { cluster: cluster.clone(), ..Remote::from(&read) })
}
