//! What is put into running clusters: phase after phase, in each all clusters at once.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diolkos_kind_plan::{Condition, Part, ServicePort, Step};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::world::World;
use crate::api::Cluster;
use crate::limit::{LOOK_EVERY, READY_WITHIN};
use crate::part::Live;
use crate::space::in_space;

pub(crate) async fn install(world: &Arc<World>) -> anyhow::Result<()> {
    for phase in &world.plan.install {
        let started = Instant::now();
        let of_clusters = phase.steps.iter().map(|(name, steps)| async move {
            let cluster = world.cluster(name.as_str())?;
            for step in steps {
                take(world, &cluster, step).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(of_clusters).await?;
        let took = started.elapsed().as_secs_f64();
        world.board.tell(None, format!("{} done in {took:.1} s", phase.name));
    }
    Ok(())
}

async fn take(world: &Arc<World>, cluster: &Cluster, step: &Step) -> anyhow::Result<()> {
    match step {
        Step::Apply(documents) => cluster.apply(documents).await,
        Step::ApplyIfServed(documents) => {
            if cluster.knows_all(documents).await {
                return cluster.apply(documents).await;
            }
            let kind = documents.first().and_then(|document| document["kind"].as_str());
            let says = format!("left out, the cluster knows no {}", kind.unwrap_or_default());
            world.board.tell(Some(&cluster.name), says);
            Ok(())
        }
        Step::ApplyFolder(folder) => cluster.apply_folder(Path::new(folder)).await,
        Step::Secret { namespace, name, folder } => {
            cluster.apply(&[secret(namespace, name, Path::new(folder))?]).await
        }
        Step::Part(part) => take_part(world, cluster, part).await,
        Step::Wait(Condition::Reachable(services)) => reachable(cluster, services).await,
        Step::Wait(condition) => cluster.wait(condition, READY_WITHIN).await,
    }
}

async fn take_part(world: &Arc<World>, cluster: &Cluster, part: &Part) -> anyhow::Result<()> {
    let clusters = world.clusters();
    let live = Live { plan: &world.plan, clusters: &clusters };
    let documents = world.givers.parts.documents(live, &cluster.name, part).await;
    match documents.with_context(|| format!("{}: {part}", cluster.name))? {
        Some(documents) => cluster.apply_text(&documents).await,
        None => {
            let says = format!("left out, not in this version: {part}");
            world.board.tell(Some(&cluster.name), says);
            Ok(())
        }
    }
}

/// Connects to each from the cluster's node, in both families, until all have answered once.
async fn reachable(cluster: &Cluster, services: &[ServicePort]) -> anyhow::Result<()> {
    let mut open = Vec::new();
    for ServicePort { namespace, service, port } in services {
        let addresses = cluster.service_addresses(namespace, service).await?;
        open.extend(addresses.into_iter().map(|ip| SocketAddr::new(ip, *port)));
    }
    let deadline = Instant::now() + READY_WITHIN;
    let connect = move || {
        let mut last = String::new();
        while let Some(address) = open.pop() {
            if let Err(error) = TcpStream::connect_timeout(&address, LOOK_EVERY * 10) {
                last = format!("{address}: {error}");
                open.push(address);
                std::thread::sleep(LOOK_EVERY);
            }
            if Instant::now() > deadline {
                return Err(last);
            }
        }
        Ok(())
    };
    let done = in_space(&cluster.name, "reachable", connect)?.await;
    let done = done.with_context(|| format!("{}: the thread on its node ended", cluster.name))?;
    done.map_err(|last| anyhow!("{}: a service takes no connections: {last}", cluster.name))
}

/// Of the files of a folder.
fn secret(namespace: &str, name: &str, folder: &Path) -> anyhow::Result<Value> {
    let mut files = BTreeMap::new();
    let shown = folder.display();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {shown}"))? {
        let path = entry?.path();
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        files.insert(file, STANDARD.encode(std::fs::read(&path)?));
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "data": files,
    }))
}
