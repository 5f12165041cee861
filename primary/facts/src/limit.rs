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
/// Of one PeerAuthentication.
pub const POLICY_PORTS_MAX: usize = 256;
