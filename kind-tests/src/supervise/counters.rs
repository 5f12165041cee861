//! What the boundary between networks counted.

use anyhow::Context as _;
use diolkos_kind_plan::{ROUTER, forbidden as counter_of};
use serde_json::Value;

use super::control::Packets;
use super::world::World;
use crate::command::run_in;

/// Packets of each cluster that should not have come: to another network's pods, services and nodes.
pub(crate) async fn forbidden(world: &World) -> anyhow::Result<Packets> {
    let nft = world.plan.places.nft.as_str();
    let argv = [nft, "-j", "list", "counters", "table", "inet", "diolkos"];
    let text = run_in(ROUTER, &argv, "").await?;
    let names: Vec<&str> = world.plan.clusters.iter().map(|plan| plan.name.as_str()).collect();
    read(&text, &names)
}

fn read(text: &str, clusters: &[&str]) -> anyhow::Result<Packets> {
    let listed: Value = serde_json::from_str(text).context("nft's list is no JSON")?;
    let counters = listed["nftables"].as_array().into_iter().flatten();
    let mut packets = Packets::new();
    for counter in counters.map(|entry| &entry["counter"]) {
        let of = |cluster: &&&str| counter["name"] == counter_of(cluster);
        if let (Some(cluster), Some(count)) =
            (clusters.iter().find(of), counter["packets"].as_u64())
        {
            packets.insert((*cluster).to_owned(), count);
        }
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_by_cluster() {
        let text = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"counter": {"family": "inet", "name": "forbidden_east", "packets": 3, "bytes": 180}},
            {"counter": {"family": "inet", "name": "other", "packets": 9, "bytes": 180}},
            {"counter": {"family": "inet", "name": "forbidden_west", "packets": 0, "bytes": 0}}]}"#;
        let found = read(text, &["east", "west"]).unwrap();
        assert_eq!(found, Packets::from([("east".into(), 3), ("west".into(), 0)]));
        assert!(read("", &["east"]).is_err());
    }
}
