//! gRPC's own xDS client: state of the world, everything by name, each name learnt from the type
//! before it, and strict about what it reads.

use std::collections::{BTreeMap, BTreeSet};

use diolkos_xds::{Request, ResourceType};
use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google::rpc::Status;
use prost::Message;

use super::envoy::routes_of;
use crate::support::{World, clusters_of};

type Bodies = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Default)]
pub(crate) struct Grpc {
    pub(crate) refuse_next: bool,
    targets: BTreeSet<String>,
    types: BTreeMap<ResourceType, Watched>,
}

#[derive(Clone, Debug, Default)]
struct Watched {
    /// Asked for on this stream.
    names: BTreeSet<String>,
    nonce: String,
    accepted: String,
    held: Bodies,
    refused: Bodies,
    /// What was last offered on this stream.
    offered: Bodies,
    /// Asked for more than once on this stream: it may come again, even before it is asked for.
    again: BTreeSet<String>,
    known: BTreeSet<String>,
    last_response: Option<Vec<(String, Vec<u8>)>>,
}

const PULL_ORDER: [ResourceType; 4] =
    [ResourceType::Listener, ResourceType::Route, ResourceType::Cluster, ResourceType::Endpoint];

impl Grpc {
    /// It keeps what it has, and asks for all of it anew.
    pub(crate) fn connect(&mut self) -> Vec<Request> {
        for watched in self.types.values_mut() {
            *watched = Watched {
                held: std::mem::take(&mut watched.held),
                accepted: std::mem::take(&mut watched.accepted),
                ..Watched::default()
            };
        }
        self.ask()
    }

    pub(crate) fn dial(&mut self, target: &str, up: bool) -> Vec<Request> {
        if up {
            self.targets.insert(target.into());
        } else {
            self.targets.remove(target);
        }
        self.ask()
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Vec<Request> {
        let response = discovery::DiscoveryResponse::decode(bytes).unwrap();
        let kind = ResourceType::from_url(&response.type_url).unwrap();
        let refused = std::mem::take(&mut self.refuse_next);
        let resources: Vec<(String, Vec<u8>)> = response
            .resources
            .into_iter()
            .map(|any| (check(kind, &any.value), any.value))
            .collect();
        let watched = self.types.entry(kind).or_default();
        // What it no longer asks for, it does not look at.
        let resources: Vec<_> =
            resources.into_iter().filter(|(name, _)| watched.names.contains(name)).collect();
        let changed = watched.note_offer(kind, &resources);
        watched.nonce = response.nonce;
        if matches!(kind, ResourceType::Cluster | ResourceType::Listener) {
            // What is not listed is gone, whatever is wrong with the rest.
            let listed: BTreeSet<&String> = resources.iter().map(|(name, _)| name).collect();
            let gone = watched.held.extract_if(.., |name, _| !listed.contains(name));
            let gone: BTreeSet<String> = gone.map(|(name, _)| name).collect();
            watched.refused.retain(|name, _| listed.contains(name));
            if kind == ResourceType::Cluster {
                self.check_unnamed(&gone);
            }
        }
        let watched = self.types.entry(kind).or_default();
        if refused {
            watched.refused.extend(resources);
        } else {
            watched.accepted = response.version_info;
            for (name, body) in resources {
                watched.refused.remove(&name);
                watched.held.insert(name, body);
            }
        }
        // What a changed leader waits for may, and must, come again.
        if let Some(follower) = kind.follower() {
            let watched = self.types.entry(follower).or_default();
            watched.offered.retain(|name, _| !changed.contains(name));
        }
        let error = refused.then(|| Status { message: "no".into(), ..Default::default() });
        let answer = self.request(kind, error);
        std::iter::once(answer).chain(self.ask()).collect()
    }

    /// No routes in use may name a cluster that goes; but a client that refused better ones has
    /// chosen so.
    fn check_unnamed(&self, gone: &BTreeSet<String>) {
        if self.types.values().any(|watched| !watched.refused.is_empty()) {
            return;
        }
        let Some(routes) = self.types.get(&ResourceType::Route) else { return };
        for (name, body) in &routes.held {
            for cluster in clusters_of(body) {
                assert!(!gone.contains(&cluster), "{cluster} went while routes {name} name it");
            }
        }
    }

    /// Requests for the types whose names changed.
    fn ask(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        for kind in PULL_ORDER {
            let wanted = self.wanted(kind);
            let watched = self.types.entry(kind).or_default();
            if watched.names == wanted {
                continue;
            }
            watched.held.retain(|name, _| wanted.contains(name));
            // What is asked for anew is sent anew.
            watched.offered.retain(|name, _| wanted.contains(name) && watched.names.contains(name));
            watched.last_response = None;
            let new = wanted.difference(&watched.names).cloned().collect::<Vec<_>>();
            for name in new {
                if !watched.known.insert(name.clone()) {
                    watched.again.insert(name);
                }
            }
            watched.names = wanted;
            requests.push(self.request(kind, None));
        }
        requests
    }

    fn wanted(&self, kind: ResourceType) -> BTreeSet<String> {
        let held = |kind: ResourceType| {
            self.types.get(&kind).map(|watched| watched.held.clone()).unwrap_or_default()
        };
        match kind {
            ResourceType::Listener => self.targets.clone(),
            ResourceType::Route => {
                held(ResourceType::Listener).values().filter_map(|body| routes_of(body)).collect()
            }
            ResourceType::Cluster => {
                held(ResourceType::Route).values().flat_map(|body| clusters_of(body)).collect()
            }
            ResourceType::Endpoint => held(ResourceType::Cluster).into_keys().collect(),
        }
    }

    fn request(&self, kind: ResourceType, error_detail: Option<Status>) -> Request {
        let watched = &self.types[&kind];
        Request::Sotw(discovery::DiscoveryRequest {
            type_url: kind.url().into(),
            version_info: watched.accepted.clone(),
            response_nonce: watched.nonce.clone(),
            resource_names: watched.names.iter().cloned().collect(),
            error_detail,
            ..Default::default()
        })
    }

    pub(crate) fn assert_has(&self, world: &World) {
        for kind in PULL_ORDER {
            let wanted = self.wanted(kind);
            let Some(watched) = self.types.get(&kind) else { continue };
            for name in &wanted {
                let there = world.catalog(kind).get(kind, name).map(|one| one.body.to_vec());
                let refused = watched.refused.get(name);
                if refused.is_some() && refused == there.as_ref() {
                    continue;
                }
                // That endpoints or routes went is never said: what named them has gone.
                let told = matches!(kind, ResourceType::Cluster | ResourceType::Listener);
                if there.is_some() || told {
                    assert_eq!(watched.held.get(name), there.as_ref(), "{kind} {name}");
                }
            }
        }
    }
}

impl Watched {
    /// The followers of what changed.
    fn note_offer(
        &mut self,
        kind: ResourceType,
        resources: &[(String, Vec<u8>)],
    ) -> BTreeSet<String> {
        if kind.follower().is_none() {
            for (name, body) in resources {
                let last = self.offered.insert(name.clone(), body.clone());
                let again = self.again.contains(name) || last.as_ref() != Some(body);
                assert!(again, "{kind} {name} was sent twice");
            }
            return BTreeSet::new();
        }
        // These always list everything, so it is the list that must not come twice; unless a name
        // on it was given up and asked for again, maybe before the first answer was here.
        let last = self.last_response.replace(resources.to_vec());
        let again = resources.iter().any(|(name, _)| self.again.contains(name));
        assert!(again || last.as_deref() != Some(resources), "{kind} was sent twice");
        let last = last.unwrap_or_default();
        let changed = resources.iter().filter(|one| !last.contains(one));
        let follower = |(name, body): &(String, Vec<u8>)| match kind {
            ResourceType::Listener => routes_of(body),
            _ => Some(name.clone()),
        };
        changed.filter_map(follower).collect()
    }
}

/// Panics where gRPC refuses; the resource's name.
fn check(kind: ResourceType, body: &[u8]) -> String {
    match kind {
        ResourceType::Listener => {
            let message = envoy_types::pb::envoy::config::listener::v3::Listener::decode(body);
            let message = message.unwrap();
            assert!(message.api_listener.is_some(), "a listener without an api_listener");
            message.name
        }
        ResourceType::Route => {
            let message =
                envoy_types::pb::envoy::config::route::v3::RouteConfiguration::decode(body);
            message.unwrap().name
        }
        ResourceType::Cluster => {
            let message = cluster::Cluster::decode(body).unwrap();
            assert!(message.transport_socket_matches.is_empty());
            message.name
        }
        ResourceType::Endpoint => check_endpoints(body),
    }
}

fn check_endpoints(body: &[u8]) -> String {
    let message = endpoint::ClusterLoadAssignment::decode(body).unwrap();
    let mut localities = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    let mut priorities = BTreeSet::new();
    for group in &message.endpoints {
        let locality = group.locality.as_ref().expect("a locality");
        let key = (group.priority, locality.region.clone(), locality.zone.clone());
        assert!(localities.insert(key), "a locality twice in one priority");
        assert!(group.load_balancing_weight.is_some_and(|weight| weight.value > 0), "no weight");
        priorities.insert(group.priority);
        for one in &group.lb_endpoints {
            let host = format!("{:?}", one.host_identifier);
            assert!(addresses.insert(host), "an address twice");
            assert!(one.load_balancing_weight.is_some_and(|weight| weight.value > 0));
        }
    }
    let count = u32::try_from(priorities.len()).unwrap();
    assert_eq!(priorities, (0..count).collect(), "a gap in the priorities");
    message.cluster_name
}
