//! What a redirected workload's own connections meet, by the address they were going to.
//!
//! ```text
//!  virtualOutbound :15001 ─┬─ 10.96.0.7_5432   bytes to a service's own address
//!                          ├─ 0.0.0.0_8080     HTTP to this port number, whoever is dialled
//!                          └─ the rest         passes through, or is refused
//! ```
//!
//! Envoy hands a connection to the listener of the very address, else to that of the port number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use diolkos_topology::{IpFamilies, OutboundTraffic, Port};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
use envoy_types::pb::google::protobuf::BoolValue;

use super::filter;
use super::name;
use super::wire::{address, seconds, uint};

/// Redirected outbound TCP.
pub(crate) const OUTBOUND_PORT: u16 = 15_001;
/// Redirected inbound TCP.
pub(crate) const INBOUND_PORT: u16 = 15_006;

/// What cleartext HTTP is found to be.
const HTTP_ALPNS: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// Where all outbound connections arrive. Those that no other listener is for stay here.
pub(crate) fn virtual_outbound(
    families: IpFamilies,
    outbound: OutboundTraffic,
) -> listener::Listener {
    // Whoever dials the port itself would be sent in circles.
    let circle = listener::FilterChain {
        name: "circle".into(),
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: uint(OUTBOUND_PORT.into()),
            ..Default::default()
        }),
        filters: vec![filter::tcp(&filter::bytes(name::BLACK_HOLE))],
        ..Default::default()
    };
    let rest = match outbound {
        OutboundTraffic::Allow => name::PASSTHROUGH,
        OutboundTraffic::RegistryOnly => name::BLACK_HOLE,
    };
    listener::Listener {
        filter_chains: vec![circle],
        default_filter_chain: Some(listener::FilterChain {
            name: "rest".into(),
            filters: vec![filter::tcp(&filter::bytes(rest))],
            ..Default::default()
        }),
        listener_filters: vec![filter::original_dst()],
        use_original_dst: Some(BoolValue { value: true }),
        traffic_direction: core::TrafficDirection::Outbound as i32,
        ..everywhere(name::VIRTUAL_OUTBOUND, families, OUTBOUND_PORT)
    }
}

/// HTTP to a port number. What turns out to be no HTTP was meant for someone else who happens to
/// listen on the same number.
pub(crate) fn http(
    port: Port,
    families: IpFamilies,
    outbound: OutboundTraffic,
) -> listener::Listener {
    let name = http_name(port, families);
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(filter::routes(&name::port_routes(port))),
        http_filters: filter::client_filters(),
        ..filter::transparent_http(format!("outbound_{port}"))
    };
    let requests = listener::FilterChain {
        name: "http".into(),
        filter_chain_match: Some(listener::FilterChainMatch {
            transport_protocol: "raw_buffer".into(),
            application_protocols: HTTP_ALPNS.map(str::to_owned).into(),
            ..Default::default()
        }),
        filters: vec![filter::http(&manager)],
        ..Default::default()
    };
    let others = match outbound {
        OutboundTraffic::Allow => Some(listener::FilterChain {
            name: "rest".into(),
            filters: vec![filter::tcp(&filter::bytes(name::PASSTHROUGH))],
            ..Default::default()
        }),
        OutboundTraffic::RegistryOnly => None,
    };
    listener::Listener {
        filter_chains: vec![requests],
        default_filter_chain: others,
        listener_filters: vec![
            filter::tls_inspector(&TlsInspector::default()),
            filter::http_inspector(),
        ],
        // A client may open a connection long before it has something to ask.
        listener_filters_timeout: seconds(0),
        ..handed_over(everywhere(&name, families, port.get()))
    }
}

pub(crate) fn http_name(port: Port, families: IpFamilies) -> String {
    let (first, _) = unspecified(families);
    name::listener(SocketAddr::new(first, port.get())).to_string()
}

/// Bytes to one address. Nothing has been sent while connecting, so another endpoint may be tried.
pub(crate) fn bytes(at: SocketAddr, cluster: &str) -> listener::Listener {
    let proxy = tcp_proxy::TcpProxy { max_connect_attempts: uint(3), ..filter::bytes(cluster) };
    handed_over(listener::Listener {
        name: name::listener(at).to_string(),
        address: Some(address(at)),
        filter_chains: vec![listener::FilterChain {
            filters: vec![filter::tcp(&proxy)],
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// Connections come from `virtualOutbound` alone.
fn handed_over(listener: listener::Listener) -> listener::Listener {
    listener::Listener {
        bind_to_port: Some(BoolValue { value: false }),
        traffic_direction: core::TrafficDirection::Outbound as i32,
        ..listener
    }
}

/// On every address of the pod's families.
pub(super) fn everywhere(name: &str, families: IpFamilies, port: u16) -> listener::Listener {
    let (first, second) = unspecified(families);
    let additional = second.map(|ip| listener::AdditionalAddress {
        address: Some(address(SocketAddr::new(ip, port))),
        ..Default::default()
    });
    listener::Listener {
        name: name.into(),
        address: Some(address(SocketAddr::new(first, port))),
        additional_addresses: additional.into_iter().collect(),
        ..Default::default()
    }
}

fn unspecified(families: IpFamilies) -> (IpAddr, Option<IpAddr>) {
    let (v4, v6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    match families {
        IpFamilies::Both => (v4, Some(v6)),
        IpFamilies::V4 => (v4, None),
        IpFamilies::V6 => (v6, None),
    }
}
