//! From a file's text to the objects in it, one outcome per object.

use std::fmt;

use diolkos_topology::{ExportFact, NamespaceFact};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;

use crate::export::{ServiceExport, export_fact};
use crate::finding::{Finding, Findings};
use crate::gateway_api::{Gateway, GatewayParts, gateway_parts};
use crate::limit;
use crate::names;
use crate::node::{NodeParts, namespace_fact, node_parts};
use crate::pod::{PodParts, pod_parts};
use crate::rejection::{Rejection, Severity};
use crate::service::{ServiceParts, service_parts};
use crate::slice::{SliceParts, slice_parts};
use crate::text::{self, Fault, Node as Tree, Value};

/// An object as far as it is read, before it meets others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    Export(ExportFact),
    /// Of the Gateway API.
    Gateway(GatewayParts),
    /// One whose word counts: a system namespace with a network label.
    Namespace(NamespaceFact),
    Node(NodeParts),
    Pod(PodParts),
    Service(Box<ServiceParts>),
    Slice(SliceParts),
}

/// What an object is called within its cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    pub(crate) kind: String,
    /// Empty for objects that belong to no namespace.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, namespace, name] =
            [&self.kind, &self.namespace, &self.name].map(|text| names::short(text));
        if namespace.is_empty() {
            write!(f, "{kind} {name}")
        } else {
            write!(f, "{kind} {namespace}/{name}")
        }
    }
}

/// What came of one object's text.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) line: u32,
    /// `None` where not even this much could be read.
    pub(crate) key: Option<ObjectKey>,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Refused,
    /// Right, and not for us.
    Skipped,
    Taken(Object),
}

/// Every object of a file, and what is wrong with it, or `None` where the file says nothing at all.
/// The caller names the file.
pub(crate) fn read(file: &str, rejections: &mut Vec<Rejection>) -> Option<Vec<Read>> {
    let mut reads = Reads { reads: Vec::new(), rejections, silent: true };
    reads.file(file);
    (!reads.silent).then_some(reads.reads)
}

struct Reads<'a> {
    reads: Vec<Read>,
    rejections: &'a mut Vec<Rejection>,
    silent: bool,
}

impl Reads<'_> {
    fn file(&mut self, file: &str) {
        if file.len() > limit::FILE_BYTES_MAX {
            let cause = format!(
                "the file has {} bytes, at most {} are read",
                file.len(),
                limit::FILE_BYTES_MAX
            );
            self.unreadable(&Fault::new(0, cause), "split it");
            return;
        }
        let pieces = text::split(file);
        if pieces.len() > limit::DOCUMENTS_PER_FILE_MAX {
            let cause = format!(
                "the file has {} documents, at most {} are read",
                pieces.len(),
                limit::DOCUMENTS_PER_FILE_MAX
            );
            self.unreadable(&Fault::new(0, cause), "split it");
            return;
        }
        for piece in pieces {
            match text::parse(piece.text, piece.line) {
                Ok(root) => self.document(&root),
                Err(fault) => self.unreadable(&fault, "correct the YAML"),
            }
        }
    }

    fn unreadable(&mut self, fault: &Fault, way_out: &str) {
        self.silent = false;
        self.reject(fault, None, way_out, Severity::Refused);
        self.reads.push(Read { line: fault.line, key: None, outcome: Outcome::Refused });
    }

    fn reject(
        &mut self,
        fault: &Fault,
        key: Option<&ObjectKey>,
        way_out: &str,
        severity: Severity,
    ) {
        self.rejections.push(Rejection {
            file: String::new(),
            line: fault.line,
            object: key.map(ToString::to_string),
            cause: fault.cause.clone(),
            way_out: way_out.into(),
            severity,
        });
    }

    fn document(&mut self, root: &Tree) {
        self.silent &= root.value == Value::Null;
        let kind = root.get("kind").and_then(Tree::text);
        let of_list = kind.and_then(|kind| kind.strip_suffix("List"));
        let items = root.get("items").map(|items| &items.value);
        let (Some(of_list), Some(Value::List(items))) = (of_list, items) else {
            match root.value {
                Value::Null => {}
                _ => self.object(root, None),
            }
            return;
        };
        if self.reads.len() + items.len() > limit::OBJECTS_PER_FILE_MAX {
            let cause = format!("more than {} objects in one file", limit::OBJECTS_PER_FILE_MAX);
            self.unreadable(&Fault::new(root.line, cause), "split it");
            return;
        }
        // A ServiceList does not repeat for each item what it is.
        let version = root.get("apiVersion").and_then(Tree::text).unwrap_or_default();
        let implied = (!of_list.is_empty()).then_some((version, of_list));
        for item in items {
            self.object(item, implied);
        }
    }

    fn object(&mut self, root: &Tree, implied: Option<(&str, &str)>) {
        let text = |key: &str| root.get(key).and_then(Tree::text);
        let version = text("apiVersion").or(implied.map(|(version, _)| version));
        let kind = text("kind").or(implied.map(|(_, kind)| kind));
        let (Some(version), Some(kind)) = (version, kind) else {
            let cause = match root.value {
                Value::Map(_) => "apiVersion or kind is missing",
                _ => "this is no Kubernetes object",
            };
            self.unreadable(
                &Fault::new(root.line, cause),
                "write a Kubernetes object, or move the file out of the folder",
            );
            return;
        };
        let key = key_of(root, kind);
        let outcome = self.typed(root, version, kind, key.as_ref());
        self.reads.push(Read { line: root.line, key, outcome });
    }

    fn typed(
        &mut self,
        root: &Tree,
        version: &str,
        kind: &str,
        key: Option<&ObjectKey>,
    ) -> Outcome {
        const MCS: [&str; 2] = ["multicluster.x-k8s.io/v1alpha1", "multicluster.x-k8s.io/v1beta1"];
        match (version, kind) {
            ("v1", "Service") => self.decoded(root, key, |object: &Service, findings| {
                service_parts(object, findings).map(|parts| Object::Service(Box::new(parts)))
            }),
            ("discovery.k8s.io/v1", "EndpointSlice") => {
                self.decoded(root, key, |object: &EndpointSlice, findings| {
                    slice_parts(object, findings).map(Object::Slice)
                })
            }
            ("v1", "Pod") => self.decoded(root, key, |object: &Pod, findings| {
                pod_parts(object, findings).map(Object::Pod)
            }),
            ("v1", "Node") => self.decoded(root, key, |object: &Node, findings| {
                node_parts(object, findings).map(Object::Node)
            }),
            ("v1", "Namespace") => self.decoded(root, key, |object: &Namespace, findings| {
                namespace_fact(object, findings).map(Object::Namespace)
            }),
            (version, "ServiceExport") if MCS.contains(&version) => {
                self.decoded(root, key, |object: &ServiceExport, findings| {
                    export_fact(object, findings).map(Object::Export)
                })
            }
            ("gateway.networking.k8s.io/v1" | "gateway.networking.k8s.io/v1beta1", "Gateway") => {
                self.decoded(root, key, |object: &Gateway, findings| {
                    gateway_parts(object, findings).map(Object::Gateway)
                })
            }
            _ => {
                let [version, short] = [version, kind].map(names::short);
                let fault = Fault::new(root.line, format!("kind {short} of {version} is not read"));
                self.reject(&fault, key, "nothing to do", Severity::Warning);
                Outcome::Skipped
            }
        }
    }

    fn decoded<T: DeserializeOwned>(
        &mut self,
        root: &Tree,
        key: Option<&ObjectKey>,
        convert: impl Fn(&T, &mut Findings) -> Option<Object>,
    ) -> Outcome {
        let decoded = match text::decode::<T>(root) {
            Ok(decoded) => decoded,
            Err(fault) => {
                self.reject(&fault, key, "correct the field", Severity::Refused);
                return Outcome::Refused;
            }
        };
        for unknown in &decoded.unknown {
            let fault = Fault::new(unknown.line, format!("unknown field {}", unknown.cause));
            self.reject(&fault, key, "check its spelling; the rest counts", Severity::Warning);
        }
        let mut findings = Findings::default();
        let object = convert(&decoded.value, &mut findings);
        let refused = findings.refused();
        self.told(root, key, findings);
        match object {
            Some(object) => Outcome::Taken(object),
            None if refused => Outcome::Refused,
            None => Outcome::Skipped,
        }
    }

    fn told(&mut self, root: &Tree, key: Option<&ObjectKey>, findings: Findings) {
        for Finding { field, cause, way_out, severity } in findings.0 {
            let fault = Fault::new(root.line_at(&field), cause);
            self.reject(&fault, key, &way_out, severity);
        }
    }
}

/// `None` where the object has no name, and so cannot be told from others.
fn key_of(root: &Tree, kind: &str) -> Option<ObjectKey> {
    let meta = root.get("metadata")?;
    let name = meta.get("name").and_then(Tree::text).filter(|text| !text.is_empty())?;
    let namespace = meta.get("namespace").and_then(Tree::text).filter(|text| !text.is_empty());
    let namespace = match kind {
        "Namespace" | "Node" => "",
        _ => namespace.unwrap_or("default"),
    };
    Some(ObjectKey { kind: kind.into(), namespace: namespace.into(), name: name.into() })
}
