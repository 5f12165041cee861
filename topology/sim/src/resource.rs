//! What clients read in resources.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use diolkos_topology::ServiceKey;
use diolkos_xds::ResourceType;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use prost::{Message, Name};

use crate::truth::DOMAIN;

/// One address of an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) mtls: bool,
    pub(crate) cluster: String,
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) priority: u32,
    pub(crate) weight: u32,
}

pub(crate) type Assignment = BTreeMap<SocketAddr, Seen>;

pub(crate) fn assignment(body: &[u8]) -> Option<Assignment> {
    let message = endpoint::ClusterLoadAssignment::decode(body).ok()?;
    let mut all = Assignment::new();
    for group in message.endpoints {
        let locality = group.locality?;
        for one in group.lb_endpoints {
            let found = match one.host_identifier? {
                endpoint::lb_endpoint::HostIdentifier::Endpoint(found) => found.address?,
                endpoint::lb_endpoint::HostIdentifier::EndpointName(_) => return None,
            };
            let said = one.metadata?.filter_metadata;
            let field = |filter: &str, name: &str| {
                use envoy_types::pb::google::protobuf::value::Kind;
                match said.get(filter)?.fields.get(name)?.kind.as_ref()? {
                    Kind::StringValue(text) => Some(text.clone()),
                    _ => None,
                }
            };
            let seen = Seen {
                mtls: field("envoy.transport_socket_match", "tlsMode").as_deref() == Some("istio"),
                cluster: field("istio", "workload")?.rsplit(';').next()?.to_owned(),
                region: locality.region.clone(),
                zone: locality.zone.clone(),
                priority: group.priority,
                weight: one.load_balancing_weight?.value,
            };
            // An address may stand there once.
            if all.insert(socket(&found)?, seen).is_some() {
                return None;
            }
        }
    }
    Some(all)
}

fn socket(address: &core::Address) -> Option<SocketAddr> {
    let Some(core::address::Address::SocketAddress(socket)) = &address.address else { return None };
    match socket.port_specifier {
        Some(core::socket_address::PortSpecifier::PortValue(port)) => {
            Some(SocketAddr::new(socket.address.parse().ok()?, u16::try_from(port).ok()?))
        }
        _ => None,
    }
}

/// Which clusters a route configuration names.
pub(crate) fn clusters_of(body: &[u8]) -> BTreeSet<String> {
    let routes = route::RouteConfiguration::decode(body).unwrap_or_default();
    let actions = routes.virtual_hosts.into_iter().flat_map(|host| host.routes);
    let named = actions.filter_map(|route| match route.action {
        Some(route::route::Action::Route(action)) => match action.cluster_specifier {
            Some(route::route_action::ClusterSpecifier::Cluster(name)) => Some(name),
            _ => None,
        },
        _ => None,
    });
    named.collect()
}

/// The route configuration a listener names, as a proxy's or as a gRPC target.
pub(crate) fn routes_of(body: &[u8]) -> Option<String> {
    let message = listener::Listener::decode(body).ok()?;
    let filters = message.filter_chains.into_iter().flat_map(|chain| chain.filters);
    let configs = filters.filter_map(|filter| match filter.config_type {
        Some(listener::filter::ConfigType::TypedConfig(any)) => Some(any),
        _ => None,
    });
    let api = message.api_listener.and_then(|api| api.api_listener);
    let managers = configs.chain(api).filter(|any| {
        any.type_url.rsplit('/').next() == Some(&*http::HttpConnectionManager::full_name())
    });
    let manager = managers
        .filter_map(|any| http::HttpConnectionManager::decode(any.value.as_slice()).ok())
        .next()?;
    match manager.route_specifier {
        Some(http::http_connection_manager::RouteSpecifier::Rds(rds)) => {
            Some(rds.route_config_name)
        }
        _ => None,
    }
}

/// Which resource a leader waits for.
pub(crate) fn follower_of(
    kind: ResourceType,
    name: &str,
    body: &[u8],
) -> Option<(ResourceType, String)> {
    match kind {
        ResourceType::Cluster => Some((ResourceType::Endpoint, name.to_owned())),
        ResourceType::Listener => routes_of(body).map(|routes| (ResourceType::Route, routes)),
        ResourceType::Endpoint | ResourceType::Route => None,
    }
}

/// Server name and accepted identities of a sidecar's mTLS.
pub(crate) fn tls_of(body: &[u8]) -> Option<(String, BTreeSet<String>)> {
    let message = Cluster::decode(body).ok()?;
    let socket = message.transport_socket_matches.into_iter().next()?.transport_socket?;
    let core::transport_socket::ConfigType::TypedConfig(any) = socket.config_type?;
    let context = tls::UpstreamTlsContext::decode(any.value.as_slice()).ok()?;
    use tls::common_tls_context::ValidationContextType as Type;
    let validation = match context.common_tls_context?.validation_context_type? {
        Type::CombinedValidationContext(combined) => combined.default_validation_context?,
        _ => return None,
    };
    let names = validation.match_typed_subject_alt_names.into_iter().map(|one| {
        match one.matcher?.match_pattern? {
            MatchPattern::Exact(text) => Some(text),
            _ => None,
        }
    });
    Some((context.sni, names.collect::<Option<_>>()?))
}

/// Service and port of `outbound|80||web.shop.svc.cluster.local` or its server name.
pub(crate) fn service_of(cluster: &str) -> Option<(ServiceKey, u16)> {
    let (port, host) = match cluster.split('|').collect::<Vec<_>>().as_slice() {
        ["outbound", port, "", host] => (port.parse().ok()?, (*host).to_owned()),
        _ => {
            let name = diolkos_route::sni::decode(cluster).ok()?;
            (name.port(), name.host().as_str().to_owned())
        }
    };
    let short = host.strip_suffix(&format!(".svc.{DOMAIN}"))?;
    let (name, namespace) = short.split_once('.')?;
    Some((ServiceKey::new(namespace, name).ok()?, port))
}
