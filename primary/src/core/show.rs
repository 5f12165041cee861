//! What operators are shown.

use std::net::SocketAddr;

use diolkos_topology::{ClusterId, ClusterState, ClusterStatus, GatewayStatus, NetworkStatus};
use serde::Serialize;

use super::ledger::Entry;
use super::{Core, Now};
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
    networks: Vec<NetworkShown>,
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
    /// For how long it has been out of sight.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_seconds: Option<u64>,
    services: usize,
    endpoints: usize,
    gateways: usize,
    exports: usize,
    nodes: usize,
    pods: usize,
    refused: RefusedShown,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<ClusterSource>,
}

/// What it has and may not claim.
#[derive(Debug, Default, Serialize)]
struct RefusedShown {
    services: usize,
    endpoints: usize,
    gateways: usize,
}

#[derive(Debug, Serialize)]
struct NetworkShown {
    name: String,
    clusters: Vec<String>,
    gateways: Vec<GatewayShown>,
    /// The ways out of it, each for one cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exits: Vec<GatewayShown>,
}

#[derive(Debug, Serialize)]
struct GatewayShown {
    address: SocketAddr,
    clusters: Vec<String>,
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

    pub(crate) fn shown(&self, now: Now) -> Shown {
        let waiting_for = self.waiting.ready().err();
        Shown {
            cluster: self.settings.cluster.to_string(),
            trust_domain: self.settings.trust_domain.to_string(),
            ready: waiting_for.is_none(),
            waiting_for,
            clusters: self.clusters_shown(now),
            networks: self.federation.networks().into_iter().map(NetworkShown::from).collect(),
            store: self.settings.keeper.shown(now.system),
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

    fn clusters_shown(&self, now: Now) -> Vec<ClusterShown> {
        let mut sources = match &self.settings.sources {
            Some((board, sync)) => board.shown(*sync),
            None => std::collections::BTreeMap::new(),
        };
        let known = self.federation.clusters().into_iter().map(|status| ClusterShown {
            source: sources.remove(&status.cluster),
            pods: self.pods.count(&status.cluster),
            ..ClusterShown::of(&status, now)
        });
        let mut shown: Vec<_> = known.collect();
        // Registered, and refused before anything was known of them.
        shown.extend(
            sources.into_iter().map(|(cluster, source)| ClusterShown::unknown(&cluster, source)),
        );
        shown.sort_by(|a, b| a.name.cmp(&b.name));
        shown
    }
}

impl ClusterShown {
    fn of(status: &ClusterStatus, now: Now) -> Self {
        let refused = &status.refused;
        Self {
            name: status.cluster.to_string(),
            network: status.network.to_string(),
            state: status.state.to_string(),
            stale_seconds: match status.state {
                ClusterState::Stale { since, .. } => {
                    Some(now.tick.0.saturating_sub(since.0) / 1_000)
                }
                ClusterState::Declared | ClusterState::Live { .. } => None,
            },
            services: status.services,
            endpoints: status.endpoints,
            gateways: status.gateways,
            exports: status.exports,
            nodes: status.nodes,
            pods: 0,
            refused: RefusedShown {
                services: refused.services,
                endpoints: refused.endpoints,
                gateways: refused.gateways,
            },
            source: None,
        }
    }

    fn unknown(cluster: &ClusterId, source: ClusterSource) -> Self {
        Self {
            name: cluster.to_string(),
            network: String::new(),
            state: "unknown".into(),
            stale_seconds: None,
            services: 0,
            endpoints: 0,
            gateways: 0,
            exports: 0,
            nodes: 0,
            pods: 0,
            refused: RefusedShown::default(),
            source: Some(source),
        }
    }
}

impl From<NetworkStatus> for NetworkShown {
    fn from(status: NetworkStatus) -> Self {
        let names = |clusters: Vec<ClusterId>| clusters.iter().map(ClusterId::to_string).collect();
        let shown = |gateway: GatewayStatus| GatewayShown {
            address: gateway.address,
            clusters: names(gateway.clusters),
        };
        Self {
            name: status.network.to_string(),
            gateways: status.gateways.into_iter().map(shown).collect(),
            exits: status.exits.into_iter().map(shown).collect(),
            clusters: names(status.clusters),
        }
    }
}
