//! The mesh file as written, field by field.

use std::collections::BTreeMap;

use diolkos_topology::ClusterLocalRule;
use serde::Deserialize;

use crate::finding::Findings;
use crate::limit::ISSUER_BYTES_MAX;
use crate::text::{Node, Value, at};

pub(crate) const API_VERSION: &str = "diolkos.dev/v1alpha1";
pub(crate) const KIND: &str = "Mesh";

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) metadata: MetadataText,
    pub(crate) spec: SpecText,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct MetadataText {
    pub(crate) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SpecText {
    pub(crate) trust_domain: String,
    pub(crate) cluster_domain: Option<String>,
    pub(crate) export: Option<String>,
    pub(crate) stale_after: Option<String>,
    #[serde(default)]
    pub(crate) cluster_local: Vec<LocalText>,
    /// Absent where the clusters come from elsewhere.
    pub(crate) clusters: Option<Vec<ClusterText>>,
    #[serde(default)]
    pub(crate) mesh_networks: BTreeMap<String, NetworkText>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct LocalText {
    pub(crate) host: String,
    pub(crate) local: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterText {
    pub(crate) name: String,
    pub(crate) folder: Option<String>,
    pub(crate) network: Option<String>,
    #[serde(default)]
    pub(crate) addresses: Vec<String>,
    pub(crate) ca_certificate: Option<String>,
    pub(crate) tokens: Option<TokensText>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct TokensText {
    pub(crate) issuer: String,
    pub(crate) jwks: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct NetworkText {
    #[serde(default)]
    pub(crate) endpoints: Vec<EndpointsText>,
    #[serde(default)]
    pub(crate) gateways: Vec<GatewayText>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointsText {
    pub(crate) from_cidr: Option<String>,
    pub(crate) from_registry: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GatewayText {
    pub(crate) registry_service_name: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) port: i32,
    /// Istio has it and does not read it either.
    #[serde(rename = "locality")]
    _locality: Option<String>,
}

/// Istio's ConfigMap says `networks:` once more; its Helm values do not. Both are right.
pub(crate) fn unwrap_networks(root: &mut Node) {
    let Value::Map(entries) = &mut root.value else { return };
    let Some((_, spec)) = entries.iter_mut().find(|(key, _)| key == "spec") else { return };
    let Value::Map(entries) = &mut spec.value else { return };
    let Some((_, networks)) = entries.iter_mut().find(|(key, _)| key == "meshNetworks") else {
        return;
    };
    let Value::Map(inner) = &networks.value else { return };
    if let [(key, inner)] = inner.as_slice()
        && key == "networks"
        && inner.get("endpoints").is_none()
        && inner.get("gateways").is_none()
    {
        networks.value = inner.value.clone();
    }
}

pub(crate) fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// As OpenID Connect has issuers: tokens say it byte by byte, so nothing is normalised.
pub(crate) fn is_issuer(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '\\');
    let host = text.strip_prefix("https://").and_then(|rest| rest.split('/').next());
    host.is_some_and(|host| !host.is_empty())
        && text.len() <= ISSUER_BYTES_MAX
        && text.chars().all(allowed)
}

/// `*.` may stand for any number of labels.
pub(crate) fn local_rule(
    text: &LocalText,
    index: usize,
    findings: &mut Findings,
) -> ClusterLocalRule {
    let bare = text.host.strip_prefix("*.").unwrap_or(&text.host);
    if !is_domain(bare) {
        let cause = format!("{:?} is not a host", crate::names::short(&text.host));
        let way_out = "write it like cart.shop.svc.cluster.local or *.shop.svc.cluster.local";
        findings.refuse(at!["spec", "clusterLocal", index, "host"], cause, way_out);
    }
    ClusterLocalRule { host: text.host.clone(), local: text.local.unwrap_or(true) }
}

/// `1h30m`, `90s`, `500ms`: as Go writes durations, in whole numbers.
pub(crate) fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total = total.checked_add(number.checked_mul(factor)?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_units() {
        let cases = [
            ("90s", Some(90_000)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("500ms", Some(500)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("1.5h", None),
            ("5 m", None),
            ("99999999999999999999s", None),
            ("9999999999999999h", None),
        ];
        for (text, expected) in cases {
            assert_eq!(milliseconds(text), expected, "{text:?}");
        }
    }

    #[test]
    fn issuers_are_https_urls_as_tokens_say_them() {
        let longest = format!("https://{}", "a".repeat(ISSUER_BYTES_MAX - 8));
        for (text, expected) in [
            ("https://kubernetes.default.svc", true),
            ("https://oidc.example:8443/id/ABC", true),
            (&longest, true),
            (&format!("{longest}a"), false),
            ("", false),
            ("https://", false),
            ("https:///path", false),
            ("http://kubernetes.default.svc", false),
            ("kubernetes/serviceaccount", false),
            ("https://a b", false),
            ("https://a?b", false),
            ("https://a#b", false),
        ] {
            assert_eq!(is_issuer(text), expected, "{text:?}");
        }
    }

    #[test]
    fn domains_are_labels_in_lower_case() {
        let long = "a".repeat(64);
        for (text, expected) in [
            ("cluster.local", true),
            ("a", true),
            ("", false),
            ("A.local", false),
            ("a..b", false),
            ("-a", false),
            (&long[..63], true),
            (&long, false),
        ] {
            assert_eq!(is_domain(text), expected, "{text:?}");
        }
    }
}
