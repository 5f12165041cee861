//! Filling a federation: heap and CPU per endpoint.

use diolkos_topology::{AudienceId, ClientKind, Event, Fact};

use super::Bench;
use crate::memory;
use crate::mesh::{Cluster, Mesh};
use crate::report::{Cell, Table};

/// On ten networks sidecars, and one audience of each other kind.
const SIDECARS: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audiences {
    None,
    /// Before the first fact.
    Live,
}

#[derive(Debug)]
pub(super) struct Ingest {
    endpoints: usize,
    heap_before: i64,
    /// After everything but endpoints, and after everything.
    heap_ground: i64,
    heap: i64,
    resident: i64,
    ground_ns: u64,
    slices_ns: u64,
    changes: usize,
}

pub(super) fn run(mesh: &Mesh, audiences: Audiences) -> (Bench, Ingest) {
    let heap_before = memory::live_bytes();
    let resident_before = memory::resident_bytes();
    let mut bench = Bench::default();
    let mut ground_ns = bench.apply(mesh.declare()).cpu_ns;
    let mut changes = 0;
    if audiences == Audiences::Live {
        bench.apply(live_audiences(mesh).collect());
    }
    let mut seqs = Vec::new();
    for index in 0..mesh.shape.clusters {
        let mut cluster = mesh.cluster(index);
        let cost = bench.apply(ground(mesh, &mut cluster));
        ground_ns += cost.cpu_ns;
        changes += cost.changes;
        seqs.push(cluster.seq());
    }
    let heap_ground = heap_now(&mut bench, &seqs);
    let mut slices_ns = 0;
    for (index, seq) in seqs.iter().enumerate() {
        let mut cluster = mesh.cluster(index);
        cluster.go_on(*seq);
        let cost = bench.apply(slices(mesh, &mut cluster));
        slices_ns += cost.cpu_ns;
        changes += cost.changes;
    }
    let heap = heap_now(&mut bench, &seqs);
    let resident = memory::resident_bytes() - resident_before;
    let endpoints = mesh.endpoints();
    let ingest = Ingest {
        endpoints,
        heap_before,
        heap_ground,
        heap,
        resident,
        ground_ns,
        slices_ns,
        changes,
    };
    (bench, ingest)
}

/// As many as there are networks for, at most twelve.
pub(super) fn live_audiences(mesh: &Mesh) -> impl Iterator<Item = Event> {
    let mesh = *mesh;
    let clusters = mesh.shape.clusters;
    let sidecars = (0..SIDECARS).map(move |index| {
        let cluster = index * clusters.div_ceil(SIDECARS) % clusters;
        mesh.audience(ClientKind::Sidecar, cluster, index % 3)
    });
    let others = [ClientKind::Gateway, ClientKind::Grpc];
    let others = others.into_iter().map(move |kind| mesh.audience(kind, 0, 0));
    (0..)
        .zip(sidecars.chain(others))
        .map(|(id, audience)| Event::AudienceUp { id: AudienceId(id), audience })
}

/// Bytes per endpoint, with the audiences that `bench` has by now.
pub(super) fn heap_with_audiences(bench: &mut Bench, quiet: &Ingest) -> f64 {
    let heap = heap_now(bench, &[]) - quiet.heap_before;
    heap as f64 / quiet.endpoints as f64
}

fn ground(mesh: &Mesh, cluster: &mut Cluster) -> Vec<Event> {
    let mut facts = cluster.ground();
    for number in 0..mesh.shape.services {
        facts.extend(cluster.service(number, &mesh.service(number)));
    }
    facts.into_iter().map(|fact| cluster.upsert(fact)).collect()
}

fn slices(mesh: &Mesh, cluster: &mut Cluster) -> Vec<Event> {
    let mut events = Vec::new();
    for number in 0..mesh.shape.services {
        for slice in cluster.slices(&mesh.service(number), mesh.shape.endpoints) {
            events.push(cluster.upsert(Fact::Slice(slice)));
        }
    }
    events
}

/// Without what only the bench holds.
fn heap_now(bench: &mut Bench, seqs: &[u64]) -> i64 {
    bench.effects = diolkos_topology::Effects::default();
    memory::live_bytes() - i64::try_from(size_of_val(seqs)).unwrap_or_default()
}

impl Ingest {
    /// Services, exports, nodes and gateways are facts as well, but no endpoints.
    pub(super) fn cpu_us(&self) -> f64 {
        self.slices_ns as f64 / 1e3 / self.endpoints as f64
    }

    fn per_endpoint(&self, bytes: i64) -> Cell {
        Cell::Number(bytes as f64 / self.endpoints as f64)
    }
}

pub(super) fn table(quiet: &Ingest, live: &Ingest, heap_live: f64) -> Table {
    let title = format!("{} endpoints: heap and CPU per endpoint", quiet.endpoints);
    let mut table = Table::new("ingest", &title, &["what", "no audience", "12 live audiences"]);
    let mut row = |what: &str, quiet: Cell, live: Cell| {
        table.rows.push(vec![Cell::Text(what.into()), quiet, live]);
    };
    let heap = |of: &Ingest| of.per_endpoint(of.heap - of.heap_before);
    let ground = |of: &Ingest| of.per_endpoint(of.heap_ground - of.heap_before);
    let slices = |of: &Ingest| of.per_endpoint(of.heap - of.heap_ground);
    row("live heap, B", heap(quiet), Cell::Number(heap_live));
    row("  the same, audiences came first, B", Cell::Text("".into()), heap(live));
    row("  of it before the first endpoint, B", ground(quiet), ground(live));
    row("  of it with the endpoints, B", slices(quiet), slices(live));
    row("resident, B", quiet.per_endpoint(quiet.resident), Cell::Text("".into()));
    row("ingest of endpoints, CPU us", Cell::Number(quiet.cpu_us()), Cell::Number(live.cpu_us()));
    let ground_us = |of: &Ingest| Cell::Number(of.ground_ns as f64 / 1e3 / of.endpoints as f64);
    row("ingest of all else, CPU us per endpoint", ground_us(quiet), ground_us(live));
    row("view changes", Cell::Count(quiet.changes as u64), Cell::Count(live.changes as u64));
    table
}
