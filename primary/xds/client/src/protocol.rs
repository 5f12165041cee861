//! What to send when: the client's half of delta xDS, as a state machine without I/O.
//!
//! Names and versions are remembered when accepted and never before, so what a new stream is told
//! about what we hold is what the reader really uses. Of a response that was rejected the reader may
//! use the good parts all the same: its names are told without a version, and the server says again,
//! or takes back, each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use diolkos_xds::ResourceType;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use envoy_types::pb::google::rpc::Status;

/// Which resources of a kind are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// All there are for us.
    Wildcard,
    /// These, and none while there are none.
    Names(Vec<String>),
}

/// A response that waits for a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub kind: ResourceType,
    /// Name and body.
    pub upserts: Vec<(String, Bytes)>,
    pub removes: Vec<String>,
    versions: Vec<(String, String)>,
    nonce: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    /// With the reason that the primary shows.
    Reject(String),
}

#[derive(Debug)]
pub struct Protocol {
    node: Node,
    /// The node is said once a stream.
    node_said: bool,
    interests: Vec<Interest>,
}

#[derive(Debug)]
struct Interest {
    kind: ResourceType,
    wildcard: bool,
    names: BTreeSet<String>,
    held: BTreeMap<String, String>,
}

impl Protocol {
    pub fn new(node: Node, subscriptions: Vec<(ResourceType, Subscription)>) -> Self {
        let interests = ResourceType::ORDER
            .into_iter()
            .map(|kind| Interest {
                kind,
                wildcard: false,
                names: BTreeSet::new(),
                held: BTreeMap::new(),
            })
            .collect();
        let mut protocol = Self { node, node_said: false, interests };
        for (kind, subscription) in subscriptions {
            match subscription {
                Subscription::Wildcard => protocol.interest(kind).wildcard = true,
                Subscription::Names(names) => protocol.interest(kind).names.extend(names),
            }
        }
        protocol
    }

    /// Nothing is asked for, so a stream would have nothing to say.
    pub fn is_idle(&self) -> bool {
        self.interests.iter().all(Interest::is_idle)
    }

    /// The first requests of a new stream, in push order.
    pub fn connected(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.node_said = false;
        let first: Vec<DeltaDiscoveryRequest> = self
            .interests
            .iter()
            .filter(|interest| !interest.is_idle())
            .map(Interest::first_request)
            .collect();
        first.into_iter().map(|request| self.introduced(request)).collect()
    }

    /// `None` where all of the names are asked for already.
    pub fn subscribe(
        &mut self,
        kind: ResourceType,
        names: impl IntoIterator<Item = String>,
    ) -> Option<DeltaDiscoveryRequest> {
        let interest = self.interest(kind);
        let added: Vec<String> =
            names.into_iter().filter(|name| interest.names.insert(name.clone())).collect();
        if added.is_empty() {
            return None;
        }
        Some(self.introduced(DeltaDiscoveryRequest {
            type_url: kind.url().into(),
            resource_names_subscribe: added,
            ..DeltaDiscoveryRequest::default()
        }))
    }

    /// What was held of these names is forgotten.
    pub fn unsubscribe(
        &mut self,
        kind: ResourceType,
        names: impl IntoIterator<Item = String>,
    ) -> Option<DeltaDiscoveryRequest> {
        let interest = self.interest(kind);
        let removed: Vec<String> =
            names.into_iter().filter(|name| interest.names.remove(name)).collect();
        if removed.is_empty() {
            return None;
        }
        if !interest.wildcard {
            for name in &removed {
                interest.held.remove(name);
            }
        }
        Some(self.introduced(DeltaDiscoveryRequest {
            type_url: kind.url().into(),
            resource_names_unsubscribe: removed,
            ..DeltaDiscoveryRequest::default()
        }))
    }

    /// A response to put before the reader, or the refusal of one that makes no sense.
    pub fn received(
        &mut self,
        response: DeltaDiscoveryResponse,
    ) -> Result<Offer, Box<DeltaDiscoveryRequest>> {
        let Some(kind) = ResourceType::from_url(&response.type_url) else {
            let reason = format!("type {:?} was never asked for", response.type_url);
            return Err(Box::new(nack(response.type_url, response.nonce, reason)));
        };
        let mut offer = Offer {
            kind,
            upserts: Vec::with_capacity(response.resources.len()),
            removes: response.removed_resources,
            versions: Vec::with_capacity(response.resources.len()),
            nonce: response.nonce,
        };
        for resource in response.resources {
            // A resource without a body only prolongs one with a time to live.
            let Some(any) = resource.resource else { continue };
            if any.type_url != response.type_url {
                let reason = format!("{}: a resource of type {:?}", resource.name, any.type_url);
                return Err(Box::new(nack(response.type_url, offer.nonce, reason)));
            }
            offer.versions.push((resource.name.clone(), resource.version));
            offer.upserts.push((resource.name, any.value.into()));
        }
        Ok(offer)
    }

    /// The ACK or NACK.
    pub fn answer(&mut self, offer: Answered, verdict: Verdict) -> DeltaDiscoveryRequest {
        let Answered { kind, versions, removes, nonce } = offer;
        let interest = self.interest(kind);
        for name in removes {
            interest.held.remove(&name);
        }
        for (name, version) in versions {
            if interest.wildcard || interest.names.contains(&name) {
                let version = if verdict == Verdict::Accept { version } else { String::new() };
                interest.held.insert(name, version);
            }
        }
        match verdict {
            Verdict::Reject(reason) => nack(kind.url().into(), nonce, reason),
            Verdict::Accept => DeltaDiscoveryRequest {
                type_url: kind.url().into(),
                response_nonce: nonce,
                ..DeltaDiscoveryRequest::default()
            },
        }
    }

    fn interest(&mut self, kind: ResourceType) -> &mut Interest {
        self.interests
            .iter_mut()
            .find(|interest| interest.kind == kind)
            .expect("`new` made an interest for every kind")
    }

    fn introduced(&mut self, mut request: DeltaDiscoveryRequest) -> DeltaDiscoveryRequest {
        if !self.node_said {
            self.node_said = true;
            request.node = Some(self.node.clone());
        }
        request
    }
}

/// What is left of an offer once its bodies are with the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    kind: ResourceType,
    versions: Vec<(String, String)>,
    removes: Vec<String>,
    nonce: String,
}

impl Offer {
    /// Splits what the reader gets from what the answer needs.
    pub fn split(self) -> (Vec<(String, Bytes)>, Answered) {
        let Self { kind, upserts, removes, versions, nonce } = self;
        (upserts, Answered { kind, versions, removes, nonce })
    }
}

impl Interest {
    fn is_idle(&self) -> bool {
        !self.wildcard && self.names.is_empty()
    }

    /// A first request without names asks for everything.
    fn first_request(&self) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: self.kind.url().into(),
            resource_names_subscribe: self.names.iter().cloned().collect(),
            initial_resource_versions: self.held.clone().into_iter().collect::<HashMap<_, _>>(),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

fn nack(type_url: String, nonce: String, reason: String) -> DeltaDiscoveryRequest {
    const INVALID_ARGUMENT: i32 = 3;
    DeltaDiscoveryRequest {
        type_url,
        response_nonce: nonce,
        error_detail: Some(Status { code: INVALID_ARGUMENT, message: reason, ..Status::default() }),
        ..DeltaDiscoveryRequest::default()
    }
}
