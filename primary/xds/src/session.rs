//! One client stream as a state machine: what it asked for, what it has, what it is owed.

mod channel;
mod request;
mod response;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3 as discovery;

use self::channel::{Answer, Channel};
use self::request::Asked;
use self::response::Batch;
pub use self::response::Response;
use crate::catalog::Catalog;
use crate::limit;
use crate::resource::ResourceType;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Delta,
    StateOfTheWorld,
}

#[derive(Clone, Debug)]
pub enum Request {
    Delta(discovery::DeltaDiscoveryRequest),
    Sotw(discovery::DiscoveryRequest),
}

/// Both must be those of the client's audience and scope for as long as the session lives, or until
/// [`Session::change_scope`].
#[derive(Clone, Copy, Debug)]
pub struct Catalogs<'a> {
    pub audience: &'a Catalog,
    pub scope: &'a Catalog,
}

/// What a client refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    pub kind: ResourceType,
    pub nonce: String,
    /// The first few of the response; which of them was at fault is said by the reason.
    pub names: Vec<Arc<str>>,
    pub reason: String,
}

/// Why a stream cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    LongName { kind: ResourceType, bytes: usize, bytes_max: usize },
    Protocol { expected: Protocol },
    TooManyNames { kind: ResourceType, names: usize, names_max: usize },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongName { kind, bytes, bytes_max } => {
                write!(f, "a {kind} name has {bytes} bytes, at most {bytes_max} are allowed")
            }
            Self::Protocol { expected } => {
                write!(f, "a request of the other protocol came on a {expected:?} stream")
            }
            Self::TooManyNames { kind, names, names_max } => {
                write!(f, "{names} {kind} names were subscribed, at most {names_max} are allowed")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// How far a client has come with one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub kind: ResourceType,
    pub wildcard: bool,
    pub named: usize,
    /// How many resources the client has, as far as it was sent any.
    pub held: usize,
    pub sent: u64,
    pub accepted: u64,
    pub refused: u64,
}

/// At most one response of a type is unanswered at any time; other types do not wait for it. So a
/// refusal names its response, and a slow client is sent, once it answers, the difference to now
/// instead of what it missed.
#[derive(Debug)]
pub struct Session {
    protocol: Protocol,
    channels: [Channel; 4],
    nonces: u64,
    nacks: Vec<Nack>,
    unknown_types: Vec<String>,
}

impl Session {
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            channels: ResourceType::ORDER.map(Channel::new),
            nonces: 0,
            nacks: Vec::new(),
            unknown_types: Vec::new(),
        }
    }

    /// The caller has checked the node of the first request.
    pub fn request(
        &mut self,
        request: Request,
        catalogs: Catalogs<'_>,
    ) -> Result<Vec<Response>, Refusal> {
        let asked = match (self.protocol, request) {
            (Protocol::Delta, Request::Delta(request)) => Asked::of_delta(request),
            (Protocol::StateOfTheWorld, Request::Sotw(request)) => Asked::of_sotw(request),
            (expected, _) => return Err(Refusal::Protocol { expected }),
        };
        let Some(kind) = ResourceType::from_url(&asked.type_url) else {
            self.note_unknown(asked.type_url);
            return Ok(Vec::new());
        };
        match self.channels[kind.index()].answer(&asked) {
            Answer::Accepted | Answer::None => {}
            Answer::Refused(nack) => {
                self.nacks.push(nack);
                if self.nacks.len() > limit::NACKS_MAX {
                    self.nacks.remove(0);
                }
            }
            Answer::Stale if self.protocol == Protocol::StateOfTheWorld => {
                self.channels[kind.index()].overtaken(&asked);
                return Ok(Vec::new());
            }
            Answer::Stale => {}
        }
        let channel = &mut self.channels[kind.index()];
        match self.protocol {
            Protocol::Delta => channel.subscribe(&asked, catalogs.of(kind))?,
            Protocol::StateOfTheWorld => channel.replace(&asked, catalogs.of(kind))?,
        }
        Ok(self.advance(catalogs))
    }

    /// What changed since last time, in push order, for what is subscribed.
    pub fn advance(&mut self, catalogs: Catalogs<'_>) -> Vec<Response> {
        for channel in &mut self.channels {
            channel.catch_up(catalogs.of(channel.kind));
        }
        let mut responses = Vec::new();
        for kind in ResourceType::ORDER {
            responses.extend(self.send_upserts(kind, catalogs));
        }
        for kind in ResourceType::ORDER.into_iter().rev() {
            responses.extend(self.send_removes(kind, catalogs));
        }
        responses
    }

    /// The client is of another scope of its audience from here on. What both have in common is
    /// not sent again.
    pub fn change_scope(&mut self, catalogs: Catalogs<'_>) -> Vec<Response> {
        for kind in [ResourceType::Listener, ResourceType::Route] {
            self.channels[kind.index()].compare_all(catalogs.of(kind));
        }
        self.advance(catalogs)
    }

    /// The latest, oldest first.
    pub fn nacks(&self) -> &[Nack] {
        &self.nacks
    }

    /// Types the client asked for that nobody here serves; such requests are left unanswered.
    pub fn unknown_types(&self) -> &[String] {
        &self.unknown_types
    }

    pub fn progress(&self) -> [Progress; 4] {
        self.channels.each_ref().map(Channel::progress)
    }

    fn send_upserts(&mut self, kind: ResourceType, catalogs: Catalogs<'_>) -> Option<Response> {
        if !self.channels[kind.index()].ready() {
            return None;
        }
        let parting = self.is_parting(catalogs);
        if parting && kind == ResourceType::Cluster {
            return None;
        }
        // What a client puts to use must name nothing that is still on its way. One that comes
        // back by name asks for what it finds named, and waits.
        let names_others = !parting && matches!(kind, ResourceType::Listener | ResourceType::Route);
        let on_its_way =
            |kind: ResourceType| self.channels[kind.index()].brings_new(catalogs.of(kind));
        if names_others && (on_its_way(ResourceType::Cluster) || on_its_way(ResourceType::Endpoint))
        {
            return None;
        }
        let unled = match kind.leader() {
            None => BTreeSet::new(),
            Some(leader) => self.channels[leader.index()].unsent_followers(catalogs.of(leader)),
        };
        let batch = match self.protocol {
            Protocol::Delta => self.channels[kind.index()].delta_upserts(catalogs.of(kind), &unled),
            Protocol::StateOfTheWorld => {
                self.channels[kind.index()].sotw_upserts(catalogs.of(kind), &unled)
            }
        }?;
        Some(self.respond(kind, batch))
    }

    /// Whether a client of the state of the world comes back with clusters that are gone, and
    /// listeners or routes that may name them: these are told first.
    fn is_parting(&self, catalogs: Catalogs<'_>) -> bool {
        let channel = |kind: ResourceType| (&self.channels[kind.index()], catalogs.of(kind));
        let (clusters, catalog) = channel(ResourceType::Cluster);
        self.protocol == Protocol::StateOfTheWorld
            && clusters.takes_away(catalog)
            && [ResourceType::Listener, ResourceType::Route]
                .map(channel)
                .iter()
                .any(|(channel, catalog)| channel.behind(catalog))
    }

    fn send_removes(&mut self, kind: ResourceType, catalogs: Catalogs<'_>) -> Option<Response> {
        if !self.channels[kind.index()].ready() {
            return None;
        }
        // What names it must have gone or changed before; what follows it must have gone. But
        // Envoy answers for clusters only when it has been told of the endpoints of each.
        let clusters_unanswered = !self.channels[ResourceType::Cluster.index()].answered();
        let freed = kind == ResourceType::Endpoint && clusters_unanswered;
        let waits = ResourceType::ORDER.into_iter().filter(|other| *other > kind).any(|other| {
            let (channel, catalog) = (&self.channels[other.index()], catalogs.of(other));
            if kind.follower() == Some(other) {
                channel.keeps_gone(catalog)
            } else {
                !freed && channel.behind(catalog)
            }
        });
        if waits {
            return None;
        }
        let channel = &mut self.channels[kind.index()];
        let batch = match self.protocol {
            Protocol::Delta => channel.delta_removes(catalogs.of(kind)),
            Protocol::StateOfTheWorld => channel.sotw_removes(catalogs.of(kind)),
        }?;
        Some(self.respond(kind, batch))
    }

    fn respond(&mut self, kind: ResourceType, batch: Batch) -> Response {
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        self.channels[kind.index()].sent(&nonce, &batch);
        if let Some(follower) = kind.follower() {
            self.channels[follower.index()].owe(&batch.followers);
        }
        match self.protocol {
            Protocol::Delta => Response::delta(kind, nonce, batch),
            Protocol::StateOfTheWorld => Response::sotw(kind, nonce, batch),
        }
    }

    fn note_unknown(&mut self, url: String) {
        let known = self.unknown_types.contains(&url);
        if !known
            && url.len() <= limit::NAME_BYTES_MAX
            && self.unknown_types.len() < limit::UNKNOWN_TYPES_MAX
        {
            self.unknown_types.push(url);
        }
    }
}

impl<'a> Catalogs<'a> {
    fn of(self, kind: ResourceType) -> &'a Catalog {
        match kind {
            ResourceType::Cluster | ResourceType::Endpoint => self.audience,
            ResourceType::Listener | ResourceType::Route => self.scope,
        }
    }
}
