//! Every bound of the core, unit last, with its reason.

use crate::fact::FactKind;

/// A cluster or network name becomes a label value and a part of file names.
pub const CLUSTER_NAME_BYTES_MAX: usize = 253;
/// RFC 1035.
pub const DNS_LABEL_BYTES_MAX: usize = 63;
/// RFC 1035, as Kubernetes counts it.
pub const DNS_NAME_BYTES_MAX: usize = 253;

/// What one cluster may say; one that says more must not cost the others their memory.
pub const SERVICES_PER_CLUSTER_MAX: usize = 5_000;
/// Over all slices of a cluster. A slice that does not fit is cut, by address.
pub const ENDPOINTS_PER_CLUSTER_MAX: usize = 50_000;
/// Slices may be empty, so endpoints do not bound them.
pub const SLICES_PER_CLUSTER_MAX: usize = 50_000;
pub const EXPORTS_PER_CLUSTER_MAX: usize = 5_000;
/// Kubernetes' own figure for a cluster.
pub const NODES_PER_CLUSTER_MAX: usize = 5_000;
/// Only the system namespace's word is passed on.
pub const NAMESPACES_PER_CLUSTER_MAX: usize = 16;
pub const GATEWAYS_PER_CLUSTER_MAX: usize = 256;
pub const SUMMARIES_PER_CLUSTER_MAX: usize = 5_000;
/// Ports x networks x localities x identities of one service, in one cluster.
pub const SUMMARY_GROUPS_MAX: usize = 1_024;
/// How many gateways may share a group: `WEIGHT_UNIT` divides by every number up to this.
pub const GATEWAYS_PER_GROUP_MAX: usize = 16;

/// Removed keys remembered per source and kind, against late events. The oldest are forgotten
/// into a floor.
pub const TOMBSTONES_PER_KIND_MAX: usize = 4_096;
/// Generations of one cluster that wait for activation. The oldest gives way.
pub const SHELVES_PER_CLUSTER_MAX: usize = 4;
/// Undeclared clusters remembered, so that each is reported once.
pub const UNKNOWN_CLUSTERS_MAX: usize = 1_024;

/// How many facts of a kind one cluster may have in force.
pub fn facts_max(kind: FactKind) -> usize {
    match kind {
        FactKind::Export => EXPORTS_PER_CLUSTER_MAX,
        FactKind::Gateway => GATEWAYS_PER_CLUSTER_MAX,
        FactKind::Namespace => NAMESPACES_PER_CLUSTER_MAX,
        FactKind::Node => NODES_PER_CLUSTER_MAX,
        FactKind::Service => SERVICES_PER_CLUSTER_MAX,
        FactKind::Slice => SLICES_PER_CLUSTER_MAX,
        FactKind::Summary => SUMMARIES_PER_CLUSTER_MAX,
    }
}

/// How many keys of a kind wait on a shelf or in a reset: as many as may be in force, and as many
/// removals. More than may be in force, so that whoever says too much is told when it is applied.
pub fn held_max(kind: FactKind) -> usize {
    2 * facts_max(kind)
}
