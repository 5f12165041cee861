//! A real cluster as far as a control plane sees it: etcd and an API server. Nothing else runs, so
//! what changes is what the bench changes.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diolkos_tls::{CERT_CHAIN_FILE, KEY_FILE};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest, Validity};
use serde_json::{Value, json};

use super::api::{Access, Api};
use crate::mesh::{TRUST_DOMAIN, cluster_name};
use crate::process::{Process, Tools, free};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const START_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Holds the generator's addresses of services.
const SERVICE_RANGE: &str = "172.16.0.0/12";

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) access: Access,
    folder: PathBuf,
    root_pem: String,
    api: Process,
    etcd: Process,
}

impl Cluster {
    /// Starts it, and does not wait.
    pub(super) fn start(
        tools: &Tools,
        folder: &Path,
        index: usize,
        authority: &Authority,
        validity: Validity,
    ) -> anyhow::Result<Self> {
        let folder = folder.join(cluster_name(index));
        fs::create_dir_all(&folder)?;
        let (client, peer, server) = (free(LOCALHOST)?, free(LOCALHOST)?, free(LOCALHOST)?);
        let domain = TrustDomain::new(TRUST_DOMAIN)?;
        let serving = authority.issue(&LeafRequest {
            id: SpiffeId::workload(&domain, "kube-system", "kube-apiserver")?,
            dns: vec!["kubernetes.default.svc".into()],
            ips: vec![LOCALHOST.into()],
            validity,
        })?;
        serving.write(&folder)?;
        let token = token(index);
        fs::write(folder.join("tokens.csv"), format!("{token},bench,bench,system:masters\n"))?;
        let etcd = tools.path("etcd");
        let etcd = Process::start("etcd", &etcd, &etcd_arguments(client, peer), &[], &folder)?;
        let api = tools.path("kube-apiserver");
        let arguments = api_arguments(client, server);
        let api = Process::start("kube-apiserver", &api, &arguments, &[], &folder)?;
        let root_pem = serving.root_pem;
        Ok(Self { access: Access::new(server, &token, &root_pem)?, folder, root_pem, api, etcd })
    }

    /// Until it has made the namespaces that every cluster has.
    pub(super) fn wait(&mut self) -> anyhow::Result<Api> {
        let begin = Instant::now();
        loop {
            self.etcd.expect_alive()?;
            self.api.expect_alive()?;
            let answer = self.access.connect().and_then(|mut api| {
                let status = api.get("/api/v1/namespaces/kube-system")?.status;
                ensure!(status == 200, "kube-system is answered {status}");
                Ok(api)
            });
            match answer {
                Ok(api) => return Ok(api),
                Err(error) if begin.elapsed() > START_MAX => {
                    let said = self.api.last_words();
                    return Err(error).context(format!("no API server in {START_MAX:?}:{said}"));
                }
                Err(_) => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// As it stands in a remote secret, and as a file for the own cluster.
    pub(super) fn kubeconfig(&self, name: &str) -> Value {
        let Access { address, token, .. } = &self.access;
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{ "name": name, "cluster": {
                "server": format!("https://{address}"),
                "certificate-authority-data": STANDARD.encode(&self.root_pem),
            }}],
            "users": [{ "name": name, "user": { "token": token } }],
            "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
        })
    }

    pub(super) fn write_kubeconfig(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join("kubeconfig");
        fs::write(&path, self.kubeconfig(name).to_string())?;
        Ok(path)
    }
}

/// Of no worth beyond this machine's loopback and this run.
fn token(index: usize) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("bench-{index}-{:x}-{:x}", std::process::id(), now.as_nanos())
}

fn etcd_arguments(client: SocketAddr, peer: SocketAddr) -> [String; 8] {
    [
        "--name=bench".to_owned(),
        "--data-dir=etcd".to_owned(),
        // Lost when the machine stops, and so faster.
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls=http://{client}"),
        format!("--advertise-client-urls=http://{client}"),
        format!("--listen-peer-urls=http://{peer}"),
        format!("--initial-advertise-peer-urls=http://{peer}"),
        format!("--initial-cluster=bench=http://{peer}"),
    ]
}

fn api_arguments(etcd: SocketAddr, server: SocketAddr) -> [String; 16] {
    [
        format!("--etcd-servers=http://{etcd}"),
        format!("--bind-address={}", server.ip()),
        format!("--secure-port={}", server.port()),
        // Its own Service leads nowhere, and a loopback address may not be advertised.
        "--advertise-address=192.0.2.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        format!("--tls-cert-file={CERT_CHAIN_FILE}"),
        format!("--tls-private-key-file={KEY_FILE}"),
        "--token-auth-file=tokens.csv".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={CERT_CHAIN_FILE}"),
        format!("--service-account-signing-key-file={KEY_FILE}"),
        // Nobody makes the accounts of pods that never run.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        "--enable-priority-and-fairness=false".to_owned(),
        "--profiling=false".to_owned(),
    ]
}
