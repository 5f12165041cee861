//! One client stream as a state machine: what it asked for, what it has, what it is owed.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;

use crate::catalog::Catalog;
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

/// Both must be those of the client's audience and scope for as long as the session lives.
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

/// One message to the client.
#[derive(Clone, Debug)]
pub struct Response {
    kind: ResourceType,
    nonce: String,
    chunks: Vec<Bytes>,
    upserts: Vec<Arc<str>>,
    removes: Vec<Arc<str>>,
}

impl Response {
    /// Chunks whose concatenation is the protobuf message. All but the first are shared.
    pub fn encode(&self) -> Vec<Bytes> {
        self.chunks.clone()
    }

    pub fn kind(&self) -> ResourceType {
        self.kind
    }

    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    pub fn upserts(&self) -> &[Arc<str>] {
        &self.upserts
    }

    pub fn removes(&self) -> &[Arc<str>] {
        &self.removes
    }
}

#[derive(Debug)]
pub struct Session {
    _protocol: Protocol,
    nacks: Vec<Nack>,
}

impl Session {
    pub fn new(protocol: Protocol) -> Self {
        Self { _protocol: protocol, nacks: Vec::new() }
    }

    /// The caller has checked the node of the first request.
    pub fn request(
        &mut self,
        _request: Request,
        _catalogs: Catalogs<'_>,
    ) -> Result<Vec<Response>, Refusal> {
        Ok(Vec::new())
    }

    /// What changed since last time, in push order, for what is subscribed.
    pub fn advance(&mut self, _catalogs: Catalogs<'_>) -> Vec<Response> {
        Vec::new()
    }

    /// The latest, oldest first.
    pub fn nacks(&self) -> &[Nack] {
        &self.nacks
    }

    /// Types the client asked for that nobody here serves; such requests are left unanswered.
    pub fn unknown_types(&self) -> &[String] {
        &[]
    }
}
