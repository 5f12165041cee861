//! What redirected workloads are told, read back as a client reads it.

use std::collections::BTreeMap;

use diolkos_topology::{
    AppProtocol, IpFamilies, MtlsMode, Namespace, OutboundTraffic, Port, ServiceKey,
};
use diolkos_trust::TrustDomain;
use envoy_types::pb::envoy::config::listener::v3 as config;
use envoy_types::pb::envoy::config::route::v3 as routes;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use hcm::http_connection_manager::{ForwardClientCertDetails, RouteSpecifier};
use prost::{Message, Name};
use tls::common_tls_context::ValidationContextType;

use super::inbound::{RESERVED_PORTS, virtual_inbound};
use super::{cluster, outbound, route};
use crate::hub::{HubSettings, Inbound, InboundPort};
use crate::limit;

fn settings() -> HubSettings {
    HubSettings::new("cluster.local", &TrustDomain::new("mesh.example").unwrap())
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn inbound(rest: MtlsMode, ports: &[(u16, AppProtocol, MtlsMode)]) -> config::Listener {
    let ports = ports
        .iter()
        .map(|(number, protocol, mode)| {
            (port(*number), InboundPort { protocol: *protocol, mode: *mode })
        })
        .collect();
    virtual_inbound(&Inbound { rest, ports }, IpFamilies::Both, &settings())
}

fn typed<M: Message + Name + Default>(filter: &config::Filter) -> Option<M> {
    let Some(config::filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        panic!("a typed config")
    };
    (any.type_url == M::type_url()).then(|| M::decode(any.value.as_slice()).unwrap())
}

/// `match -> what`, but for the reserved ports.
fn chains(listener: &config::Listener) -> Vec<String> {
    let line = |chain: &config::FilterChain| {
        let matches = chain.filter_chain_match.as_ref().unwrap();
        let port = matches.destination_port.map_or("*".to_owned(), |port| port.value.to_string());
        let transport = &matches.transport_protocol;
        let alpn = if matches.application_protocols.is_empty() { "" } else { " istio" };
        let ended = if chain.transport_socket.is_some() { "mtls " } else { "" };
        let what = match typed::<hcm::HttpConnectionManager>(&chain.filters[0]) {
            None => "bytes",
            Some(manager) => match manager.forward_client_cert_details() {
                ForwardClientCertDetails::SanitizeSet => "http, told who calls",
                ForwardClientCertDetails::Sanitize => "http",
                other => panic!("{other:?}"),
            },
        };
        format!("{port} {transport}{alpn} -> {ended}{what}")
    };
    let reserved = |chain: &&config::FilterChain| !chain.name.starts_with("reserved-");
    listener.filter_chains.iter().filter(reserved).map(line).collect()
}

#[test]
fn each_mode_takes_in_what_it_says_and_nothing_more() {
    use AppProtocol::{Grpc, Tcp};
    use MtlsMode::{Disable, Permissive, Strict};
    assert_eq!(
        chains(&inbound(Strict, &[(80, Grpc, Permissive), (90, Tcp, Strict)])),
        [
            "80 tls istio -> mtls http, told who calls",
            "80 raw_buffer -> http",
            "80 tls -> bytes",
            "90 tls -> mtls bytes",
            "* tls -> mtls bytes",
        ]
    );
    assert_eq!(
        chains(&inbound(Permissive, &[(80, Grpc, Strict), (90, Tcp, Disable)])),
        [
            "80 tls -> mtls http, told who calls",
            "90 raw_buffer -> bytes",
            "90 tls -> bytes",
            "* tls istio -> mtls bytes",
            "* raw_buffer -> bytes",
            "* tls -> bytes",
        ]
    );
}

#[test]
fn a_client_must_show_a_certificate_of_the_mesh_before_bytes_reach_the_application() {
    let listener = inbound(MtlsMode::Strict, &[(90, AppProtocol::Tcp, MtlsMode::Strict)]);
    for chain in listener.filter_chains.iter().filter(|chain| chain.transport_socket.is_some()) {
        let socket = chain.transport_socket.clone().unwrap().config_type.unwrap();
        let envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType::TypedConfig(
            any,
        ) = socket;
        let server = tls::DownstreamTlsContext::decode(any.value.as_slice()).unwrap();
        assert!(server.require_client_certificate.unwrap().value);
        let common = server.common_tls_context.unwrap();
        assert!(common.alpn_protocols.is_empty(), "bytes are promised no protocol");
        let Some(ValidationContextType::CombinedValidationContext(combined)) =
            common.validation_context_type
        else {
            panic!("a combined validation context")
        };
        let validation = combined.default_validation_context.unwrap();
        let [name] = validation.match_typed_subject_alt_names.as_slice() else { panic!("one") };
        assert_eq!(name.san_type, tls::subject_alt_name_matcher::SanType::Uri as i32);
        let pattern = name.matcher.clone().unwrap().match_pattern.unwrap();
        assert_eq!(pattern, MatchPattern::Prefix("spiffe://mesh.example/".into()));
        let proxy = typed::<tcp::TcpProxy>(&chain.filters[0]).unwrap();
        assert_eq!(
            proxy.upstream_connect_mode(),
            tcp::UpstreamConnectMode::OnDownstreamTlsHandshake
        );
        assert!(proxy.max_early_data_bytes.is_some(), "Envoy demands it with that mode");
    }
}

#[test]
fn the_proxys_own_ports_lead_nowhere_whatever_services_say() {
    let declared = RESERVED_PORTS.map(|port| (port, AppProtocol::Http, MtlsMode::Disable));
    let listener = inbound(MtlsMode::Disable, &declared);
    for port in RESERVED_PORTS {
        let of_port: Vec<_> = listener
            .filter_chains
            .iter()
            .filter(|chain| {
                let matches = chain.filter_chain_match.as_ref().unwrap();
                matches.destination_port.is_some_and(|found| found.value == u32::from(port))
            })
            .collect();
        let [chain] = of_port.as_slice() else { panic!("one chain for {port}") };
        let proxy = typed::<tcp::TcpProxy>(&chain.filters[0]).unwrap();
        let cluster = tcp::tcp_proxy::ClusterSpecifier::Cluster("BlackHoleCluster".into());
        assert_eq!(proxy.cluster_specifier, Some(cluster));
    }
    let circle = &outbound::virtual_outbound(IpFamilies::Both, OutboundTraffic::Allow);
    let matches = circle.filter_chains[0].filter_chain_match.as_ref().unwrap();
    assert_eq!(matches.destination_port.unwrap().value, 15_001);
}

#[test]
fn as_many_ports_as_the_limit_and_those_beyond_are_treated_no_more_freely() {
    use MtlsMode::{Permissive, Strict};
    let made = |count: usize, last: MtlsMode| {
        let word = |mode| InboundPort { protocol: AppProtocol::Http, mode };
        let mut ports: BTreeMap<_, _> =
            (1..=count).map(|n| (port(u16::try_from(n).unwrap()), word(Permissive))).collect();
        ports.last_entry().unwrap().insert(word(last));
        let inbound = Inbound { rest: Permissive, ports };
        chains(&virtual_inbound(&inbound, IpFamilies::V4, &settings()))
    };
    let max = limit::INBOUND_PORTS_MAX;
    let at_limit = made(max, Strict);
    assert_eq!(at_limit.len(), 3 * (max - 1) + 1 + 3);
    let beyond = made(max + 1, Strict);
    assert_eq!(beyond.len(), 3 * max + 1, "all that nobody declared is strict now");
    assert_eq!(made(max + 1, Permissive).len(), 3 * max + 3);
}

#[test]
fn what_is_no_http_passes_through_unless_only_services_may_be_reached() {
    for (policy, rest) in [(OutboundTraffic::Allow, true), (OutboundTraffic::RegistryOnly, false)] {
        let listener = outbound::http(port(8080), IpFamilies::Both, policy);
        assert_eq!(listener.name, "0.0.0.0_8080");
        assert_eq!(listener.default_filter_chain.is_some(), rest);
        assert_eq!(listener.additional_addresses.len(), 1, "IPv6");
        assert!(!listener.bind_to_port.unwrap().value);
        let manager =
            typed::<hcm::HttpConnectionManager>(&listener.filter_chains[0].filters[0]).unwrap();
        let Some(RouteSpecifier::Rds(rds)) = manager.route_specifier else { panic!("by RDS") };
        assert_eq!(rds.route_config_name, "8080");
    }
    assert_eq!(outbound::http_name(port(80), IpFamilies::V6), "::_80");
    let v4 = outbound::virtual_outbound(IpFamilies::V4, OutboundTraffic::Allow);
    assert!(v4.additional_addresses.is_empty(), "the pod may have no IPv6 at all");
}

fn port_routes(
    from: &str,
    services: &[(&str, &[&str])],
    outbound: OutboundTraffic,
) -> routes::RouteConfiguration {
    let services: Vec<_> = services
        .iter()
        .map(|(service, vips)| {
            let (namespace, name) = service.split_once('/').unwrap();
            let vips: Vec<_> = vips.iter().map(|vip| vip.parse().unwrap()).collect();
            (ServiceKey::new(namespace, name).unwrap(), vips)
        })
        .collect();
    let destinations: Vec<_> = services
        .iter()
        .map(|(service, vips)| route::Destination {
            service,
            port: port(8080),
            protocol: AppProtocol::Http,
            vips,
        })
        .collect();
    let namespace = Namespace::new(from).unwrap();
    route::port(port(8080), &destinations, &namespace, "cluster.local", outbound)
}

#[test]
fn on_its_port_number_a_service_is_found_by_all_names_and_its_own_addresses() {
    let services: [(&str, &[&str]); 2] =
        [("demo/a", &["10.96.0.1", "fd00::1"]), ("other/a", &["10.96.0.1"])];
    let made = port_routes("demo", &services, OutboundTraffic::Allow);
    assert_eq!(made.name, "8080");
    let domains: Vec<_> = made.virtual_hosts.iter().map(|host| host.domains.join(" ")).collect();
    assert_eq!(
        domains,
        [
            "a.demo.svc.cluster.local a.demo.svc.cluster.local:8080 a.demo.svc a.demo.svc:8080 \
             a.demo a.demo:8080 a a:8080 10.96.0.1 10.96.0.1:8080 [fd00::1] [fd00::1]:8080",
            "a.other.svc.cluster.local a.other.svc.cluster.local:8080 a.other.svc \
             a.other.svc:8080 a.other a.other:8080",
            "*",
        ],
        "an address said twice is the first's"
    );
    assert_eq!(made.virtual_hosts[2].name, "anybody");
    let made = port_routes("demo", &services, OutboundTraffic::RegistryOnly);
    assert_eq!(made.virtual_hosts[2].name, "nobody");
}

#[test]
fn the_application_is_dialled_from_an_address_that_the_redirect_knows() {
    for (families, first, extra) in [
        (IpFamilies::V4, "127.0.0.6", 0),
        (IpFamilies::V6, "::6", 0),
        (IpFamilies::Both, "127.0.0.6", 1),
    ] {
        let bind = cluster::inbound(AppProtocol::Tcp, families).upstream_bind_config.unwrap();
        assert_eq!(bind.source_address.unwrap().address, first);
        assert_eq!(bind.extra_source_addresses.len(), extra);
    }
}
