//! A small world in which collisions are common: few clusters, services, slices and addresses.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each test binary uses its part, and stops where its ground does not hold"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use diolkos_topology::oracle::World;
use diolkos_topology::*;
use diolkos_trust::{SpiffeId, TrustDomain};
use proptest::prelude::*;

pub fn cluster(name: &str) -> ClusterId {
    ClusterId::new(name).unwrap()
}

pub fn network(name: &str) -> NetworkId {
    NetworkId::new(name).unwrap()
}

pub fn key(namespace: &str, name: &str) -> ServiceKey {
    ServiceKey::new(namespace, name).unwrap()
}

pub fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

pub fn identity(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

pub fn source(name: &str, generation: u64) -> Source {
    Source { cluster: cluster(name), generation: Generation(generation) }
}

pub fn settings(name: &str, on: &str) -> ClusterSettings {
    ClusterSettings {
        cluster: cluster(name),
        trust_domain: TrustDomain::new("td").unwrap(),
        network: network(on),
        addresses: Vec::new(),
        grants: Grants::everything(),
    }
}

/// A federation with its mirrors, and the oracle beside it.
#[derive(Default)]
pub struct Bench {
    pub federation: Federation,
    pub world: World,
    pub views: BTreeMap<AudienceId, (Audience, View)>,
    pub now: u64,
    pub last: Effects,
}

impl Bench {
    pub fn apply(&mut self, event: Event) -> &Effects {
        self.last.clear();
        self.world.apply(Tick(self.now), &event);
        self.federation.apply(Tick(self.now), event.clone(), &mut self.last);
        match event {
            Event::AudienceUp { id, audience } => {
                self.views.entry(id).or_insert_with(|| (audience, View::default()));
            }
            Event::AudienceDown { id } => {
                self.views.remove(&id);
            }
            _ => {}
        }
        for change in &self.last.view.changes {
            let known = self.views.get_mut(&change.audience);
            let (_, view) = known.expect("only live audiences are told anything");
            view.apply(change);
        }
        &self.last
    }

    pub fn check(&self) {
        for (id, (audience, view)) in &self.views {
            assert_eq!(*view, self.world.view(audience), "{id:?} {audience}");
        }
    }

    /// Any audience's view, live or not.
    pub fn fresh_view(&mut self, audience: &Audience) -> View {
        let id = AudienceId(u32::MAX);
        let mut out = Effects::default();
        let up = Event::AudienceUp { id, audience: audience.clone() };
        self.federation.apply(Tick(self.now), up, &mut out);
        let mut view = View::default();
        for change in &out.view.changes {
            view.apply(change);
        }
        self.federation.apply(Tick(self.now), Event::AudienceDown { id }, &mut out);
        view
    }
}

/// What may happen. Stamps are given when a step becomes an event.
#[derive(Clone, Debug)]
pub enum Step {
    Say(u8, Fact),
    Unsay(u8, FactKey),
    /// Everything of a kind anew.
    Resay(u8, FactKind, Vec<Fact>),
    /// A new generation with other facts.
    Swap(u8, Vec<Fact>),
    Other(Event),
    Wait(u64),
}

#[derive(Default)]
pub struct Stamps {
    seq: [u64; 4],
    generation: [u64; 4],
}

pub const NAMES: [&str; 3] = ["a", "b", "c"];

impl Stamps {
    pub fn next(&mut self, who: u8) -> Stamp {
        self.seq[usize::from(who)] += 1;
        Stamp::new(1, self.seq[usize::from(who)])
    }

    pub fn source(&self, who: u8) -> Source {
        source(NAMES[usize::from(who)], 1 + self.generation[usize::from(who)])
    }

    pub fn events(&mut self, step: Step) -> Vec<Event> {
        match step {
            Step::Say(who, fact) => {
                vec![Event::Upsert { source: self.source(who), stamp: self.next(who), fact }]
            }
            Step::Unsay(who, key) => {
                vec![Event::Remove { source: self.source(who), stamp: self.next(who), key }]
            }
            Step::Resay(who, kind, facts) => {
                let (source, begin) = (self.source(who), self.next(who));
                let mut events =
                    vec![Event::ResetBegin { source: source.clone(), kind, stamp: begin }];
                for fact in facts.into_iter().filter(|fact| fact.key().kind() == kind) {
                    let (source, stamp) = (source.clone(), self.next(who));
                    events.push(Event::Upsert { source, stamp, fact });
                }
                events.push(Event::ResetEnd { source, kind, begin });
                events
            }
            Step::Swap(who, facts) => {
                self.generation[usize::from(who)] += 1;
                let source = self.source(who);
                let mut events = Vec::new();
                for fact in facts {
                    let (source, stamp) = (source.clone(), self.next(who));
                    events.push(Event::Upsert { source, stamp, fact });
                }
                events.push(Event::Activate { source });
                events
            }
            Step::Other(event) => vec![event],
            Step::Wait(_) => vec![Event::Tick],
        }
    }
}

/// The clusters, declared and active, on two networks.
pub fn opening() -> Vec<Event> {
    let mut events = Vec::new();
    for (name, on) in NAMES.iter().zip(["n1", "n1", "n2"]) {
        events.push(Event::Cluster(settings(name, on)));
        events.push(Event::Activate { source: source(name, 1) });
    }
    events
}

fn pick<T: Clone + std::fmt::Debug + 'static>(all: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(all.to_vec())
}

pub fn any_key() -> impl Strategy<Value = ServiceKey> {
    pick(&[key("shop", "web"), key("shop", "web"), key("shop", "db"), key("kube-system", "dns")])
}

pub fn any_network() -> impl Strategy<Value = NetworkId> {
    pick(&[network("n1"), network("n2"), network("n3")])
}

pub fn any_locality() -> impl Strategy<Value = Locality> {
    pick(&[
        Locality::unknown(),
        Locality::new("r1", "z1"),
        Locality::new("r1", "z2"),
        Locality::new("r2", "z3"),
    ])
}

fn any_identity() -> impl Strategy<Value = Option<SpiffeId>> {
    pick(&[
        None,
        Some(identity("spiffe://td/ns/shop/sa/one")),
        Some(identity("spiffe://td/ns/shop/sa/one")),
        Some(identity("spiffe://td/ns/shop/sa/two")),
        Some(identity("spiffe://other/ns/shop/sa/one")),
    ])
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    let good = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2"];
    let bad = ["127.0.0.1", "::ffff:10.0.0.1"];
    let all: Vec<IpAddr> =
        good.iter().chain(&good).chain(&bad).map(|text| text.parse().unwrap()).collect();
    pick(&all)
}

fn port_name(text: &str) -> PortName {
    PortName::new(text).unwrap()
}

fn any_mtls() -> impl Strategy<Value = Mtls> {
    pick(&[Mtls::Istio, Mtls::Istio, Mtls::Istio, Mtls::Plaintext])
}

pub fn any_endpoint() -> impl Strategy<Value = EndpointFact> {
    let health = pick(&[Health::Ready, Health::Ready, Health::NotReady, Health::Terminating]);
    let node = pick(&[None, Some("x"), Some("y")]);
    let on = prop_oneof![4 => Just(None), 1 => any_network().prop_map(Some)];
    let zone = pick(&[None, Some("z1"), Some("z2")]);
    let workload = pick(&["w1", "w2"]);
    (any_address(), health, node, on, zone, any_mtls(), any_identity(), workload).prop_map(
        |(address, health, node, network, zone, mtls, identity, workload)| EndpointFact {
            address,
            health,
            pod: Some(PodName::new(&format!("pod-{workload}")).unwrap()),
            node: node.map(|node| NodeName::new(node).unwrap()),
            zone: zone.map(Arc::from),
            network,
            mtls,
            identity,
            workload: Arc::new(Workload { name: workload.into(), ..Workload::default() }),
        },
    )
}

fn any_slice() -> impl Strategy<Value = Fact> {
    let ports = pick(&[
        vec![(port_name("http"), port(8080))],
        vec![(port_name("http"), port(8080)), (port_name("grpc"), port(9090))],
        vec![(port_name("grpc"), port(9091))],
    ]);
    let name = pick(&["s1", "s2", "s3"]);
    let endpoints = prop::collection::vec(any_endpoint(), 0..4);
    (any_key(), name, ports, endpoints).prop_map(|(service, name, ports, endpoints)| {
        Fact::Slice(SliceFact { service, name: SliceName::new(name).unwrap(), ports, endpoints })
    })
}

/// Pods of one service that have an address of each family, which come and go one by one.
fn any_dual_stack_slice() -> impl Strategy<Value = Fact> {
    let address = pick(&["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"]);
    let health = pick(&[Health::Ready, Health::Ready, Health::NotReady]);
    let node = pick(&[None, None, None, Some("x")]);
    let account = pick(&["one", "one", "one", "two"]);
    let endpoint = (any_endpoint(), address, health, node, account).prop_map(
        |(one, address, health, node, account)| EndpointFact {
            address: address.parse().unwrap(),
            health,
            node: node.map(|node| NodeName::new(node).unwrap()),
            zone: None,
            network: None,
            identity: Some(identity(&format!("spiffe://td/ns/shop/sa/{account}"))),
            ..one
        },
    );
    (any_slice(), prop::collection::vec(endpoint, 0..4)).prop_map(|(fact, endpoints)| match fact {
        Fact::Slice(slice) => {
            Fact::Slice(SliceFact { service: key("shop", "web"), endpoints, ..slice })
        }
        other => other,
    })
}

/// What two clusters say of such a service.
pub fn any_dual_stack_word() -> impl Strategy<Value = Step> {
    let service = || pick(&[vec![("http", 80)], vec![("http", 80), ("grpc", 90)]]);
    let service = || service().prop_map(|ports| service_fact(key("shop", "web"), &ports));
    let slices = |count| prop::collection::vec(any_dual_stack_slice(), count);
    prop_oneof![
        12 => (0..2u8, any_dual_stack_slice()).prop_map(|(who, fact)| Step::Say(who, fact)),
        2 => (0..2u8, any_dual_stack_slice()).prop_map(|(who, fact)| Step::Unsay(who, fact.key())),
        1 => (0..2u8, any_node()).prop_map(|(who, fact)| Step::Say(who, fact)),
        1 => (0..2u8, service()).prop_map(|(who, fact)| Step::Say(who, fact)),
        3 => (0..2u8, slices(0..4))
            .prop_map(|(who, facts)| Step::Resay(who, FactKind::Slice, facts)),
        1 => (0..2u8, slices(0..4), service()).prop_map(|(who, mut facts, service)| {
            facts.push(service);
            Step::Swap(who, facts)
        }),
    ]
}

pub fn service_fact(service: ServiceKey, ports: &[(&str, u16)]) -> Fact {
    let ports = ports.iter().map(|(name, number)| ServicePortFact {
        name: port_name(name),
        port: port(*number),
        protocol: AppProtocol::Tcp,
    });
    Fact::Service(ServiceFact {
        key: service,
        vips: vec!["10.96.0.1".parse().unwrap()],
        ports: ports.collect(),
        created: None,
    })
}

fn any_service() -> impl Strategy<Value = Fact> {
    let ports = pick(&[
        vec![("http", 80)],
        vec![("http", 80)],
        vec![("http", 80), ("grpc", 90)],
        vec![("grpc", 80)],
        vec![("http", 81)],
    ]);
    (any_key(), ports, 0..3u64).prop_map(|(service, ports, created)| {
        match service_fact(service, &ports) {
            Fact::Service(fact) => Fact::Service(ServiceFact { created: Some(created), ..fact }),
            other => other,
        }
    })
}

fn any_export() -> impl Strategy<Value = Fact> {
    let consumers = pick(&[
        Consumers::Everyone,
        Consumers::Everyone,
        Consumers::Listed([cluster("a")].into()),
        Consumers::Listed([cluster("b"), cluster("c")].into()),
        Consumers::Listed([].into()),
    ]);
    (any_key(), 0..3u64, consumers).prop_map(|(service, created, consumers)| {
        Fact::Export(ExportFact { service, created, consumers })
    })
}

fn any_gateway() -> impl Strategy<Value = Fact> {
    let address = pick(&["34.0.0.1", "34.0.0.2", "34.0.0.3", "fd34::1", "127.0.0.9"]);
    let sni_port = pick(&[Some(port(15443)), Some(port(15443)), None]);
    let hbone_port = pick(&[Some(port(15008)), Some(port(15008)), None]);
    let egress_port = pick(&[Some(port(15444)), None]);
    let ports = (sni_port, hbone_port, egress_port);
    (pick(&["g1", "g2"]), address, any_network(), ports).prop_map(
        |(name, address, network, (sni_port, hbone_port, egress_port))| {
            Fact::Gateway(GatewayFact {
                key: GatewayKey {
                    namespace: Namespace::new("istio-system").unwrap(),
                    name: GatewayName::new(name).unwrap(),
                    address: address.parse().unwrap(),
                },
                network,
                sni_port,
                hbone_port,
                egress_port,
            })
        },
    )
}

fn any_node() -> impl Strategy<Value = Fact> {
    (pick(&["x", "y"]), any_locality()).prop_map(|(name, locality)| {
        Fact::Node(NodeFact { name: NodeName::new(name).unwrap(), locality })
    })
}

fn any_namespace() -> impl Strategy<Value = Fact> {
    prop::option::of(any_network()).prop_map(|network| {
        Fact::Namespace(NamespaceFact { name: Namespace::new("istio-system").unwrap(), network })
    })
}

fn any_summary() -> impl Strategy<Value = Fact> {
    let group = (
        pick(&[80, 90]),
        prop::option::of(any_network()),
        any_locality(),
        any_mtls(),
        any_identity(),
        0..5u32,
    )
        .prop_map(|(number, network, locality, mtls, identity, count)| SummaryGroup {
            port: port(number),
            network,
            locality,
            mtls,
            identity,
            count,
        });
    (any_key(), prop::collection::vec(group, 0..3))
        .prop_map(|(service, groups)| Fact::Summary(SummaryFact { service, groups }))
}

pub fn any_fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        8 => any_slice(),
        5 => any_service(),
        3 => any_export(),
        2 => any_gateway(),
        2 => any_node(),
        1 => any_namespace(),
        1 => any_summary(),
    ]
}

pub fn any_facts(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Fact>> {
    prop::collection::vec(any_fact(), count)
}

pub fn any_who() -> impl Strategy<Value = u8> {
    0..3u8
}

/// What sources say.
pub fn any_word() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (any_who(), any_fact()).prop_map(|(who, fact)| Step::Say(who, fact)),
        3 => (any_who(), any_fact()).prop_map(|(who, fact)| Step::Unsay(who, fact.key())),
        1 => (any_who(), pick(&FactKind::ALL), any_facts(0..12))
            .prop_map(|(who, kind, facts)| Step::Resay(who, kind, facts)),
        1 => (any_who(), any_facts(0..12)).prop_map(|(who, facts)| Step::Swap(who, facts)),
    ]
}

pub fn any_audience() -> impl Strategy<Value = Audience> {
    let kind = pick(&[
        ClientKind::Sidecar,
        ClientKind::Sidecar,
        ClientKind::Sidecar,
        ClientKind::Egress,
        ClientKind::Gateway,
        ClientKind::Grpc,
    ]);
    let families = pick(&[IpFamilies::V4, IpFamilies::Both, IpFamilies::V6]);
    (kind, pick(&NAMES), any_network(), any_locality(), families).prop_map(
        |(kind, name, network, locality, families)| Audience {
            kind,
            cluster: cluster(name),
            network,
            locality,
            families,
        },
    )
}

fn any_mesh() -> impl Strategy<Value = MeshSettings> {
    let export = pick(&[ExportMode::All, ExportMode::Listed]);
    let rules = pick(&[
        vec![],
        vec![("web.shop.svc.cluster.local", true)],
        vec![("*.kube-system.svc.cluster.local", false)],
    ]);
    (export, rules, pick(&[None, Some(10)])).prop_map(|(export, rules, stale_ms_max)| {
        let rules =
            rules.into_iter().map(|(host, local)| ClusterLocalRule { host: host.into(), local });
        MeshSettings {
            export,
            cluster_local: rules.collect(),
            stale_ms_max,
            ..MeshSettings::default()
        }
    })
}

fn any_settings() -> impl Strategy<Value = ClusterSettings> {
    let addresses = pick(&[vec![], vec!["10.0.0.0/30", "fd00::/64"], vec!["127.0.0.0/8"]]);
    (pick(&NAMES), any_network(), addresses, pick(&["td", "td", "other"]), any_grants()).prop_map(
        |(name, network, addresses, trust_domain, grants)| ClusterSettings {
            cluster: cluster(name),
            trust_domain: TrustDomain::new(trust_domain).unwrap(),
            network,
            addresses: addresses.iter().map(|range| range.parse().unwrap()).collect(),
            grants,
        },
    )
}

pub fn names(patterns: &[&str]) -> Names {
    Names::Listed(patterns.iter().map(|text| NamePattern::parse(text).unwrap()).collect())
}

fn any_grants() -> impl Strategy<Value = Grants> {
    let every = Names::Every;
    let services = pick(&[
        every.clone(),
        every.clone(),
        names(&["*/*"]),
        names(&["shop/web"]),
        names(&["kube-system/*", "shop/db"]),
        names(&[]),
    ]);
    let identities =
        pick(&[every.clone(), every, names(&["*/*"]), names(&["shop/one"]), names(&["pay/*"])]);
    let networks = pick(&[
        Networks::Every,
        Networks::Every,
        Networks::Own,
        Networks::Listed([network("n1")].into()),
        Networks::Listed([network("n2"), network("n3")].into()),
    ]);
    let plain = Just(Grants::plain());
    let system = pick(&[None, Some(Namespace::new("pay").unwrap())]);
    let any = (services, identities, networks, system).prop_map(
        |(services, identities, networks, system)| Grants {
            services,
            identities,
            networks,
            system,
        },
    );
    prop_oneof![1 => plain, 5 => any]
}

/// Anything that may happen.
pub fn any_step() -> impl Strategy<Value = Step> {
    let up = (0..5u32, any_audience())
        .prop_map(|(id, audience)| Event::AudienceUp { id: AudienceId(id), audience });
    let other = prop_oneof![
        4 => up,
        1 => (0..5u32).prop_map(|id| Event::AudienceDown { id: AudienceId(id) }),
        2 => any_mesh().prop_map(Event::Mesh),
        2 => any_settings().prop_map(Event::Cluster),
        1 => pick(&NAMES).prop_map(|name| Event::ClusterStale { cluster: cluster(name) }),
        1 => pick(&NAMES).prop_map(|name| Event::ClusterFresh { cluster: cluster(name) }),
    ];
    prop_oneof![
        30 => any_word(),
        10 => other.prop_map(Step::Other),
        1 => (0..20u64).prop_map(Step::Wait),
        1 => pick(&NAMES)
            .prop_map(|name| Step::Other(Event::ClusterGone { cluster: cluster(name) })),
    ]
}

/// One audience of every kind that matters.
pub fn audiences() -> Vec<Event> {
    let mut events = Vec::new();
    let kinds = [ClientKind::Sidecar, ClientKind::Egress, ClientKind::Gateway, ClientKind::Grpc];
    for kind in kinds {
        for (name, on, families) in [
            ("a", "n1", IpFamilies::V4),
            ("c", "n2", IpFamilies::Both),
            ("b", "n1", IpFamilies::V6),
        ] {
            let audience = Audience {
                kind,
                cluster: cluster(name),
                network: network(on),
                locality: Locality::new("r1", "z1"),
                families,
            };
            events.push(Event::AudienceUp { id: AudienceId(events.len() as u32 + 10), audience });
        }
    }
    events
}
