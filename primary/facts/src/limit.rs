//! Every bound on what is read, unit last, with its reason.

/// Parsing happens at once and in memory: this is what one edit may cost.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// A List of some thousand objects; a single object in etcd is at most 1.5 MiB.
pub const DOCUMENT_BYTES_MAX: usize = 8 << 20;
/// `---` costs four bytes, so bytes alone would not bound them.
pub const DOCUMENTS_PER_FILE_MAX: usize = 10_000;
/// Items of Lists included.
pub const OBJECTS_PER_FILE_MAX: usize = 50_000;
/// The deepest Kubernetes object (a Pod's) has some fifteen levels. Parsing recurses.
pub const DEPTH_MAX: usize = 48;
/// Of one document, whatever its bytes: a node costs some hundred bytes of memory. A List of two
/// thousand Pods as a cluster has them.
pub const NODES_PER_DOCUMENT_MAX: usize = 250_000;
/// What aliases may repeat, so that a few bytes cannot become gigabytes.
pub const ALIAS_NODES_MAX: usize = 10_000;
/// Beyond these the rest of a document's unknown fields is not told.
pub const UNKNOWN_FIELDS_TOLD_MAX: usize = 16;
/// Kubernetes' own limit.
pub const SLICE_ENDPOINTS_MAX: usize = 1_000;
/// Kubernetes' own limit.
pub const SLICE_PORTS_MAX: usize = 20_000;
/// Text of a manifest that an error repeats.
pub const QUOTE_BYTES_MAX: usize = 200;
/// The Gateway API allows sixteen.
pub const GATEWAY_ADDRESSES_MAX: usize = 16;
/// A URL with a path; it stands in each token and in each refusal.
pub const ISSUER_BYTES_MAX: usize = 512;

/// A kubeconfig of one cluster has some 5 KiB; Kubernetes allows a Secret 1 MiB, for many.
pub const KUBECONFIG_BYTES_MAX: usize = 64 << 10;
/// What `extensions` of other tools may hold.
pub const KUBECONFIG_DEPTH_MAX: usize = 16;
/// One that is used has some thirty.
pub const KUBECONFIG_NODES_MAX: usize = 1_000;
/// A root, the next root, and what stands between.
pub const CERTIFICATES_MAX: usize = 16;
/// A bound service account token has some 1,200 bytes; a header must take it.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// RFC 1035.
pub const HOST_BYTES_MAX: usize = 253;
/// `/k8s/clusters/c-m-abcdefgh` and its like.
pub const SERVER_PATH_BYTES_MAX: usize = 256;
/// Keys of one Secret, or files of a folder of kubeconfigs; the rest is not looked at.
pub const REMOTE_ENTRIES_MAX: usize = 512;
/// Clusters by remote secret; each is a set of watches and up to 50,000 endpoints.
pub const REMOTE_CLUSTERS_MAX: usize = 256;
/// Entries of one annotation that grants: each claim is compared with all of them.
pub const GRANT_ENTRIES_MAX: usize = 256;
