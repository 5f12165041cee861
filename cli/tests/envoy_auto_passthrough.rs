//! Istio's `autoPassthroughCases`: nobody but a client with the mesh's mutual TLS gets through an
//! east-west gateway, whatever it asks for and whatever the server's policy is.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/plain.rs"]
mod plain;
#[path = "support/pod.rs"]
mod pod;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::LeafRequest;
use serde_json::{Value, json};

use pod::{NODE_V4, Node, Pod};
use support::{DAY, PRIMARY_NAME, Process, World, eventually, pod_manifest, valid};

const ALPNS: [&str; 6] =
    ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2", ""];
const MODES: [&str; 3] = ["STRICT", "PERMISSIVE", "DISABLE"];
const HOSTS: [&str; 2] = ["catalog", "naked"];
const PORTS: [u16; 2] = [8080, 9000];

#[test]
fn plays_its_role_in_a_pod() {
    plain::play();
}

/// Behind both gateways are `catalog`, which has a sidecar, and `naked`, which has none.
struct Ground {
    catalog: Pod,
    client: Pod,
    gateways: [(&'static str, Pod); 2],
    friend: PathBuf,
    world: World,
    _node: Node,
    _processes: Vec<Process>,
}

impl Ground {
    fn new() -> Option<Self> {
        let tools = netns::needs()?;
        let world = World::new(&[("west", 1)]);
        world.write(
            "mesh.yaml",
            "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {name: test}\nspec:\n  \
             trustDomain: cluster.local\n  export: all\n  clusters:\n  - name: west\n    \
             caCertificate: cacerts/west/ca-cert.pem\n",
        );
        let node = Node::new();
        let [catalog, naked] = [node.pod("catalog", 11), node.pod("naked", 12)];
        let client = node.pod("client", 20);
        let gateways =
            [("diolkos", node.pod("eastwest", 30)), ("Envoy", node.pod("eastwest-envoy", 31))];
        world.write("clusters/west/catalog.yaml", &service(&catalog, true));
        world.write("clusters/west/naked.yaml", &service(&naked, false));
        let friend = world.leaf("friend", "west", "shop/friend", &[]);
        let processes = vec![
            primary(&world, &node),
            catalog.app(&world),
            naked.app(&world),
            catalog.join(&world, "catalog", &tools),
            gateway(&world, &gateways[0].1),
            envoy_gateway(&world, &gateways[1].1, &tools.0),
        ];
        Some(Self { catalog, client, gateways, friend, world, _node: node, _processes: processes })
    }

    /// The mode of `catalog`, once both the server and the gateways go by it.
    fn mode(&self, mode: &str) {
        self.world.write(
            "clusters/west/policy.yaml",
            &format!(
                "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                 metadata: {{name: default, namespace: shop}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
            ),
        );
        let at = format!("{}:8080", self.catalog.v4());
        let plain = json!({ "role": "call", "at": at, "host": "catalog.shop" });
        self.until(&format!("the server is {mode}"), || {
            let answer = self.client.ask(&plain);
            (answer["status"] == 200) == (mode != "STRICT")
        });
        for gateway in self.gateways.iter().map(|(_, gateway)| gateway) {
            self.until(&format!("{} knows the server as {mode}", gateway.name), || {
                let answered = self.knock(gateway, &[self.friendly("istio", 8080)]);
                answered[0]["heard"] == (mode != "DISABLE")
            });
        }
    }

    /// As a workload of the mesh, for `catalog`.
    fn friendly(&self, alpn: &str, port: u16) -> Value {
        let mut friendly = attempt(&dns_srv("catalog", port), alpn, port);
        friendly["identity"] = json!(self.friend);
        friendly
    }

    /// What came of each attempt by way of a gateway.
    fn knock(&self, gateway: &Pod, attempts: &[Value]) -> Vec<Value> {
        let mut tries = attempts.to_vec();
        for one in &mut tries {
            one["at"] = json!(format!("{}:15443", gateway.v4()));
        }
        let answer = self.client.ask(&json!({ "role": "knock", "tries": tries }));
        answer["seen"].as_array().unwrap().clone()
    }

    /// Connections that the application of `catalog` was ever given on its port of bytes.
    fn accepted(&self) -> u64 {
        let role = json!({ "role": "call", "at": "127.0.0.1:8080", "host": "catalog" });
        self.catalog.ask(&role)["body"]["accepted"].as_u64().unwrap()
    }

    fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        if !eventually(Duration::from_secs(40), holds) {
            let logs = ["primary", "envoy-catalog", "eastwest", "eastwest-envoy"];
            let logs = logs.map(|name| format!("--- {name}\n{}", self.world.log(name)));
            panic!("in vain waited until {what}:\n{}", logs.concat());
        }
    }
}

fn primary(world: &World, node: &Node) -> Process {
    let identity = world.path("identities/primary");
    let domain = TrustDomain::new("cluster.local").unwrap();
    let issued = world.authority("west").issue(&LeafRequest {
        id: SpiffeId::workload(&domain, "diolkos-system", "primary").unwrap(),
        dns: vec![PRIMARY_NAME.into()],
        ips: vec![],
        validity: valid(SystemTime::now(), DAY),
    });
    issued.unwrap().write(&identity).unwrap();
    let mut command = node.netns.command(Path::new(env!("CARGO_BIN_EXE_diolkos")));
    command.args(["--leash", "primary", "--cluster", "west"]);
    command.args(["--listen", &format!("{NODE_V4}:15012"), "--mesh"]);
    command.arg(world.path("mesh.yaml")).arg("--identity").arg(identity);
    Process::start("primary", &world.path("primary.log"), command)
}

/// As either gateway is told who it is.
fn arguments(world: &World, pod: &Pod) -> Vec<String> {
    let identity = world.leaf(&pod.name, "west", "diolkos-system/eastwest", &[]);
    let (ip, primary) = (pod.v4().to_string(), format!("{NODE_V4}:15012"));
    ["--cluster", "west", "--pod", &pod.name, "--ip", &ip, "--primary", &primary, "--identity"]
        .into_iter()
        .map(str::to_owned)
        .chain([identity.display().to_string()])
        .collect()
}

fn gateway(world: &World, pod: &Pod) -> Process {
    let mut command = pod.netns.command(Path::new(env!("CARGO_BIN_EXE_diolkos")));
    command.args(["--leash", "gateway"]).args(arguments(world, pod));
    Process::start("eastwest", &world.path("eastwest.log"), command)
}

fn envoy_gateway(world: &World, pod: &Pod, envoy: &Path) -> Process {
    let dir = world.path("envoy-gateway");
    let wrote = Command::new(env!("CARGO_BIN_EXE_diolkos"))
        .args(["bootstrap", "--gateway"])
        .args(arguments(world, pod))
        .arg("--dir")
        .arg(&dir)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(wrote.success());
    let mut command = pod.netns.command(Path::new(env!("CARGO_BIN_EXE_diolkos")));
    command.args(["leash", "--"]).arg(envoy).current_dir(&dir);
    command.args(["-c", "bootstrap.json", "--disable-hot-restart", "--concurrency", "1"]);
    command.args(["--log-level", "warning"]);
    Process::start("eastwest-envoy", &world.path("eastwest-envoy.log"), command)
}

/// A service with one pod, which takes mutual TLS or not.
fn service(pod: &Pod, mtls: bool) -> String {
    let (name, ip) = (&pod.name, pod.v4().to_string());
    let manifest = pod_manifest(name, &ip, name);
    let manifest = match mtls {
        true => manifest,
        false => manifest.replace("  labels: {security.istio.io/tlsMode: istio}\n", ""),
    };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         ports: [{{name: http, port: 8080}}, {{name: tcp-lines, port: 9000}}]\n{manifest}---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-1\n  \
         namespace: shop\n  labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\n\
         ports: [{{name: http, port: 8080}}, {{name: tcp-lines, port: 9000}}]\nendpoints:\n\
         - {{addresses: [{ip}], targetRef: {{kind: Pod, namespace: shop, name: {name}}}}}\n"
    )
}

/// As gateways are asked.
fn dns_srv(host: &str, port: u16) -> String {
    format!("outbound_.{port}_._.{host}.shop.svc.cluster.local")
}

/// As Envoy's clusters are called in sidecars.
fn pipes(host: &str, port: u16) -> String {
    format!("outbound|{port}||{host}.shop.svc.cluster.local")
}

/// By whoever, without a certificate.
fn attempt(sni: &str, alpn: &str, port: u16) -> Value {
    let host = if port == 8080 { json!("catalog.shop:8080") } else { Value::Null };
    let alpn: Vec<&str> = if alpn.is_empty() { vec![] } else { vec![alpn] };
    json!({ "sni": sni, "alpn": alpn, "host": host })
}

/// Every name, each with every protocol; and whether a gateway has a way there for the mesh.
fn cases() -> Vec<(Value, bool)> {
    let mut cases = Vec::new();
    for (host, port) in HOSTS.into_iter().flat_map(|host| PORTS.map(|port| (host, port))) {
        for alpn in ALPNS {
            cases.push((attempt(&pipes(host, port), alpn, port), false));
            let leads = host == "catalog" && !alpn.is_empty();
            cases.push((attempt(&dns_srv(host, port), alpn, port), leads));
        }
    }
    cases
}

#[test]
fn auto_passthrough_cases() {
    let Some(ground) = Ground::new() else { return };
    let cases = cases();
    assert_eq!(cases.len(), 8 * ALPNS.len());
    let attempts: Vec<Value> = cases.iter().map(|(attempt, _)| attempt.clone()).collect();
    for mode in MODES {
        ground.mode(mode);
        let carries = mode != "DISABLE";
        for (kind, gateway) in &ground.gateways {
            let before = ground.accepted();
            let seen = ground.knock(gateway, &attempts);
            assert_eq!(seen.len(), cases.len());
            for ((attempt, leads), seen) in cases.iter().zip(&seen) {
                let case = format!("{mode}, through {kind}, {attempt}: {seen}");
                assert!(seen["answer"]["failure"].is_string(), "a stranger got through: {case}");
                // Where it is let to the server, it is the server's proxy that says no.
                assert_eq!(seen["heard"], *leads && carries, "{case}");
            }
            assert_eq!(ground.accepted(), before, "{mode}: the application saw a stranger");

            let alpns = || ALPNS.into_iter().filter(|alpn| !alpn.is_empty());
            let friendly: Vec<Value> = PORTS
                .into_iter()
                .flat_map(|port| alpns().map(move |alpn| (alpn, port)))
                .map(|(alpn, port)| ground.friendly(alpn, port))
                .collect();
            for (attempt, seen) in friendly.iter().zip(ground.knock(gateway, &friendly)) {
                let answer = &seen["answer"];
                let answered = answer["status"] == 200 || answer["line"] == "catalog hello";
                assert_eq!(answered, carries, "{mode}, through {kind}, {attempt}: {seen}");
            }
        }
    }
}
