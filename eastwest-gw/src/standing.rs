//! What of a control plane's resources is not in force, and why: for whoever asks.

use std::collections::BTreeMap;

use diolkos_xds::ResourceType;
use serde::Serialize;

use crate::limit::STANDING_MAX;

/// A resource, or a part of one, that is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotInForce {
    #[serde(rename = "type")]
    pub kind: String,
    pub resource: String,
    /// Of a listener: the filter chain.
    pub chain: Option<String>,
    /// Refused: the control plane was told so. Otherwise it is not meant for this gateway.
    pub refused: bool,
    pub reason: String,
}

/// By resource. What is said of one anew replaces what was.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    by_resource: BTreeMap<(ResourceType, String), Vec<NotInForce>>,
    count: usize,
}

impl Standing {
    /// What was said of it before.
    pub(crate) fn clear(&mut self, kind: ResourceType, name: &str) -> Vec<NotInForce> {
        let gone = self.by_resource.remove(&(kind, name.to_owned())).unwrap_or_default();
        self.count -= gone.len();
        gone
    }

    pub(crate) fn of(&self, kind: ResourceType, name: &str) -> &[NotInForce] {
        self.by_resource.get(&(kind, name.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Beyond the limit nothing is added: the first are as telling as the last.
    pub(crate) fn add(&mut self, kind: ResourceType, one: NotInForce) {
        if self.count < STANDING_MAX {
            self.count += 1;
            self.by_resource.entry((kind, one.resource.clone())).or_default().push(one);
        }
    }

    pub(crate) fn all(&self) -> Vec<NotInForce> {
        self.by_resource.values().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(resource: &str) -> NotInForce {
        NotInForce {
            kind: "Cluster".into(),
            resource: resource.into(),
            chain: None,
            refused: true,
            reason: "it is bad".into(),
        }
    }

    #[test]
    fn as_much_is_kept_as_the_limit_and_room_comes_back() {
        let mut standing = Standing::default();
        for number in 0..=STANDING_MAX {
            standing.add(ResourceType::Cluster, one(&format!("c{number}")));
        }
        assert_eq!(standing.all().len(), STANDING_MAX);
        standing.clear(ResourceType::Cluster, "c0");
        standing.clear(ResourceType::Cluster, "c0");
        standing.clear(ResourceType::Listener, "c1");
        assert_eq!(standing.all().len(), STANDING_MAX - 1);
        standing.add(ResourceType::Cluster, one("late"));
        assert!(standing.all().contains(&one("late")));
    }
}
