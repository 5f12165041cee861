//! From a plan to clusters that run: what is common first, then all clusters beside each other.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use diolkos_kind_plan::{API_PORT, ClusterPlan, Ready, Stage, fill};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::world::World;
use super::{balancer, ground, install};
use crate::api::Cluster;
use crate::limit::{API_READY_WITHIN, READY_WITHIN, REQUEST_WITHIN};
use crate::pki::Secrets;
use crate::state::write_private;

pub(crate) async fn bring_up(world: &Arc<World>) -> anyhow::Result<()> {
    let mint = mint(world);
    let ground = ground::make(&world.plan);
    let (minted, made) = tokio::join!(mint, ground);
    minted.context("the meshes' certificate authorities")?;
    made?;
    let count = world.plan.clusters.len();
    world.board.tell(None, format!("network of {count} clusters is there"));
    let secrets = try_join_all(world.plan.clusters.iter().map(secrets)).await?;
    let file = &world.plan.kubeconfig;
    let text = fill(&file.text, |name| secrets.iter().find_map(|of| of.get(name)));
    let text = text.map_err(|name| anyhow::anyhow!("no secret is named {name}"))?;
    write_private(Path::new(&file.path), text.as_bytes())?;
    let clusters = world.plan.clusters.iter().zip(&secrets);
    try_join_all(clusters.map(|(plan, secrets)| cluster(world, plan, secrets))).await?;
    install::install(world).await
}

async fn mint(world: &Arc<World>) -> anyhow::Result<()> {
    let world = world.clone();
    let mint = move || world.plan.roots.iter().try_for_each(|root| world.givers.mint.mint(root));
    tokio::task::spawn_blocking(mint).await?
}

/// Keys take a moment each, and have a thread of their own.
async fn secrets(plan: &ClusterPlan) -> anyhow::Result<Secrets> {
    let plan = plan.clone();
    tokio::task::spawn_blocking(move || {
        let secrets = Secrets::make(&plan)?;
        for file in &plan.files {
            let text = fill(&file.text, |name| secrets.get(name));
            let text = text.map_err(|name| anyhow::anyhow!("no secret is named {name}"))?;
            write_private(Path::new(&file.path), text.as_bytes())?;
        }
        Ok(secrets)
    })
    .await?
}

async fn cluster(world: &Arc<World>, plan: &ClusterPlan, secrets: &Secrets) -> anyhow::Result<()> {
    let name = plan.name.as_str();
    let address = format!("{}:{API_PORT}", plan.ranges.api.v4);
    let cluster = Arc::new(Cluster::new(name, &address, &secrets.ca, &secrets.admin)?);
    world.know(cluster.clone());
    let started = Instant::now();
    for stage in &plan.stages {
        start(world, plan, stage)?;
        for ready in &stage.ready {
            let lost = lost(world, name);
            tokio::select! {
                held = until(&cluster, ready) => held?,
                lost = lost => bail!("{name}: {lost}"),
            }
            if *ready == Ready::Api {
                tokio::spawn(balancer::run(cluster.clone(), plan.ranges, world.board.clone()));
                cluster.apply(&plan.base).await?;
            }
        }
        let took = started.elapsed().as_secs_f64();
        world.board.tell(Some(name), format!("{} ready after {took:.1} s", stage.name));
    }
    Ok(())
}

fn start(world: &Arc<World>, plan: &ClusterPlan, stage: &Stage) -> anyhow::Result<()> {
    let name = plan.name.as_str();
    for process in &stage.start {
        let log = world.plan.places.log(name, process.name);
        world.children.start(name, process, Path::new(&log))?;
    }
    Ok(())
}

/// Never returns while all programs of the cluster that were started run.
async fn lost(world: &Arc<World>, cluster: &str) -> String {
    let mut changes = world.board.changes();
    loop {
        if let Some(lost) = world.children.lost(cluster) {
            return lost;
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn until(cluster: &Cluster, ready: &Ready) -> anyhow::Result<()> {
    match ready {
        Ready::Api => {
            cluster.until(API_READY_WITHIN, "its API server is ready", || cluster.is_ready()).await
        }
        Ready::Http { url } => {
            let what = format!("{url} answers");
            cluster.until(READY_WITHIN, &what, || answers(url)).await
        }
        Ready::Nodes(names) => {
            let look = || cluster.nodes_are_ready(names);
            cluster.until(READY_WITHIN, "its nodes are ready", look).await
        }
        Ready::RootCertificate => {
            let look = || cluster.has_root_certificate();
            cluster.until(READY_WITHIN, "its CA is in every namespace", look).await
        }
    }
}

/// Whether a plain HTTP server says 200.
fn answers(url: &str) -> impl Future<Output = anyhow::Result<()>> {
    let rest = url.strip_prefix("http://").unwrap_or(url).to_owned();
    async move {
        let (address, path) = rest.split_once('/').context("a URL has a path")?;
        let ask = async {
            let mut stream = TcpStream::connect(address).await?;
            let request = format!("GET /{path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.take(1024).read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = tokio::time::timeout(REQUEST_WITHIN, ask).await??;
        let line = answer.lines().next().unwrap_or_default();
        if line.contains(" 200 ") { Ok(()) } else { bail!("it says {line:?}") }
    }
}
