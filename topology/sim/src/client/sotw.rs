//! A gRPC client: state of the world, asking by name, from the target it dials to its endpoints.

use std::collections::{BTreeMap, BTreeSet};

use diolkos_xds::{Request, ResourceType};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc::Status;
use prost::Message;

use crate::invariant::{Checked, Invariant, Violation, holds};
use crate::resource::{clusters_of, routes_of};
use crate::truth::targets;

#[derive(Debug)]
pub(crate) struct Sotw {
    pub(crate) refuse_next: bool,
    channels: BTreeMap<ResourceType, Channel>,
}

#[derive(Debug, Default)]
struct Channel {
    names: BTreeSet<String>,
    bodies: BTreeMap<String, Vec<u8>>,
    /// Of the last accepted response.
    version: String,
    nonce: String,
    /// The last response was refused.
    refused: bool,
    /// Names whose last offer on this stream was refused, of types that are offered one by one:
    /// they do not come again until they change.
    stuck: BTreeSet<String>,
}

impl Sotw {
    pub(crate) fn new() -> Self {
        let names = targets().into_iter().collect();
        let mut channels: BTreeMap<_, _> =
            ResourceType::ORDER.map(|kind| (kind, Channel::default())).into();
        channels.insert(ResourceType::Listener, Channel { names, ..Channel::default() });
        Self { refuse_next: false, channels }
    }

    pub(crate) fn connect(&mut self) -> Vec<Request> {
        for channel in self.channels.values_mut() {
            channel.nonce.clear();
            channel.refused = false;
            channel.stuck.clear();
        }
        let asked = DOWNWARDS.iter().filter(|kind| !self.channels[kind].names.is_empty());
        asked.map(|kind| self.channels[kind].request(*kind)).collect()
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Checked<(Vec<Request>, bool)> {
        let bad = |why: &str| Violation::new(Invariant::NoDanglingReference, why);
        let response =
            discovery::DiscoveryResponse::decode(bytes).map_err(|error| bad(&error.to_string()))?;
        let kind = ResourceType::from_url(&response.type_url).ok_or_else(|| bad("no such type"))?;
        let refused = !response.resources.is_empty() && std::mem::take(&mut self.refuse_next);
        let before: BTreeMap<_, _> =
            self.channels.iter().map(|(kind, channel)| (*kind, channel.names.clone())).collect();
        let channel = self.channels.entry(kind).or_default();
        channel.nonce = response.nonce;
        channel.refused = refused;
        let new: BTreeMap<String, Vec<u8>> = response
            .resources
            .into_iter()
            .filter_map(|any| Some((name_of(kind, &any)?, any.value)))
            .filter(|(name, _)| channel.names.contains(name))
            .collect();
        if refused {
            channel.stuck.extend(new.into_keys());
        } else {
            channel.version = response.version_info;
            channel.stuck.retain(|name| !new.contains_key(name));
            // What a response of these types leaves out is gone.
            if kind.leader().is_none() {
                let gone: Vec<String> = channel
                    .bodies
                    .keys()
                    .filter(|name| !new.contains_key(*name))
                    .cloned()
                    .collect();
                channel.bodies = new;
                if kind == ResourceType::Cluster {
                    self.check_gone(&gone)?;
                }
            } else {
                channel.bodies.extend(new);
            }
            self.resubscribe();
        }
        let changed = DOWNWARDS.iter().filter(|one| self.channels[one].names != before[one]);
        let mut asks: Vec<ResourceType> = changed.copied().filter(|one| *one != kind).collect();
        asks.insert(0, kind);
        Ok((asks.iter().map(|kind| self.channels[kind].request(*kind)).collect(), refused))
    }

    fn check_gone(&self, gone: &[String]) -> Checked {
        let routes = &self.channels[&ResourceType::Route];
        for (name, body) in &routes.bodies {
            let named = clusters_of(body);
            let cut = gone.iter().find(|cluster| named.contains(*cluster));
            // Its own refusal may keep a client from learning better routes.
            holds(self.has_refused() || cut.is_none(), Invariant::NoDanglingReference, || {
                format!("cluster {cut:?} went while routes {name} name it")
            })?;
        }
        Ok(())
    }

    /// Each type's names follow from what the type above says.
    fn resubscribe(&mut self) {
        let bodies = |of: ResourceType| self.channels[&of].bodies.values();
        let routes: BTreeSet<String> =
            bodies(ResourceType::Listener).filter_map(|body| routes_of(body)).collect();
        self.set(ResourceType::Route, routes);
        let bodies = |of: ResourceType| self.channels[&of].bodies.values();
        let clusters: BTreeSet<String> =
            bodies(ResourceType::Route).flat_map(|body| clusters_of(body)).collect();
        self.set(ResourceType::Cluster, clusters);
        let there = self.channels[&ResourceType::Cluster].bodies.keys().cloned().collect();
        self.set(ResourceType::Endpoint, there);
    }

    fn set(&mut self, kind: ResourceType, names: BTreeSet<String>) {
        let channel = self.channels.entry(kind).or_default();
        channel.bodies.retain(|name, _| names.contains(name));
        channel.stuck.retain(|name| names.contains(name));
        channel.names = names;
    }

    pub(crate) fn has_refused(&self) -> bool {
        let all = |(kind, channel): (&ResourceType, &Channel)| match kind.leader() {
            // It lists everything: the next one accepted makes up for it.
            None => channel.refused,
            Some(_) => !channel.stuck.is_empty(),
        };
        self.channels.iter().any(all)
    }

    /// The targets that exist.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &String> {
        self.channels[&ResourceType::Listener].bodies.keys()
    }

    /// Endpoints by cluster, of those targets that are served.
    pub(crate) fn assignments(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let all = self.channels[&ResourceType::Endpoint].bodies.iter();
        all.map(|(name, body)| (name.as_str(), body.as_slice()))
    }
}

const DOWNWARDS: [ResourceType; 4] =
    [ResourceType::Listener, ResourceType::Route, ResourceType::Cluster, ResourceType::Endpoint];

impl Channel {
    fn request(&self, kind: ResourceType) -> Request {
        Request::Sotw(discovery::DiscoveryRequest {
            type_url: kind.url().into(),
            resource_names: self.names.iter().cloned().collect(),
            version_info: self.version.clone(),
            response_nonce: self.nonce.clone(),
            error_detail: self
                .refused
                .then(|| Status { message: "not today".into(), ..Default::default() }),
            ..Default::default()
        })
    }
}

fn name_of(kind: ResourceType, any: &Any) -> Option<String> {
    let body = any.value.as_slice();
    match kind {
        ResourceType::Cluster => Cluster::decode(body).ok().map(|one| one.name),
        ResourceType::Endpoint => {
            ClusterLoadAssignment::decode(body).ok().map(|one| one.cluster_name)
        }
        ResourceType::Listener => Listener::decode(body).ok().map(|one| one.name),
        ResourceType::Route => RouteConfiguration::decode(body).ok().map(|one| one.name),
    }
}
