//! The table of routes: exact names, one change at a time.
//!
//! A route is there when its cluster is; its targets come with the cluster's endpoints, in either
//! order. Targets of a name without a cluster are kept out: a removed cluster takes them along.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{ClientHello, HostName, Refusal, Route, Target};

#[derive(Debug, Default)]
pub struct RouteTable {
    routes: HashMap<HostName, Arc<Route>>,
}

/// Whether an input changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Made,
    Same,
    /// Endpoints of a cluster that is not in the table.
    NoCluster,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Splice(Arc<Route>),
    Refuse(Refusal),
}

impl RouteTable {
    pub fn new() -> Self {
        Self::default()
    }

    /// A cluster that is known keeps its route as it is, targets included.
    pub fn upsert_cluster(&mut self, name: HostName) -> Change {
        if self.routes.contains_key(&name) {
            return Change::Same;
        }
        self.routes.insert(name.clone(), Arc::new(Route::new(name, Vec::new())));
        Change::Made
    }

    pub fn remove_cluster(&mut self, name: &HostName) -> Change {
        match self.routes.remove(name) {
            Some(_) => Change::Made,
            None => Change::Same,
        }
    }

    pub fn upsert_endpoints(&mut self, name: &HostName, targets: Vec<Target>) -> Change {
        let Some(route) = self.routes.get_mut(name) else {
            return Change::NoCluster;
        };
        let new = route.with_targets(targets);
        if **route == new {
            return Change::Same;
        }
        *route = Arc::new(new.remembering(route));
        Change::Made
    }

    /// The name decides, exactly as it stands; `accepted` are the listener's protocols, of which
    /// the client must offer at least one.
    pub fn decide<A: AsRef<[u8]>>(&self, hello: &ClientHello, accepted: &[A]) -> Decision {
        let Some(name) = &hello.sni else {
            return Decision::Refuse(Refusal::NoSni);
        };
        if !hello.offers_one_of(accepted) {
            return Decision::Refuse(Refusal::NoMeshAlpn);
        }
        self.decide_of(name)
    }

    /// The same, whatever protocols the client offers.
    pub fn decide_by_name(&self, hello: &ClientHello) -> Decision {
        match &hello.sni {
            None => Decision::Refuse(Refusal::NoSni),
            Some(name) => self.decide_of(name),
        }
    }

    /// Where a name leads that was decided on elsewhere.
    pub fn decide_of(&self, name: &HostName) -> Decision {
        match self.routes.get(name) {
            None => Decision::Refuse(Refusal::UnknownName),
            Some(route) if route.targets().is_empty() => Decision::Refuse(Refusal::NoEndpoints),
            Some(route) => Decision::Splice(Arc::clone(route)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Route>> {
        self.routes.get(name)
    }

    pub fn len(&self) -> usize {
        self.routes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Every route, by name.
    pub fn sorted(&self) -> Vec<Arc<Route>> {
        let mut routes: Vec<_> = self.routes.values().cloned().collect();
        routes.sort_by(|a, b| a.name().cmp(b.name()));
        routes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Refusal::*;

    const CATALOG: &str = "outbound_.8080_._.catalog.shop.svc.cluster.local";
    const LEDGER: &str = "outbound_.443_._.ledger.payments.svc.cluster.local";
    const ISTIO: [&str; 2] = ["istio", "istio-h2"];

    fn name(text: &str) -> HostName {
        HostName::new(text.as_bytes()).unwrap()
    }

    fn target(port: u16) -> Target {
        Target { address: ([10, 0, 0, 1], port).into(), weight: 1, priority: 0 }
    }

    fn table() -> RouteTable {
        let mut table = RouteTable::new();
        for (text, port) in [(CATALOG, 1), (LEDGER, 2)] {
            table.upsert_cluster(name(text));
            table.upsert_endpoints(&name(text), vec![target(port)]);
        }
        table
    }

    type Case<'a> = (&'a str, Option<&'a str>, &'a [&'a str], Option<Refusal>);

    #[test]
    fn a_hello_is_spliced_or_refused_with_a_reason() {
        let mut table = table();
        table.upsert_cluster(name("outbound_.1_._.empty.a.b"));
        let cases: &[Case<'_>] = &[
            ("a known name", Some(CATALOG), &["istio"], None),
            ("upper case", Some(&CATALOG.to_uppercase()), &["h2", "istio-h2"], None),
            ("no name", None, &["istio"], Some(NoSni)),
            ("no name and no ALPN", None, &[], Some(NoSni)),
            ("no ALPN", Some(CATALOG), &[], Some(NoMeshAlpn)),
            ("foreign ALPN", Some(CATALOG), &["h2", "http/1.1"], Some(NoMeshAlpn)),
            ("a prefix of an ALPN", Some(CATALOG), &["ist", "istio-"], Some(NoMeshAlpn)),
            ("an unknown name", Some("outbound_.8080_._.other.a"), &["istio"], Some(UnknownName)),
            ("the service's own name", Some("catalog.shop.svc"), &["istio"], Some(UnknownName)),
            ("no endpoints", Some("outbound_.1_._.empty.a.b"), &["istio"], Some(NoEndpoints)),
        ];
        for (case, sni, alpn, want) in cases {
            let hello = ClientHello { sni: sni.map(name), alpn: alpn.iter().copied().collect() };
            let got = match table.decide(&hello, &ISTIO) {
                Decision::Splice(route) => {
                    assert_eq!(route.name(), &name(CATALOG), "{case}");
                    None
                }
                Decision::Refuse(refusal) => Some(refusal),
            };
            assert_eq!(got, *want, "{case}");
            let by_name = match table.decide_by_name(&hello) {
                Decision::Splice(_) => None,
                Decision::Refuse(refusal) => Some(refusal),
            };
            assert_eq!(by_name, want.filter(|want| *want != NoMeshAlpn), "{case}");
        }
    }

    #[test]
    fn a_change_of_one_route_leaves_the_others_untouched() {
        let mut table = table();
        let (catalog, ledger) = (table.get(CATALOG).cloned(), table.get(LEDGER).cloned());
        let changed = table.upsert_endpoints(&name(CATALOG), vec![target(1), target(9)]);
        assert_eq!(changed, Change::Made);
        table.remove_cluster(&name("outbound_.1_._.gone.a.b"));
        let same = |a: &Arc<Route>, now: &str| table.get(now).is_some_and(|b| Arc::ptr_eq(a, b));
        assert!(!same(&catalog.unwrap(), CATALOG));
        assert!(same(&ledger.unwrap(), LEDGER));
    }

    #[test]
    fn the_same_said_again_changes_nothing() {
        let mut table = table();
        let before = table.get(CATALOG).cloned().unwrap();
        assert_eq!(table.upsert_cluster(name(CATALOG)), Change::Same);
        assert_eq!(table.upsert_endpoints(&name(CATALOG), vec![target(1)]), Change::Same);
        assert!(Arc::ptr_eq(&before, table.get(CATALOG).unwrap()));
        assert_eq!(table.remove_cluster(&name("a.b")), Change::Same);
    }

    #[test]
    fn a_removed_cluster_takes_its_targets_along() {
        let mut table = table();
        let held = table.get(CATALOG).cloned().unwrap();
        assert_eq!(table.remove_cluster(&name(CATALOG)), Change::Made);
        assert_eq!(table.upsert_endpoints(&name(CATALOG), vec![target(1)]), Change::NoCluster);
        assert_eq!(table.upsert_cluster(name(CATALOG)), Change::Made);
        assert!(table.get(CATALOG).unwrap().targets().is_empty());
        assert_eq!(held.targets(), [target(1)], "a connection keeps the route it began with");
    }

    #[test]
    fn one_change_in_a_hundred_thousand_replaces_one_route() {
        let mut table = RouteTable::new();
        for number in 0..100_000 {
            let name = name(&format!("outbound_.80_._.s{number}.shop.svc.cluster.local"));
            table.upsert_cluster(name.clone());
            table.upsert_endpoints(&name, vec![target(80)]);
        }
        let before = table.sorted();
        table.upsert_endpoints(before[77_777].name(), vec![target(81)]);
        let replaced = before.iter().zip(table.sorted()).filter(|(a, b)| !Arc::ptr_eq(a, b));
        assert_eq!(replaced.count(), 1);
    }
}
