//! Gives Services of type LoadBalancer their addresses, as a cloud's controller does.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context as _;
use diolkos_kind_plan::{Claim, Ranges, assign};
use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::json;

use super::board::Board;
use crate::api::{Cluster, in_time};
use crate::limit::TRY_AGAIN_AFTER;

/// For as long as the topology runs; an API server that is away is asked again.
pub(crate) async fn run(cluster: Arc<Cluster>, ranges: Ranges, board: Arc<Board>) {
    let mut told = String::new();
    loop {
        let error = follow(&cluster, &ranges, &board).await;
        let says = error.map_or_else(|error| format!("{error:#}"), |()| String::new());
        // A watch ends by itself now and then; a cause is told once.
        if says != told && !says.is_empty() {
            tracing::debug!(cluster = cluster.name, "load balancers: {says}");
        }
        told = says;
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
    }
}

async fn follow(cluster: &Cluster, ranges: &Ranges, board: &Board) -> anyhow::Result<()> {
    let services: Api<Service> = Api::all(cluster.client());
    let mut listed = in_time(services.list(&ListParams::default())).await?;
    settle(cluster, ranges, board, &listed.items).await?;
    let version = listed.metadata.resource_version.take().context("a list without a version")?;
    let mut events = std::pin::pin!(services.watch(&WatchParams::default(), &version).await?);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
            WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_) => {}
        }
        // A few dozen Services: looking at all of them is simpler than keeping them.
        let now = in_time(services.list(&ListParams::default())).await?;
        settle(cluster, ranges, board, &now.items).await?;
    }
    Ok(())
}

async fn settle(
    cluster: &Cluster,
    ranges: &Ranges,
    board: &Board,
    services: &[Service],
) -> anyhow::Result<()> {
    let mut claims: Vec<Claim> = services.iter().filter_map(claim).collect();
    claims.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    for (claim, addresses) in assign(ranges, &claims) {
        let Claim { namespace, name, .. } = &claim;
        let ingress: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let patch = json!({"status": {"loadBalancer": {"ingress": ingress}}});
        let services: Api<Service> = Api::namespaced(cluster.client(), namespace);
        let (how, patch) = (PatchParams::default(), Patch::Merge(patch));
        in_time(services.patch_status(name, &how, &patch)).await?;
        let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let says = format!("load balancer {namespace}/{name} is {}", shown.join(", "));
        board.tell(Some(&cluster.name), says);
    }
    Ok(())
}

fn claim(service: &Service) -> Option<Claim> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() != Some("LoadBalancer") || spec.load_balancer_class.is_some() {
        return None;
    }
    let families = spec.ip_families.iter().flatten().map(|family| family == "IPv4").collect();
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let has = ingress.filter_map(|ingress| ingress.ip.as_ref()?.parse::<IpAddr>().ok()).collect();
    Some(Claim {
        namespace: service.metadata.namespace.clone()?,
        name: service.metadata.name.clone()?,
        families,
        has,
    })
}
