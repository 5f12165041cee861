//! Standard Envoy resources into what this gateway does with them, or the reason why it cannot.
//!
//! Whatever would make Envoy do something that this gateway does not do is refused here, so that
//! the primary is told, instead of being ignored.

mod chain;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use diolkos_route::{ChainTable, HostName, Target, sni};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::protobuf::value::Kind;
use prost::{Message, Name};

pub use chain::{ChainFault, Heard, chains, is_sni};

/// What the one Listener says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    pub name: String,
    pub address: SocketAddr,
    pub entry: Entry,
}

/// Which server names a listener lets in, and where they lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Each to the cluster of the same name; a client must offer one of the protocols.
    EveryName { protocols: Vec<String> },
    /// Those that have a filter chain.
    Chains(Arc<ChainTable>),
}

/// # Errors
/// With the reason, in words for whoever runs the primary.
pub fn listener(body: &[u8]) -> Result<ListenerPlan, String> {
    let listener = listener::Listener::decode(body).map_err(|error| error.to_string())?;
    let address = listener.address.as_ref().ok_or("it has no address")?;
    if !listener.additional_addresses.is_empty() || listener.default_filter_chain.is_some() {
        return Err("this gateway has one address and no default filter chain".into());
    }
    let [chain] = listener.filter_chains.as_slice() else {
        return Err(format!("it has {} filter chains, not one", listener.filter_chains.len()));
    };
    if chain.transport_socket.is_some() {
        return Err("its transport socket would end the workloads' TLS".into());
    }
    let protocols = chain_match(chain.filter_chain_match.as_ref())?;
    let [sni_cluster, tcp_proxy] = chain.filters.as_slice() else {
        return Err("its filters are not sni_cluster and tcp_proxy".into());
    };
    typed::<SniCluster>(sni_cluster).ok_or("its first filter is not sni_cluster")?;
    typed::<TcpProxy>(tcp_proxy).ok_or("its second filter is not tcp_proxy")?;
    let entry = Entry::EveryName { protocols };
    Ok(ListenerPlan { address: socket_address(address)?, name: listener.name, entry })
}

fn chain_match(found: Option<&listener::FilterChainMatch>) -> Result<Vec<String>, String> {
    let Some(found) = found.filter(|found| !found.application_protocols.is_empty()) else {
        return Err("its filter chain matches any ALPN; name application_protocols".into());
    };
    let understood = listener::FilterChainMatch {
        application_protocols: found.application_protocols.clone(),
        transport_protocol: found.transport_protocol.clone(),
        ..Default::default()
    };
    if *found != understood || !matches!(found.transport_protocol.as_str(), "" | "tls") {
        return Err("its filter chain matches on more than TLS and ALPN".into());
    }
    Ok(found.application_protocols.clone())
}

fn typed<M: Message + Name + Default>(filter: &listener::Filter) -> Option<M> {
    match &filter.config_type {
        Some(listener::filter::ConfigType::TypedConfig(any)) => unpack(any),
        _ => None,
    }
}

fn unpack<M: Message + Name + Default>(any: &Any) -> Option<M> {
    let (_, name) = any.type_url.rsplit_once('/')?;
    if name != M::full_name() {
        return None;
    }
    M::decode(any.value.as_slice()).ok()
}

/// The route's name, for a cluster whose endpoints come over the same stream.
///
/// # Errors
/// With the reason, in words for whoever runs the primary.
pub fn cluster(body: &[u8]) -> Result<HostName, String> {
    let cluster = Cluster::decode(body).map_err(|error| error.to_string())?;
    let eds = ClusterDiscoveryType::Type(DiscoveryType::Eds as i32);
    if cluster.cluster_discovery_type != Some(eds) {
        return Err("its type is not EDS".into());
    }
    if cluster.transport_socket.is_some() || !cluster.transport_socket_matches.is_empty() {
        return Err("it has a transport socket; this gateway passes TLS on".into());
    }
    let config = cluster.eds_cluster_config.unwrap_or_default();
    let source = config.eds_config.and_then(|source| source.config_source_specifier);
    if !matches!(source, Some(core::config_source::ConfigSourceSpecifier::Ads(_))) {
        return Err("its endpoints do not come over ADS".into());
    }
    if !config.service_name.is_empty() && config.service_name != cluster.name {
        return Err("its EDS service name is not its own name".into());
    }
    sni::decode(&cluster.name).map_err(|error| error.to_string())?;
    HostName::new(cluster.name.as_bytes()).map_err(|refusal| refusal.to_string())
}

/// What an assignment comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Those that may be dialed.
    pub targets: Vec<Target>,
    /// How many endpoints are said to be down.
    pub left_out: usize,
}

/// The targets that may be dialed. Endpoints said to be down are left out.
///
/// # Errors
/// With the reason, in words for whoever runs the primary.
pub fn targets(body: &[u8]) -> Result<Assigned, String> {
    let assignment =
        endpoint::ClusterLoadAssignment::decode(body).map_err(|error| error.to_string())?;
    let mut assigned = Assigned::default();
    for locality in &assignment.endpoints {
        for endpoint in &locality.lb_endpoints {
            let weight = endpoint.load_balancing_weight.as_ref().map_or(1, |weight| weight.value);
            let address = endpoint_address(endpoint)?;
            if weight == 0 {
                return Err(format!("endpoint {address} has the weight 0"));
            }
            if is_usable(endpoint.health_status) {
                let target = Target { address, weight, priority: locality.priority };
                assigned.targets.push(target);
            } else {
                assigned.left_out += 1;
            }
        }
    }
    Ok(assigned)
}

/// Istio's `istio.workload`.
pub(crate) fn workload(endpoint: &endpoint::LbEndpoint) -> Option<&str> {
    let istio = endpoint.metadata.as_ref()?.filter_metadata.get("istio")?;
    match istio.fields.get("workload")?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

pub(crate) fn endpoint_address(endpoint: &endpoint::LbEndpoint) -> Result<SocketAddr, String> {
    match &endpoint.host_identifier {
        Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(found)) => {
            socket_address(found.address.as_ref().ok_or("an endpoint has no address")?)
        }
        _ => Err("an endpoint is given by reference, not by address".into()),
    }
}

fn is_usable(status: i32) -> bool {
    matches!(
        core::HealthStatus::try_from(status),
        Ok(core::HealthStatus::Unknown
            | core::HealthStatus::Healthy
            | core::HealthStatus::Degraded)
    )
}

fn socket_address(address: &core::Address) -> Result<SocketAddr, String> {
    let Some(core::address::Address::SocketAddress(socket)) = &address.address else {
        return Err("an address is not a socket address".into());
    };
    if socket.protocol != core::socket_address::Protocol::Tcp as i32 {
        return Err(format!("address {} is not TCP", socket.address));
    }
    let ip: IpAddr = socket
        .address
        .parse()
        .map_err(|_| format!("address {:?} is not an IP address", socket.address))?;
    match socket.port_specifier {
        Some(core::socket_address::PortSpecifier::PortValue(port @ 1..=0xffff)) => {
            Ok(SocketAddr::new(ip, port as u16))
        }
        _ => Err(format!("address {ip} has no port from 1 to 65535")),
    }
}
