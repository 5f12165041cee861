//! Which ports of a pod services lead to.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod common;

use std::net::IpAddr;
use std::sync::Arc;

use common::{Bench, Stamps, Step, cluster, key, network, opening, port};
use diolkos_topology::{
    AppProtocol, EndpointFact, Fact, FactKey, Health, Locality, Mtls, Namespace, NodeFact,
    NodeName, PodName, PortName, ServiceFact, ServiceKey, ServicePortFact, SliceFact, SliceName,
    Workload,
};

fn service(name: &str, ports: &[(&str, u16, AppProtocol)]) -> Fact {
    let ports = ports.iter().map(|(name, number, protocol)| ServicePortFact {
        name: PortName::new(name).unwrap(),
        port: port(*number),
        protocol: *protocol,
    });
    let (key, ports) = (key("shop", name), ports.collect());
    Fact::Service(ServiceFact { key, vips: vec![], ports, created: None })
}

/// One endpoint: the pod of that name at 10.0.0.1, as ready as it is.
fn slice(name: &str, of: ServiceKey, ports: &[(&str, u16)], pod: &str, health: Health) -> Fact {
    let endpoint = EndpointFact {
        address: [10, 0, 0, 1].into(),
        health,
        pod: Some(PodName::new(pod).unwrap()),
        node: None,
        zone: None,
        network: None,
        mtls: Mtls::Plaintext,
        identity: None,
        workload: Arc::new(Workload::default()),
    };
    Fact::Slice(SliceFact {
        service: of,
        name: SliceName::new(name).unwrap(),
        ports: ports
            .iter()
            .map(|(name, number)| (PortName::new(name).unwrap(), port(*number)))
            .collect(),
        endpoints: vec![endpoint],
    })
}

struct World {
    bench: Bench,
    stamps: Stamps,
}

impl World {
    fn new() -> Self {
        let mut world = Self { bench: Bench::default(), stamps: Stamps::default() };
        for event in opening() {
            world.bench.apply(event);
        }
        world
    }

    fn step(&mut self, step: Step) {
        for event in self.stamps.events(step) {
            self.bench.apply(event);
        }
    }

    fn say(&mut self, who: u8, facts: impl IntoIterator<Item = Fact>) {
        facts.into_iter().for_each(|fact| self.step(Step::Say(who, fact)));
    }

    /// Of the pod `web` in cluster `a`: `service port protocol`.
    fn ports(&self) -> Vec<String> {
        let shop = Namespace::new("shop").unwrap();
        let (pod, at) = (PodName::new("web").unwrap(), [IpAddr::from([10, 0, 0, 1])]);
        let found = self.bench.federation.pod_ports(&cluster("a"), &shop, &pod, &at);
        for (service, ports) in &found {
            let one = self.bench.federation.pod_ports_of(&cluster("a"), service, &pod, &at);
            assert_eq!(one, *ports, "asked for by itself");
        }
        let lines = found.iter().flat_map(|(service, ports)| {
            ports.iter().map(move |(port, protocol)| format!("{service} {port} {protocol:?}"))
        });
        lines.collect()
    }
}

#[test]
fn ports_are_those_that_the_pod_listens_on_whatever_its_health() {
    use AppProtocol::{Http, Tcp};
    let mut world = World::new();
    for health in [Health::Ready, Health::NotReady, Health::Terminating] {
        world.say(
            0,
            [
                service("one", &[("http", 80, Http), ("raw", 90, Tcp), ("else", 91, Tcp)]),
                slice("s1", key("shop", "one"), &[("http", 8080), ("raw", 9090)], "web", health),
            ],
        );
        assert_eq!(world.ports(), ["shop/one 8080 Http", "shop/one 9090 Tcp"], "{health:?}");
    }
    world.say(0, [service("two", &[("", 80, Tcp)])]);
    world.say(0, [slice("s2", key("shop", "two"), &[("", 8080)], "web", Health::Ready)]);
    assert_eq!(world.ports().last().unwrap(), "shop/two 8080 Tcp");
}

#[test]
fn only_the_pods_own_cluster_namespace_and_name_count() {
    use AppProtocol::Http;
    let ready = Health::Ready;
    let mut world = World::new();
    world.say(1, [service("one", &[("", 80, Http)])]);
    world.say(1, [slice("s1", key("shop", "one"), &[("", 8080)], "web", ready)]);
    assert!(world.ports().is_empty(), "another cluster");
    world.say(0, [slice("s1", key("shop", "one"), &[("", 8080)], "web", ready)]);
    assert!(world.ports().is_empty(), "no service yet that says what it speaks");
    world.say(0, [service("one", &[("", 80, Http)])]);
    assert_eq!(world.ports(), ["shop/one 8080 Http"]);
    world.say(0, [slice("s1", key("shop", "one"), &[("", 8080)], "other", ready)]);
    assert!(world.ports().is_empty(), "another pod of the same address, as on a node's network");
}

#[test]
fn where_a_pod_is_its_services_say_too() {
    let mut world = World::new();
    let place = |world: &World, pod: &str, at: [u8; 4]| {
        let (shop, pod) = (Namespace::new("shop").unwrap(), PodName::new(pod).unwrap());
        let found = world.bench.federation.pod_place(&cluster("a"), &shop, &pod, &[at.into()]);
        found.map(|(network, locality)| format!("{network} {locality}"))
    };
    let web = [10, 0, 0, 1];
    assert_eq!(place(&world, "web", web), None);
    world.say(0, [service("one", &[("", 80, AppProtocol::Http)])]);
    for (on, node) in [(None, "x"), (Some("n9"), "x"), (Some("n9"), "nobodys")] {
        let mut fact = slice("s1", key("shop", "one"), &[("", 8080)], "web", Health::NotReady);
        let Fact::Slice(said) = &mut fact else { panic!("{fact:?}") };
        said.endpoints[0].network = on.map(network);
        said.endpoints[0].node = Some(NodeName::new(node).unwrap());
        let locality = Locality::new("r1", "z1");
        world.say(0, [Fact::Node(NodeFact { name: NodeName::new("x").unwrap(), locality }), fact]);
        let network = on.unwrap_or("n1");
        let locality = if node == "x" { "r1/z1" } else { "-" };
        assert_eq!(place(&world, "web", web), Some(format!("{network} {locality}")), "on {node}");
    }
    assert_eq!(place(&world, "other", web), None, "another pod");
    assert_eq!(place(&world, "web", [10, 0, 0, 2]), None, "another address");
}

#[test]
fn a_slice_is_its_services_until_it_is_anothers_or_gone() {
    let ready = Health::Ready;
    let mut world = World::new();
    let owner = |world: &World| {
        let (shop, name) = (Namespace::new("shop").unwrap(), SliceName::new("s1").unwrap());
        let federation = &world.bench.federation;
        federation.service_of_slice(&cluster("a"), &shop, &name).map(ToString::to_string)
    };
    assert_eq!(owner(&world), None);
    for name in ["one", "two"] {
        world.say(0, [service(name, &[("", 80, AppProtocol::Http)])]);
        world.say(0, [slice("s1", key("shop", name), &[("", 8080)], "web", ready)]);
        assert_eq!(owner(&world), Some(format!("shop/{name}")));
        assert_eq!(world.ports(), [format!("shop/{name} 8080 Http")]);
    }
    let (shop, name) = (Namespace::new("shop").unwrap(), SliceName::new("s1").unwrap());
    world.step(Step::Unsay(0, FactKey::Slice(shop, name)));
    assert_eq!(owner(&world), None);
    assert!(world.ports().is_empty());
}
