//! What Envoy resources say of one service port, read as a proxy reads them.

use std::net::{IpAddr, SocketAddr};

use diolkos_trust::SpiffeId;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    SocketAddress, TransportSocket, address, transport_socket,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, UpstreamTlsContext, common_tls_context::ValidationContextType,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::{Struct, value::Kind};
use prost::Message;

/// How to speak to a cluster's mTLS endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) sni: String,
    pub(crate) identities: Vec<SpiffeId>,
}

/// One address, with what it weighs among the addresses of its priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) address: SocketAddr,
    pub(crate) priority: u32,
    pub(crate) weight: u32,
    pub(crate) mtls: bool,
    pub(crate) through: Through,
}

/// A gateway has a cluster but no workload of its own in the endpoint's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Through {
    Direct { cluster: String },
    Gateway { cluster: String },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("cluster {name}: {cause}")]
    Cluster { name: String, cause: String },
    #[error("endpoints of {name}: {cause}")]
    Endpoints { name: String, cause: String },
    #[error("not a protobuf message: {0}")]
    Decode(#[from] prost::DecodeError),
}

/// Reads the mTLS side of a cluster: `None` if it has none.
pub(crate) fn upstream(body: &[u8]) -> Result<Option<Upstream>, TargetError> {
    let cluster = Cluster::decode(body)?;
    let socket = cluster
        .transport_socket_matches
        .iter()
        .find(|candidate| candidate.name == "tlsMode-istio")
        .and_then(|candidate| candidate.transport_socket.as_ref());
    let Some(socket) = socket else { return Ok(None) };
    let fault = |cause: String| TargetError::Cluster { name: cluster.name.clone(), cause };
    let tls = tls_of(socket).map_err(fault)?;
    let common = tls.common_tls_context.unwrap_or_default();
    let identities = identities(&common).map_err(fault)?;
    Ok(Some(Upstream { sni: tls.sni, identities }))
}

fn tls_of(socket: &TransportSocket) -> Result<UpstreamTlsContext, String> {
    match &socket.config_type {
        Some(transport_socket::ConfigType::TypedConfig(any)) => {
            UpstreamTlsContext::decode(any.value.as_slice()).map_err(|error| error.to_string())
        }
        None => Err("its TLS transport socket has no configuration".into()),
    }
}

fn identities(common: &CommonTlsContext) -> Result<Vec<SpiffeId>, String> {
    let validation = match &common.validation_context_type {
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            combined.default_validation_context.clone()
        }
        Some(ValidationContextType::ValidationContext(context)) => Some(context.clone()),
        _ => None,
    };
    let matchers = validation.map(|context| context.match_typed_subject_alt_names);
    let mut identities = Vec::new();
    for typed in matchers.unwrap_or_default() {
        match typed.matcher.and_then(|matcher| matcher.match_pattern) {
            Some(MatchPattern::Exact(text)) => {
                identities.push(SpiffeId::parse(&text).map_err(|error| error.to_string())?);
            }
            other => return Err(format!("identity matcher {other:?} is not an exact one")),
        }
    }
    if identities.is_empty() {
        return Err("it names no identity, and none is never any".into());
    }
    Ok(identities)
}

/// Reads an assignment, in the order in which it stands.
pub(crate) fn candidates(body: &[u8]) -> Result<Vec<Candidate>, TargetError> {
    let assignment = ClusterLoadAssignment::decode(body)?;
    let name = assignment.cluster_name.clone();
    let mut candidates = Vec::new();
    for group in assignment.endpoints {
        for endpoint in group.lb_endpoints {
            let candidate = candidate(&endpoint, group.priority)
                .map_err(|cause| TargetError::Endpoints { name: name.clone(), cause })?;
            candidates.push(candidate);
        }
    }
    Ok(candidates)
}

fn candidate(endpoint: &LbEndpoint, priority: u32) -> Result<Candidate, String> {
    let address = match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint.address.as_ref(),
        _ => None,
    };
    let address = match address.and_then(|address| address.address.as_ref()) {
        Some(address::Address::SocketAddress(socket)) => socket_address(socket)?,
        other => return Err(format!("address {other:?} is not a socket address")),
    };
    let metadata = endpoint.metadata.as_ref().map(|metadata| &metadata.filter_metadata);
    let text = |filter: &str, key: &str| {
        metadata.and_then(|all| all.get(filter)).and_then(|fields| string_field(fields, key))
    };
    let mtls = text("envoy.transport_socket_match", "tlsMode").as_deref() == Some("istio");
    let workload = text("istio", "workload").unwrap_or_default();
    let (name, cluster) = (workload.split(';').next(), workload.rsplit(';').next());
    let cluster = cluster.unwrap_or_default().to_owned();
    let through = match name {
        Some("") if !workload.is_empty() => Through::Gateway { cluster },
        _ => Through::Direct { cluster },
    };
    let weight = endpoint.load_balancing_weight.as_ref().map_or(1, |weight| weight.value);
    Ok(Candidate { address, priority, weight, mtls, through })
}

fn socket_address(socket: &SocketAddress) -> Result<SocketAddr, String> {
    let ip: IpAddr =
        socket.address.parse().map_err(|_| format!("{:?} is not an IP address", socket.address))?;
    match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => u16::try_from(port)
            .map(|port| SocketAddr::new(ip, port))
            .map_err(|_| format!("{port} is not a port")),
        _ => Err(format!("{ip} has no port number")),
    }
}

fn string_field(fields: &Struct, key: &str) -> Option<String> {
    match fields.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}
