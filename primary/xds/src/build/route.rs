//! Routes: from what a request names to the cluster of a service port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use diolkos_topology::{AppProtocol, Namespace, OutboundTraffic, Port, ServiceKey, ServicePort};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::google::protobuf::Any;

use super::filter::SET_FILTER_STATE;
use super::wire::{any, inline, seconds};
use super::{name, retry};

pub(crate) use super::retry::{REACHED, REACHED_NOT, REACHED_PERHAPS};

/// One of a sidecar's destinations.
#[derive(Clone, Debug)]
pub(crate) struct Destination<'a> {
    pub(crate) service: &'a ServiceKey,
    pub(crate) port: Port,
    pub(crate) protocol: AppProtocol,
    /// The service's own, in the audience's cluster.
    pub(crate) vips: &'a [IpAddr],
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
        destinations.iter().filter(|one| one.protocol.is_http()).collect();
    let domains = domains(&http, namespace, cluster_domain, Portless::OfOnePort);
    let mut virtual_hosts = virtual_hosts(&http, domains, cluster_domain);
    virtual_hosts.push(nobody());
    route::RouteConfiguration {
        name: name::HTTP_PROXY_ROUTES.into(),
        virtual_hosts,
        ..Default::default()
    }
}

/// For HTTP that was going to `port`, whatever address it was going to. All destinations are on
/// that port; a name is said once, as above.
pub(crate) fn port(
    port: Port,
    destinations: &[Destination<'_>],
    namespace: &Namespace,
    cluster_domain: &str,
    outbound: OutboundTraffic,
) -> route::RouteConfiguration {
    let http: Vec<&Destination<'_>> = destinations.iter().collect();
    let domains = domains(&http, namespace, cluster_domain, Portless::OfAny);
    let mut virtual_hosts = virtual_hosts(&http, domains, cluster_domain);
    virtual_hosts.push(match outbound {
        OutboundTraffic::Allow => anybody(),
        OutboundTraffic::RegistryOnly => nobody(),
    });
    route::RouteConfiguration {
        name: name::port_routes(port).to_string(),
        virtual_hosts,
        ..Default::default()
    }
}

/// To the pod's own application, whatever the request names.
pub(crate) fn inbound(cluster: &str) -> route::RouteConfiguration {
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.into())),
        timeout: seconds(0),
        retry_policy: Some(retry::local()),
        ..Default::default()
    };
    let one = route::VirtualHost {
        name: "inbound".into(),
        domains: vec!["*".into()],
        routes: vec![everything(route::route::Action::Route(action))],
        // What the proxy says about itself, an application does not say for it.
        response_headers_to_remove: vec![REACHED.into()],
        ..Default::default()
    };
    route::RouteConfiguration {
        name: cluster.into(),
        virtual_hosts: vec![one],
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

/// Which port a name without one means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Portless {
    /// 80 if the service has it, else its first.
    OfOnePort,
    /// That which was dialled, so each destination's own.
    OfAny,
}

/// For each destination the names that lead to it, the fullest first.
fn domains(
    http: &[&Destination<'_>],
    namespace: &Namespace,
    cluster_domain: &str,
    without_port: Portless,
) -> Vec<Vec<String>> {
    let portless = portless(http);
    let mut taken = BTreeSet::new();
    let mut found = vec![Vec::new(); http.len()];
    let mut take = |index: usize, one: &Destination<'_>, text: String| {
        let with_port = format!("{text}:{}", one.port);
        let named = without_port == Portless::OfAny
            || portless.get(one.service).is_some_and(|port| *port == one.port);
        for domain in named.then_some(text).into_iter().chain([with_port]) {
            if taken.insert(domain.clone()) {
                found[index].push(domain);
            }
        }
    };
    // Fullest names of all services before the shorter of any.
    for form in [Form::Host, Form::Svc, Form::Namespaced, Form::Short] {
        for (index, one) in http.iter().enumerate() {
            let Some(text) = form.of(one.service, namespace, cluster_domain) else { continue };
            take(index, one, text.to_ascii_lowercase());
        }
    }
    for (index, one) in http.iter().enumerate() {
        for vip in one.vips {
            take(
                index,
                one,
                match vip {
                    IpAddr::V4(ip) => ip.to_string(),
                    IpAddr::V6(ip) => format!("[{ip}]"),
                },
            );
        }
    }
    found
}

fn virtual_hosts(
    http: &[&Destination<'_>],
    domains: Vec<Vec<String>>,
    cluster_domain: &str,
) -> Vec<route::VirtualHost> {
    http.iter()
        .zip(domains)
        .filter(|(_, domains)| !domains.is_empty())
        .map(|(one, domains)| virtual_host(one, domains, cluster_domain))
        .collect()
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
    let action = |policy| route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.clone())),
        // Streams have no end; who wants a timeout says so.
        timeout: seconds(0),
        retry_policy: Some(policy),
        ..Default::default()
    };
    route::VirtualHost {
        name: name::target(&port, cluster_domain).to_string(),
        domains,
        routes: retry::routes(action(retry::repeatable()), action(retry::once())),
        typed_per_filter_config: alpn_choice(one.protocol),
        include_request_attempt_count: true,
        response_headers_to_remove: vec![REACHED.into()],
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

/// Requests to hosts that no service is called go where they were going.
fn anybody() -> route::VirtualHost {
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
            name::PASSTHROUGH.into(),
        )),
        timeout: seconds(0),
        ..Default::default()
    };
    route::VirtualHost {
        name: "anybody".into(),
        domains: vec!["*".into()],
        routes: vec![everything(route::route::Action::Route(action))],
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

pub(super) fn everything(action: route::route::Action) -> route::Route {
    route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(action),
        ..Default::default()
    }
}
