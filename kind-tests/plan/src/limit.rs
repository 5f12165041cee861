//! What bounds a topology. The machine is one laptop; the addresses are what [`crate::Slot`] has.

/// Of a topology file: the largest of ours has 3 KiB.
pub const FILE_BYTES_MAX: usize = 64 * 1024;
/// Depth of a topology file; ours have 6.
pub(crate) const FILE_DEPTH_MAX: usize = 12;
/// Values in a topology file.
pub(crate) const FILE_NODES_MAX: usize = 4096;
/// Clusters of a topology: a slot has address ranges for so many.
pub const CLUSTERS_MAX: usize = 8;
/// Topologies side by side: 8 slots of 8 clusters fill 10.64.0.0 to 10.191.255.255.
pub const SLOTS_MAX: u8 = 8;
/// Meshes of a topology.
pub const MESHES_MAX: usize = 4;
/// Node objects of a cluster: a cluster's link has addresses for more, nobody needs them.
pub const NODES_PER_CLUSTER_MAX: usize = 8;
/// Workloads of a topology.
pub const WORKLOADS_MAX: usize = 32;
/// Pods of one workload in one cluster; each is a process of this machine.
pub const REPLICAS_MAX: u32 = 20;
/// Gateways of a cluster: more than share a group anyway, see docs/adr/0002-weights.md.
pub const GATEWAYS_PER_CLUSTER_MAX: u32 = 16;
/// Ports of a workload.
pub const PORTS_PER_WORKLOAD_MAX: usize = 8;
/// Of a name: clusters, networks, meshes, nodes and workloads become parts of longer names.
pub const NAME_BYTES_MAX: usize = 40;
/// Of a sentence in a topology file.
pub const SENTENCE_BYTES_MAX: usize = 500;
/// Faults in force at once.
pub const FAULTS_MAX: usize = 64;
