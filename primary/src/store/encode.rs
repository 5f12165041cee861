//! Facts as bytes. A change of their form is a change of `VERSION`.

use std::time::{Duration, SystemTime};

use diolkos_topology::{ClusterSettings, Fact, FactKey};
use serde::{Deserialize, Serialize};

/// Of everything in the file. A file of a later version is left alone, one of an earlier version is
/// moved aside: its clusters are read again anyway.
pub(super) const VERSION: u64 = 3;

#[derive(Deserialize, Serialize)]
pub(super) struct ClusterRow {
    pub(super) settings: ClusterSettings,
    /// Milliseconds since 1970.
    fresh: u64,
}

impl ClusterRow {
    pub(super) fn new(settings: ClusterSettings, fresh: SystemTime) -> Self {
        let since = fresh.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { settings, fresh: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }

    pub(super) fn fresh(&self) -> SystemTime {
        let since = Duration::from_millis(self.fresh);
        SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

pub(super) fn key(key: &FactKey) -> Vec<u8> {
    written(key)
}

pub(super) fn fact(fact: &Fact) -> Vec<u8> {
    written(fact)
}

pub(super) fn written(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("memory takes whatever is written to it")
}

pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use diolkos_topology::{ClusterId, Grants, Locality, Namespace, NetworkId, NodeFact, NodeName};
    use diolkos_trust::TrustDomain;

    #[test]
    fn r24_the_form_of_version_3_is_this_and_no_other() {
        let node =
            NodeFact { name: NodeName::new("n1").unwrap(), locality: Locality::new("eu", "eu-1") };
        let bytes = fact(&Fact::Node(node.clone()));
        let expected = b"\x03\x02n1\x02eu\x04eu-1";
        assert_eq!(bytes, expected, "whoever changes this raises VERSION");
        assert_eq!(read::<Fact>(expected), Some(Fact::Node(node)));

        let settings = ClusterSettings {
            cluster: ClusterId::new("c").unwrap(),
            trust_domain: TrustDomain::new("m").unwrap(),
            network: NetworkId::new("n").unwrap(),
            addresses: Vec::new(),
            grants: Grants { system: Namespace::new("s").ok(), ..Grants::plain() },
        };
        let bytes = written(&ClusterRow::new(settings, SystemTime::UNIX_EPOCH));
        let expected = b"\x01c\x01m\x01n\x00\x01\x01\x03*/*\x01\x01\x03*/*\x02\x01\x01s\x00";
        assert_eq!(bytes, expected, "whoever changes this raises VERSION");
        assert!(read::<ClusterRow>(expected).is_some());
    }

    #[test]
    fn what_is_no_name_does_not_come_back() {
        assert_eq!(read::<Fact>(b"\x03\x02-!\x02eu\x04eu-1"), None);
        assert_eq!(read::<Fact>(b"\x03\x02n1\x02eu\x09eu-1"), None, "cut short");
    }
}
