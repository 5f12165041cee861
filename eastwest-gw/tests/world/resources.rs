//! The Envoy resources of a primary.

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
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Any, ListValue, Struct, UInt32Value, Value};
use prost::{Message, Name};

pub(crate) const ISTIO_ALPNS: [&str; 5] =
    ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

pub(crate) fn listener(address: SocketAddr) -> Vec<u8> {
    listener_message(address).encode_to_vec()
}

pub(crate) fn listener_message(at: SocketAddr) -> listener::Listener {
    listener::Listener {
        name: "sni".into(),
        address: Some(address(at)),
        filter_chains: vec![listener::FilterChain {
            filter_chain_match: Some(listener::FilterChainMatch {
                transport_protocol: "tls".into(),
                application_protocols: ISTIO_ALPNS.map(str::to_owned).into(),
                ..Default::default()
            }),
            filters: vec![filter(&SniCluster {}), filter(&TcpProxy::default())],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn filter<M: Message + Name>(config: &M) -> listener::Filter {
    let any = Any {
        type_url: format!("type.googleapis.com/{}", M::full_name()),
        value: config.encode_to_vec(),
    };
    listener::Filter {
        name: M::full_name(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(any)),
    }
}

pub(crate) fn cluster(name: &str) -> Vec<u8> {
    cluster_message(name).encode_to_vec()
}

pub(crate) fn cluster_message(name: &str) -> Cluster {
    let ads = core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {});
    Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(core::ConfigSource {
                config_source_specifier: Some(ads),
                ..Default::default()
            }),
            service_name: String::new(),
        }),
        ..Default::default()
    }
}

/// Each in a priority of its own, so that they are tried in this order.
pub(crate) fn endpoints(name: &str, targets: &[SocketAddr]) -> Vec<u8> {
    let locality = |(priority, target): (u32, &SocketAddr)| endpoint::LocalityLbEndpoints {
        lb_endpoints: vec![lb_endpoint(address(*target), 1)],
        priority,
        ..Default::default()
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: name.into(),
        endpoints: (0..).zip(targets).map(locality).collect(),
        ..Default::default()
    }
    .encode_to_vec()
}

/// In one priority, each with the cluster that it is of.
pub(crate) fn endpoints_of(name: &str, targets: &[(SocketAddr, &str)]) -> Vec<u8> {
    let one = |(target, cluster): &(SocketAddr, &str)| endpoint::LbEndpoint {
        metadata: Some(field("istio", "workload", text(&format!("web;shop;web;;{cluster}")))),
        ..lb_endpoint(address(*target), 1)
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: name.into(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: targets.iter().map(one).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
    .encode_to_vec()
}

/// As a primary of ours tells of callers.
pub(crate) fn metadata(name: &str, lists: &[Vec<String>]) -> core::Metadata {
    let list = |values| Value { kind: Some(Kind::ListValue(ListValue { values })) };
    let inner = |texts: &Vec<String>| list(texts.iter().map(|one| text(one)).collect());
    field("diolkos.dev", name, list(lists.iter().map(inner).collect()))
}

fn field(key: &str, name: &str, value: Value) -> core::Metadata {
    let fields = Struct { fields: [(name.to_owned(), value)].into() };
    core::Metadata { filter_metadata: [(key.to_owned(), fields)].into(), ..Default::default() }
}

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.into())) }
}

pub(crate) fn lb_endpoint(address: core::Address, weight: u32) -> endpoint::LbEndpoint {
    let found = endpoint::Endpoint { address: Some(address), ..Default::default() };
    endpoint::LbEndpoint {
        load_balancing_weight: Some(UInt32Value { value: weight }),
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(found)),
        ..Default::default()
    }
}

pub(crate) fn address(at: SocketAddr) -> core::Address {
    named_address(&at.ip().to_string(), at.port().into())
}

pub(crate) fn named_address(address: &str, port: u32) -> core::Address {
    let socket = core::SocketAddress {
        address: address.into(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..Default::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}
