//! What the messages say, read back as a client reads them.

use std::collections::BTreeSet;

use diolkos_topology::{AppProtocol, Namespace, Port, ServiceKey, ServicePort};
use diolkos_trust::SpiffeId;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as config;
use envoy_types::pb::envoy::config::route::v3 as routes;
use envoy_types::pb::envoy::extensions::filters::http::set_filter_state::v3::Config as SetState;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use tls::common_tls_context::ValidationContextType;

use super::cluster::{self, GrpcSecurity};
use super::filter::SET_FILTER_STATE;
use super::{listener, route};
use crate::hub::SecretSource;

const DOMAIN: &str = "cluster.local";
const ECHO: &str = "spiffe://cluster.local/ns/demo/sa/echo";
const ECHO_EAST: &str = "spiffe://east.example/ns/demo/sa/echo";

fn port(number: u16) -> ServicePort {
    ServicePort {
        service: ServiceKey::new("demo", "echo").unwrap(),
        port: Port::new(number).unwrap(),
    }
}

fn identities() -> [SpiffeId; 2] {
    [ECHO, ECHO_EAST].map(|text| SpiffeId::parse(text).unwrap())
}

fn sidecar(protocol: AppProtocol, identities: &[SpiffeId]) -> Cluster {
    cluster::sidecar(&port(80), protocol, identities, DOMAIN, &SecretSource::default())
}

fn unpack<M: Message + prost::Name + Default>(any: &Any) -> M {
    assert_eq!(any.type_url, M::type_url());
    M::decode(any.value.as_slice()).unwrap()
}

fn tls_of(socket: Option<&core::TransportSocket>) -> tls::UpstreamTlsContext {
    let socket = socket.unwrap();
    assert_eq!(socket.name, "envoy.transport_sockets.tls");
    let Some(core::transport_socket::ConfigType::TypedConfig(any)) = &socket.config_type else {
        panic!("a typed config")
    };
    unpack(any)
}

fn mtls_of(cluster: &Cluster) -> tls::UpstreamTlsContext {
    let [mtls, plaintext] = cluster.transport_socket_matches.as_slice() else {
        panic!("two matches")
    };
    assert_eq!((&*mtls.name, &*plaintext.name), ("tlsMode-istio", "tlsMode-disabled"));
    assert!(mtls.r#match.as_ref().unwrap().fields.contains_key("tlsMode"));
    assert!(plaintext.r#match.as_ref().unwrap().fields.is_empty(), "it matches the rest");
    let raw = plaintext.transport_socket.as_ref().unwrap();
    assert_eq!(raw.name, "envoy.transport_sockets.raw_buffer");
    tls_of(mtls.transport_socket.as_ref())
}

fn exact(matchers: &[StringMatcher]) -> Vec<&str> {
    let text = |matcher: &'_ StringMatcher| match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => text.clone().leak() as &str,
        other => panic!("{other:?} is not exact"),
    };
    matchers.iter().map(text).collect()
}

/// The URIs a sidecar accepts.
fn accepted(context: &tls::UpstreamTlsContext) -> Vec<String> {
    let common = context.common_tls_context.as_ref().unwrap();
    let Some(ValidationContextType::CombinedValidationContext(combined)) =
        &common.validation_context_type
    else {
        panic!("a combined validation context")
    };
    let root = combined.validation_context_sds_secret_config.as_ref().unwrap();
    assert_eq!(root.name, "ROOTCA");
    let names =
        &combined.default_validation_context.as_ref().unwrap().match_typed_subject_alt_names;
    let uri = tls::subject_alt_name_matcher::SanType::Uri as i32;
    assert!(names.iter().all(|name| name.san_type == uri));
    let matchers: Vec<_> = names.iter().map(|name| name.matcher.clone().unwrap()).collect();
    exact(&matchers).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_sidecar_cluster_is_called_as_istio_calls_it_and_takes_endpoints_over_ads() {
    let cluster = sidecar(AppProtocol::Http, &identities());
    assert_eq!(cluster.name, "outbound|80||echo.demo.svc.cluster.local");
    let eds = cluster.eds_cluster_config.clone().unwrap();
    let source = eds.eds_config.unwrap().config_source_specifier.unwrap();
    assert!(matches!(source, core::config_source::ConfigSourceSpecifier::Ads(_)));
    assert_eq!(eds.service_name, "", "the endpoints are named as the cluster is");
    assert_eq!(mtls_of(&cluster).sni, "outbound_.80_._.echo.demo.svc.cluster.local");
    assert_eq!(cluster.common_lb_config.unwrap().healthy_panic_threshold.unwrap().value, 0.0);
    assert!(cluster.ignore_health_on_host_removal);
}

#[test]
fn a_sidecar_accepts_exactly_the_known_identities() {
    let context = mtls_of(&sidecar(AppProtocol::Http, &identities()));
    assert_eq!(accepted(&context), [ECHO, ECHO_EAST]);
}

#[test]
fn no_known_identity_means_nobody_never_anybody() {
    let context = mtls_of(&sidecar(AppProtocol::Http, &[]));
    let [nobody] = accepted(&context).try_into().unwrap();
    assert!(nobody.starts_with("spiffe://nobody.invalid/"));
    let context =
        tls_of(cluster::grpc(&port(80), GrpcSecurity::Mtls(&[]), DOMAIN).transport_socket.as_ref());
    assert_eq!(grpc_accepted(&context), [nobody]);
}

#[test]
fn alpn_and_protocol_options_are_those_seen_to_work() {
    use UpstreamProtocolOptions::{ExplicitHttpConfig, UseDownstreamProtocolConfig};
    let cases: [(AppProtocol, [&str; 2], &str); 5] = [
        (AppProtocol::Http, ["istio", "http/1.1"], "as downstream"),
        (AppProtocol::Http2, ["istio", "h2"], "explicit"),
        (AppProtocol::Grpc, ["istio", "h2"], "explicit"),
        (AppProtocol::Tcp, ["istio-peer-exchange", "istio"], "none"),
        (AppProtocol::Tls, ["istio-peer-exchange", "istio"], "none"),
    ];
    for (protocol, alpn, options) in cases {
        let cluster = sidecar(protocol, &identities());
        let common = mtls_of(&cluster).common_tls_context.unwrap();
        assert_eq!(common.alpn_protocols, alpn, "{protocol:?}");
        let key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let found = cluster
            .typed_extension_protocol_options
            .get(key)
            .map(|any| unpack::<HttpProtocolOptions>(any).upstream_protocol_options.unwrap());
        let found = match found {
            None => "none",
            Some(UseDownstreamProtocolConfig(_)) => "as downstream",
            Some(ExplicitHttpConfig(_)) => "explicit",
            Some(other) => panic!("{other:?}"),
        };
        assert_eq!(found, options, "{protocol:?}");
    }
}

#[test]
fn secrets_are_the_clients_own_by_file_or_by_a_cluster_of_its_bootstrap() {
    use core::config_source::ConfigSourceSpecifier;
    let secret = |secrets: &SecretSource| {
        let cluster = cluster::sidecar(&port(80), AppProtocol::Tcp, &identities(), DOMAIN, secrets);
        let common = mtls_of(&cluster).common_tls_context.unwrap();
        let [secret] = common.tls_certificate_sds_secret_configs.try_into().unwrap();
        assert_eq!(secret.name, "default");
        secret.sds_config.unwrap().config_source_specifier.unwrap()
    };
    let ConfigSourceSpecifier::PathConfigSource(path) = secret(&SecretSource::default()) else {
        panic!("a path")
    };
    assert_eq!(path.path, "./sds/default.json");
    let cluster = SecretSource::Cluster("sds-grpc".into());
    let ConfigSourceSpecifier::ApiConfigSource(api) = secret(&cluster) else { panic!("an api") };
    assert_eq!(api.grpc_services.len(), 1);
}

#[expect(deprecated, reason = "the list that grpc-go reads")]
fn grpc_accepted(context: &tls::UpstreamTlsContext) -> Vec<String> {
    let common = context.common_tls_context.as_ref().unwrap();
    let Some(ValidationContextType::ValidationContext(validation)) =
        &common.validation_context_type
    else {
        panic!("a validation context")
    };
    assert!(validation.match_typed_subject_alt_names.is_empty());
    let instance = validation.ca_certificate_provider_instance.as_ref().unwrap();
    assert_eq!(instance.instance_name, "default");
    let own = common.tls_certificate_provider_instance.as_ref().unwrap();
    assert_eq!(own.instance_name, "default");
    let names = exact(&validation.match_subject_alt_names);
    names.into_iter().map(str::to_owned).collect()
}

/// grpc-go ignores `match_typed_subject_alt_names`: with those alone it would talk to anyone.
#[test]
fn a_grpc_client_is_given_the_names_in_the_field_it_enforces() {
    let identities = identities();
    let cluster = cluster::grpc(&port(7070), GrpcSecurity::Mtls(&identities), DOMAIN);
    assert!(cluster.transport_socket_matches.is_empty(), "gRPC refuses them");
    let context = tls_of(cluster.transport_socket.as_ref());
    assert_eq!(grpc_accepted(&context), [ECHO, ECHO_EAST]);

    let plaintext = cluster::grpc(&port(7070), GrpcSecurity::Plaintext, DOMAIN);
    assert!(plaintext.transport_socket.is_none());
}

#[test]
fn a_gateway_cluster_is_called_by_its_server_name_and_has_no_tls() {
    let cluster = cluster::gateway(&port(80), DOMAIN, &[]);
    assert_eq!(cluster.name, "outbound_.80_._.echo.demo.svc.cluster.local");
    assert!(cluster.transport_socket.is_none() && cluster.transport_socket_matches.is_empty());
}

fn filter<M: Message + prost::Name + Default>(filter: &config::Filter) -> M {
    let Some(config::filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        panic!("a typed config")
    };
    unpack(any)
}

fn http_filter<M: Message + prost::Name + Default>(filter: &hcm::HttpFilter) -> M {
    let Some(hcm::http_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        panic!("a typed config")
    };
    unpack(any)
}

#[test]
fn a_gateway_listens_for_tls_with_istio_alpns_and_nothing_else() {
    let listener = listener::gateway("0.0.0.0:15443".parse().unwrap(), None);
    assert_eq!(listener.name, "0.0.0.0_15443");
    assert!(listener.default_filter_chain.is_none());
    assert_eq!(listener.listener_filters_timeout.unwrap().seconds, 3);
    assert!(!listener.continue_on_listener_filters_timeout);
    let [inspector] = listener.listener_filters.as_slice() else { panic!("one filter") };
    let Some(config::listener_filter::ConfigType::TypedConfig(any)) = &inspector.config_type else {
        panic!("a typed config")
    };
    assert!(unpack::<TlsInspector>(any).close_connection_on_client_hello_parsing_errors);
    let [chain] = listener.filter_chains.as_slice() else { panic!("one chain") };
    let matches = chain.filter_chain_match.as_ref().unwrap();
    assert_eq!(matches.transport_protocol, "tls");
    assert_eq!(matches.application_protocols.len(), 5);
    assert!(matches.application_protocols.iter().all(|alpn| alpn.starts_with("istio")));
    assert!(chain.transport_socket.is_none(), "TLS is not ended here");
    let [sni, tcp] = chain.filters.as_slice() else { panic!("two filters") };
    assert_eq!(sni.name, "envoy.filters.network.sni_cluster");
    filter::<TcpProxy>(tcp);
}

#[test]
fn an_http_proxy_tells_servers_the_protocol_and_passes_on_no_forged_caller() {
    let listener = listener::http_proxy("127.0.0.1:15080".parse().unwrap());
    assert_eq!(listener.name, "127.0.0.1_15080");
    let manager: hcm::HttpConnectionManager = filter(&listener.filter_chains[0].filters[0]);
    assert_eq!(manager.forward_client_cert_details, 0, "SANITIZE");
    let [state, router] = manager.http_filters.as_slice() else { panic!("two filters") };
    assert_eq!(router.name, "envoy.filters.http.router");
    let state: SetState = http_filter(state);
    assert_eq!(state.on_request_headers[0].shared_with_upstream, 1, "ONCE");
    let text = format!("{:?}", state.on_request_headers[0].value);
    assert!(text.contains("istio-h2,istio,h2") && text.contains("istio-http/1.1,istio,http/1.1"));
}

#[test]
fn a_grpc_target_has_a_router_and_routes_of_its_own_name() {
    let listener = listener::grpc_target("echo.demo.svc.cluster.local:7070");
    let api = listener.api_listener.unwrap().api_listener.unwrap();
    let manager: hcm::HttpConnectionManager = unpack(&api);
    let [router] = manager.http_filters.as_slice() else { panic!("one filter") };
    assert_eq!(router.name, "envoy.filters.http.router");
    let Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds)) = manager.route_specifier
    else {
        panic!("routes by RDS")
    };
    assert_eq!(rds.route_config_name, "echo.demo.svc.cluster.local:7070");
    let routes = route::grpc_target("echo.demo.svc.cluster.local:7070", "c");
    assert_eq!(routes.virtual_hosts[0].domains, ["*"]);
}

/// `namespace/name port protocol`, sorted.
fn proxy_routes(from: &str, destinations: &[(&str, u16, AppProtocol)]) -> Vec<String> {
    let destinations: Vec<_> = destinations
        .iter()
        .map(|(service, port, protocol)| {
            let (namespace, name) = service.split_once('/').unwrap();
            (ServiceKey::new(namespace, name).unwrap(), Port::new(*port).unwrap(), *protocol)
        })
        .collect();
    let destinations: Vec<_> = destinations
        .iter()
        .map(|(service, port, protocol)| route::Destination {
            service,
            port: *port,
            protocol: *protocol,
            vips: &[],
        })
        .collect();
    let made = route::http_proxy(&destinations, &Namespace::new(from).unwrap(), DOMAIN);
    assert_each_domain_once(&made);
    let line = |host: &routes::VirtualHost| format!("{}: {}", host.name, host.domains.join(" "));
    made.virtual_hosts.iter().map(line).collect()
}

fn assert_each_domain_once(routes: &routes::RouteConfiguration) {
    let mut seen = BTreeSet::new();
    for domain in routes.virtual_hosts.iter().flat_map(|host| &host.domains) {
        assert!(seen.insert(domain), "{domain} is said twice");
    }
}

#[test]
fn a_service_is_reached_by_all_its_names_and_by_the_short_one_from_its_namespace() {
    let routes = proxy_routes("demo", &[("demo/echo", 80, AppProtocol::Http)]);
    assert_eq!(
        routes,
        [
            "echo.demo.svc.cluster.local:80: \
                echo.demo.svc.cluster.local echo.demo.svc.cluster.local:80 \
                echo.demo.svc echo.demo.svc:80 echo.demo echo.demo:80 echo echo:80",
            "nobody: *",
        ]
    );
    let routes = proxy_routes("other", &[("demo/echo", 80, AppProtocol::Http)]);
    assert!(!routes[0].contains(" echo "), "{routes:?}");
}

#[test]
fn a_name_without_a_port_is_port_80_or_else_the_first_http_port() {
    let routes = proxy_routes(
        "x",
        &[
            ("demo/a", 79, AppProtocol::Http),
            ("demo/a", 80, AppProtocol::Grpc),
            ("demo/b", 9000, AppProtocol::Tcp),
            ("demo/b", 9001, AppProtocol::Http2),
            ("demo/b", 9002, AppProtocol::Http),
        ],
    );
    let owner = |domain: &str| {
        let line = routes.iter().find(|line| line.split(' ').any(|word| word == domain));
        line.unwrap().split(": ").next().unwrap().to_owned()
    };
    assert_eq!(owner("a.demo"), "a.demo.svc.cluster.local:80");
    assert_eq!(owner("b.demo"), "b.demo.svc.cluster.local:9001");
    assert!(routes.iter().all(|line| !line.contains("9000")), "TCP has no routes");
}

#[test]
fn a_name_of_two_services_goes_to_the_one_it_names_most_fully() {
    // `svc` of the namespace `b` could be `svc.b` of another reading, and a name may hold dots.
    let routes = proxy_routes(
        "demo",
        &[("b/svc", 80, AppProtocol::Http), ("demo/svc.b", 80, AppProtocol::Http)],
    );
    assert!(routes[0].starts_with("svc.b.svc.cluster.local:80:"));
    assert!(routes[0].contains(" svc.b "), "{routes:?}");
    assert!(!routes[1].contains(" svc.b "), "{routes:?}");
}

#[test]
fn retries_timeouts_and_the_answer_of_last_resort_are_as_documented() {
    let destination = [("demo/echo", 80, AppProtocol::Http2)];
    assert_eq!(proxy_routes("demo", &destination).len(), 2);
    let key = ServiceKey::new("demo", "echo").unwrap();
    let destination = route::Destination {
        service: &key,
        port: Port::new(80).unwrap(),
        protocol: AppProtocol::Http2,
        vips: &[],
    };
    let made = route::http_proxy(&[destination], &Namespace::new("demo").unwrap(), DOMAIN);
    let retried = |route: &routes::Route| {
        let Some(routes::route::Action::Route(action)) = &route.action else { panic!("a route") };
        assert_eq!(action.timeout.unwrap().seconds, 0);
        let policy = action.retry_policy.clone().unwrap();
        (policy.retry_on, policy.retriable_headers.len())
    };
    let [repeatable, others] = made.virtual_hosts[0].routes.as_slice() else { panic!("two") };
    let methods = &repeatable.r#match.as_ref().unwrap().headers[0];
    assert_eq!(methods.name, ":method");
    assert!(format!("{methods:?}").contains("GET|HEAD|OPTIONS|TRACE|PUT|DELETE"), "{methods:?}");
    let not_begun = "connect-failure,refused-stream,reset-before-request";
    assert_eq!(retried(repeatable), (format!("{not_begun},reset,retriable-headers"), 2));
    assert_eq!(retried(others), (format!("{not_begun},retriable-headers"), 1));
    assert!(made.virtual_hosts[0].typed_per_filter_config.contains_key(SET_FILTER_STATE));
    let Some(routes::route::Action::DirectResponse(answer)) =
        &made.virtual_hosts[1].routes[0].action
    else {
        panic!("an answer")
    };
    assert_eq!(answer.status, 502);
}
