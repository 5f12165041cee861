//! Requests of both protocols in one shape.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::service::discovery::v3 as discovery;

use super::Refusal;
use crate::limit;
use crate::resource::ResourceType;

#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) type_url: String,
    /// Empty: the request answers no response.
    pub(super) nonce: String,
    /// Why the response was refused, if it was.
    pub(super) refusal: Option<String>,
    /// Delta: names to add. State of the world: all names.
    pub(super) names: Vec<String>,
    /// Delta only.
    pub(super) unsubscribe: Vec<String>,
    /// Delta only: what the client kept from an earlier stream.
    pub(super) kept: BTreeMap<String, String>,
    /// State of the world only: of the last response it accepted, on whatever stream.
    pub(super) accepted: String,
}

impl Asked {
    pub(super) fn of_delta(request: discovery::DeltaDiscoveryRequest) -> Self {
        Self {
            type_url: request.type_url,
            nonce: request.response_nonce,
            refusal: request.error_detail.map(|status| reason(status.code, status.message)),
            names: request.resource_names_subscribe,
            unsubscribe: request.resource_names_unsubscribe,
            kept: request.initial_resource_versions.into_iter().collect(),
            accepted: String::new(),
        }
    }

    pub(super) fn of_sotw(request: discovery::DiscoveryRequest) -> Self {
        Self {
            type_url: request.type_url,
            nonce: request.response_nonce,
            refusal: request.error_detail.map(|status| reason(status.code, status.message)),
            names: request.resource_names,
            unsubscribe: Vec::new(),
            kept: BTreeMap::new(),
            accepted: request.version_info,
        }
    }

    pub(super) fn check(&self, kind: ResourceType, named_already: usize) -> Result<(), Refusal> {
        let names = named_already + self.names.len();
        for names in [names, self.kept.len(), self.unsubscribe.len()] {
            if names > limit::SUBSCRIBED_NAMES_MAX {
                let names_max = limit::SUBSCRIBED_NAMES_MAX;
                return Err(Refusal::TooManyNames { kind, names, names_max });
            }
        }
        let versions = self.kept.iter().flat_map(|(name, version)| [name, version]);
        let longest = self.names.iter().chain(versions).map(String::len).max().unwrap_or(0);
        if longest > limit::NAME_BYTES_MAX {
            let bytes_max = limit::NAME_BYTES_MAX;
            return Err(Refusal::LongName { kind, bytes: longest, bytes_max });
        }
        Ok(())
    }
}

fn reason(code: i32, mut message: String) -> String {
    if message.is_empty() {
        return format!("no reason given (code {code})");
    }
    if message.len() > limit::NACK_REASON_BYTES_MAX {
        let mut end = limit::NACK_REASON_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
    message
}
