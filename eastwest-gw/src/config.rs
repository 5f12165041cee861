//! What the primary said so far: the routes, and the listener that leads to them.
//!
//! A response with a bad resource is refused as a whole on the wire (that is all xDS can say), with
//! the bad ones by name; its good ones take effect all the same, as in Envoy, for a fault in one
//! service must not hold up the others. What a bad resource would have replaced stays.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use diolkos_route::{Change, ClientHello, Decision, HostName, Refusal, Route, RouteTable};
use diolkos_xds::ResourceType;
use tokio::sync::watch;

use crate::exports::Exports;
use crate::resource::{self, ListenerPlan};

/// After this long a gateway is ready even if a cluster's endpoints have not come.
const WARMING_MAX: Duration = Duration::from_secs(5);

/// Faults named in one refusal; more are counted.
const FAULTS_NAMED_MAX: usize = 8;

#[derive(Debug)]
pub struct Config {
    table: RwLock<RouteTable>,
    /// Clusters whose endpoints have not come yet.
    warming: Mutex<BTreeSet<HostName>>,
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
            plan: watch::Sender::new(None),
            planned: Mutex::default(),
            exports: Exports::default(),
        }
    }
}

impl Config {
    /// Takes one update of one kind.
    pub fn apply<B: AsRef<[u8]>>(
        &self,
        kind: ResourceType,
        upserts: &[(String, B)],
        removes: &[String],
    ) -> Applied {
        let mut applied = Applied::default();
        for (name, body) in upserts {
            if let Err(reason) = self.exports.take(kind, name, body.as_ref()) {
                applied.faults.push(format!("{name}: {reason}"));
                continue;
            }
            let taken = match kind {
                ResourceType::Cluster => self.cluster(name, body.as_ref(), &mut applied),
                ResourceType::Endpoint => self.endpoints(name, body.as_ref()),
                ResourceType::Listener => self.listener(body.as_ref()),
                ResourceType::Route => Err("this gateway has no HTTP routes".into()),
            };
            if let Err(reason) = taken {
                applied.faults.push(format!("{name}: {reason}"));
            }
        }
        for name in removes {
            self.remove(kind, name, &mut applied);
            self.exports.remove(kind, name);
        }
        applied
    }

    pub fn decide(&self, hello: &ClientHello) -> Decision {
        match &*self.plan.borrow() {
            // Only a connection accepted before a Listener was known comes here.
            None => Decision::Refuse(Refusal::UnknownName),
            Some(plan) => read(&self.table).decide(hello, &plan.protocols),
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

    pub fn routes(&self) -> Vec<std::sync::Arc<Route>> {
        read(&self.table).sorted()
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
        let targets = resource::targets(body)?;
        let route = HostName::new(name.as_bytes()).map_err(|refusal| refusal.to_string())?;
        // Without a cluster they are late: its removal crossed them on the way.
        write(&self.table).upsert_endpoints(&route, targets);
        lock(&self.warming).remove(&route);
        Ok(())
    }

    fn listener(&self, body: &[u8]) -> Result<(), String> {
        let plan = resource::listener(body)?;
        let other = self.plan.borrow().as_ref().map(|now| now.name.clone());
        if let Some(other) = other.filter(|other| *other != plan.name) {
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
