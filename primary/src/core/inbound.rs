//! What redirected pods take in: the services that lead to them, and the policies that hold.
//!
//! A change of a service or its endpoints is looked at for that service alone, in the streams of
//! its cluster and namespace; who gets another class gets another scope, on the stream it has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use diolkos_topology::{
    AppProtocol, ClusterId, Event, Fact, FactKey, FactKind, Federation, MtlsMode, Namespace,
    PodName, PodPorts, Port, ServiceKey, SliceName, Tick,
};
use diolkos_xds::{Inbound, InboundPort, ScopeId};

use super::lease::Taken;
use super::live::Live;
use super::{Core, Now};
use crate::caller::Caller;
use crate::source::Pods;

/// A stream's, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TakesIn {
    services: BTreeMap<ServiceKey, PodPorts>,
    pub(super) class: Arc<Inbound>,
}

/// What one turn's events may have changed of it.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Any service of the cluster.
    clusters: BTreeSet<ClusterId>,
    services: BTreeSet<(ClusterId, ServiceKey)>,
    /// Streams whose own pod is another, by its addresses or by the policies that hold for it.
    pods: BTreeSet<u64>,
    /// The mesh's default: everybody's modes.
    modes: bool,
}

impl Touched {
    /// Before the event is applied: a slice may have been another service's until now.
    pub(super) fn note(&mut self, event: &Event, federation: &Federation) {
        let mut slice = |cluster: &ClusterId, namespace: &Namespace, name: &SliceName| {
            let owner = federation.service_of_slice(cluster, namespace, name);
            self.services.extend(owner.map(|owner| (cluster.clone(), owner.clone())));
        };
        match event {
            Event::Upsert { source, fact: Fact::Service(fact), .. } => {
                self.services.insert((source.cluster.clone(), fact.key.clone()));
            }
            Event::Upsert { source, fact: Fact::Slice(fact), .. } => {
                slice(&source.cluster, &fact.service.namespace, &fact.name);
                self.services.insert((source.cluster.clone(), fact.service.clone()));
            }
            Event::Remove { source, key: FactKey::Service(key), .. } => {
                self.services.insert((source.cluster.clone(), key.clone()));
            }
            Event::Remove { source, key: FactKey::Slice(namespace, name), .. } => {
                slice(&source.cluster, namespace, name);
            }
            Event::ResetEnd { source, kind: FactKind::Service | FactKind::Slice, .. }
            | Event::Activate { source } => {
                self.clusters.insert(source.cluster.clone());
            }
            _ => {}
        }
    }

    pub(super) fn note_pods(&mut self, streams: impl IntoIterator<Item = u64>) {
        self.pods.extend(streams);
    }

    pub(super) fn note_default(&mut self) {
        self.modes = true;
    }

    fn is_empty(&self) -> bool {
        let nothing = self.clusters.is_empty() && self.services.is_empty();
        nothing && self.pods.is_empty() && !self.modes
    }

    fn services_of<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a ServiceKey> {
        let own = self.services.iter().filter(|(cluster, service)| {
            *cluster == caller.cluster && service.namespace == caller.namespace
        });
        own.map(|(_, service)| service)
    }
}

impl Core {
    /// `None`: its pod's connections are not redirected.
    pub(super) fn takes_in(&self, caller: &Caller) -> Option<TakesIn> {
        if !caller.node.redirected {
            return None;
        }
        let services = match PodName::new(&caller.node.pod) {
            Err(_) => BTreeMap::new(),
            Ok(pod) => self.federation.pod_ports(
                &caller.cluster,
                &caller.namespace,
                &pod,
                &self.addresses_of(caller),
            ),
        };
        Some(self.classed(caller, services))
    }

    /// By the facts; a pod that they do not know is taken at its word, which changes nothing but
    /// its own listener.
    fn addresses_of(&self, caller: &Caller) -> Vec<IpAddr> {
        let pod = self.pod(&caller.cluster, caller.namespace.as_str(), &caller.node.pod);
        match pod {
            Some(pod) if !pod.ips.is_empty() => pod.ips.clone(),
            _ => caller.node.ips.clone(),
        }
    }

    fn classed(&self, caller: &Caller, services: BTreeMap<ServiceKey, PodPorts>) -> TakesIn {
        let default = self.mesh.as_ref().map_or(MtlsMode::Permissive, |mesh| mesh.mtls);
        let pod = self.pod(&caller.cluster, caller.namespace.as_str(), &caller.node.pod);
        let mode = |port: Port| pod.and_then(|pod| pod.modes.of(port)).unwrap_or(default);
        let rest = pod.and_then(|pod| pod.modes.rest).unwrap_or(default);
        let mut protocols = PodPorts::new();
        for (port, protocol) in services.values().flatten() {
            let known = protocols.entry(*port).or_insert(*protocol);
            *known = known.common(*protocol);
        }
        // A port that only a policy names is a port all the same.
        for port in pod.iter().flat_map(|pod| pod.modes.ports.keys()) {
            protocols.entry(*port).or_insert(AppProtocol::Tcp);
        }
        let ports = protocols
            .into_iter()
            .map(|(port, protocol)| (port, InboundPort { protocol, mode: mode(port) }));
        let class = Inbound { rest, ports: ports.collect() };
        TakesIn { services, class: Arc::new(class) }
    }

    /// Streams whose class is another now go on with the scope of that class.
    pub(super) fn reclass(&mut self, now: Now, touched: &Touched) {
        if touched.is_empty() {
            return;
        }
        let streams = self.streams.iter();
        let changed: Vec<(u64, TakesIn)> = streams
            .filter_map(|(id, live)| Some((*id, self.takes_in_now(*id, live, touched)?)))
            .collect();
        let moved: Vec<(u64, Taken)> = changed
            .into_iter()
            .filter_map(|(id, takes_in)| Some((id, self.change_class(now, id, takes_in)?)))
            .collect();
        // A scope is filled before anybody is sent there.
        self.settle(now, now.instant);
        let ends = Tick(now.tick.0 + self.settings.linger_ms);
        for (id, scoped) in moved {
            let Some(live) = self.streams.get_mut(&id) else { continue };
            let old = std::mem::replace(&mut live.scope_id, scoped.id);
            live.scope.send_replace(scoped.cell);
            self.scopes.give_back(old, ends);
        }
    }

    /// Streams whose own pod these change.
    pub(super) fn streams_of(&self, cluster: &ClusterId, pods: &Pods) -> Vec<u64> {
        let own = self
            .streams
            .iter()
            .filter(|(_, live)| live.takes_in.is_some() && live.caller.cluster == *cluster);
        let changed = own.filter(|(_, live)| {
            let (namespace, pod) = (live.caller.namespace.as_str(), &live.caller.node.pod);
            self.pod(cluster, namespace, pod) != pods.get(&(namespace.to_owned(), pod.clone()))
        });
        changed.map(|(id, _)| *id).collect()
    }

    /// `None`: as before.
    fn takes_in_now(&self, id: u64, live: &Live, touched: &Touched) -> Option<TakesIn> {
        let before = live.takes_in.as_ref()?;
        let caller = &live.caller;
        let anything = touched.clusters.contains(&caller.cluster) || touched.pods.contains(&id);
        let new = if anything {
            self.takes_in(caller)?
        } else {
            let mut services = before.services.clone();
            let pod = PodName::new(&caller.node.pod).ok()?;
            let mut looked = touched.modes;
            for service in touched.services_of(caller) {
                looked = true;
                let addresses = self.addresses_of(caller);
                let cluster = &caller.cluster;
                let ports = self.federation.pod_ports_of(cluster, service, &pod, &addresses);
                match ports.is_empty() {
                    true => services.remove(service),
                    false => services.insert(service.clone(), ports),
                };
            }
            if !looked {
                return None;
            }
            self.classed(caller, services)
        };
        (new != *before).then_some(new)
    }

    /// The scope it goes on with, if that is another.
    fn change_class(&mut self, now: Now, id: u64, takes_in: TakesIn) -> Option<Taken> {
        let live = self.streams.get_mut(&id)?;
        let class = takes_in.class.clone();
        let before = live.takes_in.replace(takes_in);
        if before.is_some_and(|before| before.class == class) {
            return None;
        }
        let key = live.scope_key(Some(class));
        let scoped = self.scopes.take(&key, now.instant);
        if scoped.fresh
            && let Some(hub) = &mut self.hub
        {
            hub.scope_up(ScopeId(scoped.id), key.into());
        }
        Some(scoped)
    }
}
