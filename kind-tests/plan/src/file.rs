//! A topology file, field by field, before anything in it is believed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use crate::file_error::FileError;
use crate::limit;

pub(crate) const API_VERSION: &str = "diolkos.dev/v1alpha1";
pub(crate) const KIND: &str = "Topology";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) api_version: Spanned<String>,
    pub(crate) kind: Spanned<String>,
    pub(crate) metadata: MetadataText,
    pub(crate) spec: SpecText,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetadataText {
    pub(crate) name: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SpecText {
    pub(crate) summary: Spanned<String>,
    pub(crate) meshes: Vec<MeshText>,
    pub(crate) networks: Vec<Spanned<String>>,
    pub(crate) clusters: Vec<ClusterText>,
    #[serde(default)]
    pub(crate) workloads: Vec<WorkloadText>,
    #[serde(default)]
    pub(crate) not_yet: Vec<NotYetText>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MeshText {
    pub(crate) id: Spanned<String>,
    pub(crate) trust_domain: String,
    pub(crate) root: String,
    pub(crate) export: ExportText,
    pub(crate) system_namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExportText {
    All,
    Listed,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ClusterText {
    pub(crate) name: Spanned<String>,
    pub(crate) network: String,
    /// Those of the topology when there is but one.
    #[serde(default)]
    pub(crate) meshes: Vec<String>,
    pub(crate) role: Option<String>,
    pub(crate) gateways: Option<u32>,
    #[serde(default)]
    pub(crate) egress: bool,
    /// A node each, as region/zone.
    #[serde(default)]
    pub(crate) zones: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WorkloadText {
    pub(crate) name: Spanned<String>,
    pub(crate) namespace: String,
    pub(crate) mesh: Option<String>,
    pub(crate) service_account: Option<String>,
    pub(crate) replicas: BTreeMap<String, u32>,
    pub(crate) ports: BTreeMap<String, u16>,
    #[serde(default)]
    pub(crate) sidecar: SidecarText,
    #[serde(default)]
    pub(crate) exported: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SidecarText {
    None,
    #[default]
    Permissive,
    Strict,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NotYetText {
    pub(crate) from: Spanned<String>,
    pub(crate) to: String,
    pub(crate) because: String,
}

pub(crate) fn read(text: &str) -> Result<Document, FileError> {
    if text.len() > limit::FILE_BYTES_MAX {
        let cause = format!(
            "the file has {} bytes, at most {} are read",
            text.len(),
            limit::FILE_BYTES_MAX
        );
        return Err(FileError::whole(cause));
    }
    let budget = serde_saphyr::budget! {
        max_depth: limit::FILE_DEPTH_MAX,
        flow_nesting_limit: limit::FILE_DEPTH_MAX,
        max_nodes: limit::FILE_NODES_MAX,
        max_events: limit::FILE_NODES_MAX * 2,
        max_documents: 1,
        max_total_scalar_bytes: limit::FILE_BYTES_MAX,
    };
    let mut options = serde_saphyr::options! {
        budget: budget,
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    // Nothing here is long enough to be said once and meant twice.
    options.alias_limits.max_total_replayed_events = 0;
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |place| place.line());
        FileError::at(line, in_short(&error))
    })
}

/// The parser's message without the place, which is told apart.
fn in_short(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default().trim();
    let end = [" at line ", ", line ", " (line "].iter().filter_map(|mark| text.find(mark)).min();
    text[..end.unwrap_or(text.len())].chars().take(limit::SENTENCE_BYTES_MAX).collect()
}
