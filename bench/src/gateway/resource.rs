//! Envoy resources of an east-west gateway.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use prost::{Message, Name};

pub(super) fn listener(at: SocketAddr) -> Vec<u8> {
    let chain = listener::FilterChain {
        filter_chain_match: Some(listener::FilterChainMatch {
            transport_protocol: "tls".into(),
            application_protocols: vec!["istio".into()],
            ..listener::FilterChainMatch::default()
        }),
        filters: vec![filter(&SniCluster {}), filter(&TcpProxy::default())],
        ..listener::FilterChain::default()
    };
    listener::Listener {
        name: "sni".into(),
        address: Some(address(at)),
        filter_chains: vec![chain],
        ..listener::Listener::default()
    }
    .encode_to_vec()
}

fn filter<M: Message + Name>(config: &M) -> listener::Filter {
    let any = Any {
        type_url: format!("type.googleapis.com/{}", M::full_name()),
        value: config.encode_to_vec(),
    };
    listener::Filter {
        name: M::full_name(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(any)),
    }
}

pub(super) fn cluster(name: &str) -> Vec<u8> {
    let ads = core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {});
    let source =
        core::ConfigSource { config_source_specifier: Some(ads), ..core::ConfigSource::default() };
    Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(source),
            service_name: String::new(),
        }),
        ..Cluster::default()
    }
    .encode_to_vec()
}

pub(super) fn endpoints(name: &str, target: SocketAddr) -> Vec<u8> {
    let found =
        endpoint::Endpoint { address: Some(address(target)), ..endpoint::Endpoint::default() };
    let one = endpoint::LbEndpoint {
        load_balancing_weight: Some(UInt32Value { value: 1 }),
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(found)),
        ..endpoint::LbEndpoint::default()
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: name.into(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![one],
            ..endpoint::LocalityLbEndpoints::default()
        }],
        ..endpoint::ClusterLoadAssignment::default()
    }
    .encode_to_vec()
}

fn address(at: SocketAddr) -> core::Address {
    let socket = core::SocketAddress {
        address: at.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(at.port().into())),
        ..core::SocketAddress::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}
