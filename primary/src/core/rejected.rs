//! What sources rejected: the current list of each, logged as it appears.

use std::collections::BTreeMap;

use diolkos_facts::{Rejection, Severity};
use diolkos_topology::ClusterId;

use crate::metrics::Metrics;

/// `None` stands for the mesh file.
#[derive(Debug, Default)]
pub(super) struct Rejected(BTreeMap<Option<ClusterId>, Vec<Rejection>>);

impl Rejected {
    pub(super) fn replace(
        &mut self,
        cluster: Option<ClusterId>,
        list: Vec<Rejection>,
        metrics: &Metrics,
    ) {
        let before = self.0.remove(&cluster).unwrap_or_default();
        for rejection in list.iter().filter(|rejection| !before.contains(rejection)) {
            metrics.rejections.inc();
            let source = cluster.as_ref().map_or("mesh file", ClusterId::as_str);
            match rejection.severity {
                Severity::Refused => tracing::warn!(source, "refused: {rejection}"),
                Severity::Warning => tracing::warn!(source, "warning: {rejection}"),
            }
        }
        if !list.is_empty() {
            self.0.insert(cluster, list);
        }
    }

    /// Cluster (or `None`) and the line, in order.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Option<&ClusterId>, &Rejection)> {
        self.0.iter().flat_map(|(cluster, list)| {
            list.iter().map(move |rejection| (cluster.as_ref(), rejection))
        })
    }
}
