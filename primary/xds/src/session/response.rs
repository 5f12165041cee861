//! Responses: a small head of their own, and the resources' bytes, shared with every other client.

use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use prost::Message;
use xxhash_rust::xxh3::Xxh3Default;

use crate::resource::{Resource, ResourceType};

/// What goes into one response.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) upserts: Vec<Arc<Resource>>,
    pub(super) removes: Vec<Arc<str>>,
    /// Of the leaders among the upserts that are not what the client has.
    pub(super) followers: Vec<Arc<str>>,
    /// Whether the client had none of some name before.
    pub(super) brings_new: bool,
}

/// One message to the client.
#[derive(Clone, Debug)]
pub struct Response {
    kind: ResourceType,
    nonce: String,
    head: Bytes,
    resources: Vec<Bytes>,
    upserts: Vec<Arc<str>>,
    removes: Vec<Arc<str>>,
}

impl Response {
    pub(super) fn delta(kind: ResourceType, nonce: String, batch: Batch) -> Self {
        let head = discovery::DeltaDiscoveryResponse {
            type_url: kind.url().into(),
            nonce: nonce.clone(),
            removed_resources: batch.removes.iter().map(|name| name.to_string()).collect(),
            ..Default::default()
        };
        let resources = batch.upserts.iter().map(|one| one.delta.clone()).collect();
        Self::new(kind, nonce, head.encode_to_vec().into(), resources, batch)
    }

    pub(super) fn sotw(kind: ResourceType, nonce: String, batch: Batch) -> Self {
        let mut hash = Xxh3Default::new();
        for resource in &batch.upserts {
            hash.update(resource.name.as_bytes());
            hash.update(resource.version.as_bytes());
        }
        let head = discovery::DiscoveryResponse {
            type_url: kind.url().into(),
            nonce: nonce.clone(),
            version_info: format!("{:032x}", hash.digest128()),
            ..Default::default()
        };
        let resources = batch.upserts.iter().map(|one| one.sotw.clone()).collect();
        Self::new(kind, nonce, head.encode_to_vec().into(), resources, batch)
    }

    fn new(
        kind: ResourceType,
        nonce: String,
        head: Bytes,
        resources: Vec<Bytes>,
        batch: Batch,
    ) -> Self {
        let upserts = batch.upserts.iter().map(|one| Arc::clone(&one.name)).collect();
        Self { kind, nonce, head, resources, upserts, removes: batch.removes }
    }

    /// Chunks whose concatenation is the protobuf message. All but the first are shared.
    pub fn encode(&self) -> Vec<Bytes> {
        std::iter::once(&self.head).chain(&self.resources).cloned().collect()
    }

    pub fn kind(&self) -> ResourceType {
        self.kind
    }

    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    pub fn upserts(&self) -> &[Arc<str>] {
        &self.upserts
    }

    pub fn removes(&self) -> &[Arc<str>] {
        &self.removes
    }
}
