//! Names and addresses as Kubernetes allows them, with a finding where it would not.

use std::collections::BTreeMap;
use std::net::IpAddr;

use diolkos_topology::{NameError, NetworkId, Port};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::finding::Findings;
use crate::limit;
use crate::text::{Field, at};

pub(crate) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
pub(crate) const NETWORK_LABEL: &str = "topology.istio.io/network";
pub(crate) const GATEWAY_PORT_LABEL: &str = "networking.istio.io/gatewayPort";
pub(crate) const TLS_MODE_LABEL: &str = "security.istio.io/tlsMode";
pub(crate) const CONSUMERS_ANNOTATION: &str = "diolkos.dev/consumers";
pub(crate) const NODE_SELECTOR_ANNOTATION: &str = "traffic.istio.io/nodeSelector";

/// A DNS label or, where `dots` are allowed, a DNS subdomain: lower case, as the API server has it.
pub(crate) fn checked<T>(
    text: &str,
    dots: bool,
    parse: fn(&str) -> Result<T, NameError>,
    field: Field,
    findings: &mut Findings,
) -> Option<T> {
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (dots && c == '.');
    let parsed = parse(text);
    let found = text.chars().find(|&c| !allowed(c));
    match (parsed, found) {
        (Ok(name), None) => Some(name),
        (Err(error), _) => {
            refuse_error(&error, field, "use a name that Kubernetes accepts", findings);
            None
        }
        (Ok(_), Some(found)) => {
            let cause = format!("{:?} contains {found:?}", short(text));
            findings.refuse(field, cause, "use lower-case letters, digits and '-'");
            None
        }
    }
}

/// An error may bring its own way out, behind a semicolon.
pub(crate) fn refuse_error(
    error: &impl std::fmt::Display,
    field: Field,
    way_out: &str,
    findings: &mut Findings,
) {
    let text = error.to_string();
    let (cause, way_out) = text.split_once("; ").unwrap_or((&text, way_out));
    findings.refuse(field, cause, way_out);
}

/// The object's namespace: `default` where it names none.
pub(crate) fn namespace_text(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().filter(|text| !text.is_empty()).unwrap_or("default")
}

pub(crate) fn name_text<'a>(meta: &'a ObjectMeta, findings: &mut Findings) -> Option<&'a str> {
    let name = meta.name.as_deref().filter(|text| !text.is_empty());
    if name.is_none() {
        findings.refuse(at!["metadata"], "name is missing", "give the object a name");
    }
    name
}

pub(crate) fn address(text: &str, field: Field, findings: &mut Findings) -> Option<IpAddr> {
    let parsed = text.parse::<IpAddr>().ok();
    // An IPv4 address in the dress of IPv6 would pass by what the cluster was granted.
    let parsed = parsed.filter(|address| address.to_canonical() == *address);
    if parsed.is_none() {
        let why = if text.contains('%') {
            ": zones (%) mean nothing elsewhere"
        } else if text.starts_with("::ffff:") {
            ": it is IPv4 inside IPv6"
        } else {
            ""
        };
        let cause = format!("{:?} is not an IP address{why}", short(text));
        findings.refuse(field, cause, "write it like 10.0.0.1 or fd00::1");
    }
    parsed
}

pub(crate) fn port(number: i32, field: Field, findings: &mut Findings) -> Option<Port> {
    let port = u16::try_from(number).ok().and_then(|number| Port::new(number).ok());
    if port.is_none() {
        findings.refuse(field, format!("{number} is not a port"), "use 1 to 65535");
    }
    port
}

/// The value of a label that names a network; empty is as good as absent.
pub(crate) fn network_label(
    meta: &ObjectMeta,
    findings: &mut Findings,
) -> Result<Option<NetworkId>, ()> {
    let Some(text) = label(meta, NETWORK_LABEL).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    NetworkId::new(text).map(Some).map_err(|error| {
        let field = at!["metadata", "labels", NETWORK_LABEL];
        refuse_error(&error, field, "name a network with letters, digits and '-'", findings);
    })
}

pub(crate) fn label<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    entry(meta.labels.as_ref(), name)
}

pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    entry(meta.annotations.as_ref(), name)
}

/// Labels that are kept, of which there is only so much. `None`: too much.
pub(crate) fn labels(
    map: Option<&BTreeMap<String, String>>,
    field: Field,
    findings: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    let Some(map) = map else { return Some(BTreeMap::new()) };
    let bytes: usize = map.iter().map(|(name, value)| name.len() + value.len()).sum();
    if map.len() > limit::LABELS_MAX || bytes > limit::LABELS_BYTES_MAX {
        let cause = format!(
            "{} labels of {bytes} bytes, at most {} of {} are kept",
            map.len(),
            limit::LABELS_MAX,
            limit::LABELS_BYTES_MAX
        );
        findings.refuse(field, cause, "make some of them annotations");
        return None;
    }
    Some(map.clone())
}

fn entry<'a>(map: Option<&'a BTreeMap<String, String>>, name: &str) -> Option<&'a str> {
    map?.get(name).map(String::as_str)
}

/// Milliseconds since 1970.
pub(crate) fn created(meta: &ObjectMeta) -> Option<u64> {
    let time = meta.creation_timestamp.as_ref()?;
    u64::try_from(time.0.as_millisecond()).ok()
}

/// Text of strangers, cut to what a line can bear.
pub(crate) fn short(text: &str) -> &str {
    let mut end = text.len().min(limit::QUOTE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
