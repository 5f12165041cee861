//! The API server of the cluster that this primary runs in.

use std::path::Path;

use diolkos_topology::ClusterId;

use super::remote::{Credential, Remote, Server};

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
    let ca =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Remote {
        cluster: cluster.clone(),
        server: Server { host, port, prefix: String::new() },
        ca,
        tls_server_name: None,
        credential: Credential::TokenFile(dir.join("token")),
    })
}
