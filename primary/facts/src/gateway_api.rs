//! A Gateway of the Gateway API: the third way to say how a network is entered.

use std::collections::BTreeMap;
use std::net::IpAddr;

use diolkos_topology::{GatewayName, Namespace, NetworkId, Port};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::anything::Anything;
use crate::finding::Findings;
use crate::host::HostName;
use crate::limit;
use crate::names;
use crate::service::SNI_PORT;
use crate::text::{Field, at};

/// gateway.networking.k8s.io/v1, as much of it as is read. The rest may be anything.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: GatewaySpec,
    #[serde(default)]
    pub status: Option<GatewayStatus>,
    #[serde(default, rename = "apiVersion")]
    _api_version: Anything,
    #[serde(default, rename = "kind")]
    _kind: Anything,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    #[serde(default)]
    pub listeners: Vec<GatewayListener>,
    #[serde(default)]
    pub addresses: Option<Vec<GatewayAddress>>,
    #[serde(default, rename = "gatewayClassName")]
    _class: Anything,
    #[serde(default, rename = "infrastructure")]
    _infrastructure: Anything,
    #[serde(default, rename = "allowedListeners")]
    _allowed_listeners: Anything,
    #[serde(default, rename = "defaultScope")]
    _default_scope: Anything,
    #[serde(default, rename = "tls")]
    _tls: Anything,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayListener {
    pub port: i32,
    pub protocol: String,
    #[serde(default)]
    pub tls: Option<GatewayTls>,
    #[serde(default, rename = "name")]
    _name: Anything,
    #[serde(default, rename = "hostname")]
    _hostname: Anything,
    #[serde(default, rename = "allowedRoutes")]
    _allowed_routes: Anything,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayTls {
    #[serde(default)]
    pub options: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "mode")]
    _mode: Anything,
    #[serde(default, rename = "certificateRefs")]
    _certificate_refs: Anything,
    #[serde(default, rename = "frontendValidation")]
    _frontend_validation: Anything,
}

#[derive(Clone, Debug, Deserialize)]
pub struct GatewayAddress {
    /// The API's default is an IP address.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub value: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct GatewayStatus {
    #[serde(default)]
    pub addresses: Option<Vec<GatewayAddress>>,
    #[serde(default, rename = "conditions")]
    _conditions: Anything,
    #[serde(default, rename = "listeners")]
    _listeners: Anything,
    #[serde(default, rename = "attachedListenerSets")]
    _attached: Anything,
}

/// One that leads into a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayParts {
    pub namespace: Namespace,
    pub name: GatewayName,
    pub network: NetworkId,
    pub addresses: Vec<IpAddr>,
    pub hosts: Vec<HostName>,
    /// Takes mTLS by SNI.
    pub sni: Option<Port>,
    pub hbone: Option<Port>,
}

/// `None` without a refusal: a Gateway of some other purpose, or one whose label was removed.
pub fn gateway_parts(object: &Gateway, findings: &mut Findings) -> Option<GatewayParts> {
    let meta = &object.metadata;
    let network = names::network_label(meta, findings).ok()??;
    let name = names::name_text(meta, findings)?;
    let name = names::checked(name, true, GatewayName::new, at!["metadata", "name"], findings);
    let namespace = names::checked(
        names::namespace_text(meta),
        false,
        Namespace::new,
        at!["metadata", "namespace"],
        findings,
    );
    let (name, namespace) = (name?, namespace?);
    let (sni, hbone) = ports(object, findings)?;
    let (addresses, hosts) = addresses(object, findings)?;
    Some(GatewayParts { namespace, name, network, addresses, hosts, sni, hbone })
}

const LISTENER_OPTION: &str = "gateway.istio.io/listener-protocol";

/// Of each kind the first listener counts. HBONE is never a port for mTLS by SNI.
fn ports(object: &Gateway, findings: &mut Findings) -> Option<(Option<Port>, Option<Port>)> {
    let label = names::label(&object.metadata, names::GATEWAY_PORT_LABEL);
    let sni_port = label.and_then(|text| text.parse().ok()).unwrap_or(i32::from(SNI_PORT));
    let passes = |listener: &GatewayListener| {
        let Some(tls) = &listener.tls else { return false };
        let option = tls.options.as_ref().and_then(|options| options.get(LISTENER_OPTION));
        option.is_some_and(|value| value == "auto-passthrough")
            || listener.port == sni_port
            || listener.port == i32::from(SNI_PORT)
    };
    let listeners = || object.spec.listeners.iter().enumerate();
    let is_hbone = |listener: &GatewayListener| listener.protocol == "HBONE";
    let sni = listeners().find(|(_, one)| !is_hbone(one) && passes(one));
    let hbone = listeners().find(|(_, one)| is_hbone(one));
    if sni.is_none() && hbone.is_none() {
        let cause = "no listener passes TLS through and none is HBONE";
        let way_out = format!(
            "give the TLS listener the port {SNI_PORT} or the option {LISTENER_OPTION}: \
             auto-passthrough, or drop the network label"
        );
        findings.refuse(at!["spec", "listeners"], cause, way_out);
        return None;
    }
    let mut checked = |found: Option<(usize, &GatewayListener)>| {
        let (index, listener) = found?;
        names::port(listener.port, at!["spec", "listeners", index, "port"], findings)
    };
    let pair = (checked(sni), checked(hbone));
    (pair != (None, None)).then_some(pair)
}

/// What the spec asks for; where it leaves that open, what the status says came of it.
fn addresses(object: &Gateway, findings: &mut Findings) -> Option<(Vec<IpAddr>, Vec<HostName>)> {
    let given = |list: Option<&Vec<GatewayAddress>>| list.is_some_and(|list| !list.is_empty());
    let spec = object.spec.addresses.as_ref();
    let status = object.status.as_ref().and_then(|status| status.addresses.as_ref());
    let (within, list) = if given(spec) { ("spec", spec) } else { ("status", status) };
    let list = list.map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        let cause = "the gateway has no address";
        findings.refuse(at![], cause, "set spec.addresses, or wait for its status to have one");
        return None;
    }
    if list.len() > limit::GATEWAY_ADDRESSES_MAX {
        let cause = format!("{} addresses, at most {}", list.len(), limit::GATEWAY_ADDRESSES_MAX);
        findings.refuse(at![within, "addresses"], cause, "make it several gateways");
        return None;
    }
    let (mut addresses, mut hosts) = (Vec::new(), Vec::new());
    for (index, address) in list.iter().enumerate() {
        let field = at![within, "addresses", index, "value"];
        one_address(address, field, &mut addresses, &mut hosts, findings);
    }
    addresses.sort_unstable();
    addresses.dedup();
    hosts.sort_unstable();
    hosts.dedup();
    Some((addresses, hosts))
}

fn one_address(
    address: &GatewayAddress,
    field: Field,
    addresses: &mut Vec<IpAddr>,
    hosts: &mut Vec<HostName>,
    findings: &mut Findings,
) {
    let Some(value) = address.value.as_deref().filter(|value| !value.is_empty()) else {
        findings.warn(field, "the address is still to be assigned", "wait, or write it");
        return;
    };
    match address.kind.as_deref() {
        None | Some("IPAddress") => addresses.extend(names::address(value, field, findings)),
        Some("Hostname") => match HostName::new(value) {
            Ok(host) => hosts.push(host),
            Err(cause) => findings.refuse(field, cause, "write it like gw.example.com"),
        },
        Some(other) => {
            let cause = format!("addresses of type {:?} are not read", names::short(other));
            findings.warn(field, cause, "use IPAddress or Hostname");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Findings;
    use crate::text;

    fn parts(labels: &str, spec: &str, status: &str) -> (Option<GatewayParts>, Vec<String>) {
        let yaml = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: ew, \
             namespace: istio-system, labels: {{{labels}}}}}\nspec: {{gatewayClassName: istio, \
             {spec}}}\nstatus: {{{status}}}\n"
        );
        let root = text::parse(&yaml, 1).expect("YAML");
        let decoded = text::decode::<Gateway>(&root).expect("a Gateway");
        assert!(decoded.unknown.is_empty(), "{:?}", decoded.unknown);
        let mut findings = Findings::default();
        let parts = gateway_parts(&decoded.value, &mut findings);
        (parts, findings.0.iter().map(ToString::to_string).collect())
    }

    const NETWORK: &str = "topology.istio.io/network: west";
    const IP: &str = "addresses: [{type: IPAddress, value: 192.0.2.1}]";

    fn port(number: u16) -> Option<Port> {
        Port::new(number).ok()
    }

    #[test]
    fn listeners_are_for_sni_or_for_hbone_and_never_both() {
        let tls = "{name: tls, port: 15443, protocol: TLS, tls: {mode: Passthrough}}";
        let plain = "{name: tcp, port: 15443, protocol: TCP}";
        let hbone = "{name: mesh, port: 15008, protocol: HBONE, tls: {mode: Terminate}}";
        let option = "{name: x, port: 443, protocol: TLS, tls: {mode: Passthrough, options: \
                      {gateway.istio.io/listener-protocol: auto-passthrough}}}";
        let moved = "{name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}}";
        let label = "topology.istio.io/network: west, networking.istio.io/gatewayPort: '443'";
        for (labels, listeners, sni, hbone_port) in [
            (NETWORK, tls.to_owned(), port(15443), None),
            (NETWORK, format!("{tls}, {hbone}"), port(15443), port(15008)),
            (NETWORK, hbone.to_owned(), None, port(15008)),
            (NETWORK, option.to_owned(), port(443), None),
            (label, moved.to_owned(), port(443), None),
        ] {
            let (parts, told) = parts(labels, &format!("listeners: [{listeners}], {IP}"), "");
            let parts = parts.unwrap_or_else(|| panic!("{listeners}: {told:?}"));
            assert_eq!((parts.sni, parts.hbone), (sni, hbone_port), "{listeners}");
        }
        for listeners in [plain, moved] {
            let (parts, told) = parts(NETWORK, &format!("listeners: [{listeners}], {IP}"), "");
            assert_eq!(parts, None);
            assert!(told[0].contains("no listener passes TLS through"), "{told:?}");
        }
    }

    #[test]
    fn without_the_label_it_is_no_gateway_of_a_network() {
        let (parts, told) = parts("app: x", "listeners: [{port: 80, protocol: HTTP}]", "");
        assert_eq!((parts, told.len()), (None, 0));
    }

    #[test]
    fn addresses_are_the_specs_or_else_the_statuss_and_names_are_names() {
        let tls = "listeners: [{port: 15443, protocol: TLS, tls: {mode: Passthrough}}]";
        let status = "addresses: [{type: IPAddress, value: 192.0.2.9}]";
        let (found, _) = parts(NETWORK, &format!("{tls}, {IP}"), status);
        assert_eq!(found.expect("parts").addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        let (found, _) = parts(NETWORK, tls, status);
        assert_eq!(found.expect("parts").addresses, ["192.0.2.9".parse::<IpAddr>().unwrap()]);
        let named = "addresses: [{type: Hostname, value: GW.example.com}, {type: Hostname, value: \
                     10.0.0.1}, {type: Named, value: x}]";
        let (found, told) = parts(NETWORK, &format!("{tls}, {named}"), "");
        let found = found.expect("parts");
        assert_eq!(found.hosts, [HostName::new("gw.example.com").unwrap()]);
        assert!(found.addresses.is_empty());
        assert_eq!(told.len(), 2, "{told:?}");
        let (found, told) = parts(NETWORK, tls, "");
        assert_eq!(found, None);
        assert!(told[0].starts_with("the gateway has no address"), "{told:?}");
    }
}
