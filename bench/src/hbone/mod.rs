//! `bench hbone`: who ends outer tunnels, at what cost, one beside the other.
//!
//! ```text
//!  core 0: clients ══ TLS 1.3, CONNECT ══> core 1: diolkos | Envoy ──> core 0: backend
//! ```
//!
//! As `bench gateway` in a network namespace of its own with reno; each peer is started anew in every
//! round, and a figure is the median of the rounds.

mod load;
mod peer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::runtime::Runtime;

use self::load::{Job, Load};
use self::peer::{Kind, Peer};
use crate::gateway::routes;
use crate::goal::Goal;
use crate::machine::Machine;
use crate::report::{Cell, Report, Table};
use crate::{clock, netns, stats};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    /// How often each peer is started and measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each job is watched
    #[arg(long, default_value_t = 2_000, value_name = "MILLISECONDS")]
    watch: u64,
    /// Tunnels that stand idle
    #[arg(long, default_value_t = 1_000)]
    idle: usize,
    /// Where Envoy is; without it, there is no comparison
    #[arg(long, value_name = "FILE", env = "DIOLKOS_TEST_ENVOY")]
    envoy: Option<PathBuf>,
}

const LOAD_CORE: usize = 0;
const PEER_CORE: usize = 1;
const AUTHORITY: &str = "s-0.bench.svc.cluster.local:80";
const GB: f64 = 1e9;

/// One row of the table: the same figure of each peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Cpu(Job),
    DownRate,
    UpRate,
    P50(Job),
    P99(Job),
    Base,
    Idle,
}

impl Row {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu(Job::Tunnel) => "CPU us, a tunnel on a connection that is there",
            Self::Cpu(Job::Connection) => "CPU us, a connection and a tunnel",
            Self::Cpu(Job::Down) => "CPU s a GB, down",
            Self::Cpu(Job::Up) => "CPU s a GB, up",
            Self::Cpu(Job::One) => "CPU us, a request, one at a time",
            Self::Cpu(Job::Many) => "CPU us, a request, 64 tunnels",
            Self::DownRate => "GB a second, down",
            Self::UpRate => "GB a second, up",
            Self::P50(Job::One) => "us a request alone, p50",
            Self::P50(_) => "us a tunnel, 16 at a time, p50",
            Self::P99(Job::One) => "us a request alone, p99",
            Self::P99(_) => "us a tunnel, 16 at a time, p99",
            Self::Base => "MiB with nobody connected",
            Self::Idle => "KiB an idle tunnel, 50 to a connection",
        }
    }
}

type Figures = BTreeMap<(Row, Kind), Vec<f64>>;

pub(crate) fn run(settings: &Settings) -> anyhow::Result<Report> {
    ensure!(settings.rounds > 0 && settings.watch > 0, "at least one round of one millisecond");
    let machine = Machine::here();
    netns::enter()?;
    let found = Kind::ALL.map(|kind| (kind, kind.program(settings.envoy.as_deref())));
    ensure!(
        found[0].1.is_some(),
        "diolkos is not beside this program: `cargo build --release --package diolkos`"
    );
    clock::pin(LOAD_CORE);
    let certificates = tempfile::Builder::new().prefix("diolkos-bench-").tempdir()?;
    routes::write_certificates(certificates.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = Figures::new();
    let load = runtime.block_on(Load::new(certificates.path()))?;
    for round in 1..=settings.rounds {
        for (kind, program) in &found {
            let Some(program) = program else { continue };
            eprintln!("round {round}: {}", kind.name());
            let start = || {
                let called = (&load, AUTHORITY);
                Peer::start(&runtime, *kind, program, PEER_CORE, called, certificates.path())
            };
            let measured = measure(&runtime, &load, settings, start);
            for (row, figure) in measured.with_context(|| kind.name())? {
                figures.entry((row, *kind)).or_default().push(figure);
            }
        }
    }
    let missing = found.iter().filter(|(_, program)| program.is_none());
    let missing: Vec<_> = missing.map(|(kind, _)| kind.name()).collect();
    Ok(report(machine, settings, figures, &missing))
}

fn measure(
    runtime: &Runtime,
    load: &Load,
    settings: &Settings,
    start: impl Fn() -> anyhow::Result<Peer>,
) -> anyhow::Result<Vec<(Row, f64)>> {
    let peer = start()?;
    let mut all = vec![(Row::Base, peer.process.proportional_bytes() / f64::from(1 << 20))];
    for job in Job::ALL {
        let time = Duration::from_millis(settings.watch);
        let cpu = || peer.process.scheduled_ns();
        let (spent, took) = runtime.block_on(load.work(job, (peer.at, AUTHORITY), time, cpu))?;
        let seen = &load.seen;
        let failures = seen.failures.load(Ordering::Relaxed);
        ensure!(failures == 0, "{job:?}: {failures} failed");
        let (done, unit) = match job {
            Job::Down | Job::Up => (seen.bytes.load(Ordering::Relaxed) as f64 / GB, 1e9),
            _ => (seen.count.load(Ordering::Relaxed) as f64, 1e3),
        };
        all.push((Row::Cpu(job), spent as f64 / unit / done));
        let mut latencies = seen.latencies();
        match job {
            Job::Down => all.push((Row::DownRate, done / took.as_secs_f64())),
            Job::Up => all.push((Row::UpRate, done / took.as_secs_f64())),
            Job::One | Job::Tunnel => {
                all.push((Row::P50(job), stats::median(&mut latencies)));
                all.push((Row::P99(job), stats::percentile(&mut latencies, 99.0)));
            }
            Job::Connection | Job::Many => {}
        }
    }
    drop(peer);
    // In a process that has done nothing else: what an allocator keeps would hide it.
    let peer = start()?;
    let before = peer.process.proportional_bytes();
    let held = runtime.block_on(load.hold((peer.at, AUTHORITY), settings.idle))?;
    let grown = peer.process.proportional_bytes() - before;
    all.push((Row::Idle, grown / 1024.0 / held.len() as f64));
    Ok(all)
}

fn report(machine: Machine, settings: &Settings, figures: Figures, missing: &[&str]) -> Report {
    let medians: BTreeMap<(Row, Kind), f64> =
        figures.into_iter().map(|(key, mut rounds)| (key, stats::median(&mut rounds))).collect();
    let of = |row, kind| medians.get(&(row, kind)).copied().unwrap_or(f64::NAN);
    let ratio = |row| of(row, Kind::Diolkos) / of(row, Kind::Envoy);
    let mut table =
        Table::new("hbone", "Ending outer tunnels", &["what", "diolkos", "envoy", "ratio"]);
    for &(row, _) in medians.keys().filter(|(_, kind)| *kind == Kind::Diolkos) {
        let mut cells = vec![Cell::Text(row.name().into())];
        cells.extend(Kind::ALL.map(|kind| Cell::Number(of(row, kind))));
        cells.push(Cell::Number(ratio(row)));
        table.rows.push(cells);
    }
    let goal = |row: Row| Goal::at_most(row.name(), 1.0, "of Envoy", ratio(row));
    let cpu = [Job::Tunnel, Job::Connection, Job::Down, Job::Up, Job::Many].map(Row::Cpu);
    let mut notes = vec![
        "Outer tunnels alone: TLS 1.3 with a certificate of both, HTTP/2 CONNECT, plain bytes to the \
         backend. What is inside a tunnel in practice, TLS of its own, costs either peer nothing."
            .to_owned(),
        "diolkos runs with metrics, limits, its access log and a primary; Envoy without a log."
            .to_owned(),
        "ztunnel is not here: it comes neither as a package nor from a registry of crates.".to_owned(),
    ];
    notes.extend(missing.iter().map(|name| format!("not here, so not compared: {name}")));
    Report {
        bench: "hbone",
        machine,
        settings: json!({
            "rounds": settings.rounds, "watch_ms": settings.watch, "idle": settings.idle,
            "congestion_control": "reno", "cores": { "load": LOAD_CORE, "peer": PEER_CORE },
            "missing": missing,
        }),
        tables: vec![table],
        goals: cpu.map(goal).into_iter().collect(),
        notes,
    }
}
