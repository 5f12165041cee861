//! A node as light clients say it; a complete client says the same.

use diolkos_xds_client::NodeClaims;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};

#[derive(Debug)]
pub(crate) struct Claims(pub(crate) NodeClaims);

impl Claims {
    pub(crate) fn node(&self) -> Node {
        let text = |value| Value { kind: Some(Kind::StringValue(value)) };
        let metadata = self.0.metadata().into_iter().map(|(key, value)| (key, text(value)));
        Node {
            id: self.0.id(),
            metadata: Some(Struct { fields: metadata.collect() }),
            ..Node::default()
        }
    }
}
