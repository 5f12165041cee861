//! Secrets that register clusters, as they are watched.

use diolkos_facts::remote::RemoteSecret;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use serde_json::value::RawValue;

use super::limit;
use super::plan::{Head, Name, Need, Place, Plan, Read};

const LABEL: &str = "istio/multiCluster=true";

/// `None`: it cannot be read, and changes nothing.
pub(super) type Letter = Option<RemoteSecret>;

pub(super) fn plan(namespace: &str) -> Plan<Letter> {
    let mut place = Place::new("/api/v1", "secrets");
    place.namespace = Some(namespace.to_owned());
    Plan {
        need: Need::Always,
        places: vec![place],
        labels: Some(LABEL),
        fields: None,
        read,
        objects_max: limit::SECRETS_MAX,
    }
}

fn read(raw: &RawValue) -> Read<Letter> {
    match serde_json::from_str::<SecretObject>(raw.get()) {
        Ok(object) => {
            let version = object.metadata.resource_version.clone();
            let secret = RemoteSecret::from(object);
            let id = Name { namespace: secret.namespace.clone(), name: secret.name.clone() };
            Read { id, version, item: Some(Some(secret)) }
        }
        Err(_) => {
            let head = Head::of(raw);
            Read { id: head.id(), version: head.version(), item: Some(None) }
        }
    }
}
