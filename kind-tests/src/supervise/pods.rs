//! Pods as processes of this machine, killed as a power cut does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use rustix::process::Signal;

use super::world::World;
use crate::api::in_time;
use crate::process::ProcessId;

/// All processes of all pods with these labels, at once. Whoever runs them starts them again.
pub(crate) async fn kill(
    world: &Arc<World>,
    cluster: &str,
    labels: &str,
) -> anyhow::Result<String> {
    let pods: Api<Pod> = Api::all(world.cluster(cluster)?.client());
    let pods = in_time(pods.list(&ListParams::default().labels(labels))).await?;
    // One in the node's own namespace would take the whole cluster with it.
    let is_apart = |pod: &&Pod| pod.spec.as_ref().is_none_or(|s| s.host_network != Some(true));
    let address = |pod: &Pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok();
    let addresses: BTreeSet<IpAddr> = pods.iter().filter(is_apart).filter_map(address).collect();
    if addresses.is_empty() {
        bail!("cluster {cluster} has no pod labelled {labels} in a network of its own");
    }
    let found = tokio::task::spawn_blocking(move || processes_of(&addresses)).await??;
    found.iter().for_each(|id| id.signal(Signal::KILL));
    Ok(format!("killed {} processes of pods {labels} of {cluster}", found.len()))
}

/// Those in a network namespace that has one of these addresses, and numbered apart from this process
/// as a pod's are: a program that starts pods goes into their networks too, with its first thread
/// perhaps.
fn processes_of(addresses: &BTreeSet<IpAddr>) -> anyhow::Result<Vec<ProcessId>> {
    let numbering = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid"));
    let own = numbering("self").context("cannot read /proc/self/ns/pid")?;
    let is_apart = |pid: &u32| numbering(&pid.to_string()).is_ok_and(|of| of != own);
    let entries = std::fs::read_dir("/proc").context("cannot read /proc")?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_one = |pid: &u32| {
        let local = std::fs::read_to_string(format!("/proc/{pid}/net/fib_trie"));
        local.is_ok_and(|text| local_addresses(&text).any(|ip| addresses.contains(&ip)))
    };
    Ok(pids.filter(is_apart).filter(has_one).filter_map(ProcessId::of).collect())
}

/// Of the kernel's table of routes: a line with an address, then one that says what it is.
fn local_addresses(text: &str) -> impl Iterator<Item = IpAddr> {
    let lines = text.lines().zip(text.lines().skip(1));
    let own = lines.filter(|(_, what)| what.trim() == "/32 host LOCAL");
    own.filter_map(|(address, _)| address.trim().strip_prefix("|-- ")?.parse().ok())
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

    #[test]
    fn who_starts_pods_is_none_of_them_whatever_network_it_is_in() {
        let loopback = BTreeSet::from(["127.0.0.1".parse().unwrap()]);
        let local = std::fs::read_to_string("/proc/self/net/fib_trie").unwrap();
        assert!(local_addresses(&local).any(|ip| loopback.contains(&ip)), "{local}");
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(!processes_of(&loopback).unwrap().contains(&own));
    }
}
