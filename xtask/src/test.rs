//! `cargo xtask test`: every tier, then what came of it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;

use crate::count::Count;
use crate::metadata::Metadata;
use crate::summary::{Outcome, Summary};
use crate::tier::Tier;
use crate::tool::{self, Missing};
use crate::workshop::Workshop;
use crate::{cargo, fuzz};

pub(crate) fn run(workshop: &Workshop, wanted: &[Tier]) -> Result<ExitCode> {
    let metadata = Metadata::read(workshop)?;
    let mut summary = Summary::default();
    for tier in Tier::value_variants() {
        if !wanted.is_empty() && !wanted.contains(tier) {
            continue;
        }
        println!("\n=== {} ===", tier.name());
        let started = Instant::now();
        let outcome = match run_tier(workshop, *tier, &metadata) {
            Ok(Ok(count)) => Outcome::Ran(count),
            Ok(Err(Missing(why))) if workshop.is_strict() => Outcome::Missing(why),
            Ok(Err(Missing(why))) => Outcome::Skipped(why),
            Err(error) => {
                println!("error: {error:#}");
                Outcome::Ran(Count::FAILED)
            }
        };
        if let Outcome::Skipped(why) | Outcome::Missing(why) = &outcome {
            println!("{}: {why}", tier.name());
        }
        summary.add(tier.name(), outcome, started.elapsed());
    }
    let total = summary.total();
    println!("\n{summary}\n{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_tier(
    workshop: &Workshop,
    tier: Tier,
    metadata: &Metadata,
) -> Result<Result<Count, Missing>> {
    match tier {
        Tier::Fuzz => return fuzz::run(workshop),
        Tier::Node => return run_node(workshop),
        _ => {}
    }
    let targets = tier.targets(metadata);
    if tier == Tier::Unit {
        return run_unit(workshop, &targets).map(Ok);
    }
    if targets.is_empty() {
        let way_out = "a test target's name says its tier, see CONTRIBUTING.md";
        return Ok(Err(Missing(format!("no test target is of this tier; {way_out}"))));
    }
    let needs = match tier {
        Tier::Envoy => envoys(workshop),
        Tier::Grpc => tool::grpc_peer(workshop).map(|path| vec![(tool::GRPC_PEER, path.into())]),
        Tier::Scrape => {
            tool::prometheus(workshop).map(|path| vec![(tool::PROMETHEUS, path.into())])
        }
        Tier::Clusters => clusters(workshop),
        _ => Ok(Vec::new()),
    };
    match needs {
        Ok(environment) => run_targets(workshop, &[], &targets, &environment).map(Ok),
        Err(missing) => Ok(Err(missing)),
    }
}

/// Without nft some of the tests say that they were skipped; a machine wants all of them.
fn envoys(workshop: &Workshop) -> Result<Vec<(&'static str, OsString)>, Missing> {
    let mut needs = vec![(tool::ENVOY, tool::envoy(workshop)?.into())];
    match tool::nft(workshop) {
        Ok(path) => needs.push((tool::NFT, path.into())),
        Err(missing) if workshop.is_strict() => return Err(missing),
        Err(Missing(why)) => println!("pods are not tried: {why}"),
    }
    Ok(needs)
}

fn run_unit(workshop: &Workshop, targets: &BTreeSet<String>) -> Result<Count> {
    let mut count = run_targets(workshop, &["--lib", "--bins"], targets, &[])?;
    let mut documentation = cargo::cargo(workshop, "test");
    documentation.args(["--workspace", "--no-fail-fast", "--doc"]);
    count += cargo::count(&mut documentation)?;
    Ok(count)
}

/// What topologies are made of, and Envoy: their pods have sidecars. Istio's programs take minutes
/// to build, so a person may do without them; a machine wants all of the tests.
fn clusters(workshop: &Workshop) -> Result<Vec<(&'static str, OsString)>, Missing> {
    tool::root()?;
    let mut environment = tool::cluster(workshop)?;
    environment.push((tool::ENVOY, tool::envoy(workshop)?));
    let istio = match workshop.is_strict() {
        true => Some(tool::istio(workshop)?),
        false => tool::istio_if_built(workshop),
    };
    match istio {
        Some(folder) => environment.push((tool::ISTIO, folder)),
        None => println!("istiod and istioctl are not tried: cargo xtask tools istio builds them"),
    }
    Ok(environment.into_iter().map(|(name, path)| (name, path.into())).collect())
}

/// Go's tests of the node program. One of them is a whole cluster, which only root can make.
fn run_node(workshop: &Workshop) -> Result<Result<Count, Missing>> {
    match tool::cluster(workshop) {
        Ok(environment) => {
            let mut command = tool::go(&workshop.path("kind-tests/node"));
            command.args(["test", "-v", "-count=1", "./..."]).envs(environment);
            cargo::count(&mut command).map(Ok)
        }
        Err(missing) => Ok(Err(missing)),
    }
}

/// Always the whole workspace, narrowed by target: with packages chosen, cargo would choose other
/// features too, and build everything anew for each tier.
fn run_targets(
    workshop: &Workshop,
    also: &[&str],
    targets: &BTreeSet<String>,
    environment: &[(&str, OsString)],
) -> Result<Count> {
    let mut command = cargo::cargo(workshop, "test");
    command.args(["--workspace", "--no-fail-fast"]).args(also);
    for target in targets {
        command.args(["--test", target]);
    }
    for (name, value) in environment {
        command.env(name, value);
    }
    cargo::count(&mut command)
}
