//! Of one audience: the listeners and routes by which connections of redirected workloads find
//! their services. They exist only while somebody is redirected.
//!
//! What a service port claims is kept, so that a change costs what it touches: the routes of one
//! port number, or the listener of one address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use diolkos_topology::{
    ClusterId, IpFamilies, Mtls, Namespace, OutboundTraffic, Port, ServiceKey, ServicePort,
};

use super::mirror::{Published, Services};
use super::{HubSettings, Work};
use crate::build::inbound::RESERVED_PORTS;
use crate::build::{cluster, name, outbound, route};
use crate::limit;
use crate::resource::{Resource, ResourceType};

#[derive(Debug)]
pub(super) struct Redirect {
    cluster: ClusterId,
    families: IpFamilies,
    outbound: OutboundTraffic,
    claims: BTreeMap<ServicePort, Claim>,
    /// Who is on a port number with HTTP.
    http: BTreeMap<Port, BTreeSet<ServiceKey>>,
    /// Who claims an address for bytes. The first has it.
    bytes: BTreeMap<SocketAddr, BTreeSet<ServicePort>>,
    dirty: Dirty,
    published: BTreeMap<Arc<str>, Arc<Resource>>,
    direct: BTreeMap<Arc<str>, Arc<Resource>>,
    /// Counts the changes of each listener: a part of the version of the routes that warm it.
    generations: BTreeMap<Arc<str>, u64>,
    generation: u64,
    routes: BTreeMap<Namespace, BTreeMap<Port, Arc<Resource>>>,
}

#[derive(Debug, Default)]
struct Dirty {
    /// Whatever does not hang on a service.
    constants: bool,
    /// Listeners of port numbers, whoever is on them.
    listeners: bool,
    claims: BTreeSet<ServicePort>,
    ports: BTreeSet<Port>,
    addresses: BTreeSet<SocketAddr>,
}

/// How a service port is found by those who dial it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Claim {
    /// By the request's host, on the port number.
    Http,
    /// By the service's own addresses.
    Bytes(BTreeSet<SocketAddr>),
    /// By its pods' addresses, each for itself.
    Direct(BTreeSet<SocketAddr>),
}

/// What changed for every redirected scope, and by namespace.
#[derive(Debug, Default)]
pub(super) struct Redirected {
    pub(super) listeners: Vec<Arc<Resource>>,
    pub(super) routes: BTreeMap<Namespace, Vec<Arc<Resource>>>,
    pub(super) removes: Vec<(ResourceType, Arc<str>)>,
}

impl Claim {
    fn of(port: &ServicePort, services: &Services, own: &ClusterId) -> Option<Self> {
        let service = services.get(&port.service)?;
        let mirror = service.ports.get(&port.port)?;
        if mirror.protocol.is_http() {
            // Envoy's own listeners have these numbers on every address.
            let taken = [outbound::OUTBOUND_PORT, outbound::INBOUND_PORT];
            return (!taken.contains(&port.port.get())).then_some(Self::Http);
        }
        if !service.vips.is_empty() {
            let at = |vip| SocketAddr::new(vip, port.port.get());
            return Some(Self::Bytes(service.vips.iter().copied().map(at).collect()));
        }
        // A service that only other clusters have has no address here either, and nobody dials
        // its pods; only a headless service has pods of the own cluster without having one.
        let pods = mirror.endpoints.local.iter().filter(|(at, pod)| {
            pod.cluster == *own && pod.mtls == Mtls::Istio && !RESERVED_PORTS.contains(&at.port())
        });
        let pods: BTreeSet<_> = pods.map(|(at, _)| *at).take(limit::DIRECT_ADDRESSES_MAX).collect();
        (!pods.is_empty()).then_some(Self::Direct(pods))
    }

    fn addresses(&self) -> impl Iterator<Item = &SocketAddr> {
        let addresses = match self {
            Self::Http => None,
            Self::Bytes(addresses) | Self::Direct(addresses) => Some(addresses),
        };
        addresses.into_iter().flatten()
    }
}

impl Redirect {
    pub(super) fn new(
        cluster: &ClusterId,
        families: IpFamilies,
        outbound: OutboundTraffic,
        services: &Services,
    ) -> Self {
        let ports = services.iter().flat_map(|(service, mirror)| {
            let port = |port: &Port| ServicePort { service: service.clone(), port: *port };
            mirror.ports.keys().map(port)
        });
        Self {
            cluster: cluster.clone(),
            families,
            outbound,
            claims: BTreeMap::new(),
            http: BTreeMap::new(),
            bytes: BTreeMap::new(),
            dirty: Dirty { constants: true, claims: ports.collect(), ..Dirty::default() },
            published: BTreeMap::new(),
            direct: BTreeMap::new(),
            generations: BTreeMap::new(),
            generation: 0,
            routes: BTreeMap::new(),
        }
    }

    pub(super) fn set_outbound(&mut self, outbound: OutboundTraffic) {
        self.outbound = outbound;
        self.dirty.constants = true;
        self.dirty.listeners = true;
        self.dirty.ports.extend(self.http.keys());
    }

    /// From now on routes for it are kept current.
    pub(super) fn namespace_up(&mut self, namespace: &Namespace) {
        self.routes.entry(namespace.clone()).or_default();
    }

    pub(super) fn namespace_down(&mut self, namespace: &Namespace) {
        self.routes.remove(namespace);
    }

    /// The port came, went, or is another.
    pub(super) fn mark(&mut self, port: &ServicePort) {
        self.dirty.claims.insert(port.clone());
        if self.claims.get(port) == Some(&Claim::Http) {
            self.dirty.ports.insert(port.port);
        }
    }

    /// Its endpoints or their identities changed: nothing here hangs on them but a headless
    /// service's bytes.
    pub(super) fn mark_endpoints(&mut self, port: &ServicePort) {
        match self.claims.get(port) {
            Some(Claim::Http | Claim::Bytes(_)) => {}
            None | Some(Claim::Direct(_)) => drop(self.dirty.claims.insert(port.clone())),
        }
    }

    /// All that a scope of the namespace has.
    pub(super) fn resources(&self, namespace: &Namespace) -> Vec<Arc<Resource>> {
        let routes = self.routes.get(namespace).into_iter().flat_map(BTreeMap::values);
        self.published.values().chain(routes).cloned().collect()
    }

    /// Encodes what was touched; what came out as it was is left out.
    pub(super) fn publish(
        &mut self,
        services: &Services,
        settings: &HubSettings,
        work: &mut Work,
        out: &mut Published,
    ) {
        let Dirty { constants, listeners, claims, ports, addresses } =
            std::mem::take(&mut self.dirty);
        let mut touched = Touched { ports, addresses };
        for port in claims {
            self.reclaim(&port, services, settings, &mut touched, work, out);
        }
        if constants {
            self.constants(work, out);
        }
        for port in &touched.ports {
            self.publish_listener(*port, listeners, work, out);
        }
        for at in &touched.addresses {
            self.publish_address(*at, settings, work, out);
        }
        let namespaces: Vec<Namespace> = self.routes.keys().cloned().collect();
        for namespace in namespaces {
            let known = &self.routes[&namespace];
            let lacking = self.http.keys().filter(|port| !known.contains_key(port)).copied();
            let ports: BTreeSet<Port> = touched.ports.iter().copied().chain(lacking).collect();
            for port in ports {
                self.publish_routes(&namespace, port, services, settings, work, out);
            }
        }
    }

    fn reclaim(
        &mut self,
        port: &ServicePort,
        services: &Services,
        settings: &HubSettings,
        touched: &mut Touched,
        work: &mut Work,
        out: &mut Published,
    ) {
        let new = Claim::of(port, services, &self.cluster);
        if let Some(Claim::Direct(_)) = &new {
            let identities = services.get(&port.service).and_then(|one| one.ports.get(&port.port));
            let identities = identities.map(|one| Arc::clone(&one.endpoints.identities));
            let identities = identities.unwrap_or_default();
            let domain = &settings.cluster_domain;
            let message = cluster::direct(port, &identities, domain, &settings.secrets);
            self.put_cluster(&message, work, out);
        } else {
            let name: Arc<str> = name::direct(port, &settings.cluster_domain).into();
            if self.direct.remove(&name).is_some() {
                out.removes.push((ResourceType::Cluster, name));
            }
        }
        let old = match &new {
            Some(new) => self.claims.insert(port.clone(), new.clone()),
            None => self.claims.remove(port),
        };
        if old == new {
            return;
        }
        if old == Some(Claim::Http) {
            touched.ports.insert(port.port);
            leave(&mut self.http, &port.port, &port.service);
        }
        for at in old.iter().flat_map(Claim::addresses) {
            touched.addresses.insert(*at);
            leave(&mut self.bytes, at, port);
        }
        if new == Some(Claim::Http) {
            touched.ports.insert(port.port);
            self.http.entry(port.port).or_default().insert(port.service.clone());
        }
        for at in new.iter().flat_map(Claim::addresses) {
            touched.addresses.insert(*at);
            self.bytes.entry(*at).or_default().insert(port.clone());
        }
    }

    fn constants(&mut self, work: &mut Work, out: &mut Published) {
        use diolkos_topology::AppProtocol::{Http, Http2, Tcp};
        let inbound = [Http, Http2, Tcp].map(|protocol| cluster::inbound(protocol, self.families));
        for message in [cluster::passthrough(), cluster::black_hole()].into_iter().chain(inbound) {
            self.put_cluster(&message, work, out);
        }
        let message = outbound::virtual_outbound(self.families, self.outbound);
        let made = Resource::new(ResourceType::Listener, &message.name, &message);
        self.put_listener(made, work, out);
    }

    fn publish_listener(&mut self, port: Port, anew: bool, work: &mut Work, out: &mut Published) {
        let name: Arc<str> = outbound::http_name(port, self.families).into();
        if !self.http.contains_key(&port) {
            self.withdraw(&name, out);
            return;
        }
        if !anew && self.published.contains_key(&name) {
            return;
        }
        let message = outbound::http(port, self.families, self.outbound);
        let follower = name::port_routes(port);
        let made = Resource::leader(ResourceType::Listener, &name, &follower, &message);
        self.put_listener(made, work, out);
    }

    fn publish_address(
        &mut self,
        at: SocketAddr,
        settings: &HubSettings,
        work: &mut Work,
        out: &mut Published,
    ) {
        let Some(port) = self.bytes.get(&at).and_then(BTreeSet::first) else {
            self.withdraw(&name::listener(at), out);
            return;
        };
        let cluster = match self.claims.get(port) {
            Some(Claim::Direct(_)) => name::direct(port, &settings.cluster_domain),
            _ => name::outbound(port, &settings.cluster_domain),
        };
        let message = outbound::bytes(at, &cluster);
        let made = Resource::new(ResourceType::Listener, &message.name, &message);
        self.put_listener(made, work, out);
    }

    fn publish_routes(
        &mut self,
        namespace: &Namespace,
        port: Port,
        services: &Services,
        settings: &HubSettings,
        work: &mut Work,
        out: &mut Published,
    ) {
        let Some(routes) = self.routes.get_mut(namespace) else { return };
        let Some(on_port) = self.http.get(&port) else {
            routes.remove(&port);
            return;
        };
        let destinations: Vec<route::Destination<'_>> = on_port
            .iter()
            .filter_map(|service| {
                let mirror = services.get(service)?;
                let protocol = mirror.ports.get(&port)?.protocol;
                Some(route::Destination { service, port, protocol, vips: &mirror.vips })
            })
            .collect();
        let domain = &settings.cluster_domain;
        let message = route::port(port, &destinations, namespace, domain, self.outbound);
        let listener = outbound::http_name(port, self.families);
        let version = self.published.get(&*listener).map(|one| &*one.version).unwrap_or_default();
        let generation = self.generations.get(&*listener).copied().unwrap_or_default();
        let leader = format!("{version}.{generation}");
        let kind = ResourceType::Route;
        let made = Resource::follower(kind, &name::port_routes(port), &leader, &message);
        work.encoded[kind.index()] += 1;
        if routes.get(&port).is_some_and(|old| old.version == made.version) {
            work.unchanged += 1;
            return;
        }
        let made = Arc::new(made);
        routes.insert(port, Arc::clone(&made));
        out.redirect.routes.entry(namespace.clone()).or_default().push(made);
    }

    fn put_cluster(
        &mut self,
        message: &envoy_types::pb::envoy::config::cluster::v3::Cluster,
        work: &mut Work,
        out: &mut Published,
    ) {
        let made = Resource::new(ResourceType::Cluster, &message.name, message);
        work.encoded[made.kind.index()] += 1;
        if self.direct.get(&made.name).is_some_and(|old| old.version == made.version) {
            work.unchanged += 1;
            return;
        }
        let made = Arc::new(made);
        self.direct.insert(Arc::clone(&made.name), Arc::clone(&made));
        out.upserts.push(made);
    }

    fn put_listener(&mut self, made: Resource, work: &mut Work, out: &mut Published) {
        work.encoded[made.kind.index()] += 1;
        let old = self.published.get(&made.name);
        if old.is_some_and(|old| old.version == made.version) {
            work.unchanged += 1;
            return;
        }
        if old.is_some() {
            self.next_generation(&Arc::clone(&made.name));
        }
        let made = Arc::new(made);
        self.published.insert(Arc::clone(&made.name), Arc::clone(&made));
        out.redirect.listeners.push(made);
    }

    fn withdraw(&mut self, name: &Arc<str>, out: &mut Published) {
        let Some(gone) = self.published.remove(name) else { return };
        self.next_generation(name);
        let routes = gone.warmed_by.iter().map(|routes| (ResourceType::Route, routes.clone()));
        out.redirect.removes.extend(routes);
        out.redirect.removes.push((ResourceType::Listener, Arc::clone(name)));
    }

    fn next_generation(&mut self, listener: &Arc<str>) {
        self.generation += 1;
        if self.generations.len() >= limit::GENERATIONS_MAX {
            self.generations.clear();
        }
        self.generations.insert(Arc::clone(listener), self.generation);
    }
}

struct Touched {
    ports: BTreeSet<Port>,
    addresses: BTreeSet<SocketAddr>,
}

/// Takes one out, and the key with the last.
fn leave<K: Ord, V: Ord>(of: &mut BTreeMap<K, BTreeSet<V>>, key: &K, gone: &V) {
    if let Some(left) = of.get_mut(key) {
        left.remove(gone);
        if left.is_empty() {
            of.remove(key);
        }
    }
}
