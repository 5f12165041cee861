//! A topology as it runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use diolkos_kind_plan::{ClusterPlan, Plan};

use super::board::Board;
use super::children::Children;
use crate::api::Cluster;
use crate::part::Givers;
use crate::state::State;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) state: State,
    pub(crate) board: Arc<Board>,
    pub(crate) children: Arc<Children>,
    pub(crate) givers: Givers,
    /// Of the clusters whose secrets are made.
    clusters: Mutex<BTreeMap<String, Arc<Cluster>>>,
}

impl World {
    pub(crate) fn new(plan: Plan, state: State, board: Arc<Board>, givers: Givers) -> Self {
        let children = Children::new(board.clone(), Path::new(&plan.places.nft));
        Self { plan, state, board, children, givers, clusters: Mutex::default() }
    }

    pub(crate) fn know(&self, cluster: Arc<Cluster>) {
        let mut clusters = self.clusters.lock().expect("nobody panics with it");
        clusters.insert(cluster.name.clone(), cluster);
    }

    pub(crate) fn clusters(&self) -> BTreeMap<String, Arc<Cluster>> {
        self.clusters.lock().expect("nobody panics with it").clone()
    }

    /// # Errors
    /// Names those there are.
    pub(crate) fn cluster_plan(&self, name: &str) -> anyhow::Result<&ClusterPlan> {
        self.plan.cluster(name).ok_or_else(|| {
            let names: Vec<&str> =
                self.plan.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
            anyhow::anyhow!("no cluster is named {name}; there are {}", names.join(", "))
        })
    }

    pub(crate) fn cluster(&self, name: &str) -> anyhow::Result<Arc<Cluster>> {
        self.cluster_plan(name)?;
        let clusters = self.clusters.lock().expect("nobody panics with it");
        let found = clusters.get(name).cloned();
        found.ok_or_else(|| anyhow::anyhow!("cluster {name} is not that far yet"))
    }
}
