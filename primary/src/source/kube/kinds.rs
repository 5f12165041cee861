//! The kinds of a cluster that become facts: where they are, and what is kept of them.

use diolkos_facts::{
    Findings, Gateway, Object, ObjectKind, PeerAuthentication, Said, ServiceExport, export_fact,
    gateway_parts, namespace_network, node_parts, peer_policy, pod_parts, service_parts,
    slice_parts,
};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::limit;
use super::plan::{Head, Name, Need, Place, Plan, Read};

/// What an object says; the object itself is dropped at once.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) said: Said,
    pub(super) findings: Findings,
    /// Of a namespace: the label that says of which mesh it is, or nothing.
    pub(super) revision: String,
}

impl Told {
    fn new(said: Said, findings: Findings) -> Self {
        Self { said, findings, revision: String::new() }
    }
}

pub(super) fn plan(kind: ObjectKind) -> Plan<Told> {
    let core = |plural| vec![Place::new("/api/v1", plural)];
    let (need, places, read): (_, _, fn(&RawValue) -> Read<Told>) = match kind {
        ObjectKind::Export => {
            let versions =
                ["/apis/multicluster.x-k8s.io/v1beta1", "/apis/multicluster.x-k8s.io/v1alpha1"];
            let places = versions.map(|version| Place::new(version, "serviceexports"));
            (Need::IfInstalled, places.to_vec(), read_export)
        }
        ObjectKind::Gateway => {
            let versions =
                ["/apis/gateway.networking.k8s.io/v1", "/apis/gateway.networking.k8s.io/v1beta1"];
            let places = versions.map(|version| Place::new(version, "gateways"));
            (Need::IfInstalled, places.to_vec(), read_gateway)
        }
        ObjectKind::Namespace => (Need::Always, core("namespaces"), read_namespace),
        ObjectKind::Node => (Need::IfAllowed, core("nodes"), read_node),
        ObjectKind::Peer => {
            let versions = ["/apis/security.istio.io/v1", "/apis/security.istio.io/v1beta1"];
            let places = versions.map(|version| Place::new(version, "peerauthentications"));
            (Need::IfInstalled, places.to_vec(), read_peer)
        }
        ObjectKind::Pod => (Need::Always, core("pods"), read_pod),
        ObjectKind::Service => (Need::Always, core("services"), read_service),
        ObjectKind::Slice => {
            let places = vec![Place::new("/apis/discovery.k8s.io/v1", "endpointslices")];
            (Need::Always, places, read_slice)
        }
    };
    // A pod that has ended is no endpoint and no client.
    let fields =
        (kind == ObjectKind::Pod).then(|| "status.phase!=Failed,status.phase!=Succeeded".into());
    let objects_max = limit::OBJECTS_PER_KIND_MAX;
    Plan { need, places, labels: None, fields, read, objects_max }
}

fn read_export(raw: &RawValue) -> Read<Told> {
    typed(
        raw,
        |one: &ServiceExport| &one.metadata,
        |one, told| export_fact(one, told).map(Object::Export),
    )
}

fn read_gateway(raw: &RawValue) -> Read<Told> {
    typed(
        raw,
        |one: &Gateway| &one.metadata,
        |one, told| gateway_parts(one, told).map(Object::Gateway),
    )
}

fn read_namespace(raw: &RawValue) -> Read<Told> {
    let mut read = typed(
        raw,
        |one: &Namespace| &one.metadata,
        |one, told| namespace_network(one, told).map(Object::Namespace),
    );
    let labels = serde_json::from_str::<Namespace>(raw.get()).unwrap_or_default().metadata.labels;
    if let Some(revision) = labels.and_then(|mut labels| labels.remove(REVISION_LABEL)) {
        let nothing = || Told::new(Said::Skipped, Findings::default());
        read.item.get_or_insert_with(nothing).revision = revision;
    }
    read
}

pub(super) const REVISION_LABEL: &str = "istio.io/rev";

fn read_node(raw: &RawValue) -> Read<Told> {
    typed(raw, |one: &Node| &one.metadata, |one, told| node_parts(one, told).map(Object::Node))
}

fn read_peer(raw: &RawValue) -> Read<Told> {
    typed(
        raw,
        |one: &PeerAuthentication| &one.metadata,
        |one, told| peer_policy(one, told).map(Object::Peer),
    )
}

fn read_pod(raw: &RawValue) -> Read<Told> {
    typed(raw, |one: &Pod| &one.metadata, |one, told| pod_parts(one, told).map(Object::Pod))
}

fn read_service(raw: &RawValue) -> Read<Told> {
    typed(
        raw,
        |one: &Service| &one.metadata,
        |one, told| service_parts(one, told).map(|parts| Object::Service(Box::new(parts))),
    )
}

fn read_slice(raw: &RawValue) -> Read<Told> {
    typed(
        raw,
        |one: &EndpointSlice| &one.metadata,
        |one, told| slice_parts(one, told).map(Object::Slice),
    )
}

fn typed<T: DeserializeOwned>(
    raw: &RawValue,
    meta: fn(&T) -> &ObjectMeta,
    convert: impl Fn(&T, &mut Findings) -> Option<Object>,
) -> Read<Told> {
    let bytes = raw.get().len();
    if bytes > limit::OBJECT_BYTES_MAX {
        let cause =
            format!("the object has {bytes} bytes, at most {} are read", limit::OBJECT_BYTES_MAX);
        return refused(raw, cause, "make it smaller");
    }
    let object: T = match serde_json::from_str(raw.get()) {
        Ok(object) => object,
        Err(error) => {
            let cause = format!("cannot be read: {}", super::error::short(&error.to_string()));
            return refused(raw, cause, "correct the field");
        }
    };
    let meta = meta(&object);
    let id = Name {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    };
    let version = meta.resource_version.clone();
    let mut findings = Findings::default();
    let said = match convert(&object, &mut findings) {
        Some(object) => Said::Taken(Box::new(object)),
        None if findings.refused() => Said::Refused,
        None => Said::Skipped,
    };
    let nothing = matches!(said, Said::Skipped) && findings.0.is_empty();
    Read { id, version, item: (!nothing).then_some(Told::new(said, findings)) }
}

fn refused(raw: &RawValue, cause: String, way_out: &str) -> Read<Told> {
    let head = Head::of(raw);
    let findings = Findings::refusal(cause, way_out);
    let item = Some(Told::new(Said::Refused, findings));
    Read { id: head.id(), version: head.version(), item }
}
