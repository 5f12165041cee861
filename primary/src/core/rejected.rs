//! What sources rejected, by object: logged as it appears.

use std::collections::BTreeMap;

use diolkos_facts::{Rejection, Severity};
use diolkos_topology::ClusterId;

use crate::limit;
use crate::metrics::Metrics;
use crate::source::RejectionsChange;

/// `None` stands for the mesh file.
#[derive(Debug, Default)]
pub(super) struct Rejected(BTreeMap<Option<ClusterId>, Objects>);

#[derive(Debug, Default)]
struct Objects {
    /// Rejections that are about no object stand under an empty name.
    lists: BTreeMap<String, Vec<Rejection>>,
    /// Objects that are not listed any more, for there are too many.
    untold: u64,
}

impl Rejected {
    pub(super) fn change(
        &mut self,
        cluster: Option<&ClusterId>,
        change: RejectionsChange,
        metrics: &Metrics,
    ) {
        let known = self.0.entry(cluster.cloned()).or_default();
        let changed = match change {
            RejectionsChange::Of(changed) => changed,
            RejectionsChange::All(list) => {
                known.untold = 0;
                let mut all: BTreeMap<String, Vec<Rejection>> = BTreeMap::new();
                for rejection in list {
                    let object = rejection.object.clone().unwrap_or_default();
                    all.entry(object).or_default().push(rejection);
                }
                for object in known.lists.keys() {
                    all.entry(object.clone()).or_default();
                }
                all.into_iter().collect()
            }
        };
        for (object, list) in changed {
            known.object(cluster, object, list, metrics);
        }
        if known.lists.is_empty() && known.untold == 0 {
            self.0.remove(&cluster.cloned());
        }
    }

    /// Cluster (or `None`) and the line, in order.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Option<&ClusterId>, &Rejection)> {
        self.0.iter().flat_map(|(cluster, objects)| {
            let all = objects.lists.values().flatten();
            all.map(move |rejection| (cluster.as_ref(), rejection))
        })
    }

    /// How many objects have something wrong with them that is not listed.
    pub(super) fn untold(&self) -> u64 {
        self.0.values().map(|objects| objects.untold).sum()
    }
}

impl Objects {
    fn object(
        &mut self,
        cluster: Option<&ClusterId>,
        object: String,
        list: Vec<Rejection>,
        metrics: &Metrics,
    ) {
        let before = self.lists.remove(&object).unwrap_or_default();
        let new = list.iter().filter(|rejection| !before.contains(rejection));
        let full = self.lists.len() >= limit::REJECTED_OBJECTS_MAX;
        for rejection in new {
            metrics.rejections.inc();
            if full {
                continue;
            }
            let source = cluster.map_or("mesh file", ClusterId::as_str);
            match rejection.severity {
                Severity::Refused => tracing::warn!(source, "refused: {rejection}"),
                Severity::Warning => tracing::warn!(source, "warning: {rejection}"),
            }
        }
        match (list.is_empty(), full) {
            (true, _) => {}
            (false, true) => self.untold += 1,
            (false, false) => drop(self.lists.insert(object, list)),
        }
    }
}
