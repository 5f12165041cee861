//! Whether a pod is injected, and with what.

use serde_json::{Map, Value, json};

use crate::containers::{self, INIT, PROXY, VOLUMES, declared, move_probes};
use crate::env;
use crate::exclude::Exclusions;
use crate::labels;
use crate::limit::{CONTAINERS_MAX, PROBES_BYTES_MAX};
use crate::patch::{Patch, step};
use crate::path::InjectPath;
use crate::probes::Probes;
use crate::settings::InjectSettings;

/// What is done with a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Injected {
        patch: Value,
        warnings: Vec<String>,
    },
    /// It is created as it is.
    Skipped {
        reason: String,
    },
    /// It is not created.
    Refused {
        reason: String,
    },
}

const STATUS: &str = "sidecar.istio.io/status";
const INJECT: &str = "sidecar.istio.io/inject";
/// Of Istio's, that mean something to a pod and nothing to us.
const NOT_SERVED: [&str; 3] = [
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "traffic.sidecar.istio.io/includeOutboundPorts",
];
/// Nothing there may depend on a mesh, least of all the mesh.
const SYSTEM_NAMESPACES: [&str; 4] =
    ["kube-system", "kube-public", "kube-node-lease", "diolkos-system"];

/// Of a pod as an API server sends it when it is created in `namespace`.
pub fn decide(
    pod: &Map<String, Value>,
    namespace: &str,
    path: &InjectPath,
    settings: &InjectSettings,
) -> Verdict {
    let none = Map::new();
    let (Some(metadata), Some(spec)) = (object(pod, "metadata"), object(pod, "spec")) else {
        return Verdict::Refused { reason: "the pod has no metadata or no spec".into() };
    };
    let annotations = object(metadata, "annotations").unwrap_or(&none);
    if let Some(reason) = skip(metadata, annotations, spec, namespace) {
        return Verdict::Skipped { reason };
    }
    match Injection::of(metadata, annotations, spec) {
        Err(reason) => Verdict::Refused { reason },
        Ok(injection) => injection.patch(path, settings),
    }
}

fn skip(
    metadata: &Map<String, Value>,
    annotations: &Map<String, Value>,
    spec: &Map<String, Value>,
    namespace: &str,
) -> Option<String> {
    let labels = object(metadata, "labels");
    let wish = labels.and_then(|labels| labels.get(INJECT)).or_else(|| annotations.get(INJECT));
    if wish.and_then(Value::as_str) == Some("false") {
        return Some(format!("it says {INJECT}: \"false\""));
    }
    if SYSTEM_NAMESPACES.contains(&namespace) {
        return Some(format!("namespace {namespace} is never injected"));
    }
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        return Some("it uses its host's network, whose traffic is not the pod's alone".into());
    }
    if spec.get("os").and_then(|os| os.get("name")).and_then(Value::as_str) == Some("windows") {
        return Some("it runs on Windows, where nothing redirects its traffic".into());
    }
    let named = |name: &str| all(spec).any(|container| name_of(container) == name);
    if annotations.contains_key(STATUS) || named(PROXY) || named(INIT) {
        return Some("it was injected before".into());
    }
    named("istio-proxy").then(|| "it has a sidecar of Istio's".into())
}

/// A pod that is to be injected.
struct Injection<'p> {
    metadata: &'p Map<String, Value>,
    annotations: &'p Map<String, Value>,
    spec: &'p Map<String, Value>,
    exclusions: Exclusions,
}

impl<'p> Injection<'p> {
    fn of(
        metadata: &'p Map<String, Value>,
        annotations: &'p Map<String, Value>,
        spec: &'p Map<String, Value>,
    ) -> Result<Self, String> {
        let exclusions = Exclusions::of(annotations).map_err(|fault| fault.to_string())?;
        let count = all(spec).count();
        if count > CONTAINERS_MAX {
            return Err(format!(
                "it has {count} containers, at most {CONTAINERS_MAX} are injected"
            ));
        }
        for container in all(spec) {
            check_ports(container)?;
        }
        let volumes = list(spec, "volumes").iter().map(name_of);
        if let Some(taken) = volumes.into_iter().find(|name| VOLUMES.contains(name)) {
            return Err(format!("its volume {taken} has a name that the sidecar needs; rename it"));
        }
        Ok(Self { metadata, annotations, spec, exclusions })
    }

    fn patch(&self, path: &InjectPath, settings: &InjectSettings) -> Verdict {
        let cluster = path.cluster.as_deref().unwrap_or(&settings.cluster);
        let own_network = object(self.metadata, "labels")
            .and_then(|labels| labels.get(labels::NETWORK))
            .and_then(Value::as_str);
        let network = own_network.or(path.network.as_deref()).or(settings.network.as_deref());

        let mut patch = Patch::default();
        let (mut probes, mut warnings) = (Probes::default(), self.warnings());
        for kind in ["initContainers", "containers"] {
            let containers = list(self.spec, kind);
            move_probes(&mut patch, kind, containers, &mut probes, &mut warnings);
        }
        if serde_json::to_string(&probes).is_ok_and(|text| text.len() > PROBES_BYTES_MAX) {
            let reason =
                format!("its probes take more than {PROBES_BYTES_MAX} bytes; send shorter headers");
            return Verdict::Refused { reason };
        }
        labels::add(&mut patch, self.metadata, network);
        self.annotate(&mut patch);
        self.volumes(&mut patch, settings);
        let init = containers::init(settings, &self.exclusions);
        let proxy = containers::proxy(settings, cluster, network, &probes);
        match self.spec.get("initContainers") {
            Some(Value::Array(_)) => {
                patch.add("/spec/initContainers/0", proxy);
                patch.add("/spec/initContainers/0", init);
            }
            _ => patch.add("/spec/initContainers", json!([init, proxy])),
        }
        Verdict::Injected { patch: patch.into_value(), warnings }
    }

    fn annotate(&self, patch: &mut Patch) {
        if object(self.metadata, "annotations").is_none() {
            patch.add("/metadata/annotations", json!({}));
        }
        let status = json!({
            "containers": [], "initContainers": [INIT, PROXY], "volumes": VOLUMES,
        });
        patch.add(&format!("/metadata/annotations/{}", step(STATUS)), status.to_string().into());
    }

    fn volumes(&self, patch: &mut Patch, settings: &InjectSettings) {
        if !matches!(self.spec.get("volumes"), Some(Value::Array(_))) {
            patch.add("/spec/volumes", json!([]));
        }
        for volume in containers::volumes(settings) {
            patch.add("/spec/volumes/-", volume);
        }
    }

    /// What its owner should know, though it is done.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for key in NOT_SERVED.iter().filter(|key| self.annotations.contains_key(**key)) {
            warnings.push(format!(
                "annotation {key} is not served: all ports and addresses are in \
                                   the mesh but those excluded"
            ));
        }
        let as_proxy = |of: Option<&Value>| {
            of.and_then(|of| of.get("runAsUser")).and_then(Value::as_u64)
                == Some(u64::from(env::PROXY_UID))
        };
        let pod = as_proxy(self.spec.get("securityContext"));
        for container in all(self.spec) {
            let own = container.get("securityContext");
            let says = own.is_some_and(|own| own.get("runAsUser").is_some());
            if as_proxy(own) || (pod && !says) {
                warnings.push(format!(
                    "container {} runs as user {}, whose traffic never enters the mesh",
                    name_of(container),
                    env::PROXY_UID
                ));
            }
        }
        warnings
    }
}

fn check_ports(container: &Value) -> Result<(), String> {
    let ours = [
        env::OUTBOUND_PORT,
        env::INBOUND_PORT,
        env::ENVOY_ADMIN_PORT,
        env::PROBE_PORT,
        env::HEALTH_PORT,
    ];
    for port in declared(container) {
        let port = port.get("containerPort").and_then(Value::as_u64).unwrap_or_default();
        if ours.iter().any(|our| u64::from(*our) == port) {
            let name = name_of(container);
            return Err(format!(
                "container {name} has port {port}, which the sidecar needs; use another, or opt \
                 out with {INJECT}: \"false\""
            ));
        }
    }
    Ok(())
}

fn object<'v>(of: &'v Map<String, Value>, key: &str) -> Option<&'v Map<String, Value>> {
    of.get(key).and_then(Value::as_object)
}

fn list<'v>(of: &'v Map<String, Value>, key: &str) -> &'v [Value] {
    of.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn all(spec: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    list(spec, "initContainers").iter().chain(list(spec, "containers"))
}

fn name_of(container: &Value) -> &str {
    container.get("name").and_then(Value::as_str).unwrap_or_default()
}
