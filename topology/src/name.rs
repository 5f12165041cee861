//! Names, each a type of its own, normalised and checked once where text enters.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limit;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    Empty(&'static str),
    TooLong { what: &'static str, bytes: usize, bytes_max: usize },
    Character { what: &'static str, text: String, found: char },
    Edge { what: &'static str, text: String },
    ZeroPort,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(what) => write!(f, "{what} is empty"),
            Self::TooLong { what, bytes, bytes_max } => {
                write!(f, "{what} has {bytes} bytes, at most {bytes_max} are allowed")
            }
            Self::Character { what, text, found } => {
                write!(
                    f,
                    "{what} {text:?} contains {found:?}; use letters, digits, '-', '_' and '.'"
                )
            }
            Self::Edge { what, text } => {
                write!(f, "{what} {text:?} must begin and end with a letter or digit")
            }
            Self::ZeroPort => f.write_str("port 0 is not a port; use 1 to 65535"),
        }
    }
}

impl std::error::Error for NameError {}

fn checked(what: &'static str, text: &str, bytes_max: usize) -> Result<Arc<str>, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty(what));
    }
    if text.len() > bytes_max {
        return Err(NameError::TooLong { what, bytes: text.len(), bytes_max });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(found) = text.chars().find(|&c| !allowed(c)) {
        return Err(NameError::Character { what, text: text.into(), found });
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !edge(text.chars().next()) || !edge(text.chars().next_back()) {
        return Err(NameError::Edge { what, text: text.into() });
    }
    Ok(text.into())
}

/// Kept as text, and checked again whenever it comes back.
macro_rules! kept_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: &str) -> Result<Self, NameError> {
                checked($what, text, $max).map(Self)
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        kept_as_text!($name);

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// A cluster, as the operator named it. Opaque, compared byte by byte.
    ClusterId, "cluster name", limit::CLUSTER_NAME_BYTES_MAX
);
name!(Namespace, "namespace", limit::DNS_LABEL_BYTES_MAX);
name!(ServiceName, "service name", limit::DNS_LABEL_BYTES_MAX);
name!(PodName, "pod name", limit::DNS_NAME_BYTES_MAX);
name!(NodeName, "node name", limit::DNS_NAME_BYTES_MAX);
name!(SliceName, "endpoint slice name", limit::DNS_NAME_BYTES_MAX);
name!(
    /// A gateway object within its cluster: a Service's name, or a meshNetworks entry.
    GatewayName, "gateway name", limit::DNS_NAME_BYTES_MAX
);

/// A network: endpoints of one network reach each other by address.
///
/// The unnamed network is a network like any other: it equals only itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(Arc<str>);

impl NetworkId {
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Ok(Self::unnamed());
        }
        checked("network name", text, limit::CLUSTER_NAME_BYTES_MAX).map(Self)
    }

    pub fn unnamed() -> Self {
        Self("".into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

kept_as_text!(NetworkId);

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(unnamed)" } else { &self.0 })
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A port's name. Empty is a name: the one port of a service may go without.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortName(Arc<str>);

impl PortName {
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Ok(Self("".into()));
        }
        checked("port name", text, limit::DNS_LABEL_BYTES_MAX).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

kept_as_text!(PortName);

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A TCP port, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Port(NonZeroU16);

impl Port {
    pub fn new(number: u16) -> Result<Self, NameError> {
        NonZeroU16::new(number).map(Self).ok_or(NameError::ZeroPort)
    }

    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A service by namespace and name: the same pair in two clusters is one service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    pub namespace: Namespace,
    pub name: ServiceName,
}

impl ServiceKey {
    pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
        Ok(Self { namespace: Namespace::new(namespace)?, name: ServiceName::new(name)? })
    }

    /// `name.namespace.svc.<cluster domain>`
    pub fn host(&self, cluster_domain: &str) -> String {
        format!("{}.{}.svc.{cluster_domain}", self.name, self.namespace)
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One port of one service, by the service's own port number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    pub service: ServiceKey,
    pub port: Port,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

/// Where something runs. Empty parts are unknown; a zone belongs to its region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Locality {
    pub region: Arc<str>,
    pub zone: Arc<str>,
}

impl Locality {
    pub fn new(region: &str, zone: &str) -> Self {
        Self { region: region.into(), zone: zone.into() }
    }

    pub fn unknown() -> Self {
        Self::new("", "")
    }

    pub fn is_unknown(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty()
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unknown() {
            f.write_str("-")
        } else {
            write!(f, "{}/{}", self.region, self.zone)
        }
    }
}

/// A point in the caller's time, in milliseconds. The core never asks for the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

/// A source's stream, counted anew whenever it starts over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The order of arrival within an epoch; never a resourceVersion, which can go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// The last writer wins by this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    pub epoch: Epoch,
    pub seq: Seq,
}

impl Stamp {
    pub fn new(epoch: u64, seq: u64) -> Self {
        Self { epoch: Epoch(epoch), seq: Seq(seq) }
    }
}

/// Which credential or connection a cluster's facts come through. While it changes, two
/// generations live side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// One generation of one cluster's facts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    pub cluster: ClusterId,
    pub generation: Generation,
}
