//! A client of delta streams, as Envoy is one. A cluster or listener that comes or changes is
//! warming, and the one before it stays in use, until its endpoints or routes arrive after it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use diolkos_xds::{Catalogs, Request, ResourceType};
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google::rpc::Status;
use prost::Message;

use crate::invariant::{Checked, Invariant, Violation, holds};
use crate::resource::{Assignment, assignment, clusters_of, follower_of};

type Key = (ResourceType, String);

#[derive(Debug, Default)]
pub(crate) struct Delta {
    pub(crate) refuse_next: bool,
    /// Accepted: version and body. Kept while there is no stream.
    accepted: BTreeMap<Key, (String, Vec<u8>)>,
    /// Leaders that wait for their followers.
    warming: BTreeSet<Key>,
    /// Leaders in use.
    active: BTreeMap<Key, Active>,
    /// By name, of the types that follow.
    subscribed: BTreeMap<ResourceType, BTreeSet<String>>,
    /// On this stream.
    refused: BTreeSet<Key>,
}

#[derive(Debug, Default)]
struct Active {
    body: Vec<u8>,
    /// What warmed it.
    follower: Vec<u8>,
    /// The same, if it is endpoints: they are looked at often.
    assignment: Rc<Assignment>,
}

/// What a response led to.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) requests: Vec<Request>,
    /// Accepted or removed, in order.
    pub(crate) taken: Vec<(ResourceType, String, Option<Vec<u8>>)>,
    pub(crate) refused: bool,
}

impl Delta {
    /// A new stream's first requests.
    pub(crate) fn connect(&mut self) -> Vec<Request> {
        self.refused.clear();
        let first = |kind: ResourceType| {
            let kept = self.accepted.iter().filter(|((of, _), _)| *of == kind);
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

    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Checked<Received> {
        let bad = |why: &str| Violation::new(Invariant::NoDanglingReference, why);
        let response = discovery::DeltaDiscoveryResponse::decode(bytes)
            .map_err(|error| bad(&error.to_string()))?;
        let kind = ResourceType::from_url(&response.type_url).ok_or_else(|| bad("no such type"))?;
        let refused = !response.resources.is_empty() && std::mem::take(&mut self.refuse_next);
        let mut out = Received { refused, ..Received::default() };
        // Removals are never refused.
        for name in &response.removed_resources {
            self.remove(kind, name, &mut out)?;
        }
        for resource in response.resources {
            let key = (kind, resource.name);
            if out.refused {
                self.refused.insert(key);
                continue;
            }
            let body = resource.resource.unwrap_or_default().value;
            self.accept(key, resource.version, body, &mut out)?;
        }
        out.requests.push(Request::Delta(discovery::DeltaDiscoveryRequest {
            type_url: kind.url().into(),
            response_nonce: response.nonce,
            error_detail: out
                .refused
                .then(|| Status { message: "not today".into(), ..Default::default() }),
            ..Default::default()
        }));
        Ok(out)
    }

    fn accept(&mut self, key: Key, version: String, body: Vec<u8>, out: &mut Received) -> Checked {
        let (kind, name) = key.clone();
        if kind == ResourceType::Route {
            for cluster in clusters_of(&body) {
                let named = (ResourceType::Cluster, cluster);
                let known = self.accepted.contains_key(&named) || self.refused.contains(&named);
                holds(known, Invariant::NoDanglingReference, || {
                    format!("routes {name} name cluster {}, which never came", named.1)
                })?;
            }
        }
        self.refused.remove(&key);
        let changed = self.accepted.get(&key).is_none_or(|(_, known)| *known != body);
        match follower_of(kind, &name, &body) {
            Some(follower) => {
                if changed {
                    self.warming.insert(key.clone());
                }
                out.requests.extend(self.subscribe(follower));
            }
            None if kind.leader().is_none() => {
                self.active.insert(key.clone(), Active { body: body.clone(), ..Active::default() });
            }
            None => self.warm(kind, &name, &body),
        }
        out.taken.push((kind, name, Some(body.clone())));
        self.accepted.insert(key, (version, body));
        Ok(())
    }

    /// What arrives warms what waits for it.
    fn warm(&mut self, kind: ResourceType, name: &str, body: &[u8]) {
        let leaders = self.accepted.iter().filter(|((of, _), _)| kind.leader() == Some(*of));
        let assignment = match kind {
            ResourceType::Endpoint => Rc::new(assignment(body).unwrap_or_default()),
            _ => Rc::default(),
        };
        let mine = leaders.filter(|((of, leader), (_, said))| {
            follower_of(*of, leader, said).is_some_and(|follower| follower.1 == name)
        });
        for (leader, (_, said)) in mine {
            self.warming.remove(leader);
            let (body, follower, assignment) = (said.clone(), body.to_vec(), assignment.clone());
            self.active.insert(leader.clone(), Active { body, follower, assignment });
        }
    }

    fn remove(&mut self, kind: ResourceType, name: &str, out: &mut Received) -> Checked {
        let key = (kind, name.to_owned());
        self.refused.remove(&key);
        let Some((_, body)) = self.accepted.remove(&key) else { return Ok(()) };
        if kind == ResourceType::Cluster {
            let routes = self.accepted.iter().filter(|((of, _), _)| *of == ResourceType::Route);
            for (routes, (_, body)) in routes {
                // Its own refusal may keep a client from learning better routes.
                let stuck = self.refused.contains(routes);
                let named = clusters_of(body).contains(name);
                holds(stuck || !named, Invariant::NoDanglingReference, || {
                    format!("cluster {name} went while routes {} name it", routes.1)
                })?;
            }
        }
        self.warming.remove(&key);
        self.active.remove(&key);
        if let Some((follower, name)) = follower_of(kind, name, &body) {
            self.subscribed.entry(follower).or_default().remove(&name);
            self.accepted.remove(&(follower, name.clone()));
            self.refused.remove(&(follower, name.clone()));
            out.requests.push(Request::Delta(discovery::DeltaDiscoveryRequest {
                type_url: follower.url().into(),
                resource_names_unsubscribe: vec![name],
                ..Default::default()
            }));
        }
        out.taken.push((kind, name.to_owned(), None));
        Ok(())
    }

    fn subscribe(&mut self, (kind, name): Key) -> Option<Request> {
        let new = self.subscribed.entry(kind).or_default().insert(name.clone());
        new.then(|| {
            Request::Delta(discovery::DeltaDiscoveryRequest {
                type_url: kind.url().into(),
                resource_names_subscribe: vec![name],
                ..Default::default()
            })
        })
    }

    /// Clusters and their endpoints.
    pub(crate) fn has_all_of(&self, catalogs: Catalogs<'_>) -> bool {
        [ResourceType::Cluster, ResourceType::Endpoint].into_iter().all(|kind| {
            let accepted = self.accepted.iter().filter(|((of, _), _)| *of == kind);
            let accepted = accepted.map(|((_, name), (version, _))| (&**name, &**version));
            let ours = catalogs.audience.resources(kind).map(|one| (&*one.name, &*one.version));
            accepted.eq(ours)
        })
    }

    pub(crate) fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Leaders in use of a type: name, body, and what warmed it.
    pub(crate) fn active(&self, kind: ResourceType) -> impl Iterator<Item = (&str, &[u8], &[u8])> {
        let of = self.active.iter().filter(move |((of, _), _)| *of == kind);
        of.map(|((_, name), one)| (name.as_str(), one.body.as_slice(), one.follower.as_slice()))
    }

    /// Endpoints by cluster in use.
    pub(crate) fn assignments(&self) -> impl Iterator<Item = (&str, &Rc<Assignment>)> {
        let clusters = self.active.iter().filter(|((of, _), _)| *of == ResourceType::Cluster);
        clusters.map(|((_, name), one)| (name.as_str(), &one.assignment))
    }

    pub(crate) fn warming(&self) -> impl Iterator<Item = &Key> {
        self.warming.iter()
    }
}
