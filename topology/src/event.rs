//! Everything that can happen to a federation.

use std::collections::BTreeSet;

use diolkos_trust::TrustDomain;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::audience::{Audience, AudienceId};
use crate::fact::{Fact, FactKey, FactKind};
use crate::grant::Grants;
use crate::name::{ClusterId, NetworkId, Source, Stamp, Tick};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Makes a generation the cluster's truth, in one step; an older one is forgotten.
    Activate {
        source: Source,
    },
    AudienceDown {
        id: AudienceId,
    },
    /// The id is the caller's choice and must be free.
    AudienceUp {
        id: AudienceId,
        audience: Audience,
    },
    /// The operator names a cluster, or changes what it is granted.
    Cluster(ClusterSettings),
    /// The operator removed it: the only event that takes its endpoints away at once.
    ClusterGone {
        cluster: ClusterId,
    },
    /// Its source is watched again.
    ClusterFresh {
        cluster: ClusterId,
    },
    /// Nobody sees the cluster's source any more. Its facts stay.
    ClusterStale {
        cluster: ClusterId,
    },
    Mesh(MeshSettings),
    Remove {
        source: Source,
        stamp: Stamp,
        key: FactKey,
    },
    /// From here to the end, what the source says of this kind is held back.
    ResetBegin {
        source: Source,
        kind: FactKind,
        stamp: Stamp,
    },
    /// What was not said since `begin` is gone; all of it takes effect now.
    ResetEnd {
        source: Source,
        kind: FactKind,
        begin: Stamp,
    },
    /// Time has passed; see `Federation::next_deadline`.
    Tick,
    Upsert {
        source: Source,
        stamp: Stamp,
        fact: Fact,
    },
}

/// What the operator says of a cluster, and so what the cluster may say of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSettings {
    pub cluster: ClusterId,
    /// Identities of another trust domain are refused.
    pub trust_domain: TrustDomain,
    /// Where no namespace label says otherwise.
    pub network: NetworkId,
    /// Addresses it may claim. Empty: any that is not loopback, link-local, multicast or
    /// unspecified. Loopback is allowed only where a range here covers it.
    pub addresses: Vec<IpNet>,
    pub grants: Grants,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    pub export: ExportMode,
    pub cluster_domain: String,
    /// Hosts kept home (or, with `local: false`, taken off the default list). The most specific
    /// host wins; `*.` matches any number of labels.
    pub cluster_local: Vec<ClusterLocalRule>,
    /// After this many milliseconds stale, a cluster's endpoints move to the lowest priority. They
    /// are never removed.
    pub stale_ms_max: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterLocalRule {
    pub host: String,
    pub local: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportMode {
    /// Namespace sameness, as Istio has it: whatever is not cluster-local is known everywhere.
    All,
    /// Known elsewhere only by a ServiceExport.
    Listed,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            export: ExportMode::Listed,
            cluster_domain: "cluster.local".into(),
            cluster_local: Vec::new(),
            stale_ms_max: None,
        }
    }
}

/// One thing the federation wants written where it cannot write itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusWish {
    /// A ServiceExport's condition in its own cluster.
    ExportCondition { cluster: ClusterId, service: crate::ServiceKey, conflict: Option<String> },
}

/// What came of one event. Ordered; the same events give the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub view: crate::ViewDelta,
    pub notices: Vec<crate::Notice>,
    pub status_wishes: Vec<StatusWish>,
}

impl Effects {
    pub fn clear(&mut self) {
        self.view.changes.clear();
        self.notices.clear();
        self.status_wishes.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.view.changes.is_empty() && self.notices.is_empty() && self.status_wishes.is_empty()
    }
}

/// Something a clock must tell the federation.
pub type Deadlines = BTreeSet<(Tick, ClusterId)>;
