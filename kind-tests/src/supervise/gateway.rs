//! The east-west gateways of a cluster, without replicas and with them again.

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::api::{Cluster, in_time};

/// See docs/adr/0004-in-a-cluster.md.
const LABEL: &str = "istio=eastwestgateway";

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
