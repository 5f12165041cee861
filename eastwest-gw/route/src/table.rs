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
        let new = Route::new(name.clone(), targets);
        if **route == new {
            return Change::Same;
        }
        *route = Arc::new(new);
        Change::Made
    }

    /// The name decides, exactly as it stands; `accepted` are the listener's protocols, of which
    /// the client must offer at least one.
    pub fn decide<A: AsRef<[u8]>>(&self, hello: &ClientHello, accepted: &[A]) -> Decision {
        let Some(name) = &hello.sni else {
            return Decision::Refuse(Refusal::NoSni);
        };
        let is_accepted = |offered: &[u8]| accepted.iter().any(|one| one.as_ref() == offered);
        if !hello.alpn.iter().any(is_accepted) {
            return Decision::Refuse(Refusal::NoMeshAlpn);
        }
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
