//! A ServiceExport: the word that lets a service be known outside its cluster.

use std::collections::BTreeSet;

use diolkos_topology::{ClusterId, Consumers, ExportFact, Namespace, ServiceKey, ServiceName};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::anything::Anything;
use crate::finding::Findings;
use crate::names::{self, CONSUMERS_ANNOTATION};
use crate::text::at;

/// multicluster.x-k8s.io, v1alpha1 or v1beta1: they agree in what is read of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceExport {
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default, rename = "apiVersion")]
    _api_version: Anything,
    #[serde(default, rename = "kind")]
    _kind: Anything,
    #[serde(default, rename = "spec")]
    _spec: Anything,
    #[serde(default, rename = "status")]
    _status: Anything,
}

pub fn export_fact(object: &ServiceExport, findings: &mut Findings) -> Option<ExportFact> {
    let meta = &object.metadata;
    let name = names::name_text(meta, findings)?;
    let name = names::checked(name, false, ServiceName::new, at!["metadata", "name"], findings);
    let namespace = names::checked(
        names::namespace_text(meta),
        false,
        Namespace::new,
        at!["metadata", "namespace"],
        findings,
    );
    let consumers = consumers(meta, findings)?;
    let service = ServiceKey { namespace: namespace?, name: name? };
    Some(ExportFact { service, created: names::created(meta).unwrap_or(0), consumers })
}

/// A name that cannot be a cluster's refuses the whole export: a list cut short would be one that
/// nobody wrote.
fn consumers(meta: &ObjectMeta, findings: &mut Findings) -> Option<Consumers> {
    let Some(text) = names::annotation(meta, CONSUMERS_ANNOTATION) else {
        return Some(Consumers::Everyone);
    };
    let field = || at!["metadata", "annotations", CONSUMERS_ANNOTATION];
    let mut listed = BTreeSet::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match ClusterId::new(name) {
            Ok(cluster) => {
                listed.insert(cluster);
            }
            Err(error) => {
                names::refuse_error(&error, field(), "list names, like east,west", findings);
                return None;
            }
        }
    }
    if listed.is_empty() {
        let cause = "the list is empty, so no cluster may use the export";
        findings.warn(field(), cause, "name clusters, or drop the annotation for everyone");
    }
    Some(Consumers::Listed(listed))
}
