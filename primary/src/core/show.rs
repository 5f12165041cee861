//! What operators are shown.

use std::time::SystemTime;

use diolkos_topology::{ClusterId, ClusterState};
use serde::Serialize;

use super::Core;
use super::ledger::Entry;
use crate::ads::StreamShown;
use crate::source::kube::ClusterSource;
use crate::store::StoreShown;

/// As Istio's `debug/clusterz`: this primary's own cluster comes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Clusterz {
    id: String,
    /// How its facts come. Istio has the remote secret here; a folder has none.
    secret_name: String,
    sync_status: &'static str,
}

/// `/debug/diolkos.json`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    cluster: String,
    trust_domain: String,
    ready: bool,
    waiting_for: Option<String>,
    clusters: Vec<ClusterShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<StoreShown>,
    audiences: Vec<LeaseShown>,
    scopes: usize,
    streams: Vec<StreamShown>,
    rejections: Vec<RejectionShown>,
    /// Objects with something wrong that are not listed, for there are too many.
    rejections_untold: u64,
    notices: Vec<Entry>,
    authorities: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterShown {
    name: String,
    network: String,
    state: String,
    services: usize,
    endpoints: usize,
    gateways: usize,
    exports: usize,
    nodes: usize,
    pods: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<ClusterSource>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LeaseShown {
    id: u32,
    audience: String,
    streams: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RejectionShown {
    cluster: Option<String>,
    severity: String,
    text: String,
}

fn own_first(mut clusters: Vec<Clusterz>, own: &ClusterId) -> Vec<Clusterz> {
    clusters.sort_by_key(|shown| (shown.id != own.as_str(), shown.id.clone()));
    clusters
}

impl Core {
    pub(crate) fn clusterz(&self) -> Vec<Clusterz> {
        let own = &self.settings.cluster;
        if let Some((board, sync)) = &self.settings.sources {
            let shown = board.istio(*sync).into_iter();
            let shown = shown.map(|(cluster, (secret_name, sync_status))| Clusterz {
                id: cluster.to_string(),
                secret_name,
                sync_status,
            });
            return own_first(shown.collect(), own);
        }
        let clusters = self.federation.clusters();
        let shown = clusters.iter().map(|status| Clusterz {
            id: status.cluster.to_string(),
            secret_name: String::new(),
            sync_status: match status.state {
                ClusterState::Declared => "syncing",
                ClusterState::Live { .. } => "synced",
                ClusterState::Stale { .. } => "timeout",
            },
        });
        own_first(shown.collect(), own)
    }

    pub(crate) fn shown(&self) -> Shown {
        let waiting_for = self.waiting.ready().err();
        Shown {
            cluster: self.settings.cluster.to_string(),
            trust_domain: self.settings.trust_domain.to_string(),
            ready: waiting_for.is_none(),
            waiting_for,
            clusters: self.clusters_shown(),
            store: self.settings.keeper.shown(SystemTime::now()),
            audiences: self
                .audiences
                .iter()
                .map(|(id, audience, streams)| LeaseShown {
                    id,
                    audience: audience.to_string(),
                    streams,
                })
                .collect(),
            scopes: self.scopes.iter().count(),
            streams: self.streams.values().map(|live| live.status.shown()).collect(),
            rejections: self
                .rejected
                .lines()
                .map(|(cluster, rejection)| RejectionShown {
                    cluster: cluster.map(ClusterId::to_string),
                    severity: rejection.severity.to_string(),
                    text: rejection.to_string(),
                })
                .collect(),
            rejections_untold: self.rejected.untold(),
            notices: self.notices.entries(),
            authorities: self.authorities.complaints.clone(),
        }
    }

    fn clusters_shown(&self) -> Vec<ClusterShown> {
        let mut sources = match &self.settings.sources {
            Some((board, sync)) => board.shown(*sync),
            None => std::collections::BTreeMap::new(),
        };
        self.federation
            .clusters()
            .into_iter()
            .map(|status| ClusterShown {
                name: status.cluster.to_string(),
                network: status.network.to_string(),
                state: status.state.to_string(),
                services: status.services,
                endpoints: status.endpoints,
                gateways: status.gateways,
                exports: status.exports,
                nodes: status.nodes,
                pods: self.pods.count(&status.cluster),
                source: sources.remove(&status.cluster),
            })
            .collect()
    }
}
