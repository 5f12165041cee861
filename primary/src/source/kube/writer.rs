//! What a primary writes into a cluster: the roots that workloads trust, and the same roots where
//! the API server looks when it calls the injector.
//!
//! It writes only what differs, only as the holder of the lease, and into a remote cluster only
//! where an annotation of its system namespace says that this primary may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::Request;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::client::ApiClient;
use super::error::ApiError;
use super::feed::{Bell, Feed, Word};
use super::kinds::REVISION_LABEL;
use super::limit;
use super::plan::{Name, Need, Place, Plan, Read};
use super::scope::Scope;

pub(super) const ROOTS_NAME: &str = "istio-ca-root-cert";
const ROOTS_KEY: &str = "root-cert.pem";
const WRITERS_ANNOTATION: &str = "topology.istio.io/controlPlaneClusters";
/// Nothing runs there that would read it.
const LEFT_OUT: [&str; 3] = ["kube-node-lease", "kube-public", "local-path-storage"];

/// Whether and what to write.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    /// PEM; empty while there is none.
    pub(super) roots: watch::Receiver<String>,
    pub(super) leads: watch::Receiver<bool>,
    /// The webhook configuration that is given the roots.
    pub(super) injector: Arc<str>,
    pub(super) scope: Scope,
}

/// Whose cluster it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Own,
    /// Of another, which must name this one.
    Remote {
        own: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Namespaces,
    Roots,
    Webhooks,
}

/// What is read of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Namespace {
        ends: bool,
        writers: String,
        revision: String,
    },
    Roots(String),
    /// By name: the bundle, as it stands.
    Webhooks(Vec<(String, String)>),
}

struct Writer {
    client: ApiClient,
    whose: Whose,
    orders: Orders,
    /// Those of the mesh: whether they end, and who may write.
    namespaces: BTreeMap<String, (bool, String)>,
    roots: BTreeMap<String, String>,
    webhooks: Vec<(String, String)>,
    listed: BTreeSet<&'static str>,
    /// The last fault, said once.
    trouble: Option<String>,
}

/// Until it is dropped.
pub(super) async fn run(client: ApiClient, whose: Whose, orders: Orders) {
    let (words, mut heard) = mpsc::channel(limit::WORDS_MAX);
    let mut feeds = JoinSet::new();
    for kind in Kind::ALL {
        let feed = Feed {
            client: client.clone(),
            plan: plan(kind, &orders.injector),
            tag: kind,
            words: words.clone(),
            sight: Arc::default(),
            bell: Arc::new(Bell::default()),
        };
        feeds.spawn(feed.run());
    }
    let mut writer = Writer {
        whose,
        orders,
        namespaces: BTreeMap::new(),
        roots: BTreeMap::new(),
        webhooks: Vec::new(),
        listed: BTreeSet::new(),
        trouble: None,
        client,
    };
    let mut again = tokio::time::interval(writer.client.pace().look);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some((kind, word)) = heard.recv() => {
                writer.hear(kind, word);
                while let Ok((kind, word)) = heard.try_recv() {
                    writer.hear(kind, word);
                }
            }
            changed = writer.orders.roots.changed() => if changed.is_err() { return },
            changed = writer.orders.leads.changed() => if changed.is_err() { return },
            _ = again.tick() => {}
        }
        writer.write().await;
    }
}

pub(super) fn plan(kind: Kind, injector: &str) -> Plan<Seen> {
    let (need, place, name, read): (_, _, _, fn(&RawValue) -> Read<Seen>) = match kind {
        Kind::Namespaces => (Need::Always, Place::new("/api/v1", "namespaces"), None, namespace),
        Kind::Roots => {
            let place = Place::new("/api/v1", "configmaps");
            (Need::IfAllowed, place, Some(ROOTS_NAME), roots)
        }
        Kind::Webhooks => {
            let group = "/apis/admissionregistration.k8s.io/v1";
            let place = Place::new(group, "mutatingwebhookconfigurations");
            (Need::IfAllowed, place, Some(injector), webhooks)
        }
    };
    let fields = name.map(|name| format!("metadata.name={name}").into());
    let objects_max = limit::OBJECTS_PER_KIND_MAX;
    Plan { need, places: vec![place], labels: None, fields, read, objects_max }
}

fn namespace(raw: &RawValue) -> Read<Seen> {
    let object: Namespace = serde_json::from_str(raw.get()).unwrap_or_default();
    let meta = object.metadata;
    let annotations = meta.annotations.unwrap_or_default();
    let labels = meta.labels.unwrap_or_default();
    let item = Seen::Namespace {
        ends: meta.deletion_timestamp.is_some(),
        writers: annotations.get(WRITERS_ANNOTATION).cloned().unwrap_or_default(),
        revision: labels.get(REVISION_LABEL).cloned().unwrap_or_default(),
    };
    let id = Name { namespace: String::new(), name: meta.name.unwrap_or_default() };
    Read { id, version: meta.resource_version, item: Some(item) }
}

fn roots(raw: &RawValue) -> Read<Seen> {
    let object: ConfigMap = serde_json::from_str(raw.get()).unwrap_or_default();
    let meta = object.metadata;
    let value = object.data.and_then(|mut data| data.remove(ROOTS_KEY)).unwrap_or_default();
    let id =
        Name { namespace: meta.namespace.unwrap_or_default(), name: meta.name.unwrap_or_default() };
    Read { id, version: meta.resource_version, item: Some(Seen::Roots(value)) }
}

fn webhooks(raw: &RawValue) -> Read<Seen> {
    let object: MutatingWebhookConfiguration = serde_json::from_str(raw.get()).unwrap_or_default();
    let meta = object.metadata;
    let hooks = object.webhooks.unwrap_or_default().into_iter().map(|hook| {
        let bundle = hook.client_config.ca_bundle.map(|bundle| bundle.0).unwrap_or_default();
        (hook.name, String::from_utf8_lossy(&bundle).into_owned())
    });
    let item = Some(Seen::Webhooks(hooks.collect()));
    let id = Name { namespace: String::new(), name: meta.name.unwrap_or_default() };
    Read { id, version: meta.resource_version, item }
}

impl Writer {
    fn hear(&mut self, kind: Kind, word: Word<Seen>) {
        match word {
            Word::Listed(_, all) => {
                match kind {
                    Kind::Namespaces => self.namespaces.clear(),
                    Kind::Roots => self.roots.clear(),
                    Kind::Webhooks => self.webhooks.clear(),
                }
                self.listed.insert(kind.name());
                all.into_iter().for_each(|(name, seen)| self.see(name, seen));
            }
            Word::Put(name, Some(seen)) => self.see(name, seen),
            Word::Put(name, None) | Word::Removed(name) => match kind {
                Kind::Namespaces => drop(self.namespaces.remove(&name.name)),
                Kind::Roots => drop(self.roots.remove(&name.namespace)),
                Kind::Webhooks if *name.name == *self.orders.injector => self.webhooks.clear(),
                Kind::Webhooks => {}
            },
            Word::Missing => {}
        }
    }

    fn see(&mut self, name: Name, seen: Seen) {
        match seen {
            Seen::Namespace { ends, writers, revision } => {
                if self.orders.scope.covers(&name.name, &revision) {
                    self.namespaces.insert(name.name, (ends, writers));
                } else {
                    self.namespaces.remove(&name.name);
                }
            }
            Seen::Roots(value) if name.name == ROOTS_NAME => {
                self.roots.insert(name.namespace, value);
            }
            Seen::Webhooks(hooks) if *name.name == *self.orders.injector => self.webhooks = hooks,
            Seen::Roots(_) | Seen::Webhooks(_) => {}
        }
    }

    /// Brings what is there to what should be there; what fails is tried again.
    async fn write(&mut self) {
        let wanted = self.orders.roots.borrow().clone();
        let leads = *self.orders.leads.borrow();
        if wanted.is_empty() || !leads || !self.may() {
            return;
        }
        let mut fault = None;
        if self.listed.contains(Kind::Roots.name()) {
            for namespace in self.differing(&wanted) {
                match self.write_roots(&namespace, &wanted).await {
                    Ok(()) => drop(self.roots.insert(namespace, wanted.clone())),
                    Err(ApiError::NotFound(_)) => {}
                    Err(error) => fault = Some(format!("namespace {namespace}: it {error}")),
                }
            }
        }
        if self.webhooks.iter().any(|(_, bundle)| *bundle != wanted) {
            match self.write_webhooks(&wanted).await {
                Ok(()) => self.webhooks.iter_mut().for_each(|hook| hook.1.clone_from(&wanted)),
                Err(error) => {
                    let injector = &self.orders.injector;
                    fault = Some(format!("webhook {injector}: it {error}"));
                }
            }
        }
        if fault != self.trouble {
            if let Some(fault) = &fault {
                tracing::warn!(whose = ?self.whose, "roots cannot be written: {fault}");
            }
            self.trouble = fault;
        }
    }

    /// A remote says in its system namespace whose word counts there.
    fn may(&self) -> bool {
        let Whose::Remote { own } = &self.whose else { return true };
        let system = self.namespaces.iter().filter(|(name, _)| self.orders.scope.is_system(name));
        let mut writers = system.flat_map(|(_, (_, writers))| writers.split(',').map(str::trim));
        writers.any(|one| one == "*" || one == own)
    }

    fn differing(&self, wanted: &str) -> Vec<String> {
        let open = self.namespaces.iter().filter(|(_, (ends, _))| !ends).map(|(name, _)| name);
        open.filter(|name| !LEFT_OUT.contains(&name.as_str()))
            .filter(|name| self.roots.get(*name).map(String::as_str) != Some(wanted))
            .cloned()
            .collect()
    }

    async fn write_roots(&self, namespace: &str, wanted: &str) -> Result<(), ApiError> {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": ROOTS_NAME, "namespace": namespace,
                "labels": {"istio.io/config": "true"}},
            "data": {ROOTS_KEY: wanted},
        });
        if !self.roots.contains_key(namespace) {
            match self.send("POST", &path, "application/json", &object).await {
                Err(ApiError::Conflict(_)) => {}
                done => return done,
            }
        }
        let patch = json!({"data": {ROOTS_KEY: wanted}});
        let path = format!("{path}/{ROOTS_NAME}");
        self.send("PATCH", &path, "application/merge-patch+json", &patch).await
    }

    async fn write_webhooks(&self, wanted: &str) -> Result<(), ApiError> {
        let bundle = ByteString(wanted.as_bytes().to_vec());
        let hooks: Vec<_> = self
            .webhooks
            .iter()
            .map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": bundle}}))
            .collect();
        let path = format!(
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{}",
            self.orders.injector
        );
        let patch = json!({"webhooks": hooks});
        self.send("PATCH", &path, "application/strategic-merge-patch+json", &patch).await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &serde_json::Value,
    ) -> Result<(), ApiError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?fieldManager=diolkos"))
            .header("content-type", kind)
            .body(body.to_string().into_bytes())
            .map_err(|error| ApiError::Malformed(error.to_string()))?;
        self.client.bytes(request, limit::ANSWER_BYTES_MAX).await.map(|_| ())
    }
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Namespaces, Self::Roots, Self::Webhooks];

    fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Roots => "roots",
            Self::Webhooks => "webhooks",
        }
    }
}
