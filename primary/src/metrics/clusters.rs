//! The clusters that are read from API servers, as a scraper sees them.

use diolkos_ops::metrics::{Counter, Family, Gauge, Registry};

use crate::source::kube::Measured;

/// Names of clusters are the operator's, and there are few.
type Named<const N: usize> = [(&'static str, String); N];

#[derive(Debug)]
pub(crate) struct ClusterMetrics {
    status: Family<Named<3>, Gauge>,
    clusters: Family<Named<1>, Gauge>,
    age: Family<Named<2>, Gauge>,
    relists: Family<Named<2>, Counter>,
    drift: Family<Named<1>, Counter>,
    /// Seconds since the store was written.
    pub(crate) stored: Gauge,
}

const STATES: [&str; 3] = ["synced", "syncing", "timeout"];

impl ClusterMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            status: Family::default(),
            clusters: Family::default(),
            age: Family::default(),
            relists: Family::default(),
            drift: Family::default(),
            stored: Gauge::default(),
        };
        let help = "1 for the state that a registered cluster is in";
        registry.register("remote_cluster_sync_status", help, metrics.status.clone());
        let help = "Registered clusters in a state";
        registry.register("remote_clusters", help, metrics.clusters.clone());
        let help = "Seconds since the last word about a kind";
        registry.register("remote_watch_age_seconds", help, metrics.age.clone());
        let help = "Lists of all objects of a kind, by reason";
        registry.register("remote_relists", help, metrics.relists.clone());
        let help = "Facts that a periodic list corrected";
        registry.register("audit_drift", help, metrics.drift.clone());
        let help = "Seconds since the store was written";
        registry.register("snapshot_age_seconds", help, metrics.stored.clone());
        metrics
    }

    pub(crate) fn measure(&self, clusters: &[Measured]) {
        // What is not there any more must not stand as it was.
        self.status.clear();
        self.clusters.clear();
        self.age.clear();
        for state in STATES {
            let count = clusters.iter().filter(|one| one.status == state).count();
            let labels = [("state", state.to_owned())];
            self.clusters.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for one in clusters {
            let name = one.cluster.to_string();
            let kind = if one.own { "local" } else { "remote" };
            for state in STATES {
                let labels = [
                    ("cluster", name.clone()),
                    ("cluster_type", kind.to_owned()),
                    ("state", state.to_owned()),
                ];
                self.status.get_or_create(&labels).set(i64::from(one.status == state));
            }
            let labels = [("cluster", name.clone())];
            raise(&self.drift.get_or_create_owned(&labels), one.drift);
            let mut relists = std::collections::BTreeMap::<&str, u64>::new();
            for kind in &one.kinds {
                if let Some(age) = kind.age {
                    let labels = [("cluster", name.clone()), ("kind", kind.name.to_owned())];
                    let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
                    self.age.get_or_create(&labels).set(seconds);
                }
                for (why, count) in &kind.relists {
                    *relists.entry(why).or_default() += count;
                }
            }
            for (why, count) in relists {
                let labels = [("cluster", name.clone()), ("reason", why.to_owned())];
                raise(&self.relists.get_or_create_owned(&labels), count);
            }
        }
    }
}

/// A counter never falls; a generation that begins anew counts from where it was.
fn raise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
