//! The store of a cluster: saved to a file, and put back to what it was then.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use diolkos_kind_plan::{API_SERVER, ETCD};

use super::world::World;
use crate::command::{run, run_in};
use crate::limit::API_READY_WITHIN;

pub(crate) async fn save(world: &Arc<World>, cluster: &str, to: &Path) -> anyhow::Result<String> {
    let plan = world.cluster_plan(cluster)?;
    let tool = world.plan.places.tool("etcdctl");
    let shown = to.display().to_string();
    let argv = [&tool, "--endpoints=http://127.0.0.1:2379", "snapshot", "save", &shown];
    run_in(&plan.space.name, &argv.map(|word: &str| word), "").await?;
    Ok(format!("saved the store of {cluster} to {shown}"))
}

/// The programs that keep its content in memory start anew: the API server. All others only see
/// what it says from then on, as after a real restore. Without a file the store is lost.
pub(crate) async fn restore(
    world: &Arc<World>,
    cluster: &str,
    from: Option<&Path>,
) -> anyhow::Result<String> {
    let plan = world.cluster_plan(cluster)?;
    let folder = Path::new(&plan.folder);
    let (now, fresh) = (folder.join("etcd"), folder.join("etcd.restored"));
    let _ = std::fs::remove_dir_all(&fresh);
    if let Some(from) = from {
        // While the old one still runs: a file that is no snapshot then does no harm.
        unpack(world, cluster, from, &fresh).await?;
    }
    world.children.kill(cluster, API_SERVER).await?;
    world.children.stop(cluster, ETCD).await?;
    std::fs::remove_dir_all(&now).context("the store's folder")?;
    if from.is_some() {
        std::fs::rename(&fresh, &now).context("the store's folder")?;
    }
    world.children.start_again(cluster, ETCD)?;
    world.children.start_again(cluster, API_SERVER)?;
    let api = world.cluster(cluster)?;
    api.until(API_READY_WITHIN, "its API server is ready", || api.is_ready()).await?;
    Ok(match from {
        Some(from) => format!("restored the store of {cluster} from {}", from.display()),
        None => format!("lost the store of {cluster}"),
    })
}

async fn unpack(world: &World, cluster: &str, from: &Path, to: &Path) -> anyhow::Result<()> {
    let shown = from.display().to_string();
    if !from.is_file() {
        bail!("{shown} is no file");
    }
    let tool = world.plan.places.tool("etcdutl");
    let into = format!("--data-dir={}", to.display());
    let peer = "http://127.0.0.1:2380";
    let name = format!("--name={cluster}");
    let members = format!("--initial-cluster={cluster}={peer}");
    let own = format!("--initial-advertise-peer-urls={peer}");
    let argv = [&tool, "snapshot", "restore", &shown, &into, &name, &members, &own];
    run(&argv.map(|word: &str| word), "").await.map(drop)
}
