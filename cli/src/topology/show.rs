//! Topologies as text.

use std::process::ExitCode;

use diolkos_kind_plan::{Places, Plan, Slot, Topology, matrix as rows};
use diolkos_kind_tests::{Life, Standing, StateRoot, Status};
use diolkos_ops::printable;

use super::Output;

pub(super) fn list() {
    for topology in diolkos_kind_tests::embedded() {
        let Topology { name, summary, clusters, networks, .. } = &topology;
        println!("{name}");
        println!("    {summary}");
        let shape = format!("{} clusters, {} networks", clusters.len(), networks.len());
        println!(
            "    {}",
            shape.replace("1 clusters", "1 cluster").replace("1 networks", "1 network")
        );
        for pair in &topology.not_yet {
            println!("    not yet from {} to {}: {}", pair.from, pair.to, pair.because);
        }
    }
}

pub(super) fn plan(topology: &str, slot: u8) -> anyhow::Result<()> {
    let source = diolkos_kind_tests::load(topology)?;
    let places = Places {
        state: "STATE".to_owned(),
        tools: "TOOLS".to_owned(),
        crds: Some("CRDS".to_owned()),
        diolkos: "diolkos".to_owned(),
        envoy: Some("envoy".to_owned()),
        nft: "nft".to_owned(),
    };
    // clap holds it to the range.
    let slot = Slot::new(slot).ok_or_else(|| anyhow::anyhow!("no slot {slot}"))?;
    print!("{}", Plan::new(source.topology, slot, places));
    Ok(())
}

pub(super) fn matrix(topology: &str, output: Output) -> anyhow::Result<()> {
    let rows = rows(&diolkos_kind_tests::load(topology)?.topology);
    match output {
        Output::Json => println!("{}", serde_json::to_string(&rows)?),
        Output::Text => rows.iter().for_each(|row| println!("{row}")),
    }
    Ok(())
}

/// Fails unless everything is up.
pub(super) async fn status(
    root: &StateRoot,
    name: Option<&str>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let states = match name {
        Some(name) => vec![root.find(Some(name))?],
        None => root.all(),
    };
    let mut all_up = true;
    for state in states {
        match state.status().await {
            Ok(status) => {
                all_up &= is_up(&status);
                match output {
                    Output::Json => println!("{}", serde_json::to_string(&status)?),
                    Output::Text => print(&status),
                }
            }
            Err(error) => {
                all_up = false;
                let name = &state.name;
                eprintln!("topology {name}: {error:#}; take it down: diolkos topology down {name}");
            }
        }
    }
    Ok(if all_up { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_up(status: &Status) -> bool {
    let runs = |life: &Life| *life == Life::Running;
    status.standing == Standing::Up
        && status.clusters.iter().all(|cluster| {
            cluster.api == "ready" && cluster.children.iter().all(|child| runs(&child.life))
        })
}

fn print(status: &Status) {
    let standing = match &status.standing {
        Standing::Coming => "coming up".to_owned(),
        Standing::Up => "up".to_owned(),
        Standing::Failed(why) => format!("failed: {}", printable(why)),
    };
    println!("topology {} ({}), slot {}: {standing}", status.name, status.topology, status.slot);
    for cluster in &status.clusters {
        let (name, network, role) = (&cluster.name, &cluster.network, &cluster.role);
        println!("  {name}, {role}, network {network}, {}: {}", cluster.server, cluster.api);
        for child in &cluster.children {
            let life = match &child.life {
                Life::Running => "running".to_owned(),
                Life::Frozen => "frozen".to_owned(),
                Life::Stopping | Life::Stopped => "stopped".to_owned(),
                Life::Ended(how) => format!("ended by itself: {how}"),
            };
            println!("    {:<24} {:>7}  {life}", child.name, child.pid);
        }
        if cluster.forbidden_packets > 0 {
            println!("    {} packets came that must not", cluster.forbidden_packets);
        }
    }
    for fault in &status.faults {
        println!("  fault: {fault}");
    }
}
