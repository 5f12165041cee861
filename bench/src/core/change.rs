//! From one endpoint's event to its `ViewDelta`.
//!
//! One EndpointSlice is said again with one endpoint changed, for services of 1 to 10,000 endpoints
//! in one cluster and one of the mesh's own services, which is in all of them.

use std::time::Instant;

use diolkos_topology::{
    AudienceId, ClientKind, Event, Fact, Health, ServiceKey, SliceFact, Tick, Work,
};

use super::Bench;
use crate::clock;
use crate::mesh::{Cluster, Mesh, Shape, copy};
use crate::report::{Cell, Table};
use crate::stats;

pub(super) const AUDIENCES: [usize; 3] = [1, 10, 100];
pub(super) const SIZES: [usize; 5] = [1, 10, 100, 1_000, 10_000];
/// Where endpoints change. It has a network of its own.
const TESTED: usize = 1;
/// Services of the mesh beside those under test.
const NEIGHBOURS_MAX: usize = 50;
/// Numbers of the services under test, beyond all others.
const FIRST_NUMBER: usize = 4_990;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// One endpoint ceases to be ready, and becomes so again: the gateways' weights change.
    RemoteWeight,
    /// Two endpoints of one group swap readiness: the weights stay.
    RemoteSwap,
    /// Nothing changed at all.
    Again,
    /// As the first, for audiences on the endpoint's own network.
    Local,
}

impl Case {
    const ALL: [Self; 4] = [Self::RemoteWeight, Self::RemoteSwap, Self::Again, Self::Local];

    fn name(self) -> &'static str {
        match self {
            Self::RemoteWeight => "remote, weight changes",
            Self::RemoteSwap => "remote, weights stay",
            Self::Again => "said again",
            Self::Local => "local",
        }
    }

    fn step(self, slice: &mut SliceFact, repetition: usize) {
        let odd = repetition % 2 == 1;
        let health = |ready| if ready { Health::Ready } else { Health::NotReady };
        match (self, slice.endpoints.as_mut_slice()) {
            (Self::RemoteWeight | Self::Local, [first, ..]) => first.health = health(odd),
            (Self::RemoteSwap, [first, second, ..]) => {
                first.health = health(odd);
                second.health = health(!odd);
            }
            _ => {}
        }
    }

    fn is_possible(self, slice: &SliceFact) -> bool {
        self != Self::RemoteSwap || slice.endpoints.len() > 1
    }
}

struct Subject {
    /// As the table says it.
    size: String,
    /// The first slice of the service in the tested cluster.
    slice: SliceFact,
}

#[derive(Debug)]
struct Row {
    case: Case,
    size: String,
    audiences: usize,
    /// Of the repetition that sent most.
    changes: usize,
    cpu_us: f64,
    cpu_us_p99: f64,
    wall_us: f64,
    /// Clusters' shares of the service that were looked at, for each event.
    shares: f64,
}

#[derive(Debug)]
pub(super) struct Changes {
    rows: Vec<Row>,
}

pub(super) fn run(shape: Shape, repetitions: usize) -> anyhow::Result<Changes> {
    let mesh = Mesh::new(Shape { services: shape.services.min(NEIGHBOURS_MAX), ..shape })?;
    let mut bench = Bench::default();
    let (mut tested, subjects) = fill(&mut bench, &mesh);
    let mut rows = Vec::new();
    for case in Case::ALL {
        for audiences in AUDIENCES {
            bench.apply((0..audiences).map(|index| up(&mesh, case, index)).collect());
            for subject in subjects.iter().filter(|subject| case.is_possible(&subject.slice)) {
                let row = measure(&mut bench, &mut tested, subject, case, repetitions);
                rows.push(Row { audiences, ..row });
            }
            let down = |index| Event::AudienceDown { id: AudienceId(index) };
            bench.apply((0..audiences as u32).map(down).collect());
        }
    }
    Ok(Changes { rows })
}

fn up(mesh: &Mesh, case: Case, index: usize) -> Event {
    let cluster = match case {
        Case::Local => TESTED,
        _ => match index % mesh.shape.clusters {
            TESTED => 0,
            other => other,
        },
    };
    let audience = mesh.audience(ClientKind::Sidecar, cluster, index);
    Event::AudienceUp { id: AudienceId(index as u32), audience }
}

fn fill(bench: &mut Bench, mesh: &Mesh) -> (Cluster, Vec<Subject>) {
    bench.apply(mesh.declare());
    let mut subjects = Vec::new();
    let mut tested = mesh.cluster(TESTED);
    for index in 0..mesh.shape.clusters {
        let mut other = mesh.cluster(index);
        let cluster = if index == TESTED { &mut tested } else { &mut other };
        let facts = cluster.ground();
        say(bench, cluster, facts);
        for number in 0..mesh.shape.services {
            let slices = serve(bench, mesh, cluster, number, mesh.shape.endpoints);
            if index == TESTED && number == 0 {
                let size = format!("{}x{}", mesh.shape.clusters, mesh.shape.endpoints);
                subjects.extend(slices.into_iter().next().map(|slice| Subject { size, slice }));
            }
        }
    }
    for (index, size) in SIZES.into_iter().enumerate() {
        let slices = serve(bench, mesh, &mut tested, FIRST_NUMBER + index, size);
        let first = slices.into_iter().next();
        subjects.extend(first.map(|slice| Subject { size: size.to_string(), slice }));
    }
    subjects.rotate_left(1);
    (tested, subjects)
}

fn serve(
    bench: &mut Bench,
    mesh: &Mesh,
    cluster: &mut Cluster,
    number: usize,
    endpoints: usize,
) -> Vec<SliceFact> {
    let key: ServiceKey = mesh.service(number);
    let facts = cluster.service(number, &key).to_vec();
    say(bench, cluster, facts);
    let slices = cluster.slices(&key, endpoints);
    say(bench, cluster, slices.iter().map(copy::slice).map(Fact::Slice).collect());
    slices
}

fn say(bench: &mut Bench, cluster: &mut Cluster, facts: Vec<Fact>) {
    bench.apply(facts.into_iter().map(|fact| cluster.upsert(fact)).collect());
}

fn measure(
    bench: &mut Bench,
    cluster: &mut Cluster,
    subject: &Subject,
    case: Case,
    repetitions: usize,
) -> Row {
    let overhead_ns = clock::overhead_ns();
    let mut slice = copy::slice(&subject.slice);
    let (mut cpu, mut wall, mut changes) = (Vec::new(), Vec::new(), 0);
    // Even, so that what alternates ends as it began; the first two warm up.
    let repetitions = repetitions.div_ceil(2) * 2 + 2;
    let mut begin = Work::default();
    for repetition in 0..repetitions {
        case.step(&mut slice, repetition);
        let event = cluster.upsert(Fact::Slice(copy::slice(&slice)));
        bench.effects.clear();
        if repetition == 2 {
            begin = bench.federation.work();
        }
        let (at, at_ns) = (Instant::now(), clock::thread_ns());
        bench.federation.apply(Tick(1), event, &mut bench.effects);
        let ns = clock::thread_ns() - at_ns;
        if repetition >= 2 {
            wall.push(at.elapsed().as_secs_f64() * 1e6);
            cpu.push(ns.saturating_sub(overhead_ns) as f64 / 1e3);
            changes = changes.max(bench.effects.view.changes.len());
        }
    }
    let shares = bench.federation.work().shares_visited - begin.shares_visited;
    let restored = cluster.upsert(Fact::Slice(copy::slice(&subject.slice)));
    bench.apply(vec![restored]);
    Row {
        case,
        size: subject.size.clone(),
        audiences: 0,
        changes,
        cpu_us: stats::median(&mut cpu),
        cpu_us_p99: stats::percentile(&mut cpu, 99.0),
        wall_us: stats::median(&mut wall),
        shares: shares as f64 / (repetitions - 2) as f64,
    }
}

impl Changes {
    /// The median of a remote change at the size where it is highest.
    pub(super) fn slowest_us(&self, audiences: usize) -> f64 {
        let remote = self.rows.iter().filter(|row| {
            row.audiences == audiences && matches!(row.case, Case::RemoteWeight | Case::RemoteSwap)
        });
        remote.map(|row| row.cpu_us).fold(f64::NAN, f64::max)
    }

    /// A remote change with weights that change, for one audience.
    pub(super) fn remote_us(&self, size: usize) -> f64 {
        let size = size.to_string();
        let mut rows = self.rows.iter();
        let row = rows
            .find(|row| row.case == Case::RemoteWeight && row.audiences == 1 && row.size == size);
        row.map_or(f64::NAN, |row| row.cpu_us)
    }

    /// View changes of events that alter no weight.
    pub(super) fn sent_for_nothing(&self) -> usize {
        let still = |row: &&Row| matches!(row.case, Case::RemoteSwap | Case::Again);
        self.rows.iter().filter(still).map(|row| row.changes).sum()
    }

    pub(super) fn table(&self) -> Table {
        let title = "One endpoint changes: from its event to the ViewDelta";
        let columns = [
            "case",
            "endpoints",
            "audiences",
            "changes",
            "CPU us",
            "CPU us p99",
            "wall us",
            "shares visited",
        ];
        let mut table = Table::new("change", title, &columns);
        table.rows = self.rows.iter().map(Row::cells).collect();
        table
    }
}

impl Row {
    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::Text(self.case.name().into()),
            Cell::Text(self.size.clone()),
            Cell::Count(self.audiences as u64),
            Cell::Count(self.changes as u64),
            Cell::Number(self.cpu_us),
            Cell::Number(self.cpu_us_p99),
            Cell::Number(self.wall_us),
            Cell::Number(self.shares),
        ]
    }
}
