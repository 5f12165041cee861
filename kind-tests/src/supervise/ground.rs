//! Network namespaces and what joins them, made from a plan.

use anyhow::Context as _;
use diolkos_kind_plan::{Plan, Space};

use crate::command::{ip, run, run_in};

/// All of them, in the order in which each finds the others there.
pub(crate) async fn make(plan: &Plan) -> anyhow::Result<()> {
    let spaces: Vec<&Space> =
        std::iter::once(&plan.router).chain(plan.clusters.iter().map(|c| &c.space)).collect();
    for space in &spaces {
        run(&["ip", "netns", "add", &space.name], "").await?;
        settle(space).await.with_context(|| format!("network namespace {}", space.name))?;
    }
    ip(None, &plan.wires).await?;
    for space in &spaces {
        fill(space, &plan.places.nft)
            .await
            .with_context(|| format!("network namespace {}", space.name))?;
    }
    ip(None, std::slice::from_ref(&plan.way_in)).await
}

/// Before any link comes up: some settings count only from then on.
async fn settle(space: &Space) -> anyhow::Result<()> {
    let line = |(name, value): &(String, String)| format!("echo {value} > /proc/sys/{name}\n");
    let script: String = space.settings.iter().map(line).collect();
    // /proc/sys/net shows the network namespace of whoever looks.
    run_in(&space.name, &["sh", "-e"], &script).await.map(drop)
}

async fn fill(space: &Space, nft: &str) -> anyhow::Result<()> {
    ip(Some(&space.name), &space.ip).await?;
    if !space.ip6.is_empty() {
        let script = space.ip6.join("\n") + "\n";
        run_in(&space.name, &["ip", "-6", "-batch", "-"], &script).await?;
    }
    run_in(&space.name, &[nft, "-f", "-"], &space.nft).await.map(drop)
}
