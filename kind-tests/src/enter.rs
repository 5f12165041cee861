//! From outside into a topology that runs: its supervisor, its API servers, its namespaces.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::api::Cluster;
use crate::kind::is_kind;
use crate::state::State;
use crate::supervise::control::{Reply, Request, ask};
use crate::supervise::{Fault, Status};

impl State {
    /// # Errors
    /// When the supervisor is gone: then only `down` is of use.
    pub async fn status(&self) -> anyhow::Result<Status> {
        match self.ask(&Request::Status).await? {
            Reply::Status(status) => Ok(status),
            other => bail!("the supervisor is of another version: it says {other:?}"),
        }
    }

    /// Sets a fault; one that is in force already stays, with these figures.
    ///
    /// # Errors
    /// When it cannot be set.
    pub async fn set(&self, fault: Fault) -> anyhow::Result<String> {
        self.done(&Request::Set(fault)).await
    }

    /// Takes back one fault, or all.
    ///
    /// # Errors
    /// When one stays in force.
    pub async fn heal(&self, fault: Option<Fault>) -> anyhow::Result<String> {
        self.done(&Request::Heal(fault)).await
    }

    /// Sets a fault and takes it back, by turns; returns at once.
    ///
    /// # Errors
    /// When it cannot be set the first time.
    pub async fn flap(&self, fault: Fault, period: Duration, times: u32) -> anyhow::Result<String> {
        self.done(&Request::Flap { fault, period, times }).await
    }

    /// Saves a cluster's store to a file, for [`Fault::RestoreEtcd`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn save_etcd(&self, cluster: &str, to: PathBuf) -> anyhow::Result<String> {
        self.done(&Request::SaveEtcd { cluster: cluster.to_owned(), to }).await
    }

    /// A program in a cluster's network namespace, with this process's streams.
    ///
    /// # Errors
    /// When the topology does not run, or has no such cluster.
    pub fn enter(&self, cluster: &str, argv: &[OsString]) -> anyhow::Result<Command> {
        let supervisor = self.supervisor()?;
        let name = &self.name;
        if !supervisor.is_alive() {
            bail!("topology {name} does not run any more: diolkos topology down {name}");
        }
        let config = self.path("clusters").join(cluster).join("admin.kubeconfig");
        if !config.is_file() {
            bail!("topology {name} has no cluster {cluster}");
        }
        // So that `etcdctl compact` and the like need no path.
        let mut path = self.settings()?.tools.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", supervisor.first.pid))
            .args(["--mount", "--pid", "--", "nsenter"])
            .arg(format!("--net=/run/netns/{cluster}"))
            .arg("--")
            .args(argv)
            .env("PATH", path)
            .env("ETCDCTL_ENDPOINTS", "http://127.0.0.1:2379")
            .env("KUBECONFIG", config);
        Ok(command)
    }

    /// Every cluster of the kubeconfig, by name.
    ///
    /// # Errors
    /// When the topology did not come that far.
    pub fn clusters(&self) -> anyhow::Result<BTreeMap<String, Arc<Cluster>>> {
        let text = self.kubeconfig()?;
        let config: Kubeconfig = serde_saphyr::from_str(&text).context("its kubeconfig")?;
        let mut clusters = BTreeMap::new();
        for (cluster, user) in config.clusters.iter().zip(&config.users) {
            let ca = STANDARD.decode(&cluster.cluster.ca)?;
            let ca = String::from_utf8(ca)?;
            let server = &cluster.cluster.server;
            let address = server.strip_prefix("https://").unwrap_or(server);
            let found = Cluster::new(&cluster.name, address, &ca, &user.user.token)?;
            clusters.insert(cluster.name.clone(), Arc::new(found));
        }
        Ok(clusters)
    }

    /// One cluster.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn cluster(&self, name: &str) -> anyhow::Result<Arc<Cluster>> {
        let mut clusters = self.clusters()?;
        let names: Vec<String> = clusters.keys().cloned().collect();
        clusters.remove(name).with_context(|| {
            format!("topology {} has no cluster {name}; it has {}", self.name, names.join(", "))
        })
    }

    /// A context per cluster.
    ///
    /// # Errors
    /// When the topology did not come that far.
    pub fn kubeconfig(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(self.path("kubeconfig"))
            .with_context(|| format!("topology {} has no kubeconfig yet", self.name))
    }

    async fn done(&self, request: &Request) -> anyhow::Result<String> {
        match self.ask(request).await? {
            Reply::Done(says) => Ok(says),
            other => bail!("the supervisor is of another version: it says {other:?}"),
        }
    }

    async fn ask(&self, request: &Request) -> anyhow::Result<Reply> {
        if is_kind(self) {
            let name = &self.name;
            bail!("topology {name} is kind's: use kubectl with its kubeconfig, and docker");
        }
        let mut answer = None;
        ask(&self.control(), request, |reply| {
            answer = Some(reply);
            Ok(())
        })
        .await
        .with_context(|| format!("topology {}", self.name))?;
        answer.context("the supervisor ended before it answered")
    }
}

/// As this project writes it: one user per cluster, in the same order.
#[derive(Debug, Deserialize)]
struct Kubeconfig {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: ClusterText,
}

#[derive(Debug, Deserialize)]
struct ClusterText {
    server: String,
    #[serde(rename = "certificate-authority-data")]
    ca: String,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    user: UserText,
}

#[derive(Debug, Deserialize)]
struct UserText {
    token: String,
}
