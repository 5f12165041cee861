//! What one cluster says.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use diolkos_topology::{
    AppProtocol, Consumers, EndpointFact, Event, ExportFact, Fact, GatewayFact, GatewayKey,
    GatewayName, Health, Locality, Mtls, Namespace, NodeFact, NodeName, PodName, Port, PortName,
    ServiceFact, ServiceKey, ServicePortFact, SliceFact, SliceName, Stamp, Workload,
};
use diolkos_trust::{SpiffeId, TrustDomain};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::{ENDPOINTS_PER_SLICE, Mesh, TRUST_DOMAIN, ZONES, copy, region, zone};

const ACCOUNTS_PER_NAMESPACE: usize = 12;
const ACCOUNTS_PER_SERVICE: usize = 3;
const REVISIONS: usize = 2;
const PODS_PER_NODE: usize = 100;
const GATEWAYS: u8 = 2;
const SERVICE_PORT: u16 = 80;
const POD_PORT: u16 = 8080;
const SNI_PORT: u16 = 15_443;
/// 2026-01-01
const CREATED_MS: u64 = 1_767_225_600_000;

/// Says new things from call to call; what was said stays unique.
#[derive(Debug)]
pub(crate) struct Cluster {
    mesh: Mesh,
    pub(crate) index: usize,
    random: StdRng,
    /// Host parts of the cluster's /16, in random order.
    hosts: Vec<u16>,
    pods: u32,
    seq: u64,
}

/// What the pods of a service have in common.
struct Crew {
    workloads: [String; REVISIONS],
    accounts: [usize; ACCOUNTS_PER_SERVICE],
}

impl Cluster {
    pub(super) fn new(mesh: Mesh, index: usize) -> Self {
        let seed = mesh.shape.seed.wrapping_mul(1_000_003).wrapping_add(index as u64);
        let mut random = StdRng::seed_from_u64(seed);
        let mut hosts: Vec<u16> = (256..u16::MAX).collect();
        hosts.shuffle(&mut random);
        Self { mesh, index, random, hosts, pods: 0, seq: 0 }
    }

    /// Nodes and gateways.
    pub(crate) fn ground(&self) -> Vec<Fact> {
        let nodes = (0..self.nodes()).map(|node| {
            let locality = Locality::new(&region(self.index), &zone(self.index, node));
            Fact::Node(NodeFact { name: self.node(node), locality })
        });
        let gateways = (1..=GATEWAYS).map(|host| {
            let address = Ipv4Addr::new(198, 18, low_byte(self.index), host).into();
            Fact::Gateway(GatewayFact {
                key: GatewayKey {
                    namespace: Namespace::new("istio-system").expect("a constant"),
                    name: GatewayName::new("eastwest").expect("a constant"),
                    address,
                },
                network: self.mesh.network(self.index),
                sni_port: Some(port(SNI_PORT)),
                hbone_port: None,
                egress_port: None,
            })
        });
        nodes.chain(gateways).collect()
    }

    pub(crate) fn service(&self, number: usize, key: &ServiceKey) -> [Fact; 2] {
        let vip = Ipv4Addr::new(172, 20, low_byte(number / 250), low_byte(number % 250) + 1);
        let service = ServiceFact {
            key: copy::key(key),
            vips: vec![vip.into()],
            ports: vec![ServicePortFact {
                name: PortName::new("http").expect("a constant"),
                port: port(SERVICE_PORT),
                protocol: AppProtocol::Http,
            }],
            created: Some(CREATED_MS),
        };
        let export = ExportFact {
            service: copy::key(key),
            created: CREATED_MS,
            consumers: Consumers::Everyone,
        };
        [Fact::Service(service), Fact::Export(export)]
    }

    /// As many endpoints as asked for, all ready, in slices.
    pub(crate) fn slices(&mut self, key: &ServiceKey, endpoints: usize) -> Vec<SliceFact> {
        let crew = self.crew(key);
        let mut left = endpoints;
        let mut slices = Vec::new();
        while left > 0 || slices.is_empty() {
            let count = left.min(ENDPOINTS_PER_SLICE);
            left -= count;
            let mut slice = SliceFact {
                service: copy::key(key),
                name: SliceName::new(&format!("{}-{:05}", key.name, slices.len()))
                    .expect("letters and digits"),
                ports: vec![(PortName::new("http").expect("a constant"), port(POD_PORT))],
                endpoints: (0..count).map(|_| self.endpoint(key, &crew)).collect(),
            };
            make_twins(&mut slice);
            slices.push(slice);
        }
        slices
    }

    pub(crate) fn upsert(&mut self, fact: Fact) -> Event {
        self.seq += 1;
        Event::Upsert { source: self.mesh.source(self.index), stamp: Stamp::new(1, self.seq), fact }
    }

    /// How much was said so far.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Says more after `seq`.
    pub(crate) fn go_on(&mut self, seq: u64) {
        self.seq = seq;
    }

    pub(crate) fn nodes(&self) -> usize {
        let pods = self.mesh.shape.services * self.mesh.shape.endpoints;
        pods.div_ceil(PODS_PER_NODE).max(ZONES.len())
    }

    pub(crate) fn node(&self, index: usize) -> NodeName {
        let name = format!("node-{:03}-{index:04}", self.index);
        NodeName::new(&name).expect("letters and digits")
    }

    pub(crate) fn address(&mut self) -> Ipv4Addr {
        let host = self.hosts.pop().expect("a cluster has fewer pods than a /16 has hosts");
        let [high, low] = host.to_be_bytes();
        Ipv4Addr::new(10, low_byte(self.index), high, low)
    }

    fn crew(&mut self, key: &ServiceKey) -> Crew {
        // The same in all clusters: a workload is deployed under one name everywhere.
        let mut random = StdRng::seed_from_u64(self.mesh.shape.seed ^ fnv(key.name.as_str()));
        let mut workload = || format!("{}-{:08x}", key.name, random.random::<u32>());
        let workloads = [workload(), workload()];
        let first = random.random_range(0..ACCOUNTS_PER_NAMESPACE);
        let accounts = [0, 1, 2].map(|step| (first + step) % ACCOUNTS_PER_NAMESPACE);
        Crew { workloads, accounts }
    }

    fn endpoint(&mut self, key: &ServiceKey, crew: &Crew) -> EndpointFact {
        let node = self.random.random_range(0..self.nodes());
        let workload = &crew.workloads[self.random.random_range(0..REVISIONS)];
        let account = crew.accounts[self.random.random_range(0..ACCOUNTS_PER_SERVICE)];
        self.pods += 1;
        // As a ReplicaSet names them; the number at the end makes it unique.
        let pod = format!("{workload}-{:08x}-{:05x}", self.random.random::<u32>(), self.pods);
        let domain = TrustDomain::new(TRUST_DOMAIN).expect("a constant");
        let account = format!("account-{account}");
        EndpointFact {
            address: IpAddr::V4(self.address()),
            health: Health::Ready,
            pod: Some(PodName::new(&pod).expect("letters and digits")),
            node: Some(self.node(node)),
            zone: Some(zone(self.index, node).into()),
            network: None,
            mtls: Mtls::Istio,
            identity: SpiffeId::workload(&domain, key.namespace.as_str(), &account).ok(),
            workload: Arc::new(Workload {
                name: workload.as_str().into(),
                canonical_name: key.name.as_str().into(),
                canonical_revision: "v1".into(),
            }),
        }
    }
}

/// The first two endpoints of a slice differ in nothing but address and pod: they are of one group.
fn make_twins(slice: &mut SliceFact) {
    let [first, second, ..] = slice.endpoints.as_mut_slice() else { return };
    let twin = copy::endpoint(first);
    *second = EndpointFact { address: second.address, pod: second.pod.take(), ..twin };
}

fn port(number: u16) -> Port {
    Port::new(number).expect("not zero")
}

fn low_byte(number: usize) -> u8 {
    u8::try_from(number).expect("the mesh's bounds keep it below 256")
}

fn fnv(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
