//! `bench control-plane`: diolkos and istiod in turn, on the same API servers, with the same
//! objects and the same clients.
//!
//! ```text
//!  load process                    cluster-000 ... cluster-NNN        one of: diolkos, istiod,
//!  PATCH an EndpointSlice (t0) ──> etcd + kube-apiserver each ──────> istiod tuned
//!  N light clients <───────────────────────────────────────────────── N delta streams: CDS, EDS
//! ```
//!
//! No controller runs: what changes is what the bench changes. Whatever a client holds of a service
//! is compared with what it must hold, and no figure counts before every client holds all of it.

mod api;
mod cluster;
mod drive;
mod ground;
mod peer;
mod table;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde_json::json;

use self::drive::{Cold, Run, Stage};
use self::ground::Ground;
use self::peer::{Kind, Launch, TUNING};
use crate::machine::Machine;
use crate::mesh::Shape;
use crate::netns;
use crate::process::Tools;
use crate::report::Report;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    /// How many clusters the mesh has while clients and changes are measured; each is a stage
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    clusters: Vec<usize>,
    /// With how many clusters a start is measured
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,6")]
    cold: Vec<usize>,
    /// Of each cluster; the same names everywhere
    #[arg(long, default_value_t = 300)]
    services: usize,
    /// Of each service in each cluster, a Pod each
    #[arg(long, default_value_t = 10)]
    endpoints: usize,
    #[arg(long, default_value_t = 100)]
    clients: usize,
    /// How many changes of each kind, one at a time
    #[arg(long, default_value_t = 100)]
    changes: usize,
    /// Changes a second in the churn
    #[arg(long, default_value_t = 50)]
    rate: usize,
    /// How long the churn goes on
    #[arg(long, default_value_t = 10)]
    seconds: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where etcd, kube-apiserver and pilot-discovery are
    #[arg(long, value_name = "FOLDER", default_value = ".tools/bin")]
    tools: PathBuf,
}

const CLUSTERS_MAX: usize = 9;
const CLIENTS_MAX: usize = 2_000;

/// By how many clusters, and by whom.
type Colds = BTreeMap<(usize, Kind), Cold>;
type Stages = BTreeMap<(usize, Kind), Stage>;

pub(crate) fn run(settings: &Settings) -> anyhow::Result<Report> {
    let counts = settings.check()?;
    let tools = Tools::find(&settings.tools)?;
    let machine = Machine::here();
    let congestion = netns::enter_if_root();
    let clusters = counts.last().copied().context("at least one count of clusters")?;
    let &Settings { services, endpoints, seed, .. } = settings;
    eprintln!("{clusters} API servers, {services} services of {endpoints} endpoints each");
    let mut ground = Ground::lay(&tools, Shape { clusters, services, endpoints, seed })?;
    let launch = Launch::prepare(&tools, &ground)?;
    let (mut colds, mut stages) = (Colds::new(), Stages::new());
    for clusters in counts {
        ground.join(clusters)?;
        for kind in Kind::ALL {
            let named = || format!("{} with {clusters} clusters", kind.name());
            eprintln!("{}", named());
            let (mut run, cold) =
                Run::start(&mut ground, &launch, kind, clusters).with_context(named)?;
            if settings.cold.contains(&clusters) {
                colds.insert((clusters, kind), cold);
            }
            if settings.clusters.contains(&clusters) {
                stages.insert((clusters, kind), run.stage(settings).with_context(named)?);
            }
        }
    }
    let each = services * endpoints;
    Ok(Report {
        bench: "control-plane",
        machine,
        settings: settings.shown(&congestion),
        tables: table::tables(settings, &colds, &stages, each),
        goals: table::goals(&colds, &stages, each),
        notes: table::notes(settings),
    })
}

impl Settings {
    /// The counts of clusters, each once, smallest first.
    fn check(&self) -> anyhow::Result<BTreeSet<usize>> {
        let counts: BTreeSet<usize> = self.clusters.iter().chain(&self.cold).copied().collect();
        let most = counts.last().copied().unwrap_or_default();
        ensure!(!counts.contains(&0) && most > 0, "at least one cluster");
        ensure!(most <= CLUSTERS_MAX, "{most} clusters, at most {CLUSTERS_MAX}");
        ensure!((2..=100).contains(&self.endpoints), "2 to 100 endpoints a service: one slice");
        ensure!((2..=CLIENTS_MAX).contains(&self.clients), "2 to {CLIENTS_MAX} clients");
        ensure!(self.changes > 0 && self.seconds > 0, "at least one change and one second");
        ensure!((1..=1_000).contains(&self.rate), "1 to 1000 changes a second");
        // With a third change a service could be as it was after the first, and who saw which
        // could not be told.
        let most = 2 * self.services;
        let churn = self.rate * self.seconds;
        ensure!(churn <= most, "{churn} changes in the churn, at most {most} with these services");
        Ok(counts)
    }

    fn shown(&self, congestion: &str) -> serde_json::Value {
        let tuning: BTreeMap<_, _> = TUNING.into_iter().collect();
        json!({
            "clusters": self.clusters, "cold": self.cold, "services": self.services,
            "endpoints": self.endpoints, "clients": self.clients, "changes": self.changes,
            "rate": self.rate, "seconds": self.seconds, "seed": self.seed, "tuned": tuning,
            "congestion_control": congestion,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            clusters: vec![3, 1],
            cold: vec![1, 2],
            services: 250,
            endpoints: 10,
            clients: 2,
            changes: 1,
            rate: 50,
            seconds: 10,
            seed: 1,
            tools: PathBuf::new(),
        }
    }

    #[test]
    fn counts_of_clusters_are_taken_once_and_in_order() {
        assert_eq!(settings().check().unwrap().into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_churn_in_which_states_come_again_is_refused() {
        settings().check().unwrap();
        let error = Settings { seconds: 11, ..settings() }.check().unwrap_err().to_string();
        assert_eq!(error, "550 changes in the churn, at most 500 with these services");
    }

    #[test]
    fn bounds_are_held() {
        let with = |change: fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        assert_eq!(with(|one| one.cold.push(0)), "at least one cluster");
        assert_eq!(with(|one| one.cold.push(10)), "10 clusters, at most 9");
        assert!(with(|one| one.endpoints = 101).starts_with("2 to 100 endpoints"));
        assert!(with(|one| one.clients = 1).starts_with("2 to 2000 clients"));
        assert!(with(|one| one.rate = 0).starts_with("1 to 1000 changes"));
    }
}
