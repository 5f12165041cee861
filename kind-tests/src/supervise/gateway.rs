//! The east-west gateways of a cluster: killed, or without replicas.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use rustix::process::Signal;
use serde_json::json;

use super::world::World;
use crate::api::{Cluster, in_time};
use crate::process::ProcessId;

/// See docs/adr/0004-in-a-cluster.md.
const LABEL: &str = "istio=eastwestgateway";

/// All processes of all its pods, at once.
pub(crate) async fn kill(world: &Arc<World>, cluster: &str) -> anyhow::Result<String> {
    let pods: Api<Pod> = Api::all(world.cluster(cluster)?.client());
    let pods = in_time(pods.list(&ListParams::default().labels(LABEL))).await?;
    let addresses =
        pods.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok());
    let addresses: BTreeSet<IpAddr> = addresses.collect();
    if addresses.is_empty() {
        bail!("cluster {cluster} has no pod labelled {LABEL}");
    }
    let found = tokio::task::spawn_blocking(move || processes_of(&addresses)).await??;
    found.iter().for_each(|id| id.signal(Signal::KILL));
    Ok(format!("killed {} processes of {cluster}'s gateway", found.len()))
}

/// Those in a network namespace that has one of these addresses.
fn processes_of(addresses: &BTreeSet<IpAddr>) -> anyhow::Result<Vec<ProcessId>> {
    let entries = std::fs::read_dir("/proc").context("cannot read /proc")?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_one = |pid: &u32| {
        let local = std::fs::read_to_string(format!("/proc/{pid}/net/fib_trie"));
        local.is_ok_and(|text| local_addresses(&text).any(|ip| addresses.contains(&ip)))
    };
    Ok(pids.filter(has_one).filter_map(ProcessId::of).collect())
}

/// Of the kernel's table of routes: a line with an address, then one that says what it is.
fn local_addresses(text: &str) -> impl Iterator<Item = IpAddr> {
    let lines = text.lines().zip(text.lines().skip(1));
    let own = lines.filter(|(_, what)| what.trim() == "/32 host LOCAL");
    own.filter_map(|(address, _)| address.trim().strip_prefix("|-- ")?.parse().ok())
}

/// Of every Deployment of the gateway: how many replicas it had before they were taken.
const BEFORE: &str = "diolkos.dev/replicas-before-fault";

pub(crate) async fn stop(cluster: &Cluster) -> anyhow::Result<()> {
    for deployment in deployments(cluster).await? {
        let replicas = deployment.spec.replicas.unwrap_or(1);
        // Stopped twice, it would come back with none.
        if replicas > 0 {
            let before = json!({BEFORE: replicas.to_string()});
            scale(cluster, &deployment, 0, &before).await?;
        }
    }
    Ok(())
}

pub(crate) async fn start(cluster: &Cluster) -> anyhow::Result<()> {
    for deployment in deployments(cluster).await? {
        let annotations = deployment.metadata.annotations.as_ref();
        let before = annotations.and_then(|all| all.get(BEFORE)?.parse().ok());
        if let Some(replicas) = before {
            scale(cluster, &deployment, replicas, &json!({BEFORE: null})).await?;
        }
    }
    Ok(())
}

async fn deployments(cluster: &Cluster) -> anyhow::Result<Vec<Deployment>> {
    let deployments: Api<Deployment> = Api::all(cluster.client());
    let found = in_time(deployments.list(&ListParams::default().labels(LABEL))).await?;
    if found.items.is_empty() {
        bail!("cluster {} has no deployment labelled {LABEL}", cluster.name);
    }
    Ok(found.items)
}

async fn scale(
    cluster: &Cluster,
    deployment: &Deployment,
    replicas: i32,
    annotations: &serde_json::Value,
) -> anyhow::Result<()> {
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or("default");
    let name = deployment.metadata.name.as_deref().context("a deployment without a name")?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), namespace);
    let patch = json!({
        "metadata": {"annotations": annotations},
        "spec": {"replicas": replicas},
    });
    in_time(deployments.patch(name, &PatchParams::default(), &Patch::Merge(patch))).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_told_from_routes() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                    |-- 10.64.0.7\n        /32 host LOCAL\n     |-- 10.64.0.9\n        /32 link UNICAST\n";
        let found: Vec<IpAddr> = local_addresses(text).collect();
        assert_eq!(found, ["10.64.0.7".parse::<IpAddr>().unwrap()]);
    }
}
