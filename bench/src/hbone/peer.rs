//! Whoever ends tunnels, each as a process of its own on the measured core.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::load::Load;
use crate::gateway::routes::{DOMAIN, Primary, SERVER_NAME};
use crate::process::{AS_IN_A_POD, Process, diolkos, free};

const START_MAX: Duration = Duration::from_secs(30);
const TYPE: &str = "type.googleapis.com/envoy";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Diolkos,
    Envoy,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Diolkos, Self::Envoy];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Diolkos => "diolkos",
            Self::Envoy => "envoy",
        }
    }

    /// Where its program is, if it is here.
    pub(super) fn program(self, envoy: Option<&Path>) -> Option<PathBuf> {
        let path = match self {
            Self::Diolkos => diolkos().ok(),
            Self::Envoy => envoy.map(Path::to_owned),
        };
        path.filter(|path| path.is_file())
    }
}

/// One that runs.
pub(super) struct Peer {
    pub(super) process: Process,
    pub(super) at: SocketAddr,
    _primary: Option<Primary>,
    _folder: tempfile::TempDir,
}

impl Peer {
    /// It serves a tunnel when it is returned.
    pub(super) fn start(
        runtime: &Runtime,
        kind: Kind,
        program: &Path,
        core: usize,
        (load, authority): (&Load, &str),
        certificates: &Path,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("diolkos-bench-").tempdir()?;
        let at = free(Ipv4Addr::LOCALHOST)?;
        let (arguments, primary) = match kind {
            Kind::Diolkos => {
                let listen = free(Ipv4Addr::LOCALHOST)?;
                let primary = Primary::start(certificates, 1, listen, load.backend)?;
                let identity = certificates.join("gateway");
                let text = format!(
                    "gateway --primary {} --primary-name {SERVER_NAME} --identity {} --trust-domain \
                     {DOMAIN} --cluster east --network east --pod gateway --ip 127.0.0.1 --listen \
                     {listen} --hbone {at}",
                    primary.address,
                    identity.display()
                );
                (text.split_whitespace().map(str::to_owned).collect(), Some(primary))
            }
            Kind::Envoy => {
                let config = envoy(&certificates.join("gateway"), at, load.backend).to_string();
                let path = folder.path().join("envoy.json");
                std::fs::write(&path, config)?;
                let flags = "--concurrency 1 --disable-hot-restart --log-level error --config-path";
                let mut arguments: Vec<String> = flags.split(' ').map(str::to_owned).collect();
                arguments.push(path.display().to_string());
                (arguments, None)
            }
        };
        let home = folder.path();
        let process =
            Process::start_on(Some(core), kind.name(), program, &arguments, &AS_IN_A_POD, home)?;
        let mut peer = Self { process, at, _primary: primary, _folder: folder };
        runtime.block_on(peer.wait_until_it_serves(load, authority))?;
        Ok(peer)
    }

    async fn wait_until_it_serves(&mut self, load: &Load, authority: &str) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            self.process.expect_alive()?;
            match load.hold((self.at, authority), 1).await {
                Ok(_) => return Ok(()),
                Err(cause) if begin.elapsed() > START_MAX => {
                    let said = self.process.last_words();
                    return Err(cause).with_context(|| format!("it serves nobody:{said}"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// It ends tunnels for any certificate of the authority, and leads them all to the backend.
fn envoy(certificates: &Path, listen: SocketAddr, backend: SocketAddr) -> Value {
    let file = |name: &str| json!({ "filename": certificates.join(name) });
    let socket = |at: SocketAddr| json!({ "socket_address": { "address": at.ip(), "port_value": at.port() } });
    let mut route = json!({ "cluster": "backend" });
    route["upgrade_configs"] = json!([{ "upgrade_type": "CONNECT", "connect_config": {} }]);
    let manager = json!({
        "@type": format!(
            "{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": "bench",
        "http2_protocol_options": { "allow_connect": true },
        "upgrade_configs": [{ "upgrade_type": "CONNECT" }],
        "route_config": { "virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{ "match": { "connect_matcher": {} }, "route": route }],
        }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": format!("{TYPE}.extensions.filters.http.router.v3.Router") },
        }],
    });
    let tls = json!({
        "@type": format!("{TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
        "require_client_certificate": true,
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "tls_certificates": [{
                "certificate_chain": file("cert-chain.pem"), "private_key": file("key.pem"),
            }],
            "validation_context": { "trusted_ca": file("root-cert.pem") },
        },
    });
    json!({ "static_resources": {
        "listeners": [{
            "name": "hbone", "address": socket(listen),
            "filter_chains": [{
                "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
                "filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager,
                }],
            }],
        }],
        "clusters": [{
            "name": "backend", "type": "STATIC", "connect_timeout": "2s",
            "load_assignment": {
                "cluster_name": "backend",
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(backend) } }] }],
            },
        }],
    } })
}
