//! A primary and what it needs in its own cluster.

use serde_json::{Value, json};

use crate::injector::{self, Way};
use crate::names;
use crate::parts::{budget, metadata, namespace, port, selector, service_account};
use crate::pod::{self, Pod, container_port, deployment, from_field, mounted};
use crate::settings::Settings;
use crate::{mesh, roles};

const CA_DIR: &str = "/etc/diolkos/ca";
const MESH_DIR: &str = "/etc/diolkos/mesh";
const STORE_DIR: &str = "/var/lib/diolkos";

/// A primary lets its streams go within two seconds.
const ENDS_SECONDS: u64 = 10;

pub(crate) fn objects(settings: &Settings) -> Vec<Value> {
    let mut objects =
        vec![namespace(settings, None), service_account(settings, names::PRIMARY, true)];
    objects.extend(roles::primary(settings));
    objects.extend([
        mesh::config_map(settings),
        service(settings),
        budget(settings, names::PRIMARY),
        deployment(settings, pod(settings)),
        injector::configuration(settings, Way::Service),
    ]);
    objects
}

fn service(settings: &Settings) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(settings, names::PRIMARY),
        "spec": {
            "ipFamilyPolicy": "PreferDualStack",
            "ports": [
                port("tls-xds", names::XDS_PORT, names::XDS_PORT),
                port("https-webhook", names::WEBHOOK_SERVICE_PORT, names::WEBHOOK_PORT),
            ],
            "selector": selector(names::PRIMARY),
        },
    })
}

fn pod(settings: &Settings) -> Pod<'_> {
    let revision = settings.revision.as_deref().unwrap_or("default");
    Pod {
        name: names::PRIMARY,
        role: &settings.primary,
        args: args(settings),
        env: json!([from_field("POD_NAME", "metadata.name")]),
        ports: json!([
            container_port("tls-xds", names::XDS_PORT),
            container_port("https-webhook", names::WEBHOOK_PORT),
            container_port("http-health", names::HEALTH_PORT),
        ]),
        resources: pod::resources("256Mi", "2Gi"),
        volume_mounts: json!([
            mounted("ca", CA_DIR, true),
            mounted("mesh", MESH_DIR, true),
            mounted("store", STORE_DIR, false),
        ]),
        volumes: json!([
            // Read by the group, which is the process's alone; written by nobody.
            {"name": "ca", "secret": {"secretName": names::CA, "defaultMode": 0o440}},
            {"name": "mesh", "configMap": {"name": names::MESH}},
            // Outlives the process, and goes with the pod.
            {"name": "store", "emptyDir": {"sizeLimit": "2Gi"}},
        ]),
        asks: true,
        // By which `istioctl remote-clusters` finds it: it asks for a revision, always.
        more_labels: vec![("app", "istiod".into()), (names::REVISION_LABEL, revision.into())],
        ends_seconds: ENDS_SECONDS,
    }
}

fn args(settings: &Settings) -> Vec<String> {
    let namespace = settings.namespace();
    let flag = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}");
    let everywhere = |port: u16| format!("*:{port}");
    let mut args = vec![
        "primary".into(),
        flag("source", &"kubernetes"),
        flag("cluster", &settings.cluster),
        flag("mesh", &format!("{MESH_DIR}/{}", names::MESH_KEY)),
        flag("system-namespace", &namespace),
        flag("store", &format!("{STORE_DIR}/facts.redb")),
        flag("write-roots", &format!("{CA_DIR}/{}", names::ROOTS_KEY)),
        flag("replica", &"$(POD_NAME)"),
        flag("ca", &CA_DIR),
        flag("trust-domain", &settings.trust_domain),
        flag("namespace", &namespace),
        flag("service-account", &names::PRIMARY),
        flag("listen", &everywhere(names::XDS_PORT)),
        flag("webhook", &everywhere(names::WEBHOOK_PORT)),
        flag("inject-image", &settings.image.name),
        flag("inject-primary", &format!("{}:{}", names::primary_host(namespace), names::XDS_PORT)),
        flag("health", &everywhere(names::HEALTH_PORT)),
        flag("admin", &format!("127.0.0.1:{}", names::ADMIN_PORT)),
    ];
    args.extend(settings.revision.as_ref().map(|revision| flag("revision", revision)));
    args
}
