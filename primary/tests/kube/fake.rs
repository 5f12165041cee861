//! An API server that keeps objects, speaks list and watch, and misbehaves as it is told.

mod answer;
mod serve;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use diolkos_primary::source::kube::{Remote, by_kubeconfig};
use diolkos_topology::ClusterId;
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest, Validity};
use serde_json::{Value, json};
use tokio::sync::watch;

/// `api/v1/pods`, `apis/discovery.k8s.io/v1/endpointslices`
pub(crate) type Collection = &'static str;

pub(crate) const SERVICES: Collection = "api/v1/services";
pub(crate) const SLICES: Collection = "apis/discovery.k8s.io/v1/endpointslices";
pub(crate) const PODS: Collection = "api/v1/pods";
pub(crate) const NODES: Collection = "api/v1/nodes";
pub(crate) const NAMESPACES: Collection = "api/v1/namespaces";
pub(crate) const SECRETS: Collection = "api/v1/secrets";
pub(crate) const EXPORTS: Collection = "apis/multicluster.x-k8s.io/v1alpha1/serviceexports";
pub(crate) const GATEWAYS: Collection = "apis/gateway.networking.k8s.io/v1/gateways";

pub(crate) const CONFIG_MAPS: Collection = "api/v1/configmaps";
pub(crate) const LEASES: Collection = "apis/coordination.k8s.io/v1/leases";
pub(crate) const WEBHOOKS: Collection =
    "apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// What the server does with a request instead of answering it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Kind,
    /// Takes the request and never says anything.
    Hang,
    Status(u16, &'static str),
    /// Says in its refusal what it was sent.
    Echo,
    Html,
    Redirect(&'static str),
    Packed,
    /// One byte at a time, this far apart.
    Drip(Duration),
    Bytes(&'static [u8]),
}

/// A running server; its port stays its own until it is dropped.
#[derive(Clone)]
pub(crate) struct FakeApi {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) address: SocketAddr,
    pub(crate) ca: String,
    changed: watch::Sender<u64>,
    up: watch::Sender<bool>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) version: u64,
    objects: BTreeMap<(Collection, String, String), Value>,
    /// (version, collection, type, object)
    log: Vec<(u64, Collection, &'static str, Value)>,
    /// Watches from before this are told 410.
    compacted: u64,
    pub(crate) tokens: BTreeSet<String>,
    /// Answered 403.
    pub(crate) forbidden: BTreeSet<Collection>,
    pub(crate) installed: BTreeSet<Collection>,
    /// By a part of the path; the first that fits counts.
    pub(crate) moods: Vec<(&'static str, Mood)>,
    pub(crate) requests: Vec<String>,
    pub(crate) connections: usize,
    pub(crate) watches: BTreeMap<Collection, usize>,
    /// Watches say nothing, whatever happens.
    pub(crate) mute: bool,
    pub(crate) page: usize,
    pub(crate) review: Option<Value>,
    /// Watches of these end, once.
    ending: BTreeMap<Collection, u64>,
}

pub(crate) const TOKEN: &str = "canary-5f1e0c77-token";

impl FakeApi {
    pub(crate) async fn start(uid: &str) -> Self {
        let (acceptor, ca) = serve::tls();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let installed =
            [SERVICES, SLICES, PODS, NODES, NAMESPACES, SECRETS, CONFIG_MAPS, LEASES, WEBHOOKS];
        let installed = installed.into();
        let state = State {
            version: 1_000,
            tokens: [TOKEN.to_owned()].into(),
            installed,
            page: 500,
            ..State::default()
        };
        let api = Self {
            state: Arc::new(Mutex::new(state)),
            address,
            ca,
            changed: watch::channel(0).0,
            up: watch::channel(true).0,
        };
        api.put(NAMESPACES, json!({"metadata": {"name": "kube-system", "uid": uid}}));
        tokio::spawn(serve::run(api.clone(), listener, acceptor));
        api
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Creates or replaces; an object of a cluster has no namespace.
    pub(crate) fn put(&self, collection: Collection, object: Value) {
        self.lock().put(collection, object);
        self.ring();
    }

    pub(crate) fn delete(&self, collection: Collection, namespace: &str, name: &str) {
        let mut state = self.lock();
        let key = (collection, namespace.to_owned(), name.to_owned());
        let Some(mut object) = state.objects.remove(&key) else { panic!("no {key:?}") };
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let version = state.version;
        state.log.push((version, collection, "DELETED", object));
        drop(state);
        self.ring();
    }

    /// What a change does to the objects without anyone being told.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.ring();
    }

    pub(crate) fn set_mood(&self, path: &'static str, mood: Mood) {
        self.change(|state| {
            state.moods.retain(|(of, _)| *of != path);
            state.moods.insert(0, (path, mood));
        });
    }

    pub(crate) fn cheer_up(&self) {
        self.change(|state| state.moods.clear());
    }

    /// SIGKILL, and back: connections end, and none is taken.
    pub(crate) fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }

    /// Every watch is told 410 and whoever comes back with an old version, too.
    pub(crate) fn compact(&self) {
        self.change(|state| {
            state.version += 1;
            state.compacted = state.version;
            state.log.clear();
        });
    }

    pub(crate) fn object(&self, of: Collection, namespace: &str, name: &str) -> Option<Value> {
        self.lock().objects.get(&(of, namespace.to_owned(), name.to_owned())).cloned()
    }

    fn ring(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// As the own cluster's.
    pub(crate) fn remote(&self, cluster: &str) -> Remote {
        let path = std::env::temp_dir().join(format!("diolkos-test-{}", self.address.port()));
        std::fs::write(&path, self.kubeconfig(cluster, TOKEN)).unwrap();
        let remote = by_kubeconfig(&ClusterId::new(cluster).unwrap(), &path).unwrap();
        std::fs::remove_file(&path).unwrap();
        remote
    }

    /// As `istioctl create-remote-secret` writes it.
    pub(crate) fn kubeconfig(&self, cluster: &str, token: &str) -> String {
        self.kubeconfig_to(&self.address.to_string(), &self.ca, cluster, token)
    }

    pub(crate) fn kubeconfig_to(
        &self,
        server: &str,
        ca: &str,
        cluster: &str,
        token: &str,
    ) -> String {
        format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {ca}\n    \
             server: https://{server}\n  name: {cluster}\ncontexts:\n- context:\n    cluster: \
             {cluster}\n    user: {cluster}\n  name: {cluster}\ncurrent-context: {cluster}\n\
             kind: Config\npreferences: {{}}\nusers:\n- name: {cluster}\n  user:\n    token: \
             {token}\n",
            ca = base64(ca),
        )
    }

    pub(crate) fn count(&self, what: impl Fn(&str) -> bool) -> usize {
        self.lock().requests.iter().filter(|request| what(request)).count()
    }
}

impl State {
    pub(crate) fn put(&mut self, collection: Collection, mut object: Value) {
        self.version += 1;
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or("").to_owned();
        let key = (collection, text("namespace"), text("name"));
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let known = self.objects.insert(key, object.clone()).is_some();
        let kind = if known { "MODIFIED" } else { "ADDED" };
        self.log.push((self.version, collection, kind, object));
    }

    /// Without a word to watches: what an etcd that lost something looks like.
    pub(crate) fn lose(&mut self, collection: Collection) {
        self.objects.retain(|(of, _, _), _| *of != collection);
    }

    /// Their time is over, as every watch's is.
    pub(crate) fn end_watches(&mut self, collection: Collection) {
        *self.ending.entry(collection).or_default() += 1;
    }

    /// As it was then, with the versions of then.
    pub(crate) fn snapshot(&self) -> Self {
        Self {
            version: self.version,
            objects: self.objects.clone(),
            log: Vec::new(),
            compacted: 0,
            ..Self::default()
        }
    }

    pub(crate) fn restore(&mut self, older: Self) {
        self.version = older.version;
        self.objects = older.objects;
        self.log.clear();
    }
}

fn validity() -> Validity {
    let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
    Validity { not_before: now - day / 24, not_after: now + day }
}

fn server_leaf() -> (String, String, String) {
    let root = Authority::new_root("api", validity()).unwrap();
    let domain = TrustDomain::new("api.test").unwrap();
    let leaf = LeafRequest {
        id: SpiffeId::workload(&domain, "kube-system", "api").unwrap(),
        dns: vec!["api.test".into()],
        ips: vec!["127.0.0.1".parse().unwrap()],
        validity: validity(),
    };
    let issued = root.issue(&leaf).unwrap();
    (issued.chain_pem, issued.key_pem, root.root_pem())
}

pub(crate) fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            match digit <= chunk.len() {
                true => out.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63])),
                false => out.push('='),
            }
        }
    }
    out
}
