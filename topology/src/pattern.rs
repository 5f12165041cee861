//! Names by pattern: `shop/*`, `pay/api`, `*/*`.
//!
//! `*` stands for a whole part and never for what every cluster has for itself: a namespace of
//! [`RESERVED_NAMESPACES`], the system namespace where it has a name of its own, or the service
//! `default/kubernetes`. Those count only where a pattern spells them out.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limit;
use crate::name::{Namespace, ServiceKey};

/// Where a cluster keeps what runs the cluster, or the mesh.
pub const RESERVED_NAMESPACES: [&str; 3] = ["diolkos-system", "istio-system", "kube-system"];
/// The cluster's own API server, as its pods see it.
const RESERVED_SERVICE: (&str, &str) = ("default", "kubernetes");

/// A namespace and a name in it: of a service, or of a service account.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamePattern {
    namespace: Part,
    name: Part,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Any,
    Exactly(Arc<str>),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// Not one `/`.
    Shape { text: String },
    /// A part is empty or too long, or holds what no name holds.
    Part { text: String, part: String },
    /// `team-*`.
    Partial { text: String, part: String },
}

impl NamePattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let parts = text.split_once('/').filter(|(_, name)| !name.contains('/'));
        let (namespace, name) = parts.ok_or_else(|| PatternError::Shape { text: text.into() })?;
        Ok(Self {
            namespace: part(text, namespace, limit::DNS_LABEL_BYTES_MAX)?,
            name: part(text, name, limit::DNS_NAME_BYTES_MAX)?,
        })
    }

    /// `*/*`
    pub fn any() -> Self {
        Self { namespace: Part::Any, name: Part::Any }
    }

    /// `system`: the system namespace, where it is called otherwise.
    pub(crate) fn covers_service(&self, key: &ServiceKey, system: Option<&Namespace>) -> bool {
        let (namespace, name) = (key.namespace.as_str(), key.name.as_str());
        let spelt_out = self.namespace != Part::Any && self.name != Part::Any;
        self.covers(namespace, name, system) && (spelt_out || (namespace, name) != RESERVED_SERVICE)
    }

    pub(crate) fn covers(&self, namespace: &str, name: &str, system: Option<&Namespace>) -> bool {
        let in_namespace = match &self.namespace {
            Part::Any => !is_reserved(namespace, system),
            Part::Exactly(own) => **own == *namespace,
        };
        in_namespace
            && match &self.name {
                Part::Any => true,
                Part::Exactly(own) => **own == *name,
            }
    }
}

fn is_reserved(namespace: &str, system: Option<&Namespace>) -> bool {
    RESERVED_NAMESPACES.contains(&namespace)
        || system.is_some_and(|system| system.as_str() == namespace)
}

pub(crate) fn is_reserved_service(key: &ServiceKey, system: Option<&Namespace>) -> bool {
    let (namespace, name) = (key.namespace.as_str(), key.name.as_str());
    is_reserved(namespace, system) || (namespace, name) == RESERVED_SERVICE
}

fn part(text: &str, part: &str, bytes_max: usize) -> Result<Part, PatternError> {
    if part == "*" {
        return Ok(Part::Any);
    }
    let (text, own) = (text.to_owned(), part.to_owned());
    if part.contains('*') {
        return Err(PatternError::Partial { text, part: own });
    }
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = |c: char| edge(c) || matches!(c, '-' | '.');
    let good = part.len() <= bytes_max
        && part.chars().all(inner)
        && part.starts_with(edge)
        && part.ends_with(edge);
    if good { Ok(Part::Exactly(part.into())) } else { Err(PatternError::Part { text, part: own }) }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exactly(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Kept as text, and checked again whenever it comes back.
impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { text } => {
                write!(f, "{text:?} is no pattern of names; write it like shop/* or pay/api")
            }
            Self::Part { text, part } => write!(
                f,
                "{text:?} has the part {part:?}, which is no name; use lower-case letters, digits, \
                 '-' and '.', or '*'"
            ),
            Self::Partial { text, part } => write!(
                f,
                "{text:?} has the part {part:?}, where '*' would stand for a piece of a name; \
                 list the names, or use '*' alone"
            ),
        }
    }
}

impl std::error::Error for PatternError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_covers_all_but_what_is_reserved() {
        let cases = [
            ("shop/*", "shop/web", true),
            ("shop/*", "shop2/web", false),
            ("shop/*", "sho/web", false),
            ("*/web", "pay/web", true),
            ("*/web", "pay/web2", false),
            ("pay/api", "pay/api", true),
            ("pay/api", "pay/apis", false),
            ("*/*", "pay/api", true),
            ("*/*", "kube-system/dns", false),
            ("*/dns", "kube-system/dns", false),
            ("kube-system/*", "kube-system/dns", true),
            ("*/*", "istio-system/zipkin", false),
            ("istio-system/zipkin", "istio-system/zipkin", true),
            ("*/*", "diolkos-system/primary", false),
            ("*/*", "kube-public/x", true),
            ("*/*", "default/kubernetes", false),
            ("default/*", "default/kubernetes", false),
            ("*/kubernetes", "default/kubernetes", false),
            ("default/kubernetes", "default/kubernetes", true),
            ("default/*", "default/web", true),
            ("*/kubernetes", "shop/kubernetes", true),
        ];
        for (pattern, service, expected) in cases {
            let (namespace, name) = service.split_once('/').unwrap();
            let key = ServiceKey::new(namespace, name).unwrap();
            let pattern = NamePattern::parse(pattern).unwrap();
            assert_eq!(pattern.covers_service(&key, None), expected, "{pattern} {service}");
        }
        let any = NamePattern::parse("*/*").unwrap();
        let covers = |namespace, name| any.covers(namespace, name, None);
        assert!(covers("default", "kubernetes"), "an account of this name is nothing special");
        assert!(!covers("istio-system", "istiod"));
    }

    #[test]
    fn a_system_namespace_of_another_name_is_reserved_beside_the_usual_ones() {
        let system = Namespace::new("blue-system").unwrap();
        let covers = |pattern: &str, service: &str| {
            let (namespace, name) = service.split_once('/').unwrap();
            let key = ServiceKey::new(namespace, name).unwrap();
            let pattern = NamePattern::parse(pattern).unwrap();
            let [with, without] = [Some(&system), None].map(|system| {
                let covers = pattern.covers(namespace, name, system);
                assert_eq!(pattern.covers_service(&key, system), covers, "{pattern} {service}");
                covers
            });
            (with, without)
        };
        assert_eq!(covers("*/*", "blue-system/diolkos"), (false, true));
        assert_eq!(covers("blue-system/*", "blue-system/diolkos"), (true, true));
        assert_eq!(covers("*/*", "blue/diolkos"), (true, true));
        assert_eq!(covers("*/*", "diolkos-system/diolkos"), (false, false));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let long = "a".repeat(64);
        let dotted = format!("{long}.a");
        let good = [format!("{}/b", &long[..63]), format!("a/{dotted}"), "0/1".into()];
        for text in good {
            assert_eq!(NamePattern::parse(&text).map(|one| one.to_string()), Ok(text));
        }
        let bad = [
            "",
            "shop",
            "shop/",
            "/web",
            "a/b/c",
            "*",
            "team-*/web",
            "a/*b",
            "A/b",
            "a/b_c",
            "a b/c",
            "-a/b",
            "a/b-",
            "a/.b",
            "a/**",
            "a/b,c/d",
            "é/b",
        ];
        for text in bad.into_iter().map(String::from).chain([format!("{long}/b")]) {
            let error = NamePattern::parse(&text).expect_err(&text).to_string();
            assert!(error.contains("; "), "{error}");
        }
    }
}
