//! The peer that can be had in the same run: the same view, derived from scratch.
//!
//! It is this project's own test oracle, told of nothing but two clusters and the one service, so
//! that it walks the endpoints of that service and no others. It was written to be plain, not fast:
//! the ratio says what deriving anew costs, not what somebody else's product does.

use std::hint::black_box;

use diolkos_topology::{ClientKind, Fact, Tick, oracle::World};

use super::change::{Changes, SIZES};
use crate::clock;
use crate::mesh::{Mesh, Shape};
use crate::report::{Cell, Table};
use crate::stats;

const REPETITIONS: usize = 15;
const NOW: Tick = Tick(1);

pub(super) fn run(shape: Shape, changes: &Changes) -> anyhow::Result<Table> {
    let mesh = Mesh::new(Shape { clusters: 2, services: 1, endpoints: 10_000, ..shape })?;
    let columns = ["endpoints", "from scratch, CPU us", "incremental, CPU us", "ratio"];
    let title = "In this run: a naive derivation of that service alone, for one audience";
    let mut table = Table::new("naive", title, &columns);
    for size in SIZES {
        let scratch = from_scratch_us(&mesh, size);
        let incremental = changes.remote_us(size);
        table.rows.push(vec![
            Cell::Count(size as u64),
            Cell::Number(scratch),
            Cell::Number(incremental),
            Cell::Number(scratch / incremental),
        ]);
    }
    Ok(table)
}

fn from_scratch_us(mesh: &Mesh, size: usize) -> f64 {
    let mut world = World::default();
    mesh.declare().iter().for_each(|event| world.apply(NOW, event));
    for index in 0..mesh.shape.clusters {
        let mut cluster = mesh.cluster(index);
        let mut facts = cluster.ground();
        if index == 1 {
            let key = mesh.service(0);
            facts.extend(cluster.service(0, &key));
            facts.extend(cluster.slices(&key, size).into_iter().map(Fact::Slice));
        }
        for fact in facts {
            world.apply(NOW, &cluster.upsert(fact));
        }
    }
    let audience = mesh.audience(ClientKind::Sidecar, 0, 0);
    let mut times: Vec<f64> = (0..REPETITIONS)
        .map(|_| {
            let begin = clock::thread_ns();
            black_box(world.view(&audience));
            (clock::thread_ns() - begin) as f64 / 1e3
        })
        .collect();
    stats::median(&mut times)
}
