//! Flags of a primary that reads API servers: docs/kubernetes.md.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use diolkos_deploy::names;
use diolkos_facts::remote::AllowedRanges;
use diolkos_primary::SourceSettings;
use diolkos_primary::source::kube::{
    KubeSettings, LeaseSettings, NamesPace, Pace, Reviewer, SERVICE_ACCOUNT_DIR, WriteSettings,
    by_kubeconfig, in_cluster, system_resolver,
};
use diolkos_topology::ClusterId;
use ipnet::IpNet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// The folders that the mesh file names
    Files,
    /// The own API server, and those that remote secrets register
    Kubernetes,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct KubernetesArgs {
    /// Where facts come from
    #[arg(long, value_enum, default_value_t = Source::Files)]
    source: Source,
    /// Where remote secrets are, and the lease for writing
    #[arg(long, value_name = "NAME", default_value = "diolkos-system")]
    system_namespace: String,
    /// Where several meshes share clusters: only namespaces labelled istio.io/rev with this name,
    /// and the system namespace, are of this mesh
    #[arg(long, value_name = "NAME")]
    revision: Option<String>,
    /// The own API server, where that is not the pod's
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Register clusters by the kubeconfigs in a folder instead of by remote secrets
    #[arg(long, value_name = "FOLDER")]
    remote_kubeconfigs: Option<PathBuf>,
    /// A reserved range (loopback, link-local) where remote API servers may be all the same
    #[arg(long, value_name = "RANGE")]
    allow_cidr: Vec<IpNet>,
    /// Where it is kept what clusters said last
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Write these roots into clusters, for workloads and webhooks
    #[arg(long, value_name = "FILE")]
    write_roots: Option<PathBuf>,
    /// This replica's name, where there are several: one of them writes
    #[arg(long, value_name = "NAME", requires = "write_roots")]
    replica: Option<String>,
    /// Whatever vanishes from a cluster is meant to: hold nothing for a second look
    #[arg(long)]
    accept_removal: bool,
    /// An API server that failed for so long is out of sight
    #[arg(long, value_name = "SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    api_stale: u64,
}

impl KubernetesArgs {
    pub(crate) fn source(self, cluster: &str) -> anyhow::Result<SourceSettings> {
        if self.source == Source::Files {
            return Ok(SourceSettings::Files);
        }
        let cluster = ClusterId::new(cluster)?;
        let own = match &self.kubeconfig {
            Some(path) => by_kubeconfig(&cluster, path),
            None => in_cluster(&cluster, Path::new(SERVICE_ACCOUNT_DIR)),
        };
        let own = own.map_err(anyhow::Error::msg).context("the own API server")?;
        let stale = Duration::from_secs(self.api_stale);
        let defaults = Pace::default();
        let pace = Pace { stale, probe: defaults.probe.min(stale / 3), ..defaults };
        let write = self.write_roots.map(|roots| WriteSettings {
            roots,
            injector: names::of_cluster(names::INJECTOR, &self.system_namespace),
            lease: self.replica.map(LeaseSettings::new),
        });
        let resolver = system_resolver()
            .inspect_err(|why| tracing::warn!("gateways by name have no addresses: {why}"));
        Ok(SourceSettings::Kubernetes(Box::new(KubeSettings {
            own,
            namespace: self.system_namespace,
            revision: self.revision,
            directory: self.remote_kubeconfigs,
            allowed: AllowedRanges(self.allow_cidr),
            pace,
            names: NamesPace::default(),
            store: self.store,
            write,
            accept_removal: self.accept_removal,
            resolver: resolver.ok(),
            reviewer: Reviewer::default(),
        })))
    }
}
