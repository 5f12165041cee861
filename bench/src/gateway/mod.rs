//! `bench gateway`: who passes connections on by SNI, at what cost, one beside the other.
//!
//! ```text
//!  core 0: clients ──hello──> core 1: diolkos | Envoy | HAProxy | nginx ──> core 0: backend
//! ```
//!
//! In a network namespace of its own with reno, as BBR's timers would be all one sees. In every
//! round each peer is started anew and does each job in turn; a figure is the median of the rounds.

mod flow;
mod hello;
mod job;
mod load;
mod peer;
mod plot;
mod resource;
pub(crate) mod routes;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde_json::json;

use self::job::{Figures, Job};
use self::load::Load;
use self::peer::{Kind, Launch};
use crate::clock;
use crate::machine::Machine;
use crate::netns;
use crate::report::Report;
use crate::stats;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    /// How often each peer is started and measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each job is watched
    #[arg(long, default_value_t = 1_000, value_name = "MILLISECONDS")]
    watch: u64,
    /// Connections that stand idle, or wait with half a hello
    #[arg(long, default_value_t = 4_000)]
    idle: usize,
    /// With how many routes the cost is measured, beside one
    #[arg(long, value_delimiter = ',', default_value = "1000,100000")]
    routes: Vec<usize>,
    /// Routes changed a second while requests go on
    #[arg(long, default_value_t = 100)]
    churn: u32,
    /// Where Envoy is; without it, it is not compared
    #[arg(long, value_name = "FILE", env = "DIOLKOS_TEST_ENVOY")]
    envoy: Option<PathBuf>,
}

/// Who measured which job, by the number of routes.
type All = BTreeMap<(usize, Job, Kind), Figures>;

const LOAD_CORE: usize = 0;
const PEER_CORE: usize = 1;
/// Filter chains in the tens of thousands cost Envoy minutes to start.
const ENVOY_ROUTES_MAX: usize = 10_000;

pub(crate) fn run(settings: &Settings) -> anyhow::Result<Report> {
    ensure!(settings.rounds > 0 && settings.watch > 0, "at least one round of one millisecond");
    let machine = Machine::here();
    netns::enter()?;
    let (present, missing): (Vec<_>, Vec<_>) = Kind::ALL
        .into_iter()
        .map(|kind| (kind, kind.program(settings.envoy.as_deref())))
        .partition(|(kind, program)| program.is_some() || *kind == Kind::Direct);
    ensure!(
        present.iter().any(|(kind, _)| *kind == Kind::Diolkos),
        "diolkos is not beside this program: `cargo build --release --package diolkos`"
    );
    clock::pin(LOAD_CORE);
    let certificates = tempfile::Builder::new().prefix("diolkos-bench-").tempdir()?;
    routes::write_certificates(certificates.path())?;
    let mut load = Load::new()?;
    let mut rounds: BTreeMap<(usize, Job, Kind), Vec<Figures>> = BTreeMap::new();
    let mut counts = vec![1];
    counts.extend(settings.routes.iter().copied().filter(|count| *count > 1));
    for round in 0..settings.rounds {
        for (kind, program) in &present {
            for &routes in &counts {
                if skipped(*kind, routes) {
                    continue;
                }
                eprintln!("round {}: {} with {routes} routes", round + 1, kind.name());
                let launch = Launch {
                    kind: *kind,
                    program: program.as_deref().unwrap_or(std::path::Path::new("")),
                    core: PEER_CORE,
                    routes,
                    backend: load.backend,
                    certificates: certificates.path(),
                };
                let figures = job::run(&mut load, &launch, settings)
                    .with_context(|| format!("{} with {routes} routes", kind.name()))?;
                for (job, figures) in figures {
                    rounds.entry((routes, job, *kind)).or_default().push(figures);
                }
            }
        }
    }
    let all: All = rounds.into_iter().map(|(key, rounds)| (key, median(&rounds))).collect();
    let missing = missing.iter().map(|(kind, _)| kind.name()).collect::<Vec<_>>();
    Ok(Report {
        bench: "gateway",
        machine,
        settings: json!({
            "rounds": settings.rounds, "watch_ms": settings.watch, "idle": settings.idle,
            "routes": counts, "churn": settings.churn, "congestion_control": "reno",
            "cores": { "load": LOAD_CORE, "peer": PEER_CORE }, "missing": missing,
        }),
        tables: table::tables(&all),
        goals: table::goals(&all),
        notes: table::notes(&missing),
    })
}

/// Where there is nobody between, routes are of no consequence.
fn skipped(kind: Kind, routes: usize) -> bool {
    match kind {
        Kind::Direct => routes > 1,
        Kind::Envoy => routes > ENVOY_ROUTES_MAX,
        _ => false,
    }
}

/// Figure by figure.
fn median(rounds: &[Figures]) -> Figures {
    let of = |pick: fn(&Figures) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(pick).filter(|one| one.is_finite()).collect();
        stats::median(&mut all)
    };
    Figures {
        cpu: of(|one| one.cpu),
        rate: of(|one| one.rate),
        p50: of(|one| one.p50),
        p99: of(|one| one.p99),
        failures: rounds.iter().map(|one| one.failures).sum(),
    }
}

/// The plot of the last report, beside its tables.
pub(crate) fn plot(report: &Report) -> String {
    plot::svg(report)
}
