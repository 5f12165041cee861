//! The tables of routes and chains, told anything in any order, against maps that cannot be wrong.

#![no_main]

use std::collections::BTreeMap;

use diolkos_route::{
    Chain, ChainTable, Change, ClientHello, Decision, Dialed, HostName, Refusal, Route, RouteTable,
    Target,
};
use libfuzzer_sys::fuzz_target;

const NAMES: u8 = 6;
const TARGETS_MAX: u8 = 5;
const PROTOCOLS: [&str; 3] = ["istio", "istio-h2", "h2"];

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.iter().copied();
    let mut world = World::default();
    while let Some(step) = bytes.next() {
        let mut next = || bytes.next().unwrap_or(0);
        match step % 6 {
            0 => world.upsert(next() % NAMES),
            1 => world.remove(next() % NAMES),
            2 => {
                let name = next() % NAMES;
                let targets = (0..next() % (TARGETS_MAX + 1)).map(|_| {
                    let (port, weight, priority) = (next(), next(), next() % 3);
                    (u16::from(port) + 1, (u32::from(weight), u32::from(priority)))
                });
                world.assign(name, targets.collect());
            }
            3 => {
                let chains = 0..next() % (2 * NAMES);
                world.chain(
                    chains.map(|_| (next() % NAMES, (next() % NAMES, next() % 8))).collect(),
                );
            }
            4 => {
                let dialed = Dialed { connected: step > 127, at_seconds: u64::from(next()) + 1 };
                world.dial(next() % NAMES, u16::from(next()) + 1, dialed);
            }
            _ => {
                let random = u64::from_be_bytes(std::array::from_fn(|_| next()));
                world.decide(next() % (NAMES + 2), next() % 8, random);
            }
        }
    }
});

/// Port to weight and priority.
type Targets = BTreeMap<u16, (u32, u32)>;

#[derive(Default)]
struct World {
    table: RouteTable,
    chains: ChainTable,
    routes: BTreeMap<u8, Targets>,
    dials: BTreeMap<(u8, u16), Dialed>,
    led: BTreeMap<u8, (u8, u8)>,
}

fn name(number: u8) -> HostName {
    HostName::new(format!("outbound_.{number}_._.a.test").as_bytes()).expect("a name")
}

fn address(port: u16) -> std::net::SocketAddr {
    ([10, 0, 0, 1], port).into()
}

fn protocols(mask: u8) -> Vec<&'static str> {
    (0..3usize).filter(|bit| mask & 1 << bit != 0).map(|bit| PROTOCOLS[bit]).collect()
}

fn change(made: bool) -> Change {
    if made { Change::Made } else { Change::Same }
}

impl World {
    fn upsert(&mut self, number: u8) {
        let is_new = !self.routes.contains_key(&number);
        self.routes.entry(number).or_default();
        assert_eq!(self.table.upsert_cluster(name(number)), change(is_new));
    }

    fn remove(&mut self, number: u8) {
        let was = self.routes.remove(&number).is_some();
        self.dials.retain(|(route, _), _| *route != number);
        assert_eq!(self.table.remove_cluster(&name(number)), change(was));
        assert_eq!(self.table.len(), self.routes.len());
    }

    fn assign(&mut self, number: u8, targets: Targets) {
        let said = targets.iter().map(|(port, (weight, priority))| Target {
            address: address(*port),
            weight: *weight,
            priority: *priority,
        });
        let got = self.table.upsert_endpoints(&name(number), said.collect());
        let Some(known) = self.routes.get_mut(&number) else {
            return assert_eq!(got, Change::NoCluster);
        };
        assert_eq!(got, change(*known != targets));
        self.dials.retain(|(route, port), _| *route != number || targets.contains_key(port));
        *known = targets;
    }

    fn chain(&mut self, chains: Vec<(u8, (u8, u8))>) {
        (self.chains, self.led) = (ChainTable::default(), BTreeMap::new());
        for (number, (cluster, mask)) in chains {
            let accepted = protocols(mask).into_iter().map(str::to_owned).collect();
            let chain = Chain { cluster: name(cluster), protocols: accepted };
            let is_new = !self.led.contains_key(&number);
            self.led.entry(number).or_insert((cluster, mask));
            assert_eq!(self.chains.insert(name(number), chain), is_new);
        }
        let names: Vec<&HostName> =
            self.chains.sorted().into_iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted() && names.len() == self.led.len());
    }

    fn dial(&mut self, number: u8, port: u16, dialed: Dialed) {
        let Some(route) = self.table.get(name(number).as_str()) else { return };
        route.note(address(port), dialed);
        if self.routes[&number].contains_key(&port) {
            self.dials.insert((number, port), dialed);
        }
    }

    fn decide(&self, number: u8, mask: u8, random: u64) {
        let sni = (number <= NAMES).then(|| name(number));
        let hello = ClientHello { sni, alpn: protocols(mask).into_iter().collect() };
        let offers = |accepted: u8| mask & accepted != 0;
        // A cluster of every name, for those who offer one of the first two.
        let of_all = match (number <= NAMES, offers(0b011)) {
            (false, _) => Err(Refusal::NoSni),
            (true, false) => Err(Refusal::NoMeshAlpn),
            (true, true) => self.route(number),
        };
        self.check(self.table.decide(&hello, &PROTOCOLS[..2]), of_all, random);
        let of_chains = match self.led.get(&number) {
            _ if number > NAMES => Err(Refusal::NoSni),
            None => Err(Refusal::UnknownName),
            Some((_, accepted)) if !offers(*accepted) => Err(Refusal::NoMeshAlpn),
            Some((cluster, _)) => self.route(*cluster),
        };
        let decided = match self.chains.decide(&hello) {
            Ok(cluster) => self.table.decide_of(cluster),
            Err(refusal) => Decision::Refuse(refusal),
        };
        self.check(decided, of_chains, random);
    }

    fn route(&self, number: u8) -> Result<u8, Refusal> {
        match self.routes.get(&number) {
            None => Err(Refusal::UnknownName),
            Some(targets) if targets.is_empty() => Err(Refusal::NoEndpoints),
            Some(_) => Ok(number),
        }
    }

    fn check(&self, got: Decision, want: Result<u8, Refusal>, random: u64) {
        match (got, want) {
            (Decision::Refuse(got), Err(want)) => assert_eq!(got, want),
            (Decision::Splice(route), Ok(number)) => self.check_route(&route, number, random),
            (got, want) => panic!("{got:?} instead of {want:?}"),
        }
    }

    /// Every target once, the earlier priorities first; and what is known of its dial.
    fn check_route(&self, route: &Route, number: u8, random: u64) {
        assert_eq!(route.name(), &name(number));
        let targets = &self.routes[&number];
        let order: Vec<&Target> = route.candidates(random).collect();
        assert!(order.is_sorted_by_key(|target| target.priority));
        let tried: Targets = order
            .iter()
            .map(|target| (target.address.port(), (target.weight, target.priority)))
            .collect();
        assert_eq!((&tried, order.len()), (targets, targets.len()));
        for (target, dialed) in route.dials() {
            let port = target.address.port();
            assert_eq!(dialed, self.dials.get(&(number, port)).copied());
        }
    }
}
