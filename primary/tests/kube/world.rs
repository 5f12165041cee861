//! API servers, a source over them, and the core's own federation listening to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use diolkos_facts::remote::AllowedRanges;
use diolkos_primary::source::kube::{KubeSettings, NamesPace, Pace, Reviewer, WriteSettings};
use diolkos_primary::source::{KubeSource, Listed, PodsChange, RejectionsChange, SourceEvent};
use diolkos_topology::{
    Audience, AudienceId, ClientKind, ClusterId, ClusterState, Effects, Event, Federation,
    IpFamilies, Locality, NetworkId, ServiceKey, Tick, View,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::fake::{FakeApi, NODES, PODS, SECRETS, SERVICES, SLICES, TOKEN, base64};

pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Everything is quick, and what must not happen by itself is far away.
pub(crate) fn pace() -> Pace {
    let ms = Duration::from_millis;
    Pace {
        connect_max: ms(1_000),
        read_max: ms(1_000),
        answer_max: ms(3_000),
        watch: Duration::from_secs(60),
        backoff: (ms(20), ms(100)),
        healthy: Duration::from_secs(60),
        probe: ms(50),
        stale: ms(400),
        look: ms(50),
        audit: Duration::from_secs(3_600),
        tell: ms(20),
        hold: ms(500),
        files: ms(20),
        sync: ms(500),
    }
}

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) own: FakeApi,
    pub(crate) pace: Pace,
    pub(crate) store: Option<PathBuf>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) write: Option<WriteSettings>,
    pub(crate) resolver: Option<hickory_resolver::TokioResolver>,
    pub(crate) names: NamesPace,
}

/// A source, and what someone who listens to it believes.
pub(crate) struct Heard {
    events: mpsc::Receiver<SourceEvent>,
    pub(crate) source: KubeSource,
    federation: Federation,
    began: Instant,
    pub(crate) view: View,
    /// Changes of the view, since they were last looked at.
    pub(crate) changes: usize,
    /// Endpoints and gateways that left the view, in the order in which they left.
    pub(crate) left: Vec<String>,
    pub(crate) gone: Vec<ClusterId>,
    pub(crate) stale: Vec<(ClusterId, bool)>,
    pub(crate) activated: Vec<(String, u64)>,
    pub(crate) listed: Option<Listed>,
    pub(crate) mesh: BTreeSet<String>,
    pub(crate) pods: BTreeMap<ClusterId, usize>,
    /// By cluster (or `mesh`) and object.
    pub(crate) rejected: BTreeMap<(String, String), Vec<String>>,
    pub(crate) notices: Vec<String>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
            own: FakeApi::start("uid-home").await,
            pace: pace(),
            store: None,
            directory: None,
            write: None,
            resolver: None,
            names: NamesPace {
                ttl_min: Duration::from_millis(20),
                ttl_max: Duration::from_millis(200),
            },
        };
        world.mesh("");
        world
    }

    pub(crate) fn mesh(&self, more: &str) {
        let text = format!(
            "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: test}}\nspec:\n  \
             trustDomain: mesh.test\n  export: all\n{more}"
        );
        let path = self.dir.path().join("mesh.yaml");
        std::fs::write(path.with_extension("draft"), text).unwrap();
        std::fs::rename(path.with_extension("draft"), path).unwrap();
    }

    pub(crate) fn settings(&self) -> KubeSettings {
        KubeSettings {
            own: self.own.remote("home"),
            namespace: "diolkos-system".into(),
            revision: None,
            directory: self.directory.clone(),
            allowed: AllowedRanges(vec!["127.0.0.0/8".parse().unwrap()]),
            pace: self.pace,
            names: self.names,
            store: self.store.clone(),
            write: self.write.clone(),
            accept_removal: false,
            resolver: self.resolver.clone(),
            reviewer: Reviewer::default(),
        }
    }

    pub(crate) fn start(&self) -> Heard {
        self.start_with(self.settings())
    }

    pub(crate) fn start_with(&self, settings: KubeSettings) -> Heard {
        let (out, events) = mpsc::channel(64);
        let source = KubeSource::spawn(settings, &self.dir.path().join("mesh.yaml"), out).unwrap();
        Heard::new(source, events)
    }

    /// A remote cluster with its server, registered under its name.
    pub(crate) async fn remote(&self, name: &str) -> FakeApi {
        let api = FakeApi::start(&format!("uid-{name}")).await;
        self.register(name, &api, TOKEN);
        api
    }

    pub(crate) fn register(&self, name: &str, api: &FakeApi, token: &str) {
        self.secret(&format!("remote-{name}"), &[(name, &api.kubeconfig(name, token))]);
    }

    pub(crate) fn secret(&self, name: &str, clusters: &[(&str, &str)]) {
        self.own.put(SECRETS, secret("diolkos-system", name, clusters));
    }

    pub(crate) fn unregister(&self, name: &str) {
        self.own.delete(SECRETS, "diolkos-system", &format!("remote-{name}"));
    }
}

pub(crate) fn secret(namespace: &str, name: &str, clusters: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> =
        clusters.iter().map(|(name, text)| ((*name).to_owned(), json!(base64(text)))).collect();
    json!({"metadata": {"namespace": namespace, "name": name,
        "labels": {"istio/multiCluster": "true"}}, "data": data})
}

/// A service `shop/<name>` with these endpoints, each with its pod.
pub(crate) fn fill(api: &FakeApi, name: &str, network: u8, endpoints: &[u8]) {
    api.put(SERVICES, json!({"metadata": {"namespace": "shop", "name": name},
        "spec": {"clusterIP": format!("10.96.{network}.1"), "ports": [{"name": "http", "port": 80}]}}));
    for last in endpoints {
        pod(api, name, *last);
    }
    slice(api, name, network, endpoints);
}

pub(crate) fn pod(api: &FakeApi, name: &str, last: u8) {
    api.put(
        PODS,
        json!({"metadata": {"namespace": "shop", "name": format!("{name}-{last}"),
        "labels": {"security.istio.io/tlsMode": "istio"}},
        "spec": {"containers": [], "serviceAccountName": name, "nodeName": "n1"}}),
    );
}

pub(crate) fn slice(api: &FakeApi, name: &str, network: u8, endpoints: &[u8]) {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|last| {
            json!({"addresses": [format!("10.{network}.0.{last}")], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "namespace": "shop", "name": format!("{name}-{last}")}})
        })
        .collect();
    api.put(
        SLICES,
        json!({"metadata": {"namespace": "shop", "name": format!("{name}-1"),
        "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints}),
    );
}

pub(crate) fn node(api: &FakeApi, name: &str, zone: &str) {
    api.put(
        NODES,
        json!({"metadata": {"name": name,
        "labels": {"topology.kubernetes.io/zone": zone}}}),
    );
}

impl Heard {
    fn new(source: KubeSource, events: mpsc::Receiver<SourceEvent>) -> Self {
        let mut federation = Federation::new();
        let audience = Audience {
            kind: ClientKind::Sidecar,
            cluster: ClusterId::new("home").unwrap(),
            network: NetworkId::unnamed(),
            locality: Locality::unknown(),
            families: IpFamilies::Both,
        };
        let up = Event::AudienceUp { id: AudienceId(1), audience };
        federation.apply(Tick(0), up, &mut Effects::default());
        Self {
            events,
            source,
            federation,
            began: Instant::now(),
            view: View::default(),
            changes: 0,
            left: Vec::new(),
            gone: Vec::new(),
            stale: Vec::new(),
            activated: Vec::new(),
            listed: None,
            mesh: BTreeSet::new(),
            pods: BTreeMap::new(),
            rejected: BTreeMap::new(),
            notices: Vec::new(),
        }
    }

    /// Addresses of a service's endpoints and gateways, by their last numbers.
    pub(crate) fn endpoints(&self, service: &str) -> Vec<String> {
        let key = ServiceKey::new("shop", service).unwrap();
        let ports = self.view.services.get(&key).into_iter().flat_map(|entry| entry.ports.values());
        let mut all: Vec<String> = ports
            .flat_map(|port| port.endpoints.keys().chain(port.gateways.keys()))
            .map(|address| address.to_string())
            .collect();
        all.sort();
        all
    }

    pub(crate) fn count(&self, service: &str) -> usize {
        self.endpoints(service).len()
    }

    pub(crate) fn state(&self, cluster: &str) -> Option<ClusterState> {
        let clusters = self.federation.clusters();
        clusters.into_iter().find(|one| one.cluster.as_str() == cluster).map(|one| one.state)
    }

    pub(crate) fn gateways(&self, cluster: &str) -> usize {
        let clusters = self.federation.clusters();
        clusters
            .into_iter()
            .find(|one| one.cluster.as_str() == cluster)
            .map_or(0, |one| one.gateways)
    }

    /// Listens until it is so.
    pub(crate) async fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !so(self) {
            let late = tokio::time::Instant::now() >= deadline;
            assert!(!late, "in vain: {what}\n{}", self.shown());
            // What is shown changes without an event as well.
            let look_again = Duration::from_millis(50);
            let heard = tokio::time::timeout(look_again, self.events.recv()).await;
            if let Ok(event) = heard {
                self.hear(event.expect("the source ended"));
            }
        }
    }

    /// Listens until something outside is so.
    pub(crate) async fn while_not(&mut self, what: &str, so: impl Fn() -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !so() {
            assert!(tokio::time::Instant::now() < deadline, "in vain: {what}\n{}", self.shown());
            let wait = tokio::time::sleep(Duration::from_millis(5));
            tokio::select! {
                Some(event) = self.events.recv() => self.hear(event),
                () = wait => {}
            }
        }
    }

    /// What an operator is shown of a cluster.
    pub(crate) fn shown_of(&self, cluster: &str) -> Value {
        let shown = self.source.shown();
        shown[cluster].clone()
    }

    pub(crate) fn shown(&self) -> String {
        format!(
            "{:#}\nstates {:?}\nrejected {:?}\nnotices {:?}",
            self.source.shown(),
            self.federation.clusters(),
            self.rejected,
            self.notices
        )
    }

    pub(crate) fn told(&self, of: &str) -> impl Iterator<Item = &String> {
        let of = of.to_owned();
        let about = self.rejected.iter().filter(move |((other, _), _)| *other == of);
        about.flat_map(|(_, lines)| lines)
    }

    pub(crate) fn forget(&mut self) {
        self.changes = 0;
        self.left.clear();
        self.stale.clear();
    }

    fn hear(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Events(events) => events.into_iter().for_each(|event| self.apply(event)),
            SourceEvent::Mesh { file, clusters } => {
                let names = file.clusters.iter().map(|entry| entry.settings.cluster.to_string());
                self.mesh = names.collect();
                self.listed = Some(clusters);
            }
            SourceEvent::Pods { cluster, change: PodsChange { all, pods } } => {
                let known = self.pods.entry(cluster).or_default();
                if all {
                    *known = 0;
                }
                *known += pods.iter().filter(|(_, entry)| entry.is_some()).count();
            }
            SourceEvent::Rejections { cluster, change } => {
                let of = cluster.map_or_else(|| "mesh".to_owned(), |cluster| cluster.to_string());
                match change {
                    RejectionsChange::All(list) => {
                        self.rejected.retain(|(other, _), _| *other != of);
                        for one in list {
                            let key = (of.clone(), one.object.clone().unwrap_or_default());
                            self.rejected.entry(key).or_default().push(one.to_string());
                        }
                    }
                    RejectionsChange::Of(changed) => {
                        for (object, list) in changed {
                            let texts = list.iter().map(ToString::to_string).collect();
                            self.rejected.insert((of.clone(), object), texts);
                        }
                    }
                }
            }
        }
    }

    fn apply(&mut self, event: Event) {
        match &event {
            Event::ClusterGone { cluster } => self.gone.push(cluster.clone()),
            Event::ClusterStale { cluster } => self.stale.push((cluster.clone(), true)),
            Event::ClusterFresh { cluster } => self.stale.push((cluster.clone(), false)),
            Event::Activate { source } => {
                self.activated.push((source.cluster.to_string(), source.generation.0));
            }
            _ => {}
        }
        let before = self.places();
        let now = Tick(u64::try_from(self.began.elapsed().as_millis()).unwrap());
        let mut effects = Effects::default();
        self.federation.apply(now, event, &mut effects);
        self.changes += effects.view.changes.len();
        for change in &effects.view.changes {
            self.view.apply(change);
        }
        self.notices.extend(effects.notices.iter().map(ToString::to_string));
        let after = self.places();
        self.left.extend(before.difference(&after).cloned());
    }

    fn places(&self) -> BTreeSet<String> {
        let mut places = BTreeSet::new();
        for (key, entry) in &self.view.services {
            for port in entry.ports.values() {
                let all = port.endpoints.keys().chain(port.gateways.keys());
                places.extend(all.map(|address| format!("{key} {address}")));
            }
        }
        places
    }
}
