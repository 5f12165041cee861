//! A Service: its ports and virtual addresses, and how it is reached from outside its cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;

use diolkos_topology::{
    AppProtocol, NetworkId, Port, PortName, ServiceFact, ServiceKey, ServiceName, ServicePortFact,
};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

use crate::finding::Findings;
use crate::host::HostName;
use crate::names;
use crate::text::at;

/// What one Service says, before nodes are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceParts {
    pub fact: ServiceFact,
    /// Set where a label makes it the gateway of a network.
    pub gateway: Option<GatewayLabel>,
    pub reach: Reach,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayLabel {
    pub network: NetworkId,
    pub port: Port,
}

/// How a Service is reached from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// External IPs, then the load balancer's, as they stand.
    pub addresses: Vec<IpAddr>,
    /// A load balancer's names.
    pub hosts: Vec<HostName>,
    /// The Service is also open on each node.
    pub on_nodes: bool,
    /// Which nodes, by their labels; empty means all.
    pub node_selector: BTreeMap<String, String>,
    /// Every TCP port, and its number on the nodes.
    pub ports: Vec<(Port, Option<Port>)>,
}

/// `None` without a refusal: the object is right, and not for us.
pub fn service_parts(object: &Service, findings: &mut Findings) -> Option<ServiceParts> {
    let key = service_key(object, findings)?;
    let no_spec = ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&no_spec);
    if spec.type_.as_deref() == Some("ExternalName") {
        let cause = "an ExternalName service has no endpoints, it is skipped";
        findings.warn(at!["spec", "type"], cause, "nothing to do, clients resolve it by DNS");
        return None;
    }
    let before = findings.0.len();
    let ports = ports(spec, findings);
    let vips = vips(spec, findings);
    let gateway = gateway_label(object, findings);
    let reach = reach(object, spec, findings);
    if findings.refused_since(before) {
        return None;
    }
    let fact = ServiceFact { key, vips, ports, created: names::created(&object.metadata) };
    Some(ServiceParts { fact, gateway, reach })
}

/// The fact alone, for sources that need no gateways.
pub fn service_fact(object: &Service, findings: &mut Findings) -> Option<ServiceFact> {
    service_parts(object, findings).map(|parts| parts.fact)
}

fn service_key(object: &Service, findings: &mut Findings) -> Option<ServiceKey> {
    let meta = &object.metadata;
    let name = names::name_text(meta, findings)?;
    let name = names::checked(name, false, ServiceName::new, at!["metadata", "name"], findings);
    let namespace = names::checked(
        names::namespace_text(meta),
        false,
        diolkos_topology::Namespace::new,
        at!["metadata", "namespace"],
        findings,
    );
    Some(ServiceKey { namespace: namespace?, name: name? })
}

fn ports(spec: &ServiceSpec, findings: &mut Findings) -> Vec<ServicePortFact> {
    let mut ports: Vec<ServicePortFact> = Vec::new();
    let mut names: BTreeMap<&str, i32> = BTreeMap::new();
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let name = port.name.as_deref().unwrap_or_default();
        if let Some(other) = names.insert(name, port.port) {
            let cause = format!("ports {other} and {} are both named {name:?}", port.port);
            findings.refuse(at!["spec", "ports", index], cause, "give each port its own name");
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if protocol != "TCP" {
            let cause = format!("port {}/{} is left out", port.port, names::short(protocol));
            findings.warn(at!["spec", "ports", index], cause, "only TCP is federated");
            continue;
        }
        let field = at!["spec", "ports", index, "port"];
        let Some(number) = names::port(port.port, field.clone(), findings) else {
            continue;
        };
        if let Some(other) = ports.iter().find(|other| other.port == number) {
            let cause = format!("port {number} is listed twice, as {:?} and {name:?}", other.name);
            findings.refuse(field, cause, "keep one of them");
            continue;
        }
        let field = at!["spec", "ports", index, "name"];
        match PortName::new(name) {
            Ok(name) => {
                ports.push(ServicePortFact { name, port: number, protocol: app_protocol(port) });
            }
            Err(error) => names::refuse_error(&error, field, "rename the port", findings),
        }
    }
    ports
}

/// appProtocol first, then the prefix of the port's name, as Istio has it.
fn app_protocol(port: &ServicePort) -> AppProtocol {
    if let Some(text) = port.app_protocol.as_deref() {
        return protocol_named(text).unwrap_or(AppProtocol::Tcp);
    }
    let name = port.name.as_deref().unwrap_or_default();
    if name == "grpc-web" || name.starts_with("grpc-web-") {
        return AppProtocol::Http;
    }
    let prefix = name.split('-').next().unwrap_or_default();
    protocol_named(prefix).unwrap_or(AppProtocol::Tcp)
}

fn protocol_named(text: &str) -> Option<AppProtocol> {
    Some(match text.to_ascii_lowercase().as_str() {
        "grpc" => AppProtocol::Grpc,
        // gRPC-Web also travels over HTTP/1.1.
        "grpc-web" | "http" | "kubernetes.io/ws" => AppProtocol::Http,
        "http2" | "kubernetes.io/h2c" => AppProtocol::Http2,
        "https" | "kubernetes.io/wss" | "tls" => AppProtocol::Tls,
        "mongo" | "mysql" | "redis" | "tcp" => AppProtocol::Tcp,
        _ => return None,
    })
}

fn vips(spec: &ServiceSpec, findings: &mut Findings) -> Vec<IpAddr> {
    let (field, texts) = match (&spec.cluster_ips, &spec.cluster_ip) {
        (Some(list), _) if !list.is_empty() => ("clusterIPs", list.as_slice()),
        (_, Some(one)) => ("clusterIP", std::slice::from_ref(one)),
        _ => return Vec::new(),
    };
    let mut vips = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty() && *text != "None") {
        vips.extend(names::address(text, at!["spec", field], findings));
    }
    vips
}

fn gateway_label(object: &Service, findings: &mut Findings) -> Option<GatewayLabel> {
    let network = names::network_label(&object.metadata, findings).ok()??;
    let label = names::GATEWAY_PORT_LABEL;
    let port = match names::label(&object.metadata, label) {
        None => Port::new(SNI_PORT).ok(),
        Some(text) => {
            let port = text.parse().ok().and_then(|number| Port::new(number).ok());
            if port.is_none() {
                let cause = format!("{:?} is not a port", names::short(text));
                findings.refuse(at!["metadata", "labels", label], cause, "use 1 to 65535");
            }
            port
        }
    };
    port.map(|port| GatewayLabel { network, port })
}

fn reach(object: &Service, spec: &ServiceSpec, findings: &mut Findings) -> Reach {
    let mut reach = Reach::default();
    for (index, text) in spec.external_ips.iter().flatten().enumerate() {
        let field = at!["spec", "externalIPs", index];
        reach.addresses.extend(names::address(text, field, findings));
    }
    let balancer = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
    for (index, point) in ingress.into_iter().flatten().enumerate() {
        let field = at!["status", "loadBalancer", "ingress", index, "ip"];
        if let Some(text) = point.ip.as_deref().filter(|text| !text.is_empty()) {
            reach.addresses.extend(names::address(text, field, findings));
        } else if let Some(text) = point.hostname.as_deref().filter(|text| !text.is_empty()) {
            let field = at!["status", "loadBalancer", "ingress", index, "hostname"];
            match HostName::new(text) {
                Ok(host) => reach.hosts.push(host),
                Err(cause) => findings.warn(field, cause, "wait for the load balancer"),
            }
        }
    }
    reach.addresses.sort_unstable();
    reach.addresses.dedup();
    reach.hosts.sort_unstable();
    reach.hosts.dedup();
    reach.on_nodes = spec.type_.as_deref() == Some("NodePort");
    reach.node_selector = node_selector(object, findings);
    let tcp = |port: &&ServicePort| port.protocol.as_deref().unwrap_or("TCP") == "TCP";
    let number = |number: i32| u16::try_from(number).ok().and_then(|n| Port::new(n).ok());
    let listed = spec.ports.iter().flatten().filter(tcp);
    reach.ports = listed
        .filter_map(|port| Some((number(port.port)?, port.node_port.and_then(number))))
        .collect();
    reach
}

fn node_selector(object: &Service, findings: &mut Findings) -> BTreeMap<String, String> {
    let annotation = names::NODE_SELECTOR_ANNOTATION;
    let Some(text) = names::annotation(&object.metadata, annotation) else {
        return BTreeMap::new();
    };
    let decoded = crate::text::parse(text, 1)
        .and_then(|root| crate::text::decode::<BTreeMap<String, String>>(&root));
    match decoded {
        Ok(decoded) => decoded.value,
        Err(fault) => {
            let field = at!["metadata", "annotations", annotation];
            let cause = format!("not a map of labels: {fault}");
            findings.refuse(field, cause, "write it like {\"ingress\": \"yes\"}");
            BTreeMap::new()
        }
    }
}

/// Where Istio's east-west gateways take mTLS by SNI.
pub(crate) const SNI_PORT: u16 = 15443;
/// Where they take HBONE.
pub(crate) const HBONE_PORT: u16 = 15008;
/// Where they let their own cluster's clients out, to other networks.
pub(crate) const EGRESS_PORT: u16 = 15444;

#[cfg(test)]
mod tests {
    use super::*;

    fn port(app: Option<&str>, name: &str) -> ServicePort {
        ServicePort {
            app_protocol: app.map(Into::into),
            name: Some(name.into()),
            port: 80,
            ..ServicePort::default()
        }
    }

    #[test]
    fn the_protocol_is_what_app_protocol_says_and_else_the_name() {
        use AppProtocol::{Grpc, Http, Http2, Tcp, Tls};
        let cases = [
            (Some("http"), "tcp", Http),
            (Some("HTTP"), "", Http),
            (Some("kubernetes.io/h2c"), "", Http2),
            (Some("kubernetes.io/ws"), "", Http),
            (Some("kubernetes.io/wss"), "", Tls),
            (Some("example.com/own"), "http", Tcp),
            (Some("grpc"), "", Grpc),
            (None, "http", Http),
            (None, "http-web", Http),
            (None, "http2-x", Http2),
            (None, "grpc-api", Grpc),
            (None, "grpc-web", Http),
            (None, "grpc-webby", Grpc),
            (None, "https", Tls),
            (None, "tls-x", Tls),
            (None, "httpx", Tcp),
            (None, "web", Tcp),
            (None, "", Tcp),
        ];
        for (app, name, expected) in cases {
            assert_eq!(app_protocol(&port(app, name)), expected, "{app:?} {name:?}");
        }
    }
}
