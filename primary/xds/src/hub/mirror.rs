//! One audience's view, kept as it was told, and the resources published from it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use diolkos_topology::{
    AppProtocol, Audience, ClientKind, ClusterId, IpFamilies, Namespace, OutboundTraffic, Port,
    Restricted, ServiceKey, ServicePort, ServiceView, What,
};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;

use super::redirect::{Redirect, Redirected};
use super::{HubSettings, Work};
use crate::build::assignment::{self, Endpoints};
use crate::build::cluster::{self, GrpcSecurity};
use crate::build::{listener, name, route};
use crate::limit;
use crate::resource::{Resource, ResourceType};

#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) kind: ClientKind,
    pub(super) families: IpFamilies,
    cluster: ClusterId,
    services: Services,
    dirty: BTreeMap<ServicePort, Dirt>,
    /// Whether the destinations of an HTTP proxy changed.
    routes: Routes,
    published: BTreeMap<(ResourceType, Arc<str>), Arc<Resource>>,
    /// Counts the changes of clusters that changed or went since they were first published. A part
    /// of their endpoints' version: a cluster that changes there and back needs its endpoints
    /// again, though both are as they were.
    generations: BTreeMap<Arc<str>, u64>,
    generation: u64,
    /// A sidecar's routes depend on nothing but the audience and the namespace.
    proxy_routes: BTreeMap<Namespace, Arc<Resource>>,
    /// Since somebody was redirected.
    redirect: Option<Box<Redirect>>,
}

pub(super) type Services = BTreeMap<ServiceKey, ServiceMirror>;

#[derive(Debug, Default)]
pub(super) struct ServiceMirror {
    pub(super) vips: Vec<IpAddr>,
    pub(super) ports: BTreeMap<Port, PortMirror>,
    restricted: Vec<Restricted>,
}

#[derive(Debug)]
pub(super) struct PortMirror {
    pub(super) protocol: AppProtocol,
    pub(super) endpoints: Endpoints,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Dirt {
    Endpoints,
    /// And its endpoints, which follow it.
    Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Routes {
    Clean,
    Dirty,
}

/// What of an audience changed: its own types, and those that its scopes carry.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) upserts: Vec<Arc<Resource>>,
    pub(super) removes: Vec<(ResourceType, Arc<str>)>,
    pub(super) scope_upserts: Vec<Arc<Resource>>,
    pub(super) scope_removes: Vec<(ResourceType, Arc<str>)>,
    /// New routes of HTTP proxies, by namespace.
    pub(super) proxy_routes: BTreeMap<Namespace, Arc<Resource>>,
    pub(super) redirect: Redirected,
}

impl Mirror {
    pub(super) fn new(audience: &Audience) -> Self {
        Self {
            kind: audience.kind,
            families: audience.families,
            cluster: audience.cluster.clone(),
            services: BTreeMap::new(),
            dirty: BTreeMap::new(),
            routes: Routes::Clean,
            published: BTreeMap::new(),
            generations: BTreeMap::new(),
            generation: 0,
            proxy_routes: BTreeMap::new(),
            redirect: None,
        }
    }

    /// Somebody in the namespace is redirected.
    pub(super) fn redirect_up(&mut self, namespace: &Namespace, outbound: OutboundTraffic) {
        let redirect = self.redirect.get_or_insert_with(|| {
            Box::new(Redirect::new(&self.cluster, self.families, outbound, &self.services))
        });
        redirect.namespace_up(namespace);
    }

    pub(super) fn set_outbound(&mut self, outbound: OutboundTraffic) {
        if let Some(redirect) = &mut self.redirect {
            redirect.set_outbound(outbound);
        }
    }

    pub(super) fn apply(&mut self, what: &What) {
        let kind = self.kind;
        match what {
            What::Endpoint { port, address, entry } => {
                let Some(mirror) = self.port_mut(port) else { return };
                // gRPC chooses TLS or plaintext per service, so one endpoint can change that.
                let security =
                    |endpoints: &Endpoints| kind == ClientKind::Grpc && endpoints.any_mtls();
                let before = security(&mirror.endpoints);
                match entry {
                    Some(entry) => mirror.endpoints.local.insert(*address, Arc::clone(entry)),
                    None => mirror.endpoints.local.remove(address),
                };
                let flipped = security(&mirror.endpoints) != before;
                self.mark(port, if flipped { Dirt::Cluster } else { Dirt::Endpoints });
            }
            What::Gateway { port, address, entry } => {
                let Some(mirror) = self.port_mut(port) else { return };
                match entry {
                    Some(entry) => mirror.endpoints.gateways.insert(*address, Arc::clone(entry)),
                    None => mirror.endpoints.gateways.remove(address),
                };
                self.mark(port, Dirt::Endpoints);
            }
            What::Identities { port, identities } => {
                let Some(mirror) = self.port_mut(port) else { return };
                mirror.endpoints.identities = Arc::clone(identities);
                if !matches!(kind, ClientKind::Egress | ClientKind::Gateway) {
                    self.mark(port, Dirt::Cluster);
                }
            }
            What::Service { key, entry: None } => {
                for port in self.services.remove(key).unwrap_or_default().ports.into_keys() {
                    self.mark_destination(ServicePort { service: key.clone(), port });
                }
            }
            What::Service { key, entry: Some(view) } => self.apply_service(key, view),
        }
    }

    fn apply_service(&mut self, key: &ServiceKey, view: &ServiceView) {
        let old = self.services.remove(key).unwrap_or_default();
        let ServiceMirror { vips, ports: mut old, restricted } = old;
        let moved = vips != view.vips;
        let turned = self.kind == ClientKind::Gateway && restricted != view.restricted;
        let mut ports = BTreeMap::new();
        let mut changed = Vec::new();
        for port in &view.ports {
            let mirror = match old.remove(&port.port) {
                Some(mirror) if mirror.protocol == port.protocol => mirror,
                Some(mirror) => {
                    changed.push(port.port);
                    PortMirror { protocol: port.protocol, ..mirror }
                }
                // The same number twice: the first says what it is.
                None if ports.contains_key(&port.port) => continue,
                None => {
                    changed.push(port.port);
                    PortMirror { protocol: port.protocol, endpoints: Endpoints::default() }
                }
            };
            ports.insert(port.port, mirror);
        }
        changed.extend(old.into_keys());
        if let Some(redirect) = &mut self.redirect
            && moved
        {
            for port in ports.keys() {
                redirect.mark(&ServicePort { service: key.clone(), port: *port });
            }
        }
        if turned {
            for port in ports.keys() {
                let port = ServicePort { service: key.clone(), port: *port };
                self.dirty.insert(port, Dirt::Cluster);
            }
        }
        let (vips, restricted) = (view.vips.clone(), view.restricted.clone());
        self.services.insert(key.clone(), ServiceMirror { vips, ports, restricted });
        for port in changed {
            self.mark_destination(ServicePort { service: key.clone(), port });
        }
    }

    fn mark_destination(&mut self, port: ServicePort) {
        if let Some(redirect) = &mut self.redirect {
            redirect.mark(&port);
        }
        self.dirty.insert(port, Dirt::Cluster);
        self.routes = Routes::Dirty;
    }

    fn mark(&mut self, port: &ServicePort, dirt: Dirt) {
        if let Some(redirect) = &mut self.redirect {
            redirect.mark_endpoints(port);
        }
        let known = self.dirty.entry(port.clone()).or_insert(dirt);
        *known = dirt.max(*known);
    }

    fn port(&self, port: &ServicePort) -> Option<&PortMirror> {
        self.services.get(&port.service)?.ports.get(&port.port)
    }

    fn port_mut(&mut self, port: &ServicePort) -> Option<&mut PortMirror> {
        self.services.get_mut(&port.service)?.ports.get_mut(&port.port)
    }

    /// Encodes what was touched; what came out as it was is left out.
    pub(super) fn publish(&mut self, settings: &HubSettings, work: &mut Work) -> Published {
        let mut out = Published::default();
        for (port, dirt) in std::mem::take(&mut self.dirty) {
            let Some(mirror) = self.port(&port) else {
                self.withdraw(&port, settings, &mut out);
                continue;
            };
            for resource in self.encode(&port, mirror, dirt, settings) {
                self.put(resource, work, &mut out);
            }
        }
        if std::mem::replace(&mut self.routes, Routes::Clean) == Routes::Dirty {
            let namespaces: Vec<Namespace> = self.proxy_routes.keys().cloned().collect();
            for namespace in namespaces {
                let new = self.encode_proxy_routes(&namespace, settings, work);
                if self.proxy_routes.get(&namespace) == Some(&new) {
                    work.unchanged += 1;
                    continue;
                }
                self.proxy_routes.insert(namespace.clone(), Arc::clone(&new));
                out.proxy_routes.insert(namespace, new);
            }
        }
        if let Some(redirect) = &mut self.redirect {
            redirect.publish(&self.services, settings, work, &mut out);
        }
        out
    }

    /// Of a scope that just came up; from then on they are kept current.
    pub(super) fn proxy_routes_of(
        &mut self,
        namespace: &Namespace,
        settings: &HubSettings,
        work: &mut Work,
    ) -> Arc<Resource> {
        if let Some(routes) = self.proxy_routes.get(namespace) {
            return Arc::clone(routes);
        }
        let routes = self.encode_proxy_routes(namespace, settings, work);
        self.proxy_routes.insert(namespace.clone(), Arc::clone(&routes));
        routes
    }

    /// No scope needs them any more.
    pub(super) fn forget_proxy_routes(&mut self, namespace: &Namespace) {
        self.proxy_routes.remove(namespace);
    }

    pub(super) fn forget_port_routes(&mut self, namespace: &Namespace) {
        if let Some(redirect) = &mut self.redirect {
            redirect.namespace_down(namespace);
        }
    }

    /// What a redirected scope of the namespace has besides its inbound listener.
    pub(super) fn redirect_resources(&self, namespace: &Namespace) -> Vec<Arc<Resource>> {
        self.redirect.iter().flat_map(|redirect| redirect.resources(namespace)).collect()
    }

    /// Those which scopes carry, of clients that have them by name.
    pub(super) fn scope_resources(&self) -> Vec<Arc<Resource>> {
        self.published
            .range((ResourceType::Listener, Arc::from(""))..)
            .map(|(_, resource)| Arc::clone(resource))
            .collect()
    }

    fn encode(
        &self,
        port: &ServicePort,
        mirror: &PortMirror,
        dirt: Dirt,
        settings: &HubSettings,
    ) -> Vec<Resource> {
        let name = name::cluster(self.kind, port, &settings.cluster_domain);
        let published = self.published.get(&(ResourceType::Cluster, Arc::clone(&name)));
        let published = published.map(|published| Arc::clone(&published.version));
        let mut generation = self.generations.get(&name).copied().unwrap_or(0);
        let (cluster, version) = match (dirt, published) {
            (Dirt::Endpoints, Some(version)) => (None, version),
            (_, published) => {
                let message = self.cluster(port, mirror, settings);
                let made = Resource::leader(ResourceType::Cluster, &name, &name, &message);
                let version = Arc::clone(&made.version);
                if published.is_some_and(|old| old != version) {
                    generation = self.generation + 1;
                }
                (Some(made), version)
            }
        };
        let leader = format!("{version}.{generation}");
        let message = assignment::assignment(self.kind, &name, port, &mirror.endpoints);
        let endpoints = Resource::follower(ResourceType::Endpoint, &name, &leader, &message);
        let target = (self.kind == ClientKind::Grpc && cluster.is_some())
            .then(|| target(port, &name, settings));
        cluster.into_iter().chain([endpoints]).chain(target.into_iter().flatten()).collect()
    }

    fn cluster(
        &self,
        port: &ServicePort,
        PortMirror { protocol, endpoints }: &PortMirror,
        HubSettings { cluster_domain: domain, secrets, .. }: &HubSettings,
    ) -> Cluster {
        let identities = &endpoints.identities;
        match self.kind {
            ClientKind::Egress => cluster::gateway(port, domain, &[]),
            ClientKind::Gateway => {
                let service = self.services.get(&port.service);
                let restricted = service.map_or(&[][..], |service| &service.restricted);
                cluster::gateway(port, domain, restricted)
            }
            ClientKind::Grpc if endpoints.any_mtls() => {
                cluster::grpc(port, GrpcSecurity::Mtls(identities), domain)
            }
            ClientKind::Grpc => cluster::grpc(port, GrpcSecurity::Plaintext, domain),
            ClientKind::Sidecar => cluster::sidecar(port, *protocol, identities, domain, secrets),
        }
    }

    fn encode_proxy_routes(
        &self,
        namespace: &Namespace,
        settings: &HubSettings,
        work: &mut Work,
    ) -> Arc<Resource> {
        let destinations: Vec<route::Destination<'_>> = self
            .services
            .iter()
            .flat_map(|(service, mirror)| {
                mirror.ports.iter().map(move |(port, mirror)| (service, port, mirror))
            })
            .map(|(service, port, mirror)| route::Destination {
                service,
                port: *port,
                protocol: mirror.protocol,
                vips: &[],
            })
            .collect();
        let message = route::http_proxy(&destinations, namespace, &settings.cluster_domain);
        work.encoded[ResourceType::Route.index()] += 1;
        // One for all proxies whatever their address, so the listener it warms is one of none.
        let listener = listener::http_proxy(SocketAddr::from(([0, 0, 0, 0], 0)));
        let leader = Resource::new(ResourceType::Listener, "", &listener);
        Arc::new(Resource::follower(
            ResourceType::Route,
            name::HTTP_PROXY_ROUTES,
            &leader.version,
            &message,
        ))
    }

    fn put(&mut self, resource: Resource, work: &mut Work, out: &mut Published) {
        work.encoded[resource.kind.index()] += 1;
        let key = (resource.kind, Arc::clone(&resource.name));
        if self.published.get(&key).is_some_and(|old| old.version == resource.version) {
            work.unchanged += 1;
            return;
        }
        let resource = Arc::new(resource);
        let old = self.published.insert(key, Arc::clone(&resource));
        if resource.kind == ResourceType::Cluster && old.is_some() {
            self.next_generation(&resource.name);
        }
        match resource.kind {
            ResourceType::Cluster | ResourceType::Endpoint => out.upserts.push(resource),
            ResourceType::Listener | ResourceType::Route => out.scope_upserts.push(resource),
        }
    }

    fn next_generation(&mut self, cluster: &Arc<str>) {
        self.generation += 1;
        if self.generations.len() >= limit::GENERATIONS_MAX {
            self.generations.clear();
        }
        self.generations.insert(Arc::clone(cluster), self.generation);
    }

    fn withdraw(&mut self, port: &ServicePort, settings: &HubSettings, out: &mut Published) {
        let cluster = name::cluster(self.kind, port, &settings.cluster_domain);
        let target = name::target(port, &settings.cluster_domain);
        for (kind, name) in [(ResourceType::Endpoint, &cluster), (ResourceType::Cluster, &cluster)]
        {
            if self.published.remove(&(kind, Arc::clone(name))).is_some() {
                out.removes.push((kind, Arc::clone(name)));
                if kind == ResourceType::Cluster {
                    self.next_generation(name);
                }
            }
        }
        for kind in [ResourceType::Route, ResourceType::Listener] {
            if self.published.remove(&(kind, Arc::clone(&target))).is_some() {
                out.scope_removes.push((kind, Arc::clone(&target)));
            }
        }
    }
}

/// What a gRPC client asks for first.
fn target(port: &ServicePort, cluster: &str, settings: &HubSettings) -> [Resource; 2] {
    let name = name::target(port, &settings.cluster_domain);
    let message = listener::grpc_target(&name);
    let listener = Resource::leader(ResourceType::Listener, &name, &name, &message);
    let message = route::grpc_target(&name, cluster);
    let routes = Resource::follower(ResourceType::Route, &name, &listener.version, &message);
    [listener, routes]
}
