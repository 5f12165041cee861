//! Envoy on a delta stream. A cluster or listener that comes or changes is warming, and the one
//! before it stays in use, until its endpoints or routes arrive after it. Names that follow are
//! subscribed once and not asked for again when the leader changes. Clusters are answered for only
//! when none of them is warming any more (seen with Envoy 1.40).

use std::collections::{BTreeMap, BTreeSet};

use diolkos_xds::{Request, ResourceType};
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google::rpc::Status;
use prost::Message;

use crate::support::{World, clusters_of, clusters_of_listener, takes_endpoints};

type Key = (ResourceType, String);

#[derive(Debug, Default)]
pub(crate) struct Envoy {
    pub(crate) refuse_next: bool,
    /// Accepted: version and body.
    held: BTreeMap<Key, (String, Vec<u8>)>,
    /// Leaders that wait for their followers.
    warming: BTreeSet<Key>,
    /// By name, of the types that follow.
    subscribed: BTreeMap<ResourceType, BTreeSet<String>>,
    /// On this stream: the content last offered and refused.
    refused: BTreeMap<Key, Vec<u8>>,
    /// What it refused once it refuses always: the same bytes, the same answer.
    unbearable: BTreeSet<(Key, Vec<u8>)>,
    /// The answer for clusters, kept back until none of them is warming.
    withheld: Option<Request>,
    /// On this stream: what was last offered, to find what is said twice.
    offered: BTreeMap<Key, Vec<u8>>,
}

impl Envoy {
    /// A new stream's first requests.
    pub(crate) fn connect(&mut self) -> Vec<Request> {
        self.refused.clear();
        self.offered.clear();
        self.withheld = None;
        let first = |kind: ResourceType| {
            let kept = self.held.iter().filter(|((of, _), _)| *of == kind);
            let kept = kept.map(|((_, name), (version, _))| (name.clone(), version.clone()));
            let names = self.subscribed.get(&kind).cloned().unwrap_or_default();
            discovery::DeltaDiscoveryRequest {
                type_url: kind.url().into(),
                resource_names_subscribe: names.into_iter().collect(),
                initial_resource_versions: kept.collect(),
                ..Default::default()
            }
        };
        // A follower's type is asked for when there is something to follow.
        let asks = |kind: &ResourceType| {
            kind.leader().is_none() || self.subscribed.get(kind).is_some_and(|n| !n.is_empty())
        };
        ResourceType::ORDER.into_iter().filter(asks).map(first).map(Request::Delta).collect()
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Vec<Request> {
        let response = discovery::DeltaDiscoveryResponse::decode(bytes).unwrap();
        let kind = ResourceType::from_url(&response.type_url).unwrap();
        let refuse = std::mem::take(&mut self.refuse_next);
        let mut refused = false;
        let mut requests = Vec::new();
        // Removals are never refused.
        for name in &response.removed_resources {
            self.remove(kind, name, &mut requests);
        }
        for resource in response.resources {
            let body = resource.resource.unwrap().value;
            self.note_offer(kind, &resource.name, &body);
            let key = (kind, resource.name);
            if refuse || self.unbearable.contains(&(key.clone(), body.clone())) {
                refused = true;
                self.unbearable.insert((key.clone(), body.clone()));
                self.refused.insert(key, body);
            } else {
                self.accept(key, resource.version, body, &mut requests);
            }
        }
        let answer = Request::Delta(discovery::DeltaDiscoveryRequest {
            type_url: kind.url().into(),
            response_nonce: response.nonce,
            error_detail: refused.then(|| Status { message: "no".into(), ..Default::default() }),
            ..Default::default()
        });
        if kind == ResourceType::Cluster {
            assert!(self.withheld.replace(answer).is_none(), "clusters before the answer for them");
        } else {
            requests.push(answer);
        }
        if !self.awaits_endpoints() {
            requests.extend(self.withheld.take());
        }
        requests
    }

    /// Whether a cluster waits for endpoints that may still come.
    fn awaits_endpoints(&self) -> bool {
        let waits = |(kind, name): &Key| {
            *kind == ResourceType::Cluster
                && !self.refused.contains_key(&(ResourceType::Endpoint, name.clone()))
        };
        self.warming.iter().any(waits)
    }

    /// The warming rule is the only reason to say the same again.
    fn note_offer(&mut self, kind: ResourceType, name: &str, body: &[u8]) {
        let key = (kind, name.to_owned());
        let last = self.offered.insert(key, body.to_vec());
        assert_ne!(last.as_deref(), Some(body), "{kind} {name} was sent twice");
        if let Some(follower) = follower_of(kind, name, body) {
            self.offered.remove(&follower);
        }
    }

    fn accept(&mut self, key: Key, version: String, body: Vec<u8>, requests: &mut Vec<Request>) {
        let (kind, name) = &key;
        // Sent before its unsubscription arrived: Envoy passes over what nobody watches.
        let watched = self.subscribed.get(kind).is_some_and(|names| names.contains(name));
        if kind.leader().is_some() && !watched {
            self.offered.remove(&key);
            return;
        }
        for cluster in named(*kind, &body) {
            let key = (ResourceType::Cluster, cluster);
            let known = self.held.contains_key(&key) || self.refused.contains_key(&key);
            assert!(known, "{kind} {name} names {}, which is unknown", key.1);
        }
        self.refused.remove(&key);
        let changed = self.held.get(&key).is_none_or(|(_, held)| *held != body);
        if let Some(follower) = follower_of(*kind, name, &body) {
            if changed {
                self.warming.insert(key.clone());
            }
            requests.extend(self.subscribe(follower));
        }
        // What arrives warms what waits for it.
        let followed = key.clone();
        let held = &self.held;
        self.warming.retain(|(leader, waiting)| {
            let body = held.get(&(*leader, waiting.clone())).map(|(_, body)| body.as_slice());
            follower_of(*leader, waiting, body.unwrap_or_default()).as_ref() != Some(&followed)
        });
        self.held.insert(key, (version, body));
    }

    fn remove(&mut self, kind: ResourceType, name: &str, requests: &mut Vec<Request>) {
        let key = (kind, name.to_owned());
        self.offered.remove(&key);
        // "There are none" is an answer too.
        if let Some(leader) = kind.leader() {
            self.warming.remove(&(leader, name.to_owned()));
        }
        let Some((_, body)) = self.held.remove(&key) else { return };
        if kind == ResourceType::Cluster {
            for (key, (_, body)) in &self.held {
                let stuck = self.refused.contains_key(key);
                let named = named(key.0, body).contains(name);
                assert!(stuck || !named, "{name} went while {} {} names it", key.0, key.1);
            }
        }
        self.warming.remove(&key);
        if let Some((follower, name)) = follower_of(kind, name, &body) {
            self.subscribed.entry(follower).or_default().remove(&name);
            self.held.remove(&(follower, name.clone()));
            self.offered.remove(&(follower, name.clone()));
            requests.push(Request::Delta(discovery::DeltaDiscoveryRequest {
                type_url: follower.url().into(),
                resource_names_unsubscribe: vec![name],
                ..Default::default()
            }));
        }
    }

    fn subscribe(&mut self, (kind, name): Key) -> Option<Request> {
        let new = self.subscribed.entry(kind).or_default().insert(name.clone());
        new.then(|| {
            self.offered.remove(&(kind, name.clone()));
            Request::Delta(discovery::DeltaDiscoveryRequest {
                type_url: kind.url().into(),
                resource_names_subscribe: vec![name],
                ..Default::default()
            })
        })
    }

    /// Exactly what the catalogs hold, but for what it refused itself.
    pub(crate) fn assert_has(&self, world: &World) {
        for kind in ResourceType::ORDER {
            let refused = |name: &str, body: &[u8]| {
                let key = (kind, name.to_owned());
                self.refused.get(&key).is_some_and(|refused| refused == body)
            };
            let held = self.held.iter().filter(|((of, _), _)| *of == kind);
            for ((_, name), _) in held {
                let there = world.catalog(kind).get(kind, name).is_some();
                assert!(there, "{kind} {name} is gone, and the client was not told");
            }
            for resource in world.catalog(kind).resources(kind) {
                let name = resource.name.to_string();
                let wanted = kind.leader().is_none()
                    || self.subscribed.get(&kind).is_some_and(|names| names.contains(&name));
                if !wanted || refused(&name, &resource.body) {
                    continue;
                }
                let held = self.held.get(&(kind, name.clone()));
                let held = held.unwrap_or_else(|| panic!("{kind} {name} never came"));
                assert_eq!(held.1, resource.body, "{kind} {name}");
            }
        }
        for (kind, name) in &self.warming {
            let (_, body) = &self.held[&(*kind, name.clone())];
            let follower = follower_of(*kind, name, body).unwrap();
            assert!(self.refused.contains_key(&follower), "{kind} {name} is left warming");
        }
    }
}

/// Which clusters a resource names. A gateway's listener names one that it never uses.
fn named(kind: ResourceType, body: &[u8]) -> BTreeSet<String> {
    match kind {
        ResourceType::Route => clusters_of(body),
        ResourceType::Listener => {
            let mut named = clusters_of_listener(body);
            if listener::Listener::decode(body).unwrap().name.ends_with("_15443") {
                named.clear();
            }
            named
        }
        ResourceType::Cluster | ResourceType::Endpoint => BTreeSet::new(),
    }
}

/// Which resource a leader waits for.
fn follower_of(kind: ResourceType, name: &str, body: &[u8]) -> Option<Key> {
    match kind {
        ResourceType::Cluster => {
            takes_endpoints(body).then(|| (ResourceType::Endpoint, name.to_owned()))
        }
        ResourceType::Listener => routes_of(body).map(|routes| (ResourceType::Route, routes)),
        ResourceType::Endpoint | ResourceType::Route => None,
    }
}

/// The route configuration a listener names, as a proxy's or as a gRPC target.
pub(crate) fn routes_of(body: &[u8]) -> Option<String> {
    let message = listener::Listener::decode(body).unwrap();
    let in_chains = message.filter_chains.into_iter().flat_map(|chain| chain.filters);
    let configs = in_chains.filter_map(|filter| match filter.config_type {
        Some(listener::filter::ConfigType::TypedConfig(any)) => Some(any),
        _ => None,
    });
    let api = message.api_listener.and_then(|api| api.api_listener);
    let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    configs.chain(api).filter(|any| any.type_url == manager).find_map(|any| {
        match hcm::HttpConnectionManager::decode(any.value.as_slice()).unwrap().route_specifier {
            Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds)) => {
                Some(rds.route_config_name)
            }
            _ => None,
        }
    })
}
