//! SPIFFE ids and trust domains (SPIFFE-ID specification, sections 2.1 to 2.4).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Section 2.4: an id is at most 2048 bytes, a trust domain at most 255.
pub const SPIFFE_ID_BYTES_MAX: usize = 2048;
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpiffeError {
    Character { text: String, found: char },
    Empty { text: String },
    NoPath { text: String },
    Scheme { text: String },
    Segment { text: String, segment: String },
    TooLong { bytes: usize, bytes_max: usize },
}

impl fmt::Display for SpiffeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character { text, found } => {
                write!(f, "{text:?} contains {found:?}, which a SPIFFE id may not")
            }
            Self::Empty { text } => write!(f, "{text:?} has no trust domain"),
            Self::NoPath { text } => write!(f, "{text:?} names a trust domain, not a workload"),
            Self::Scheme { text } => write!(f, "{text:?} does not begin with spiffe://"),
            Self::Segment { text, segment } => {
                write!(f, "{text:?} has the path segment {segment:?}, which is not allowed")
            }
            Self::TooLong { bytes, bytes_max } => {
                write!(f, "a SPIFFE id of {bytes} bytes is too long, at most {bytes_max}")
            }
        }
    }
}

impl std::error::Error for SpiffeError {}

/// The authority of a SPIFFE id: lower-case letters, digits, '.', '-' and '_'.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    pub fn new(text: &str) -> Result<Self, SpiffeError> {
        if text.is_empty() {
            return Err(SpiffeError::Empty { text: text.into() });
        }
        if text.len() > TRUST_DOMAIN_BYTES_MAX {
            return Err(SpiffeError::TooLong {
                bytes: text.len(),
                bytes_max: TRUST_DOMAIN_BYTES_MAX,
            });
        }
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        match text.chars().find(|&c| !allowed(c)) {
            Some(found) => Err(SpiffeError::Character { text: text.into(), found }),
            None => Ok(Self(text.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// `spiffe://<trust domain>/<path>`, never without a path. Compared byte by byte: there is no other
/// spelling of the same id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId(Arc<str>);

/// The namespace and service account of an id shaped `/ns/<namespace>/sa/<service account>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkloadName<'a> {
    pub namespace: &'a str,
    pub service_account: &'a str,
}

const SCHEME: &str = "spiffe://";

impl SpiffeId {
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(SpiffeError::TooLong { bytes: text.len(), bytes_max: SPIFFE_ID_BYTES_MAX });
        }
        let rest =
            text.strip_prefix(SCHEME).ok_or_else(|| SpiffeError::Scheme { text: text.into() })?;
        let (domain, path) =
            rest.split_once('/').ok_or_else(|| SpiffeError::NoPath { text: text.into() })?;
        TrustDomain::new(domain).map_err(|error| match error {
            SpiffeError::Character { found, .. } => {
                SpiffeError::Character { text: text.into(), found }
            }
            SpiffeError::Empty { .. } => SpiffeError::Empty { text: text.into() },
            other => other,
        })?;
        for segment in path.split('/') {
            check_segment(text, segment)?;
        }
        Ok(Self(text.into()))
    }

    /// Istio's shape.
    pub fn workload(
        domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, SpiffeError> {
        for part in [namespace, service_account] {
            if part.contains('/') {
                return Err(SpiffeError::Segment { text: part.into(), segment: part.into() });
            }
        }
        Self::parse(&format!("{SCHEME}{domain}/ns/{namespace}/sa/{service_account}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn trust_domain(&self) -> TrustDomain {
        let rest = &self.0[SCHEME.len()..];
        TrustDomain(rest.split('/').next().unwrap_or_default().into())
    }

    /// `None` where the path is not Istio's shape: exactly four segments.
    pub fn workload_name(&self) -> Option<WorkloadName<'_>> {
        let mut parts = self.0[SCHEME.len()..].split('/').skip(1);
        match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("ns"), Some(namespace), Some("sa"), Some(service_account), None) => {
                Some(WorkloadName { namespace, service_account })
            }
            _ => None,
        }
    }
}

fn check_segment(text: &str, segment: &str) -> Result<(), SpiffeError> {
    if matches!(segment, "" | "." | "..") {
        return Err(SpiffeError::Segment { text: text.into(), segment: segment.into() });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match segment.chars().find(|&c| !allowed(c)) {
        Some(found) => Err(SpiffeError::Character { text: text.into(), found }),
        None => Ok(()),
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Kept as text, and checked again whenever it comes back.
macro_rules! kept_as_text {
    ($name:ident, $parse:path) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                $parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

kept_as_text!(SpiffeId, SpiffeId::parse);
kept_as_text!(TrustDomain, TrustDomain::new);
