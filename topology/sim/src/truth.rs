//! A fake cluster: what is true in it, and the facts that say so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use diolkos_topology::{
    AppProtocol, ClusterId, ClusterSettings, Consumers, EndpointFact, ExportFact, Fact, FactKey,
    GatewayFact, GatewayKey, GatewayName, Grants, Health, Locality, Mtls, Namespace, NamespaceFact,
    NetworkId, NodeFact, NodeName, PodName, Port, PortName, ServiceFact, ServiceKey,
    ServicePortFact, SliceFact, SliceName, Workload,
};
use diolkos_trust::{SpiffeId, TrustDomain};

use crate::primary::EGRESS_PORT;
use crate::shape::{Addresses, Shape};

pub(crate) const DOMAIN: &str = "cluster.local";
const CLUSTERS: [&str; 4] = ["east", "north", "south", "west"];
const SERVICES: [(&str, &str); 4] =
    [("shop", "web"), ("shop", "db"), ("pay", "ledger"), ("kube-system", "dns")];
/// Name, number, what endpoints listen on.
type PortSpec = (&'static str, u16, AppProtocol);
const PORTS: [&[PortSpec]; 4] = [
    &[("http", 80, AppProtocol::Http)],
    &[("http", 80, AppProtocol::Http), ("grpc", 90, AppProtocol::Grpc)],
    &[("http", 81, AppProtocol::Http)],
    &[("grpc", 80, AppProtocol::Grpc)],
];
const TARGETS: [(&str, u16); 2] = [("http", 8080), ("grpc", 9090)];
const SLOTS: usize = 6;
/// Its endpoint has no other address than this.
const SLOT_OF_V6: usize = SLOTS - 1;
const SLICES: usize = 2;
const NODES: usize = 3;
const GATEWAYS: usize = 3;
/// The last is none: the node is not known.
const ZONES: [Option<(&str, &str)>; 4] =
    [Some(("r1", "z1")), Some(("r1", "z2")), Some(("r2", "z3")), None];

pub(crate) const NAMES_ARE_VALID: &str = "the names of the fake world are valid";

pub(crate) fn cluster_id(index: usize) -> ClusterId {
    ClusterId::new(CLUSTERS[index % CLUSTERS.len()]).expect(NAMES_ARE_VALID)
}

pub(crate) fn network_id(index: usize) -> NetworkId {
    NetworkId::new(&format!("n{index}")).expect(NAMES_ARE_VALID)
}

pub(crate) fn service_key(index: usize) -> ServiceKey {
    let (namespace, name) = SERVICES[index % SERVICES.len()];
    ServiceKey::new(namespace, name).expect(NAMES_ARE_VALID)
}

pub(crate) fn node_name(index: usize) -> NodeName {
    NodeName::new(&format!("node{}", index % NODES)).expect(NAMES_ARE_VALID)
}

/// Every `host:port` that anybody could ever dial, and a few that nobody serves.
pub(crate) fn targets() -> Vec<String> {
    let services = (0..SERVICES.len()).map(service_key);
    services
        .flat_map(|key| [80, 81, 90].map(|port| format!("{}:{port}", key.host(DOMAIN))))
        .collect()
}

#[derive(Clone, Debug)]
pub(crate) struct Truth {
    index: usize,
    clusters: usize,
    addresses: Addresses,
    network: usize,
    networks: usize,
    /// Which ports.
    services: BTreeMap<usize, u8>,
    /// By service and slot; what kind: whether it is ready, where, with how many addresses.
    endpoints: BTreeMap<(usize, usize), u8>,
    exports: BTreeMap<usize, u8>,
    gateways: BTreeSet<usize>,
    zones: [usize; NODES],
}

/// What changed, in the order in which a source says it.
pub(crate) type Changes = Vec<(FactKey, Option<Fact>)>;

impl Truth {
    pub(crate) fn new(index: usize, shape: &Shape) -> Self {
        let mut endpoints = BTreeMap::new();
        for slot in 0..2 {
            endpoints.insert((0, slot), 0);
            endpoints.insert((1, slot), 0);
        }
        Self {
            index,
            clusters: shape.clusters,
            addresses: shape.addresses,
            network: index % shape.networks,
            networks: shape.networks,
            services: [(0, 0), (1, 1)].into(),
            endpoints,
            exports: [(0, 0)].into(),
            gateways: [0].into(),
            zones: [0, 1, 2],
        }
    }

    pub(crate) fn settings(&self) -> ClusterSettings {
        ClusterSettings {
            cluster: cluster_id(self.index),
            trust_domain: TrustDomain::new("td").expect(NAMES_ARE_VALID),
            network: network_id(self.index % self.networks),
            addresses: Vec::new(),
            grants: Grants::everything(),
        }
    }

    pub(crate) fn network(&self) -> NetworkId {
        network_id(self.network)
    }

    pub(crate) fn locality(&self, node: usize) -> Locality {
        let zone = ZONES[self.zones[node % NODES]];
        zone.map_or_else(Locality::unknown, |(region, zone)| Locality::new(region, zone))
    }

    pub(crate) fn put_endpoint(&mut self, what: u8, how: u8) {
        self.endpoints.insert(place(what), how);
    }

    pub(crate) fn remove_endpoint(&mut self, what: u8) {
        self.endpoints.remove(&place(what));
    }

    pub(crate) fn scale(&mut self, what: u8, count: u8) {
        let service = usize::from(what) % SERVICES.len();
        let count = usize::from(count) % (SLOTS + 1);
        self.endpoints.retain(|(of, slot), _| *of != service || *slot < count);
        for slot in 0..count {
            self.endpoints.entry((service, slot)).or_insert(0);
        }
    }

    pub(crate) fn put_service(&mut self, what: u8, how: u8) {
        self.services.insert(usize::from(what) % SERVICES.len(), how);
    }

    pub(crate) fn remove_service(&mut self, what: u8) {
        self.services.remove(&(usize::from(what) % SERVICES.len()));
    }

    pub(crate) fn export(&mut self, what: u8, how: u8) {
        self.exports.insert(usize::from(what) % SERVICES.len(), how);
    }

    pub(crate) fn unexport(&mut self, what: u8) {
        self.exports.remove(&(usize::from(what) % SERVICES.len()));
    }

    pub(crate) fn add_gateway(&mut self, what: u8) {
        self.gateways.insert(usize::from(what) % GATEWAYS);
    }

    pub(crate) fn remove_gateway(&mut self, what: u8) {
        self.gateways.remove(&(usize::from(what) % GATEWAYS));
    }

    pub(crate) fn move_node(&mut self, what: u8, how: u8) {
        self.zones[usize::from(what) % NODES] = usize::from(how) % ZONES.len();
    }

    pub(crate) fn set_network(&mut self, what: u8) {
        self.network = usize::from(what) % self.networks;
    }

    pub(crate) fn facts(&self) -> BTreeMap<FactKey, Fact> {
        let system = Namespace::new("istio-system").expect(NAMES_ARE_VALID);
        let network = Some(self.network());
        let mut facts = vec![Fact::Namespace(NamespaceFact { name: system, network })];
        facts.extend(self.nodes());
        facts.extend(self.gateways.iter().map(|gateway| self.gateway(*gateway)));
        facts.extend(self.services.iter().map(|(service, how)| self.service(*service, *how)));
        facts.extend(self.exports.iter().map(|(service, how)| self.export_fact(*service, *how)));
        for service in 0..SERVICES.len() {
            facts.extend((0..SLICES).filter_map(|slice| self.slice(service, slice)));
            facts.extend(self.second_addresses(service));
        }
        facts.into_iter().map(|fact| (fact.key(), fact)).collect()
    }

    fn nodes(&self) -> impl Iterator<Item = Fact> {
        let known = self.zones.iter().enumerate().filter_map(|(node, zone)| {
            let (region, zone) = ZONES[*zone]?;
            Some((node, Locality::new(region, zone)))
        });
        known.map(|(node, locality)| Fact::Node(NodeFact { name: node_name(node), locality }))
    }

    /// The first ends tunnels as well, the second does not, and the third is the way out.
    fn gateway(&self, gateway: usize) -> Fact {
        let address = match gateway {
            2 => Ipv4Addr::new(10, 96, self.index as u8, 200),
            _ => Ipv4Addr::new(34, 0, self.index as u8, gateway as u8 + 1),
        };
        Fact::Gateway(GatewayFact {
            key: GatewayKey {
                namespace: Namespace::new("istio-system").expect(NAMES_ARE_VALID),
                name: GatewayName::new("eastwest").expect(NAMES_ARE_VALID),
                address: address.into(),
            },
            network: self.network(),
            sni_port: (gateway != 2).then(|| port(15443)),
            hbone_port: (gateway == 0).then(|| port(15008)),
            egress_port: (gateway == 2).then(|| port(EGRESS_PORT)),
        })
    }

    fn service(&self, service: usize, how: u8) -> Fact {
        let ports = PORTS[usize::from(how) % PORTS.len()].iter().map(|(name, number, protocol)| {
            ServicePortFact { name: port_name(name), port: port(*number), protocol: *protocol }
        });
        Fact::Service(ServiceFact {
            key: service_key(service),
            vips: vec![Ipv4Addr::new(10, 96, self.index as u8, service as u8).into()],
            ports: ports.collect(),
            created: Some(u64::from(how) / 64),
        })
    }

    fn export_fact(&self, service: usize, how: u8) -> Fact {
        let consumers = match how % 8 {
            0..=4 => Consumers::Everyone,
            5 => Consumers::Listed(BTreeSet::new()),
            _ => Consumers::Listed([cluster_id(usize::from(how / 8) % self.clusters)].into()),
        };
        let created = u64::from(how) / 64;
        Fact::Export(ExportFact { service: service_key(service), created, consumers })
    }

    fn slice(&self, service: usize, slice: usize) -> Option<Fact> {
        let all = self.endpoints.range((service, 0)..(service, SLOTS));
        let mine = all.filter(|((_, slot), _)| slot % SLICES == slice);
        let endpoints = mine.map(|((_, slot), how)| self.endpoint(service, *slot, *how));
        slice_fact(service, &slice.to_string(), endpoints.collect())
    }

    /// Pods with an address of either family have the other one in a slice of its own.
    fn second_addresses(&self, service: usize) -> Option<Fact> {
        let all = self.endpoints.range((service, 0)..(service, SLOTS));
        let dual = all.filter(|((_, slot), how)| *how & 128 != 0 && *slot != SLOT_OF_V6);
        let endpoints = dual.map(|((_, slot), how)| EndpointFact {
            address: self.v6(service, *slot),
            ..self.endpoint(service, *slot, *how)
        });
        slice_fact(service, "v6", endpoints.collect())
    }

    fn endpoint(&self, service: usize, slot: usize, how: u8) -> EndpointFact {
        let key = service_key(service);
        let elsewhere = network_id((self.network + 1) % self.networks);
        let (health, mtls, account) = match how % 16 {
            9 | 10 => (Health::Ready, Mtls::Istio, Some("b")),
            11 => (Health::NotReady, Mtls::Istio, Some("a")),
            12 => (Health::Terminating, Mtls::Istio, Some("a")),
            13 => (Health::Ready, Mtls::Plaintext, None),
            14 => (Health::Ready, Mtls::Istio, None),
            15 => (Health::NotReady, Mtls::Plaintext, None),
            _ => (Health::Ready, Mtls::Istio, Some("a")),
        };
        let identity = account.map(|account| {
            let text = format!("spiffe://td/ns/{}/sa/{account}", key.namespace);
            SpiffeId::parse(&text).expect(NAMES_ARE_VALID)
        });
        let pod = format!("{}-{slot}", key.name);
        EndpointFact {
            address: self.address(service, slot),
            health,
            pod: Some(PodName::new(&pod).expect(NAMES_ARE_VALID)),
            node: Some(node_name(slot)),
            zone: (how & 16 != 0).then(|| "z1".into()),
            network: (how & 96 == 96).then_some(elsewhere),
            mtls,
            identity,
            workload: Arc::new(Workload { name: pod.as_str().into(), ..Workload::default() }),
        }
    }

    fn address(&self, service: usize, slot: usize) -> IpAddr {
        if slot == SLOT_OF_V6 {
            return self.v6(service, slot);
        }
        Ipv4Addr::new(10, self.range(), service as u8, slot as u8 + 1).into()
    }

    fn v6(&self, service: usize, slot: usize) -> IpAddr {
        let range = u16::from(self.range());
        Ipv6Addr::new(0xfd00, range, 0, 0, 0, 0, service as u16, slot as u16).into()
    }

    fn range(&self) -> u8 {
        match self.addresses {
            Addresses::Distinct => self.index as u8 + 1,
            Addresses::Same => 0,
        }
    }
}

fn slice_fact(service: usize, suffix: &str, endpoints: Vec<EndpointFact>) -> Option<Fact> {
    if endpoints.is_empty() {
        return None;
    }
    let key = service_key(service);
    let ports = TARGETS.map(|(name, number)| (port_name(name), port(number)));
    let name = SliceName::new(&format!("{}-{suffix}", key.name)).expect(NAMES_ARE_VALID);
    Some(Fact::Slice(SliceFact { service: key, name, ports: ports.into(), endpoints }))
}

/// What a source has to say after a change.
pub(crate) fn difference(
    before: &BTreeMap<FactKey, Fact>,
    after: &BTreeMap<FactKey, Fact>,
) -> Changes {
    let gone = before.keys().filter(|key| !after.contains_key(key));
    let new = after.iter().filter(|(key, fact)| before.get(key) != Some(fact));
    let gone = gone.map(|key| (key.clone(), None));
    gone.chain(new.map(|(key, fact)| (key.clone(), Some(fact.clone())))).collect()
}

fn place(what: u8) -> (usize, usize) {
    let what = usize::from(what);
    (what % SERVICES.len(), what / SERVICES.len() % SLOTS)
}

fn port(number: u16) -> Port {
    Port::new(number).expect(NAMES_ARE_VALID)
}

fn port_name(text: &str) -> PortName {
    PortName::new(text).expect(NAMES_ARE_VALID)
}
