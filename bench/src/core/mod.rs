//! `bench core`: the federation alone, on one thread.

mod change;
mod cold;
mod ingest;
mod naive;

use diolkos_topology::{Effects, Event, Federation, Tick};
use serde_json::json;

use crate::clock;
use crate::goal::Goal;
use crate::machine::Machine;
use crate::mesh::{Mesh, Shape};
use crate::report::{Cell, Report, Table};

#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    #[arg(long, default_value_t = 100)]
    clusters: usize,
    /// In each cluster, of the same names
    #[arg(long, default_value_t = 1_000)]
    services: usize,
    /// Of each service in each cluster
    #[arg(long, default_value_t = 10)]
    endpoints: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often each change is measured
    #[arg(long, default_value_t = 1_000)]
    repetitions: usize,
}

/// A federation and where its effects go.
#[derive(Debug, Default)]
struct Bench {
    federation: Federation,
    effects: Effects,
}

/// What applying some events took.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    cpu_ns: u64,
    changes: usize,
}

impl Bench {
    /// CPU of this thread while the events were applied; what came of them is dropped after.
    fn apply(&mut self, events: Vec<Event>) -> Cost {
        self.effects.clear();
        let begin = clock::thread_ns();
        for event in events {
            self.federation.apply(Tick(1), event, &mut self.effects);
        }
        let cpu_ns = clock::thread_ns() - begin;
        Cost { cpu_ns, changes: self.effects.view.changes.len() }
    }
}

pub(crate) fn run(settings: &Settings) -> anyhow::Result<Report> {
    let &Settings { clusters, services, endpoints, seed, repetitions } = settings;
    let shape = Shape { clusters, services, endpoints, seed };
    let mesh = Mesh::new(shape)?;
    let machine = Machine::here();
    let pinned = clock::pin(machine_core());

    let (mut bench, quiet) = ingest::run(&mesh, ingest::Audiences::None);
    let cold = cold::run(&mut bench, &mesh);
    let heap_live = ingest::heap_with_audiences(&mut bench, &quiet);
    drop(bench);
    let (bench, live) = ingest::run(&mesh, ingest::Audiences::Live);
    drop(bench);
    let changes = change::run(shape, repetitions)?;
    let naive = naive::run(shape, &changes)?;

    let goals = goals(heap_live, &quiet, &changes);
    let tables = vec![
        ingest::table(&quiet, &live, heap_live),
        cold.table(),
        changes.table(),
        naive,
        recorded(),
    ];
    Ok(Report {
        bench: "core",
        machine,
        settings: json!({ "shape": shape, "repetitions": repetitions, "pinned": pinned }),
        tables,
        goals,
        notes: vec![
            "Times are CPU time of the measuring thread; a cost is the median, and the 99th \
             percentile beside it."
                .into(),
            "Heap is what was requested from the allocator and not given back: nodes, gateways, \
             services and exports included, divided by the number of endpoints."
                .into(),
        ],
    })
}

/// The last core; the first one has the interrupts.
fn machine_core() -> usize {
    std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1)
}

fn goals(heap_live: f64, quiet: &ingest::Ingest, changes: &change::Changes) -> Vec<Goal> {
    let mut goals = vec![
        Goal::at_most("heap per endpoint, with live audiences", 150.0, "B", heap_live),
        Goal::at_most("ingest, CPU per endpoint", 1.5, "us", quiet.cpu_us()),
    ];
    for audiences in change::AUDIENCES {
        let name = format!("one remote change to its delta, any size, {audiences} live audiences");
        goals.push(Goal::at_most(&name, 50.0, "us", changes.slowest_us(audiences)));
    }
    let sent = changes.sent_for_nothing() as f64;
    goals.push(Goal::at_most("view changes where the weights stay", 0.0, "changes", sent));
    goals
}

/// Figures for istiod that were taken elsewhere, on an equal machine, and not in this run.
fn recorded() -> Table {
    let mut table = Table::new(
        "recorded_elsewhere",
        "Recorded elsewhere, not in this run: istiod (86c9f01), its index in process; 2-core Xeon \
         VM, 24 GiB",
        &["what", "1x1000x10", "10x1000x10", "100x1000x10"],
    );
    for (what, figures) in [
        ("index, B per endpoint", ["870", "770", "776"]),
        ("ingest, CPU us per endpoint", ["2.5", "2.9", "6.3"]),
        ("cold EDS of all services for one proxy, CPU ms", ["108", "928", "11400"]),
        ("one change to one client, ms", ["0.7", "1.6", "10"]),
    ] {
        let cells = figures.map(|text| Cell::Text(text.into()));
        table.rows.push([vec![Cell::Text(what.into())], cells.to_vec()].concat());
    }
    table
}
