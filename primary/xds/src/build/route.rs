//! Routes: from what a request names to the cluster of a service port.

use std::collections::{BTreeMap, BTreeSet};

use diolkos_topology::{AppProtocol, Namespace, Port, ServiceKey, ServicePort};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::google::protobuf::Any;

use super::listener::SET_FILTER_STATE;
use super::name;
use super::wire::{any, inline, seconds, uint};

/// One of a sidecar's destinations.
#[derive(Clone, Debug)]
pub(crate) struct Destination<'a> {
    pub(crate) service: &'a ServiceKey,
    pub(crate) port: Port,
    pub(crate) protocol: AppProtocol,
}

/// For the explicit proxy of a workload in `namespace`. Destinations must be sorted by service and
/// port, each once. A name that two services could have goes to the one it names most fully, then
/// to the first: Envoy refuses the whole configuration if a name is said twice.
pub(crate) fn http_proxy(
    destinations: &[Destination<'_>],
    namespace: &Namespace,
    cluster_domain: &str,
) -> route::RouteConfiguration {
    let http: Vec<&Destination<'_>> =
        destinations.iter().filter(|one| is_http(one.protocol)).collect();
    let domains = domains(&http, namespace, cluster_domain);
    let mut virtual_hosts: Vec<_> = http
        .iter()
        .zip(domains)
        .filter(|(_, domains)| !domains.is_empty())
        .map(|(one, domains)| virtual_host(one, domains, cluster_domain))
        .collect();
    virtual_hosts.push(nobody());
    route::RouteConfiguration {
        name: name::HTTP_PROXY_ROUTES.into(),
        virtual_hosts,
        ..Default::default()
    }
}

/// For a gRPC client that dials `target`.
pub(crate) fn grpc_target(target: &str, cluster: &str) -> route::RouteConfiguration {
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    route::RouteConfiguration {
        name: target.into(),
        virtual_hosts: vec![route::VirtualHost {
            name: target.into(),
            domains: vec!["*".into()],
            routes: vec![everything(route::route::Action::Route(action))],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn is_http(protocol: AppProtocol) -> bool {
    match protocol {
        AppProtocol::Grpc | AppProtocol::Http | AppProtocol::Http2 => true,
        AppProtocol::Tcp | AppProtocol::Tls => false,
    }
}

/// For each destination the names that lead to it, the fullest first.
fn domains(
    http: &[&Destination<'_>],
    namespace: &Namespace,
    cluster_domain: &str,
) -> Vec<Vec<String>> {
    let portless = portless(http);
    let mut taken = BTreeSet::new();
    let mut found = vec![Vec::new(); http.len()];
    // Fullest names of all services before the shorter of any.
    for form in [Form::Host, Form::Svc, Form::Namespaced, Form::Short] {
        for (index, one) in http.iter().enumerate() {
            let Some(text) = form.of(one.service, namespace, cluster_domain) else { continue };
            let text = text.to_ascii_lowercase();
            let with_port = format!("{text}:{}", one.port);
            let bare = (portless.get(one.service) == Some(&one.port)).then_some(text);
            for domain in bare.into_iter().chain([with_port]) {
                if taken.insert(domain.clone()) {
                    found[index].push(domain);
                }
            }
        }
    }
    found
}

/// Which port a name without one means: 80 if it is there, else the first.
fn portless<'a>(http: &[&Destination<'a>]) -> BTreeMap<&'a ServiceKey, Port> {
    let mut ports = BTreeMap::new();
    for one in http {
        if one.port.get() == 80 || !ports.contains_key(one.service) {
            ports.insert(one.service, one.port);
        }
    }
    ports
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Host,
    Svc,
    Namespaced,
    Short,
}

impl Form {
    fn of(self, service: &ServiceKey, from: &Namespace, cluster_domain: &str) -> Option<String> {
        let ServiceKey { namespace, name } = service;
        match self {
            Self::Host => Some(service.host(cluster_domain)),
            Self::Svc => Some(format!("{name}.{namespace}.svc")),
            Self::Namespaced => Some(format!("{name}.{namespace}")),
            Self::Short => (namespace == from).then(|| name.to_string()),
        }
    }
}

fn virtual_host(
    one: &Destination<'_>,
    domains: Vec<String>,
    cluster_domain: &str,
) -> route::VirtualHost {
    let port = ServicePort { service: one.service.clone(), port: one.port };
    let cluster = name::outbound(&port, cluster_domain);
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster)),
        // Streams have no end; who wants a timeout says so.
        timeout: seconds(0),
        retry_policy: Some(retry_policy()),
        ..Default::default()
    };
    route::VirtualHost {
        name: name::target(&port, cluster_domain).to_string(),
        domains,
        routes: vec![everything(route::route::Action::Route(action))],
        typed_per_filter_config: alpn_choice(one.protocol),
        ..Default::default()
    }
}

/// A cluster that always speaks HTTP/2 says so itself, whatever the request came as.
fn alpn_choice(protocol: AppProtocol) -> std::collections::HashMap<String, Any> {
    match protocol {
        AppProtocol::Grpc | AppProtocol::Http2 => {
            let off = route::FilterConfig { disabled: true, ..Default::default() };
            [(SET_FILTER_STATE.to_owned(), any(&off))].into()
        }
        AppProtocol::Http | AppProtocol::Tcp | AppProtocol::Tls => [].into(),
    }
}

fn retry_policy() -> route::RetryPolicy {
    use route::retry_policy::{RetryHostPredicate, retry_host_predicate::ConfigType};
    route::RetryPolicy {
        // What no application has begun to answer.
        retry_on: "connect-failure,refused-stream,unavailable,reset-before-request".into(),
        num_retries: uint(2),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".into(),
            config_type: Some(ConfigType::TypedConfig(any(&PreviousHostsPredicate {}))),
        }],
        host_selection_retry_max_attempts: 5,
        ..Default::default()
    }
}

fn nobody() -> route::VirtualHost {
    let body = "diolkos: no service %REQ(:AUTHORITY)% known here\n";
    let action = route::DirectResponseAction {
        status: 502,
        body_format: Some(core::SubstitutionFormatString {
            format: Some(core::substitution_format_string::Format::TextFormatSource(inline(body))),
            ..Default::default()
        }),
        ..Default::default()
    };
    route::VirtualHost {
        name: "nobody".into(),
        domains: vec!["*".into()],
        routes: vec![everything(route::route::Action::DirectResponse(action))],
        ..Default::default()
    }
}

fn everything(action: route::route::Action) -> route::Route {
    route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(action),
        ..Default::default()
    }
}
