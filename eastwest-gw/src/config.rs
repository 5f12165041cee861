//! What the primary said so far: the routes, and the listener that leads to them.
//!
//! A response with a bad resource is refused as a whole on the wire (that is all xDS can say), with
//! the bad ones by name; its good ones take effect all the same, as in Envoy, for a fault in one
//! service must not hold up the others. What a bad resource would have replaced stays.
//!
//! An istiod's listener has a filter chain for each name, and they are taken or refused one by one
//! in the same way. What else it sends to a gateway of its own is left aside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use diolkos_route::{
    ChainTable, Change, ClientHello, Decision, HostName, Refusal, Route, RouteTable,
};
use diolkos_xds::ResourceType;
use diolkos_xds_client::Pings;
use tokio::sync::watch;

use crate::exports::Exports;
use crate::resource::{self, ChainFault, Entry, Heard, ListenerPlan};
use crate::standing::{NotInForce, Standing};

/// After this long a gateway is ready even if a cluster's endpoints have not come.
const WARMING_MAX: Duration = Duration::from_secs(5);

/// Faults named in one refusal; more are counted.
const FAULTS_NAMED_MAX: usize = 8;

/// Who says what the routes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlPlane {
    Primary,
    Istiod,
}

impl ControlPlane {
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Istiod => "istiod",
        }
    }

    pub(crate) fn pings(self) -> Pings {
        match self {
            Self::Primary => Pings::default(),
            Self::Istiod => Pings::of_an_istiod(),
        }
    }
}

#[derive(Debug)]
pub struct Config {
    table: RwLock<RouteTable>,
    /// Clusters whose endpoints have not come yet.
    warming: Mutex<BTreeSet<HostName>>,
    /// How many endpoints of a cluster are said to be down, where there are any.
    left_out: Mutex<BTreeMap<HostName, usize>>,
    standing: Mutex<Standing>,
    plan: watch::Sender<Option<ListenerPlan>>,
    planned: Mutex<Option<Instant>>,
    exports: Exports,
}

/// What to tell the primary after one update.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub subscribe: Vec<String>,
    pub unsubscribe: Vec<String>,
    /// `name: reason` of every resource that was refused.
    pub faults: Vec<String>,
}

impl Applied {
    /// The text of the NACK, where there is one.
    pub fn refusal(&self) -> Option<String> {
        if self.faults.is_empty() {
            return None;
        }
        let mut text = self.faults[..self.faults.len().min(FAULTS_NAMED_MAX)].join("; ");
        if let Some(more @ 1..) = self.faults.len().checked_sub(FAULTS_NAMED_MAX) {
            text += &format!("; and {more} more");
        }
        Some(text)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            table: RwLock::default(),
            warming: Mutex::default(),
            left_out: Mutex::default(),
            standing: Mutex::default(),
            plan: watch::Sender::new(None),
            planned: Mutex::default(),
            exports: Exports::default(),
        }
    }
}

impl Config {
    /// Takes one update of one kind from a primary.
    pub fn apply<B: AsRef<[u8]>>(
        &self,
        kind: ResourceType,
        upserts: &[(String, B)],
        removes: &[String],
    ) -> Applied {
        self.apply_of(ControlPlane::Primary, kind, upserts, removes)
    }

    /// Takes one update of one kind.
    pub fn apply_of<B: AsRef<[u8]>>(
        &self,
        control_plane: ControlPlane,
        kind: ResourceType,
        upserts: &[(String, B)],
        removes: &[String],
    ) -> Applied {
        let mut applied = Applied::default();
        for (name, body) in upserts {
            // An istiod does not say what is exported to whom.
            if control_plane == ControlPlane::Primary
                && let Err(reason) = self.exports.take(kind, name, body.as_ref())
            {
                applied.faults.push(format!("{name}: {reason}"));
                continue;
            }
            let before = lock(&self.standing).clear(kind, name);
            let body = body.as_ref();
            let taken = match (kind, control_plane) {
                (ResourceType::Cluster, ControlPlane::Istiod) if !resource::is_sni(name) => Ok(()),
                (ResourceType::Cluster, _) => self.cluster(name, body, &mut applied),
                (ResourceType::Endpoint, _) => self.endpoints(name, body),
                (ResourceType::Listener, ControlPlane::Primary) => {
                    resource::listener(body).and_then(|plan| self.plan_for(plan, removes))
                }
                (ResourceType::Listener, ControlPlane::Istiod) => {
                    self.chains(name, body, removes, &mut applied)
                }
                (ResourceType::Route, _) => Err("this gateway has no HTTP routes".into()),
            };
            if let Err(reason) = taken {
                applied.faults.push(format!("{name}: {reason}"));
                self.stands(kind, name, None, true, reason);
            }
            // Once, and not each time that it is sent; of a refusal the follower tells.
            let standing = lock(&self.standing);
            let others = standing.of(kind, name).iter().filter(|one| !one.refused);
            for NotInForce { resource, reason, .. } in others.filter(|one| !before.contains(one)) {
                tracing::info!(%kind, resource, reason, "left aside");
            }
        }
        for name in removes {
            lock(&self.standing).clear(kind, name);
            self.remove(kind, name, &mut applied);
            self.exports.remove(kind, name);
        }
        applied
    }

    pub fn decide(&self, hello: &ClientHello) -> Decision {
        match self.plan.borrow().as_ref().map(|plan| &plan.entry) {
            // Only a connection accepted before a Listener was known comes here.
            None => Decision::Refuse(Refusal::UnknownName),
            Some(Entry::EveryName { protocols }) => read(&self.table).decide(hello, protocols),
            Some(Entry::Chains(chains)) => match chains.decide(hello) {
                Ok(cluster) => read(&self.table).decide_of(cluster),
                Err(refusal) => Decision::Refuse(refusal),
            },
        }
    }

    pub(crate) fn exports(&self) -> &Exports {
        &self.exports
    }

    pub fn plan(&self) -> watch::Receiver<Option<ListenerPlan>> {
        self.plan.subscribe()
    }

    /// Whether a connection that comes now finds the routes that there are.
    pub fn is_warm(&self) -> bool {
        let planned = if self.plan.borrow().is_some() { *lock(&self.planned) } else { None };
        planned.is_some_and(|at| lock(&self.warming).is_empty() || at.elapsed() > WARMING_MAX)
    }

    pub fn routes(&self) -> Vec<Arc<Route>> {
        read(&self.table).sorted()
    }

    /// What is not in force, and why.
    pub fn not_in_force(&self) -> Vec<NotInForce> {
        lock(&self.standing).all()
    }

    /// Every name that leads somewhere, or would, by name.
    pub fn names(&self) -> Vec<Named> {
        let routes = self.routes();
        let entry = self.plan.borrow().as_ref().map(|plan| plan.entry.clone());
        let Some(Entry::Chains(chains)) = entry else {
            return routes.into_iter().map(|route| self.named(route)).collect();
        };
        let by_cluster: BTreeMap<&HostName, &Arc<Route>> =
            routes.iter().map(|route| (route.name(), route)).collect();
        let of_chain = |(name, chain): (&HostName, &diolkos_route::Chain)| match by_cluster
            .get(&chain.cluster)
        {
            Some(route) => Named { name: name.clone(), ..self.named(Arc::clone(route)) },
            None => Named {
                name: name.clone(),
                route: None,
                why: Some(format!("its cluster {} is not known", chain.cluster)),
            },
        };
        let chains = chains.sorted();
        let led_to: BTreeSet<&HostName> = chains.iter().map(|(_, chain)| &chain.cluster).collect();
        let mut names: Vec<Named> = chains.iter().copied().map(of_chain).collect();
        let without = routes.iter().filter(|route| !led_to.contains(route.name()));
        names.extend(without.map(|route| Named {
            name: route.name().clone(),
            route: Some(Arc::clone(route)),
            why: Some("no filter chain leads to it".into()),
        }));
        names.sort_by(|a, b| a.name.cmp(&b.name));
        names
    }

    fn named(&self, route: Arc<Route>) -> Named {
        let down = lock(&self.left_out).get(route.name()).copied().unwrap_or(0);
        let why = match (route.targets().is_empty(), down) {
            (false, _) => None,
            (true, _) if lock(&self.warming).contains(route.name()) => {
                Some("its endpoints have not come yet".into())
            }
            (true, 0) => Some("it has no endpoint here that takes mutual TLS".into()),
            (true, down) => Some(format!("its endpoints are down, all {down}")),
        };
        Named { name: route.name().clone(), route: Some(route), why }
    }

    pub fn route_count(&self) -> usize {
        read(&self.table).len()
    }

    fn cluster(&self, name: &str, body: &[u8], applied: &mut Applied) -> Result<(), String> {
        let route = resource::cluster(body)?;
        if write(&self.table).upsert_cluster(route.clone()) == Change::Made {
            lock(&self.warming).insert(route);
            applied.subscribe.push(name.to_owned());
        }
        Ok(())
    }

    fn endpoints(&self, name: &str, body: &[u8]) -> Result<(), String> {
        let assigned = resource::targets(body)?;
        let route = HostName::new(name.as_bytes()).map_err(|refusal| refusal.to_string())?;
        let left_out = assigned.left_out;
        // Without a cluster they are late: its removal crossed them on the way.
        let changed = write(&self.table).upsert_endpoints(&route, assigned.targets);
        lock(&self.warming).remove(&route);
        match left_out > 0 && changed != Change::NoCluster {
            true => lock(&self.left_out).insert(route, left_out),
            false => lock(&self.left_out).remove(&route),
        };
        Ok(())
    }

    /// The listener of an istiod, of which there may be others.
    fn chains(
        &self,
        name: &str,
        body: &[u8],
        removes: &[String],
        applied: &mut Applied,
    ) -> Result<(), String> {
        let before = self.chains_of(name);
        match resource::chains(body, before.as_deref())? {
            Heard::Other(reason) => {
                self.remove(ResourceType::Listener, name, applied);
                self.stands(ResourceType::Listener, name, None, false, reason);
                Ok(())
            }
            Heard::Plan { plan, faults } => {
                self.plan_for(plan, removes)?;
                for ChainFault { chain, reason } in faults {
                    applied.faults.push(format!("{name}: filter chain {chain}: {reason}"));
                    self.stands(ResourceType::Listener, name, Some(chain), true, reason);
                }
                Ok(())
            }
        }
    }

    fn chains_of(&self, listener: &str) -> Option<Arc<ChainTable>> {
        match self.plan.borrow().as_ref() {
            Some(ListenerPlan { name, entry: Entry::Chains(chains), .. }) if name == listener => {
                Some(Arc::clone(chains))
            }
            _ => None,
        }
    }

    fn stands(
        &self,
        kind: ResourceType,
        resource: &str,
        chain: Option<String>,
        refused: bool,
        reason: String,
    ) {
        let one = NotInForce {
            kind: kind.to_string(),
            resource: resource.to_owned(),
            chain,
            refused,
            reason,
        };
        lock(&self.standing).add(kind, one);
    }

    /// One that takes the place of another comes with the other's removal.
    fn plan_for(&self, plan: ListenerPlan, removes: &[String]) -> Result<(), String> {
        let other = self.plan.borrow().as_ref().map(|now| now.name.clone());
        let stays = |other: &String| *other != plan.name && !removes.contains(other);
        if let Some(other) = other.filter(stays) {
            return Err(format!("this gateway serves one listener, and has {other}"));
        }
        self.plan.send_if_modified(|now| {
            let changes = now.as_ref() != Some(&plan);
            *now = Some(plan);
            changes
        });
        lock(&self.planned).get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Endpoints go with their cluster; as Envoy, we do not take their removal for "none".
    fn remove(&self, kind: ResourceType, name: &str, applied: &mut Applied) {
        match kind {
            ResourceType::Cluster => {
                let Ok(route) = HostName::new(name.as_bytes()) else { return };
                lock(&self.warming).remove(&route);
                lock(&self.left_out).remove(&route);
                if write(&self.table).remove_cluster(&route) == Change::Made {
                    applied.unsubscribe.push(name.to_owned());
                }
            }
            ResourceType::Listener => {
                self.plan.send_if_modified(|now| now.take_if(|plan| plan.name == name).is_some());
            }
            ResourceType::Endpoint | ResourceType::Route => {}
        }
    }
}

/// A name by which clients may ask.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: HostName,
    pub route: Option<Arc<Route>>,
    /// Why nobody is let through by it.
    pub why: Option<String>,
}

// Every change under these locks is whole before anything could panic: a poisoned one is sound.

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
