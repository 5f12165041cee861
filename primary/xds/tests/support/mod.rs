//! A small mesh for tests: a view that changes at random, the hub that is told of it, and the
//! catalogs that follow from it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use diolkos_topology::{
    AppProtocol, Audience, AudienceId, Change, ClientKind, ClusterId, IpFamilies, Locality, Mtls,
    MtlsMode, Namespace, NetworkId, OutboundTraffic, Port, PortName, PortView, Restricted,
    ServiceKey, ServicePort, ServiceView, ViewDelta, ViewEndpoint, ViewGateway, What, Workload,
};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_xds::{
    Catalog, CatalogKey, Catalogs, Hub, HubSettings, Inbound, InboundPort, Resource, ResourceType,
    Scope, ScopeId,
};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};
use proptest::prelude::*;
use prost::{Message, Name as _};

pub(crate) const AUDIENCE: AudienceId = AudienceId(7);
pub(crate) const SCOPE: ScopeId = ScopeId(3);

/// What a view may come to say; small numbers, so that things meet.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Service { service: u8, ports: Vec<(u8, AppProtocol)>, clusters: u8, vip: Option<u8> },
    Outbound(OutboundTraffic),
    Gone { service: u8 },
    Identities { service: u8, port: u8, ids: BTreeSet<u8> },
    Endpoint { service: u8, port: u8, host: u8, entry: Option<(Mtls, u8, u8, u64)> },
    Gateway { service: u8, port: u8, host: u8, entry: Option<(u8, u8, u64)> },
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let protocol = prop::sample::select(vec![
        AppProtocol::Grpc,
        AppProtocol::Http,
        AppProtocol::Http2,
        AppProtocol::Tcp,
        AppProtocol::Tls,
    ]);
    let service = 0..4u8;
    let port = 0..3u8;
    let mtls = prop_oneof![3 => Just(Mtls::Istio), 1 => Just(Mtls::Plaintext)];
    let weight = prop::sample::select(vec![1u64, 2, 3, 720_720, 1_441_440]);
    prop_oneof![
        3 => (
            service.clone(),
            prop::collection::vec((port.clone(), protocol), 0..3),
            0..3u8,
            prop::option::of(0..3u8),
        )
            .prop_map(|(service, ports, clusters, vip)| {
                Op::Service { service, ports, clusters, vip }
            }),
        1 => prop::sample::select(vec![OutboundTraffic::Allow, OutboundTraffic::RegistryOnly])
            .prop_map(Op::Outbound),
        1 => service.clone().prop_map(|service| Op::Gone { service }),
        2 => (service.clone(), port.clone(), prop::collection::btree_set(0..3u8, 0..3))
            .prop_map(|(service, port, ids)| Op::Identities { service, port, ids }),
        5 => (
            service.clone(),
            port.clone(),
            0..4u8,
            prop::option::weighted(0.7, (mtls, 0..3u8, 0..4u8, weight.clone()))
        )
            .prop_map(|(service, port, host, entry)| Op::Endpoint { service, port, host, entry }),
        2 => (service, port, 0..4u8, prop::option::weighted(0.7, (0..3u8, 0..4u8, weight)))
            .prop_map(|(service, port, host, entry)| Op::Gateway { service, port, host, entry }),
    ]
}

pub(crate) fn client_kind() -> impl Strategy<Value = ClientKind> {
    use ClientKind::{Egress, Gateway, Grpc, Sidecar};
    prop::sample::select(vec![Egress, Gateway, Grpc, Sidecar])
}

pub(crate) fn service_key(service: u8) -> ServiceKey {
    let namespace = if service.is_multiple_of(2) { "demo" } else { "other" };
    ServiceKey::new(namespace, &format!("s{service}")).unwrap()
}

pub(crate) fn service_port(service: u8, port: u8) -> ServicePort {
    let port = Port::new([80, 7070, 9000][usize::from(port)]).unwrap();
    ServicePort { service: service_key(service), port }
}

pub(crate) fn target(service: u8, port: u8) -> String {
    let port = service_port(service, port);
    format!("{}:{}", port.service.host("cluster.local"), port.port)
}

/// The folded view: what all deltas together say.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    services: BTreeMap<ServiceKey, Arc<ServiceView>>,
    identities: BTreeMap<ServicePort, Arc<[SpiffeId]>>,
    endpoints: BTreeMap<(ServicePort, SocketAddr), Arc<ViewEndpoint>>,
    gateways: BTreeMap<(ServicePort, SocketAddr), Arc<ViewGateway>>,
}

impl View {
    /// What a federation would say, or nothing where the view has no such port.
    pub(crate) fn change(&mut self, op: &Op) -> Option<What> {
        let what = what(op)?;
        match &what {
            What::Service { key, entry: None } => {
                self.services.remove(key)?;
            }
            What::Service { key, entry: Some(view) } => {
                self.services.insert(key.clone(), Arc::clone(view));
            }
            What::Identities { port, identities } => {
                self.has(port)?;
                self.identities.insert(port.clone(), Arc::clone(identities));
            }
            What::Endpoint { port, address, entry } => {
                self.has(port)?;
                set(&mut self.endpoints, (port.clone(), *address), entry.clone());
            }
            What::Gateway { port, address, entry } => {
                self.has(port)?;
                set(&mut self.gateways, (port.clone(), *address), entry.clone());
            }
        }
        self.drop_what_has_no_port();
        Some(what)
    }

    /// As one delta for someone new.
    pub(crate) fn whole(&self) -> ViewDelta {
        let services = self
            .services
            .iter()
            .map(|(key, view)| What::Service { key: key.clone(), entry: Some(Arc::clone(view)) });
        let identities = self.identities.iter().map(|(port, identities)| What::Identities {
            port: port.clone(),
            identities: Arc::clone(identities),
        });
        let endpoints = self.endpoints.iter().map(|((port, address), entry)| What::Endpoint {
            port: port.clone(),
            address: *address,
            entry: Some(Arc::clone(entry)),
        });
        let gateways = self.gateways.iter().map(|((port, address), entry)| What::Gateway {
            port: port.clone(),
            address: *address,
            entry: Some(Arc::clone(entry)),
        });
        let all = services.chain(identities).chain(endpoints).chain(gateways);
        ViewDelta { changes: all.map(|what| Change { audience: AUDIENCE, what }).collect() }
    }

    fn has(&self, port: &ServicePort) -> Option<()> {
        let view = self.services.get(&port.service)?;
        view.ports.iter().any(|one| one.port == port.port).then_some(())
    }

    fn drop_what_has_no_port(&mut self) {
        let services = self.services.clone();
        let has = |port: &ServicePort| {
            services
                .get(&port.service)
                .is_some_and(|view| view.ports.iter().any(|one| one.port == port.port))
        };
        self.identities.retain(|port, _| has(port));
        self.endpoints.retain(|(port, _), _| has(port));
        self.gateways.retain(|(port, _), _| has(port));
    }
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

/// `None`: nothing that a view says.
pub(crate) fn what(op: &Op) -> Option<What> {
    let address = |host: u8| SocketAddr::from(([10, 0, 0, host], 8080));
    let what = match op.clone() {
        Op::Gone { service } => What::Service { key: service_key(service), entry: None },
        Op::Outbound(_) => return None,
        Op::Service { service, ports, clusters, vip } => {
            let ports: BTreeMap<u8, AppProtocol> = ports.into_iter().collect();
            let ports = ports.into_iter().map(|(port, protocol)| PortView {
                name: PortName::new("").unwrap(),
                port: service_port(service, port).port,
                protocol,
            });
            let clusters = (0..clusters).map(|n| ClusterId::new(&format!("c{n}")).unwrap());
            let clusters: Vec<ClusterId> = clusters.collect();
            // The first of several is for the last alone.
            let restricted = match clusters.as_slice() {
                [first, .., last] => {
                    vec![Restricted { cluster: first.clone(), consumers: vec![last.clone()] }]
                }
                _ => vec![],
            };
            let key = service_key(service);
            let view = ServiceView {
                key: key.clone(),
                vips: vip.map(|n| [10, 96, 0, n].into()).into_iter().collect(),
                ports: ports.collect(),
                clusters,
                restricted,
            };
            What::Service { key, entry: Some(Arc::new(view)) }
        }
        Op::Identities { service, port, ids } => {
            let id = |n: &u8| SpiffeId::parse(&format!("spiffe://td/ns/demo/sa/{n}")).unwrap();
            let identities = ids.iter().map(id).collect();
            What::Identities { port: service_port(service, port), identities }
        }
        Op::Endpoint { service, port, host, entry } => {
            let entry = entry.map(|(mtls, zone, priority, weight)| {
                Arc::new(ViewEndpoint {
                    cluster: ClusterId::new("west").unwrap(),
                    locality: Locality::new("eu", &zone.to_string()),
                    priority,
                    mtls,
                    workload: Arc::new(Workload::default()),
                    weight,
                })
            });
            What::Endpoint { port: service_port(service, port), address: address(host), entry }
        }
        Op::Gateway { service, port, host, entry } => {
            let entry = entry.map(|(zone, priority, weight)| {
                Arc::new(ViewGateway {
                    cluster: ClusterId::new("east").unwrap(),
                    locality: Locality::new("us", &zone.to_string()),
                    priority,
                    weight,
                })
            });
            // Some meet local endpoints' addresses.
            What::Gateway { port: service_port(service, port), address: address(host + 2), entry }
        }
    };
    Some(what)
}

/// A hub with one audience and one scope, and their catalogs.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) hub: Hub,
    kind: ClientKind,
    scoped: Scope,
    scope_id: ScopeId,
    outbound: OutboundTraffic,
    pub(crate) view: View,
    pub(crate) audience: Catalog,
    pub(crate) scope: Catalog,
}

pub(crate) fn audience(kind: ClientKind) -> Audience {
    Audience {
        kind,
        cluster: ClusterId::new("west").unwrap(),
        network: NetworkId::unnamed(),
        locality: Locality::unknown(),
        families: IpFamilies::Both,
    }
}

pub(crate) fn scope() -> Scope {
    Scope {
        audience: AUDIENCE,
        namespace: Namespace::new("demo").unwrap(),
        http_proxy: Some("127.0.0.1:15080".parse().unwrap()),
        inbound: None,
        bind: "0.0.0.0".parse().unwrap(),
        sni_port: 15443,
        hbone: false,
    }
}

/// Of a pod whose connections are redirected, and that has no explicit proxy.
pub(crate) fn redirected() -> Scope {
    let inbound = Some(Arc::new(class(MtlsMode::Permissive)));
    Scope { http_proxy: None, inbound, ..scope() }
}

fn class(mode: MtlsMode) -> Inbound {
    let port = InboundPort { protocol: AppProtocol::Http, mode };
    Inbound { rest: mode, ports: [(Port::new(8080).unwrap(), port)].into() }
}

pub(crate) fn settings() -> HubSettings {
    HubSettings::new("cluster.local", &TrustDomain::new("cluster.local").unwrap())
}

impl World {
    pub(crate) fn new(kind: ClientKind) -> Self {
        Self::scoped(kind, scope())
    }

    pub(crate) fn redirected() -> Self {
        Self::scoped(ClientKind::Sidecar, redirected())
    }

    fn scoped(kind: ClientKind, scope: Scope) -> Self {
        let mut hub = Hub::new(settings());
        hub.audience_up(AUDIENCE, &audience(kind));
        hub.scope_up(SCOPE, scope.clone());
        let mut world = Self {
            hub,
            kind,
            scoped: scope,
            scope_id: SCOPE,
            outbound: OutboundTraffic::Allow,
            view: View::default(),
            audience: Catalog::new(),
            scope: Catalog::new(),
        };
        world.publish();
        world
    }

    /// A new hub that is told at once what this one was told by and by.
    pub(crate) fn again(&self) -> Self {
        let mut world = Self::scoped(self.kind, self.scoped.clone());
        world.hub.set_outbound(self.outbound);
        world.hub.apply(&self.view.whole());
        world.publish();
        world
    }

    pub(crate) fn change(&mut self, op: &Op) {
        if let Op::Outbound(outbound) = op {
            self.outbound = *outbound;
            self.hub.set_outbound(*outbound);
        }
        let Some(what) = self.view.change(op) else { return };
        self.hub.apply(&ViewDelta { changes: vec![Change { audience: AUDIENCE, what }] });
    }

    /// A redirected pod comes to take in something else: its client is of another scope.
    pub(crate) fn reclass(&mut self) {
        let Some(inbound) = &self.scoped.inbound else { return };
        let mode = match inbound.rest {
            MtlsMode::Strict => MtlsMode::Permissive,
            _ => MtlsMode::Strict,
        };
        self.publish();
        let old = self.scope_id;
        self.scope_id = ScopeId(old.0 + 1);
        self.scoped = Scope { inbound: Some(Arc::new(class(mode))), ..self.scoped.clone() };
        self.hub.scope_up(self.scope_id, self.scoped.clone());
        self.hub.scope_down(old);
        self.scope = Catalog::new();
        self.publish();
    }

    /// Drains the hub into the catalogs and checks closure at every step of it. How many
    /// resources came and went.
    pub(crate) fn publish(&mut self) -> usize {
        let mut count = 0;
        for delta in self.hub.drain() {
            count += delta.upserts.len() + delta.removes.len();
            match delta.key {
                CatalogKey::Audience(id) => {
                    assert_eq!(id, AUDIENCE);
                    self.audience.apply(&delta);
                }
                CatalogKey::Scope(id) => {
                    assert_eq!(id, self.scope_id);
                    self.scope.apply(&delta);
                }
            }
            self.assert_closed();
        }
        count
    }

    pub(crate) fn catalogs(&self) -> Catalogs<'_> {
        Catalogs { audience: &self.audience, scope: &self.scope }
    }

    pub(crate) fn catalog(&self, kind: ResourceType) -> &Catalog {
        match kind {
            ResourceType::Cluster | ResourceType::Endpoint => &self.audience,
            ResourceType::Listener | ResourceType::Route => &self.scope,
        }
    }

    pub(crate) fn resources(&self) -> Vec<Arc<Resource>> {
        ResourceType::ORDER
            .into_iter()
            .flat_map(|kind| self.catalog(kind).resources(kind).cloned())
            .collect()
    }

    fn assert_closed(&self) {
        for cluster in self.audience.resources(ResourceType::Cluster) {
            let Some(name) = cluster.warmed_by.as_deref() else {
                assert!(!takes_endpoints(&cluster.body), "{cluster:?} waits for nobody");
                continue;
            };
            let endpoints = self.audience.get(ResourceType::Endpoint, name);
            assert!(endpoints.is_some(), "{cluster:?} has no endpoints");
        }
        for listener in self.scope.resources(ResourceType::Listener) {
            for cluster in clusters_of_listener(&listener.body) {
                let there = self.audience.get(ResourceType::Cluster, &cluster);
                // A gateway's is never used.
                assert!(
                    there.is_some()
                        || matches!(self.kind, ClientKind::Egress | ClientKind::Gateway),
                    "{listener:?} names {cluster}, which is absent"
                );
            }
        }
        for routes in self.scope.resources(ResourceType::Route) {
            for cluster in clusters_of(&routes.body) {
                let there = self.audience.get(ResourceType::Cluster, &cluster);
                assert!(there.is_some(), "{routes:?} name {cluster}, which is absent");
            }
        }
        for listener in self.scope.resources(ResourceType::Listener) {
            let Some(name) = listener.warmed_by.as_deref() else { continue };
            let routes = self.scope.get(ResourceType::Route, name);
            assert!(routes.is_some(), "{listener:?} has no routes");
        }
    }
}

/// Which clusters a route configuration names.
pub(crate) fn clusters_of(body: &[u8]) -> BTreeSet<String> {
    let routes = route::RouteConfiguration::decode(body).unwrap();
    let actions = routes.virtual_hosts.into_iter().flat_map(|host| host.routes);
    actions
        .filter_map(|route| match route.action {
            Some(route::route::Action::Route(action)) => match action.cluster_specifier {
                Some(route::route_action::ClusterSpecifier::Cluster(name)) => Some(name),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

/// Which clusters a listener names itself: for bytes, and in routes that it carries along.
pub(crate) fn clusters_of_listener(body: &[u8]) -> BTreeSet<String> {
    let message = listener::Listener::decode(body).unwrap();
    let chains = message.filter_chains.into_iter().chain(message.default_filter_chain);
    let mut found = BTreeSet::new();
    for filter in chains.flat_map(|chain| chain.filters) {
        let Some(listener::filter::ConfigType::TypedConfig(any)) = filter.config_type else {
            continue;
        };
        if any.type_url == TcpProxy::type_url() {
            let proxy = TcpProxy::decode(any.value.as_slice()).unwrap();
            if let Some(ClusterSpecifier::Cluster(name)) = proxy.cluster_specifier {
                found.insert(name);
            }
        } else if any.type_url == HttpConnectionManager::type_url() {
            let manager = HttpConnectionManager::decode(any.value.as_slice()).unwrap();
            if let Some(RouteSpecifier::RouteConfig(routes)) = manager.route_specifier {
                found.extend(clusters_of(&routes.encode_to_vec()));
            }
        }
    }
    found
}

pub(crate) fn takes_endpoints(body: &[u8]) -> bool {
    Cluster::decode(body).unwrap().eds_cluster_config.is_some()
}

pub(crate) fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}
