//! What a node says of itself, in Istio's shape, parsed once.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use diolkos_topology::{ClientKind, IpFamilies};
use diolkos_trust::{Quoted, TokenFault};
use envoy_types::pb::envoy::config::core::v3::Node as NodeMessage;
use envoy_types::pb::google::protobuf::value::Kind;
use tonic::Status;

use crate::limit;

/// Why a stream is refused. The client is told all of it: it says nothing about others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The first request carries no node, or one that cannot be read.
    Node { cause: String },
    /// The header that should hold a token holds none, or is there twice.
    Authorization { cause: String },
    /// Neither a certificate nor a token.
    NoCredential,
    /// The certificate is good, but no cluster of the mesh is known to have issued it.
    UnknownIssuer { id: String },
    /// The certificate is good and ours, but for a cluster that the mesh does not have.
    UnknownCluster { id: String, cluster: String },
    /// The certificate is good, but names no workload.
    NoWorkload { id: String },
    /// The token's issuer is no cluster's, or no longer has the key that signed it.
    TokenIssuer { issuer: String },
    /// The token is not good.
    Token(TokenFault),
    /// The node says something that its credential or the facts contradict.
    Claim { claim: &'static str, said: String, expected: String, by: &'static str },
}

/// What is claimed, and where a listener should be. All of it is text until checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: ClientKind,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) pod: String,
    /// Of the id's third part, its fourth, and the metadata: all must be the same.
    pub(crate) namespaces: Vec<(&'static str, String)>,
    pub(crate) cluster: Option<String>,
    pub(crate) network: Option<String>,
    pub(crate) service_account: Option<String>,
    pub(crate) http_proxy: Option<SocketAddr>,
    /// Its pod's connections are redirected to it.
    pub(crate) redirected: bool,
    pub(crate) bind: IpAddr,
    /// Where a gateway listens for those who come in, or as the way out, for those who go out.
    pub(crate) sni_port: u16,
    /// It ends tunnels, and wants to know who may do what in them.
    pub(crate) hbone: bool,
}

const SNI_PORT: u16 = 15_443;

/// All that is read.
const METADATA_KEYS: [&str; 12] = [
    "BIND_TO_INSTANCE_IP",
    "CLUSTER_ID",
    "EGRESS_PORT",
    "GATEWAY_PORT",
    "GENERATOR",
    "HBONE_PORT",
    "HTTP_PROXY_PORT",
    "INSTANCE_IPS",
    "INTERCEPTION_MODE",
    "NAMESPACE",
    "NETWORK",
    "SERVICE_ACCOUNT",
];

impl Node {
    pub(crate) fn parse(message: Option<&NodeMessage>) -> Result<Self, Denied> {
        let message = message.filter(|node| !node.id.is_empty()).ok_or_else(|| {
            denied("the first request carries no node id; set node.id in the bootstrap")
        })?;
        check_length("node.id", &message.id)?;
        let metadata = |key: &str| metadata(message, key);
        for key in METADATA_KEYS {
            check_length(key, &metadata(key).unwrap_or_default())?;
        }
        let (kind, ip, pod, namespaces) = parse_id(&message.id)?;
        let egress = parse_port(metadata("EGRESS_PORT"), "EGRESS_PORT")?;
        let kind = match (metadata("GENERATOR").as_deref(), kind) {
            (Some("grpc"), _) => ClientKind::Grpc,
            (_, ClientKind::Gateway) if egress.is_some() => ClientKind::Egress,
            _ => kind,
        };
        let sni_port = parse_port(metadata("GATEWAY_PORT"), "GATEWAY_PORT")?;
        let sni_port = egress.filter(|_| kind == ClientKind::Egress).or(sni_port);
        let ips = match metadata("INSTANCE_IPS") {
            Some(text) => parse_ips(&text)?,
            None => vec![parse_ip(ip)?],
        };
        let first = ips[0];
        let http_proxy = parse_port(metadata("HTTP_PROXY_PORT"), "HTTP_PROXY_PORT")?
            .map(|port| SocketAddr::new(first, port));
        let bind = match (metadata("BIND_TO_INSTANCE_IP").as_deref(), first) {
            (Some("true"), ip) => ip,
            (_, IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (_, IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let redirected = redirected(metadata("INTERCEPTION_MODE").as_deref(), kind)?;
        let mut namespaces = namespaces;
        namespaces.extend(metadata("NAMESPACE").map(|said| ("NAMESPACE", said)));
        Ok(Self {
            kind,
            pod,
            namespaces,
            cluster: metadata("CLUSTER_ID"),
            network: metadata("NETWORK"),
            service_account: metadata("SERVICE_ACCOUNT"),
            http_proxy,
            redirected,
            bind,
            sni_port: sni_port.unwrap_or(SNI_PORT),
            hbone: parse_port(metadata("HBONE_PORT"), "HBONE_PORT")?.is_some(),
            ips,
        })
    }

    pub(crate) fn families(&self) -> IpFamilies {
        match (self.ips.iter().any(IpAddr::is_ipv4), self.ips.iter().any(IpAddr::is_ipv6)) {
            (true, false) => IpFamilies::V4,
            (false, true) => IpFamilies::V6,
            _ => IpFamilies::Both,
        }
    }
}

type Namespaces = Vec<(&'static str, String)>;

/// `<kind>~<ip>~<pod>.<namespace>~<namespace>.svc.<domain>`
fn parse_id(id: &str) -> Result<(ClientKind, &str, String, Namespaces), Denied> {
    let malformed = || {
        denied(format!(
            "node id {id:?} is not <type>~<ip>~<pod>.<namespace>~<namespace>.svc.<domain>"
        ))
    };
    let parts: Vec<&str> = id.split('~').collect();
    let [kind, ip, workload, domain] = parts[..] else {
        return Err(malformed());
    };
    let kind = match kind {
        "sidecar" => ClientKind::Sidecar,
        "router" => ClientKind::Gateway,
        other => {
            return Err(denied(format!(
                "node type {other:?} is not served; use sidecar or router"
            )));
        }
    };
    let (pod, namespace) = workload.rsplit_once('.').ok_or_else(malformed)?;
    let (domain_namespace, rest) = domain.split_once('.').ok_or_else(malformed)?;
    if pod.is_empty() || namespace.is_empty() || domain_namespace.is_empty() || rest.is_empty() {
        return Err(malformed());
    }
    let namespaces = vec![
        ("the node id's pod", namespace.to_owned()),
        ("the node id's domain", domain_namespace.to_owned()),
    ];
    Ok((kind, ip, pod.to_owned(), namespaces))
}

/// What is too long is refused without being repeated: refusals are logged and remembered.
pub(crate) fn check_length(key: &str, text: &str) -> Result<(), Denied> {
    if text.len() <= limit::NODE_VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(denied(format!(
        "{key} has {} bytes, at most {} are allowed",
        text.len(),
        limit::NODE_VALUE_BYTES_MAX
    )))
}

/// Istio's metadata values are strings; empty means not said.
fn metadata(message: &NodeMessage, key: &str) -> Option<String> {
    let value = message.metadata.as_ref()?.fields.get(key)?;
    match value.kind.as_ref()? {
        Kind::StringValue(text) if !text.is_empty() => Some(text.clone()),
        Kind::BoolValue(flag) => Some(flag.to_string()),
        Kind::NumberValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn parse_ips(text: &str) -> Result<Vec<IpAddr>, Denied> {
    let ips: Vec<IpAddr> =
        text.split(',').map(|ip| parse_ip(ip.trim())).collect::<Result<_, _>>()?;
    if ips.len() > limit::INSTANCE_IPS_MAX {
        return Err(denied(format!(
            "INSTANCE_IPS holds {} addresses, at most {}",
            ips.len(),
            limit::INSTANCE_IPS_MAX
        )));
    }
    Ok(ips)
}

fn parse_ip(text: &str) -> Result<IpAddr, Denied> {
    text.parse().map_err(|_| denied(format!("node address {text:?} is not an IP address")))
}

fn parse_port(text: Option<String>, key: &str) -> Result<Option<u16>, Denied> {
    let Some(text) = text else {
        return Ok(None);
    };
    match text.parse() {
        Ok(0) | Err(_) => Err(denied(format!("{key} {text:?} is not a port; use 1 to 65535"))),
        Ok(port) => Ok(Some(port)),
    }
}

/// `REDIRECT`, by whichever rules the pod has; not said, or `NONE`: nothing is.
fn redirected(text: Option<&str>, kind: ClientKind) -> Result<bool, Denied> {
    match text {
        None | Some("NONE") => Ok(false),
        Some("REDIRECT") => Ok(kind == ClientKind::Sidecar),
        Some(other) => {
            Err(denied(format!("INTERCEPTION_MODE {other:?} is not served; use REDIRECT or NONE")))
        }
    }
}

fn denied(cause: impl Into<String>) -> Denied {
    Denied::Node { cause: cause.into() }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { cause } => f.write_str(cause),
            Self::UnknownIssuer { id } => write!(
                f,
                "{id}: no cluster of this mesh has this issuer; set caCertificate of its cluster \
                 in the mesh file"
            ),
            Self::UnknownCluster { id, cluster } => write!(
                f,
                "{id}: the certificate is for cluster {cluster:?}, which this mesh does not have; \
                 declare it, or link it again"
            ),
            Self::Authorization { cause } => write!(f, "authorization: {cause}"),
            Self::NoCredential => f.write_str(
                "neither a certificate nor a token; present a certificate of this mesh, or send \
                 authorization: Bearer <service-account token>",
            ),
            Self::TokenIssuer { issuer } => write!(
                f,
                "no cluster of this mesh has this token's issuer {}, or its key; set tokens of its \
                 cluster in the mesh file",
                Quoted(issuer.clone())
            ),
            Self::Token(fault) => fmt::Display::fmt(fault, f),
            Self::NoWorkload { id } => {
                write!(f, "{id}: not a workload's id; expected /ns/<namespace>/sa/<account>")
            }
            Self::Claim { claim, said, expected, by } => {
                write!(f, "{claim} claims {said:?}, but {by} {expected:?}")
            }
        }
    }
}

impl std::error::Error for Denied {}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        let text = denied.to_string();
        match denied {
            Denied::Node { .. } => Self::invalid_argument(text),
            Denied::Authorization { .. }
            | Denied::NoCredential
            | Denied::Token(_)
            | Denied::TokenIssuer { .. } => Self::unauthenticated(text),
            Denied::Claim { .. }
            | Denied::NoWorkload { .. }
            | Denied::UnknownIssuer { .. }
            | Denied::UnknownCluster { .. } => Self::permission_denied(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::google::protobuf::{Struct, Value};

    fn node(id: &str, metadata: &[(&str, &str)]) -> NodeMessage {
        let text = |value: &str| Value { kind: Some(Kind::StringValue(value.into())) };
        let fields = metadata.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
        NodeMessage { id: id.into(), metadata: Some(Struct { fields }), ..NodeMessage::default() }
    }

    fn parsed(metadata: &[(&str, &str)]) -> Node {
        let id = "sidecar~10.0.0.9~web.1.shop~shop.svc.cluster.local";
        Node::parse(Some(&node(id, metadata))).unwrap()
    }

    #[test]
    fn a_bare_node_binds_everywhere_and_offers_no_proxy() {
        let node = parsed(&[("CLUSTER_ID", "")]);
        assert_eq!(node.kind, ClientKind::Sidecar);
        assert_eq!(node.pod, "web.1", "a pod's name may have dots, a namespace not");
        assert_eq!(node.cluster, None, "empty is not said");
        assert_eq!((node.http_proxy, node.redirected, node.sni_port), (None, false, 15_443));
        assert_eq!(node.bind, IpAddr::from([0, 0, 0, 0]));
        assert_eq!(node.families(), IpFamilies::V4);
    }

    #[test]
    fn metadata_chooses_kind_families_and_listener() {
        let node = parsed(&[
            ("GENERATOR", "grpc"),
            ("INSTANCE_IPS", "fd00::9, 10.0.0.9"),
            ("HTTP_PROXY_PORT", "15080"),
            ("BIND_TO_INSTANCE_IP", "true"),
            ("GATEWAY_PORT", "16443"),
        ]);
        assert_eq!(node.kind, ClientKind::Grpc);
        assert_eq!(node.families(), IpFamilies::Both);
        assert_eq!(node.bind, "fd00::9".parse::<IpAddr>().unwrap());
        assert_eq!(node.http_proxy, Some("[fd00::9]:15080".parse().unwrap()));
        assert_eq!(node.sni_port, 16_443);
        assert_eq!(parsed(&[("INSTANCE_IPS", "fd00::9")]).families(), IpFamilies::V6);
    }

    #[test]
    fn a_gateway_that_says_its_egress_port_is_told_of_the_way_out() {
        let kind = |id: &str, more: &[(&str, &str)]| {
            let id = format!("{id}~10.0.0.9~ew.mesh~mesh.svc.cluster.local");
            Node::parse(Some(&node(&id, more))).map(|node| (node.kind, node.sni_port))
        };
        let out = [("EGRESS_PORT", "15444"), ("GATEWAY_PORT", "16443")];
        assert_eq!(kind("router", &out), Ok((ClientKind::Egress, 15_444)));
        assert_eq!(kind("router", &out[1..]), Ok((ClientKind::Gateway, 16_443)));
        assert_eq!(kind("sidecar", &out), Ok((ClientKind::Sidecar, 16_443)), "no gateway");
        let refused = kind("router", &[("EGRESS_PORT", "0")]).unwrap_err();
        assert_eq!(refused.to_string(), "EGRESS_PORT \"0\" is not a port; use 1 to 65535");
    }

    #[test]
    fn only_a_sidecar_is_redirected_and_only_in_the_way_that_is_served() {
        let mode = |mode, more: &[(&str, &str)]| {
            let all = [&[("INTERCEPTION_MODE", mode)], more].concat();
            let id = "sidecar~10.0.0.9~web.shop~shop.svc.cluster.local";
            Node::parse(Some(&node(id, &all))).map(|node| node.redirected)
        };
        assert_eq!(mode("REDIRECT", &[]), Ok(true));
        assert_eq!(mode("NONE", &[]), Ok(false));
        assert_eq!(mode("REDIRECT", &[("GENERATOR", "grpc")]), Ok(false));
        assert_eq!(
            mode("TPROXY", &[]).unwrap_err().to_string(),
            "INTERCEPTION_MODE \"TPROXY\" is not served; use REDIRECT or NONE"
        );
    }

    #[test]
    fn a12_a_value_as_long_as_the_limit_is_read_and_a_longer_one_is_not_repeated() {
        let id = |bytes: usize| {
            let rest = "sidecar~10.0.0.9~.shop~shop.svc.cluster.local".len();
            format!("sidecar~10.0.0.9~{}.shop~shop.svc.cluster.local", "w".repeat(bytes - rest))
        };
        let max = limit::NODE_VALUE_BYTES_MAX;
        assert!(Node::parse(Some(&node(&id(max), &[]))).is_ok());
        let error = Node::parse(Some(&node(&id(max + 1), &[]))).unwrap_err();
        assert_eq!(error.to_string(), "node.id has 1025 bytes, at most 1024 are allowed");
        for key in METADATA_KEYS {
            let long = "9".repeat(max + 1);
            let error = Node::parse(Some(&node(&id(100), &[(key, &long)]))).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{key} has 1025 bytes, at most 1024 are allowed")
            );
        }
    }

    #[test]
    fn as_many_addresses_as_the_limit_and_not_one_more() {
        let ips = |count| vec!["10.0.0.1"; count].join(",");
        let id = "router~10.0.0.9~gw.shop~shop.svc.cluster.local";
        let parse = |count| Node::parse(Some(&node(id, &[("INSTANCE_IPS", &ips(count))])));
        assert!(parse(limit::INSTANCE_IPS_MAX).is_ok());
        assert!(parse(limit::INSTANCE_IPS_MAX + 1).is_err());
    }
}
