//! What an object is called, and what became of it.

use std::fmt;

use diolkos_topology::{GatewayName, Namespace, PodName, ServiceKey, SliceName};

use super::SliceKey;
use crate::names;
use crate::object::Object;
use crate::pod::PodKey;

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    Export,
    /// Of the Gateway API.
    Gateway,
    Namespace,
    Node,
    Pod,
    Service,
    Slice,
}

impl ObjectKind {
    pub const ALL: [Self; 7] = [
        Self::Export,
        Self::Gateway,
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::Slice,
    ];

    /// As Kubernetes calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Export => "ServiceExport",
            Self::Gateway => "Gateway",
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::Slice => "EndpointSlice",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An object within its cluster, as it calls itself: the names may be none that Kubernetes allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    pub kind: ObjectKind,
    /// Empty for objects that belong to no namespace.
    pub namespace: String,
    pub name: String,
}

/// What something can be wrong with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// One that only meshNetworks knows.
    Network(String),
    Object(ObjectId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(name) => write!(f, "network {name}"),
            Self::Object(id) => id.fmt(f),
        }
    }
}

/// What came of reading an object.
#[derive(Clone, Debug)]
pub enum Said {
    /// What was last good of it stays.
    Refused,
    /// Right, and not for us.
    Skipped,
    Taken(Box<Object>),
}

impl ObjectId {
    pub fn new(kind: ObjectKind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    pub(super) fn of_key(kind: ObjectKind, key: &ServiceKey) -> Self {
        Self::new(kind, key.namespace.as_str(), key.name.as_str())
    }

    pub(super) fn of_slice(key: &SliceKey) -> Self {
        Self::new(ObjectKind::Slice, key.0.as_str(), key.1.as_str())
    }

    pub(super) fn service(&self) -> Option<ServiceKey> {
        ServiceKey::new(&self.namespace, &self.name).ok()
    }

    pub(super) fn gateway(&self) -> Option<(Namespace, GatewayName)> {
        Namespace::new(&self.namespace).ok().zip(GatewayName::new(&self.name).ok())
    }

    pub(super) fn pod(&self) -> Option<PodKey> {
        Namespace::new(&self.namespace).ok().zip(PodName::new(&self.name).ok())
    }

    pub(super) fn slice(&self) -> Option<SliceKey> {
        Namespace::new(&self.namespace).ok().zip(SliceName::new(&self.name).ok())
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [namespace, name] = [&self.namespace, &self.name].map(|text| names::short(text));
        if namespace.is_empty() {
            write!(f, "{} {name}", self.kind)
        } else {
            write!(f, "{} {namespace}/{name}", self.kind)
        }
    }
}
