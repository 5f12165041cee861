//! A new audience on a full mesh: its whole view at once.

use super::{Bench, ingest};
use crate::mesh::Mesh;
use crate::report::{Cell, Table};
use crate::stats;
use diolkos_topology::Event;

#[derive(Debug)]
pub(super) struct Cold {
    /// Kind of client, CPU, changes.
    ups: Vec<(String, f64, usize)>,
}

/// Leaves the audiences live.
pub(super) fn run(bench: &mut Bench, mesh: &Mesh) -> Cold {
    let mut ups = Vec::new();
    for event in ingest::live_audiences(mesh) {
        let Event::AudienceUp { audience, .. } = &event else { continue };
        let kind = format!("{:?}", audience.kind).to_lowercase();
        let cost = bench.apply(vec![event]);
        ups.push((kind, cost.cpu_ns as f64 / 1e6, cost.changes));
    }
    Cold { ups }
}

impl Cold {
    pub(super) fn table(&self) -> Table {
        let columns = ["client kind", "audiences", "CPU ms, median", "CPU ms, most", "changes"];
        let title = "AudienceUp: the whole mesh for one new audience";
        let mut table = Table::new("audience_up", title, &columns);
        for kind in ["sidecar", "gateway", "grpc"] {
            let of_kind = || self.ups.iter().filter(|(known, ..)| known == kind);
            let mut times: Vec<f64> = of_kind().map(|(_, ms, _)| *ms).collect();
            let mut changes: Vec<f64> = of_kind().map(|(.., changes)| *changes as f64).collect();
            table.rows.push(vec![
                Cell::Text(kind.into()),
                Cell::Count(times.len() as u64),
                Cell::Number(stats::median(&mut times)),
                Cell::Number(stats::percentile(&mut times, 100.0)),
                Cell::Count(stats::median(&mut changes) as u64),
            ]);
        }
        table
    }
}
