//! Whole pods: what an injected one has, `diolkos redirect` and `diolkos sidecar` with a real Envoy as
//! uid 1337, told who it is by its environment alone.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/plain.rs"]
mod plain;
#[path = "support/pod.rs"]
mod pod;
mod support;
#[path = "support/vouching.rs"]
mod vouching;

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diolkos_inject::env;
use serde_json::{Value, json};

use pod::{NODE_V4, Node, Pod};
use support::{PRIMARY_NAME, Process, World, eventually, service_manifest};

const CATALOG: &str = "10.96.0.7";
const CLIENT_ID: &str = "URI=spiffe://cluster.local/ns/shop/sa/client";
const MESH: &str = "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {name: test}\nspec:\n  \
                    trustDomain: cluster.local\n  clusters: [{name: west}]\n";
const PROBES: &str = r#"{"/app-health/app/livez": {"httpGet":
    {"port": 8080, "path": "/", "scheme": "HTTP"}, "timeoutS": 2}}"#;

#[test]
fn plays_its_role_in_a_pod() {
    plain::play();
}

#[test]
fn plays_the_primary() {
    vouching::play();
}

struct Ground {
    node: Node,
    client: Pod,
    servers: [Pod; 2],
    outsider: Pod,
    world: World,
    sidecars: Vec<Process>,
    _others: Vec<Process>,
}

impl Ground {
    fn new() -> Option<Self> {
        let (envoy, nft) = netns::needs()?;
        let world = World::new(&[("west", 1)]);
        let node = Node::new();
        let client = node.pod("client", 9);
        let servers = [node.pod("catalog-1", 11), node.pod("catalog-2", 12)];
        let outsider = node.pod("outsider", 20);
        world.write("roots.pem", &world.root.root_pem());
        // Pods have other addresses here than processes on loopback.
        world.write("mesh.yaml", MESH);
        let mut ground = Self {
            node,
            client,
            servers,
            outsider,
            world,
            sidecars: Vec::new(),
            _others: Vec::new(),
        };
        ground.catalog(&[0, 1]);
        let primary = ground.primary();
        ground._others.push(primary);
        for pod in ground.servers.iter().chain([&ground.client]) {
            ground._others.push(pod.app(&ground.world));
            pod.redirect(&nft);
            ground.sidecars.push(ground.sidecar(pod, &envoy));
        }
        for pod in ground.servers.iter().chain([&ground.client]) {
            ground.until("each sidecar is ready", || {
                ground.kubelet(pod, 15_021, env::READY_PATH) == 200
            });
        }
        ground.until("the client is served", || ground.get()["status"] == 200);
        Some(ground)
    }

    fn primary(&self) -> Process {
        let mut command = self.node.netns.command(&plain::program());
        let (mesh, ca) = (self.world.path("mesh.yaml"), self.world.path("cacerts/west"));
        let tokens = [("client", "shop/client"), ("catalog", "shop/catalog")];
        let listen = format!("{NODE_V4}:15012").parse().unwrap();
        vouching::primary(&mut command, "west", &mesh, &ca, listen, &tokens);
        Process::start("primary", &self.world.path("primary.log"), command)
    }

    fn catalog(&self, ready: &[usize]) {
        let addresses: Vec<String> = self.servers.iter().map(|pod| pod.v4().to_string()).collect();
        let pods: Vec<(&str, &str, &str)> = ready
            .iter()
            .map(|&index| (self.servers[index].name.as_str(), addresses[index].as_str(), "catalog"))
            .collect();
        let text = service_manifest("catalog", "http", &pods)
            .replace("spec:\n  ports", &format!("spec:\n  clusterIP: {CATALOG}\n  ports"));
        self.world.write("clusters/west/catalog.yaml", &text);
    }

    /// As the injector's container has it: environment, user, folder; here by files of the test.
    fn sidecar(&self, pod: &Pod, envoy: &Path) -> Process {
        let account = pod.name.split('-').next().unwrap();
        let place = |what: &str| format!("pods/{}/{what}", pod.name);
        self.world.write(&place("token"), account);
        let run = self.own_folder(&place("run"));
        let mut command = pod.netns.command(Path::new("setpriv"));
        let uid = env::PROXY_UID.to_string();
        command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--bounding-set=-all"]);
        command.arg(env!("CARGO_BIN_EXE_diolkos")).args(["--leash", "sidecar"]);
        command.args(["--primary-name", PRIMARY_NAME, "--concurrency", "1"]);
        command.arg("--token").arg(self.world.path(&place("token")));
        command.arg("--roots").arg(self.world.path("roots.pem"));
        command.arg("--dir").arg(run).arg("--envoy").arg(envoy);
        for (name, value) in [
            (env::PRIMARY, format!("{NODE_V4}:15012")),
            (env::CLUSTER, "west".into()),
            (env::NETWORK, String::new()),
            (env::POD, pod.name.clone()),
            (env::NAMESPACE, "shop".into()),
            (env::SERVICE_ACCOUNT, account.into()),
            (env::POD_IPS, format!("{},{}", pod.v4(), pod.v6())),
            (env::DRAIN_SECONDS, "3".into()),
            (env::PROBES, PROBES.into()),
        ] {
            command.env(name, value);
        }
        let name = format!("sidecar-{}", pod.name);
        Process::start(&name, &self.world.path(&format!("{name}.log")), command)
    }

    /// Of Envoy's user, in folders that it may pass through.
    fn own_folder(&self, path: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = self.world.path(path);
        fs::create_dir_all(&folder).unwrap();
        chown(&folder, Some(env::PROXY_UID), Some(env::PROXY_UID)).unwrap();
        let passable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.world.path(""), passable).unwrap();
        folder
    }

    fn get(&self) -> Value {
        let at = format!("{CATALOG}:8080");
        self.client.ask(&json!({ "role": "call", "at": at, "host": "catalog.shop:8080" }))
    }

    /// The status of an answer to the node, which is in no mesh.
    fn kubelet(&self, pod: &Pod, port: u16, path: &str) -> u64 {
        let at = format!("{}:{port}", pod.v4());
        let role = json!({ "role": "call", "at": at, "host": pod.v4().to_string(), "path": path });
        pod::ask(&self.node.netns, &role)["status"].as_u64().unwrap_or_default()
    }

    fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        if !eventually(Duration::from_secs(60), holds) {
            let logs = ["primary", "sidecar-client", "sidecar-catalog-1", "sidecar-catalog-2"];
            let logs = logs.map(|name| format!("--- {name}\n{}", self.world.log(name)));
            panic!("in vain waited until {what}:\n{}", logs.concat());
        }
    }
}

#[test]
fn an_injected_pod_is_in_the_mesh_from_its_token_to_its_end() {
    let Some(mut ground) = Ground::new() else { return };
    let answer = ground.get();
    assert!(answer["body"]["xfcc"].as_str().unwrap().contains(CLIENT_ID), "{answer:#}");

    // Under STRICT nobody comes in without the mesh, but the kubelet's probes are answered.
    ground.world.write(
        "clusters/west/policy.yaml",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {name: default, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n",
    );
    let server = format!("{}:8080", ground.servers[0].v4());
    let plain = json!({ "role": "call", "at": server, "host": "catalog" });
    ground.until("plaintext is refused", || ground.outsider.ask(&plain)["failure"].is_string());
    assert_eq!(ground.kubelet(&ground.servers[0], 15_020, "/app-health/app/livez"), 200);
    assert_eq!(ground.kubelet(&ground.servers[0], 15_021, env::READY_PATH), 200);
    assert_eq!(ground.kubelet(&ground.servers[0], 15_000, "/ready"), 0, "nor Envoy's admin port");
    assert_eq!(ground.get()["status"], 200);

    // The folder with the socket is nobody's but Envoy's.
    let socket = fs::metadata(ground.world.path("pods/client/run/sds.sock")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&socket.permissions());
    assert_eq!(mode & 0o777, 0o600);

    a_server_that_goes_costs_no_request(&mut ground);
}

/// As a rollout does it: told to end, and out of the endpoints at about the same time.
fn a_server_that_goes_costs_no_request(ground: &mut Ground) {
    let role = json!({
        "role": "load", "at": format!("{CATALOG}:8080"), "host": "catalog.shop", "pause_ms": 4,
    });
    let load = ground.client.talk(&role, &ground.world.path("load.log"));
    let after = |count: usize| {
        let mut left = count;
        load.until("requests went on", |_| {
            left -= 1;
            left == 0
        })
    };
    let mut lines = after(100);
    let going = ground.sidecars.remove(1);
    going.terminate();
    ground.catalog(&[0]);
    lines.extend(after(400));
    let status = going.ended(Duration::from_secs(15)).expect("it ends");
    assert!(status.success(), "{status}:\n{}", ground.world.log("sidecar-catalog-2"));
    lines.extend(after(100));
    let failed: Vec<_> = lines.iter().filter(|line| line["answer"]["status"] != 200).collect();
    assert!(failed.is_empty(), "{} of {}: {:#?}", failed.len(), lines.len(), failed[0]);
}
