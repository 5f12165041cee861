//! What a remote secret says, as this source needs it.

use std::collections::BTreeMap;

use diolkos_topology::{ClusterId, ClusterSettings};

use super::remote::{Credential, Remote, Secret, Server};

pub(super) struct Parsed {
    pub(super) remote: Remote,
}

impl Parsed {
    pub(super) fn narrow(&self, _: &mut ClusterSettings) {}
}

/// # Errors
/// Says what is refused and repeats no secret.
pub(super) fn parse(
    cluster: &ClusterId,
    kubeconfig: &Secret,
    _: &BTreeMap<String, String>,
) -> Result<Parsed, String> {
    let text: serde_json::Value =
        serde_json::from_str(kubeconfig.reveal()).map_err(|_| "not a kubeconfig".to_owned())?;
    let field = |name: &str| text[name].as_str().unwrap_or_default().to_owned();
    let (host, port) = {
        let server = field("server");
        let (host, port) = server.rsplit_once(':').ok_or("no port")?;
        (host.to_owned(), port.parse().map_err(|_| "no port".to_owned())?)
    };
    let remote = Remote {
        cluster: cluster.clone(),
        server: Server { host, port, prefix: String::new() },
        ca: field("ca"),
        tls_server_name: None,
        credential: Credential::Token(Secret::new(field("token"))),
    };
    Ok(Parsed { remote })
}
