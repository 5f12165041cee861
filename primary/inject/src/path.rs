//! What the webhook's URL says of the cluster that calls it, in Istio's shape.

use std::fmt;

/// `/inject`, or `/inject/cluster/<cluster>/net/<network>` with the pairs in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InjectPath {
    pub cluster: Option<String>,
    pub network: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// Not below `/inject` at all.
    Elsewhere,
    /// A key without a value, or a value that cannot be a name.
    Value {
        key: String,
    },
    Twice {
        key: String,
    },
}

/// Stands for a slash inside a value.
const SLASH: &str = "--slash--";
const VALUE_BYTES_MAX: usize = 253;

impl InjectPath {
    /// # Errors
    /// When it is not one of ours.
    pub fn parse(path: &str) -> Result<Self, PathFault> {
        let rest = path.strip_prefix("/inject").ok_or(PathFault::Elsewhere)?;
        let rest = match rest.trim_end_matches('/') {
            "" => return Ok(Self::default()),
            rest => rest.strip_prefix('/').ok_or(PathFault::Elsewhere)?,
        };
        let mut found = Self::default();
        let mut parts = rest.split('/');
        while let Some(key) = parts.next() {
            let value = parts.next().unwrap_or_default().replace(SLASH, "/");
            let is_name = |c: char| c.is_ascii_graphic() && c != '%';
            if value.is_empty() || value.len() > VALUE_BYTES_MAX || !value.chars().all(is_name) {
                return Err(PathFault::Value { key: key.into() });
            }
            let place = match key {
                "cluster" => &mut found.cluster,
                "net" => &mut found.network,
                // Istio's other variables mean nothing here.
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(PathFault::Twice { key: key.into() });
            }
        }
        Ok(found)
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHAPE: &str = "/inject/cluster/CLUSTER/net/NETWORK";
        match self {
            Self::Elsewhere => write!(f, "no such path; pods are injected at {SHAPE}"),
            Self::Value { key } => {
                write!(f, "the path gives {key:?} no name; it should be {SHAPE}")
            }
            Self::Twice { key } => write!(f, "the path names {key:?} twice; it should be {SHAPE}"),
        }
    }
}

impl std::error::Error for PathFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_cluster_and_network() {
        for (path, cluster, network) in [
            ("/inject", None, None),
            ("/inject/", None, None),
            ("/inject/cluster/west/net/north", Some("west"), Some("north")),
            ("/inject/net/north/cluster/west/", Some("west"), Some("north")),
            ("/inject/cluster/a--slash--b", Some("a/b"), None),
            ("/inject/OTHER/thing/cluster/west", Some("west"), None),
        ] {
            let found = InjectPath::parse(path).unwrap();
            let said = (found.cluster.as_deref(), found.network.as_deref());
            assert_eq!(said, (cluster, network), "{path}");
        }
    }

    #[test]
    fn what_is_no_such_path_is_refused() {
        let long = format!("/inject/cluster/{}", "a".repeat(VALUE_BYTES_MAX + 1));
        for path in [
            "/",
            "/injection",
            "/inject/cluster",
            "/inject/cluster//net/a",
            "/inject/net/%2f",
            &long,
        ] {
            assert!(InjectPath::parse(path).is_err(), "{path}");
        }
        let twice = InjectPath::parse("/inject/net/a/net/b").unwrap_err();
        assert!(twice.to_string().starts_with("the path names \"net\" twice"));
    }
}
