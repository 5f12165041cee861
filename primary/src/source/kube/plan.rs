//! What a feed asks for, and how it reads what it gets.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// One kind of objects of one server.
#[derive(Debug)]
pub(super) struct Plan<T> {
    pub(super) need: Need,
    /// Where it may be found, the best first.
    pub(super) places: Vec<Place>,
    pub(super) labels: Option<&'static str>,
    pub(super) fields: Option<Cow<'static, str>>,
    pub(super) read: fn(&RawValue) -> Read<T>,
    /// How many are kept at most.
    pub(super) objects_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Without it nothing is known of the cluster.
    Always,
    /// It is always there, and the cluster works without, should it not be allowed.
    IfAllowed,
    /// A custom resource, which may come later, or never.
    IfInstalled,
}

/// `/apis/<group>/<version>/<plural>`, or within a namespace.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) group: &'static str,
    pub(super) plural: &'static str,
    pub(super) namespace: Option<String>,
}

impl Place {
    pub(super) fn new(group: &'static str, plural: &'static str) -> Self {
        Self { group, plural, namespace: None }
    }

    pub(super) fn path(&self) -> String {
        match &self.namespace {
            None => format!("{}/{}", self.group, self.plural),
            Some(namespace) => format!("{}/namespaces/{namespace}/{}", self.group, self.plural),
        }
    }
}

/// An object, and what it says.
#[derive(Debug)]
pub(super) struct Read<T> {
    pub(super) id: Name,
    pub(super) version: Option<String>,
    /// `None` where there is nothing to keep of it.
    pub(super) item: Option<T>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// As much of an object as tells it from others.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Head {
    #[serde(default)]
    metadata: HeadMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMeta {
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    resource_version: Option<String>,
}

impl Head {
    /// Of an object that cannot be read otherwise; without a name it is nobody's.
    pub(super) fn of(raw: &RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }

    pub(super) fn id(&self) -> Name {
        Name {
            namespace: self.metadata.namespace.clone().unwrap_or_default(),
            name: self.metadata.name.clone().unwrap_or_default(),
        }
    }

    pub(super) fn version(&self) -> Option<String> {
        self.metadata.resource_version.clone()
    }
}
