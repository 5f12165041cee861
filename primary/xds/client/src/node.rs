//! What a client says of itself, in Istio's shape. The primary checks it against the certificate.

use std::collections::BTreeMap;
use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeClaims {
    /// `sidecar` or `router`.
    pub kind: String,
    pub ip: IpAddr,
    pub pod: String,
    pub namespace: String,
    /// The cluster domain, usually `cluster.local`.
    pub domain: String,
    pub cluster: String,
    pub network: Option<String>,
    pub service_account: Option<String>,
    /// Those of the pod, by which an istiod finds the Gateways that select it.
    pub labels: BTreeMap<String, String>,
    /// Further metadata, as it is (`HTTP_PROXY_PORT`, `GENERATOR`, ...). A key here wins.
    pub extra: BTreeMap<String, String>,
}

impl NodeClaims {
    /// `<kind>~<ip>~<pod>.<namespace>~<namespace>.svc.<domain>`
    pub fn id(&self) -> String {
        let Self { kind, ip, pod, namespace, domain, .. } = self;
        format!("{kind}~{ip}~{pod}.{namespace}~{namespace}.svc.{domain}")
    }

    pub fn metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::from([
            ("CLUSTER_ID".to_owned(), self.cluster.clone()),
            ("INSTANCE_IPS".to_owned(), self.ip.to_string()),
            ("NAMESPACE".to_owned(), self.namespace.clone()),
        ]);
        for (key, value) in [("NETWORK", &self.network), ("SERVICE_ACCOUNT", &self.service_account)]
        {
            if let Some(value) = value {
                metadata.insert(key.to_owned(), value.clone());
            }
        }
        metadata.extend(self.extra.clone());
        metadata
    }

    pub(crate) fn to_node(&self) -> Node {
        let text = |value| Value { kind: Some(Kind::StringValue(value)) };
        let texts = |pairs: BTreeMap<String, String>| Struct {
            fields: pairs.into_iter().map(|(key, value)| (key, text(value))).collect(),
        };
        let mut metadata = texts(self.metadata());
        if !self.labels.is_empty() {
            let labels = Value { kind: Some(Kind::StructValue(texts(self.labels.clone()))) };
            metadata.fields.insert("LABELS".to_owned(), labels);
        }
        Node {
            id: self.id(),
            cluster: self.pod.clone(),
            metadata: Some(metadata),
            user_agent_name: "diolkos".into(),
            ..Node::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> NodeClaims {
        NodeClaims {
            kind: "sidecar".into(),
            ip: "127.1.0.9".parse().unwrap(),
            pod: "web-1".into(),
            namespace: "shop".into(),
            domain: "cluster.local".into(),
            cluster: "west".into(),
            network: None,
            service_account: Some("web".into()),
            labels: BTreeMap::new(),
            extra: BTreeMap::from([("HTTP_PROXY_PORT".into(), "15080".into())]),
        }
    }

    #[test]
    fn the_node_id_has_istios_four_parts() {
        assert_eq!(claims().id(), "sidecar~127.1.0.9~web-1.shop~shop.svc.cluster.local");
    }

    #[test]
    fn metadata_holds_what_was_given_and_nothing_for_what_was_not() {
        let metadata = claims().metadata();
        let pairs: Vec<(&str, &str)> =
            metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("CLUSTER_ID", "west"),
                ("HTTP_PROXY_PORT", "15080"),
                ("INSTANCE_IPS", "127.1.0.9"),
                ("NAMESPACE", "shop"),
                ("SERVICE_ACCOUNT", "web"),
            ]
        );
    }

    #[test]
    fn labels_are_a_map_of_their_own_where_there_are_any() {
        let metadata = |claims: NodeClaims| claims.to_node().metadata.expect("metadata").fields;
        assert!(!metadata(claims()).contains_key("LABELS"));
        let labels = BTreeMap::from([("istio".to_owned(), "eastwestgateway".to_owned())]);
        let fields = metadata(NodeClaims { labels, ..claims() });
        let Some(Kind::StructValue(labels)) = &fields["LABELS"].kind else { panic!("{fields:?}") };
        let Some(Kind::StringValue(value)) = &labels.fields["istio"].kind else {
            panic!("{labels:?}")
        };
        assert_eq!(value, "eastwestgateway");
    }
}
