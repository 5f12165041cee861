//! Stock Envoys beside applications that know of no mesh: connections are redirected to them in
//! network namespaces that stand for pods.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/plain.rs"]
mod plain;
#[path = "support/pod.rs"]
mod pod;
mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest};
use serde_json::{Value, json};

use pod::{NODE_V4, Node, Pod};
use support::{DAY, PRIMARY_NAME, Process, World, eventually, valid};

const CATALOG: &str = "10.96.0.7";
const CATALOG_V6: &str = "fd96::7";
const SELF: &str = "10.96.0.8";
const CLIENT_ID: &str = "URI=spiffe://cluster.local/ns/shop/sa/client";
const ISTIO_ALPNS: [&str; 2] = ["istio", "http/1.1"];

#[test]
fn plays_its_role_in_a_pod() {
    plain::play();
}

/// One cluster: a client and two servers of `catalog` that are injected, and a pod that is not.
struct Ground {
    node: Node,
    client: Pod,
    servers: [Pod; 2],
    outsider: Pod,
    world: World,
    tools: (PathBuf, PathBuf),
    processes: Vec<Process>,
}

impl Ground {
    fn new() -> Option<Self> {
        let tools = netns::needs()?;
        let world = World::new(&[("west", 1)]);
        let node = Node::new();
        let client = node.pod("client", 9);
        let servers = [node.pod("catalog-1", 11), node.pod("catalog-2", 12)];
        let outsider = node.pod("outsider", 20);
        let mut ground =
            Self { node, client, servers, outsider, world, tools, processes: Vec::new() };
        ground.mesh("");
        ground.catalog(&[0, 1]);
        let primary = ground.primary();
        ground.processes.push(primary);
        for pod in ground.servers.iter().chain([&ground.client]) {
            ground.processes.push(pod.app(&ground.world));
        }
        let accounts = [(&ground.servers[0], "catalog"), (&ground.servers[1], "catalog")];
        for (pod, account) in accounts.into_iter().chain([(&ground.client, "client")]) {
            ground.processes.push(pod.join(&ground.world, account, &ground.tools));
        }
        ground.until("the client's proxy is there", || ground.get(CATALOG)["status"] == 200);
        Some(ground)
    }

    fn mesh(&self, more: &str) {
        self.world.write(
            "mesh.yaml",
            &format!(
                "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: test}}\nspec:\n  \
                 trustDomain: cluster.local\n{more}  clusters:\n  - name: west\n    \
                 caCertificate: cacerts/west/ca-cert.pem\n"
            ),
        );
    }

    fn policy(&self, spec: &str) {
        self.world.write(
            "clusters/west/policy.yaml",
            &format!(
                "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                 metadata: {{name: default, namespace: shop}}\nspec: {spec}\n"
            ),
        );
    }

    /// The services, and which of the servers are ready.
    fn catalog(&self, ready: &[usize]) {
        let servers: Vec<&Pod> = ready.iter().map(|index| &self.servers[*index]).collect();
        let mut text = service("catalog", &[CATALOG, CATALOG_V6]);
        text += &service("mirror", &[SELF]);
        for pod in self.servers.iter().chain([&self.client]) {
            let account = pod.name.split('-').next().unwrap();
            write!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {}, namespace: shop, labels: \
                 {{security.istio.io/tlsMode: istio}}}}\nspec: {{serviceAccountName: {account}, \
                 nodeName: node}}\nstatus: {{podIPs: [{{ip: {}}}, {{ip: '{}'}}]}}\n",
                pod.name,
                pod.v4(),
                pod.v6()
            )
            .unwrap();
        }
        text += &slices("catalog", &servers);
        text += &slices("mirror", &[&self.client]);
        text += &service("headless", &["None"]);
        text += &slices("headless", &servers);
        self.world.write("clusters/west/shop.yaml", &text);
    }

    fn primary(&self) -> Process {
        let identity = self.world.path("identities/primary");
        let issued = self.world.authority("west").issue(&LeafRequest {
            id: SpiffeId::workload(&domain(), "diolkos-system", "primary").unwrap(),
            dns: vec![PRIMARY_NAME.into()],
            ips: vec![],
            validity: valid(SystemTime::now(), DAY),
        });
        issued.unwrap().write(&identity).unwrap();
        let mut command = self.node.netns.command(Path::new(env!("CARGO_BIN_EXE_diolkos")));
        command.args(["--leash", "primary", "--cluster", "west"]);
        command.args(["--listen", &format!("{NODE_V4}:15012"), "--mesh"]);
        command.arg(self.world.path("mesh.yaml")).arg("--identity").arg(identity);
        Process::start("primary", &self.world.path("primary.log"), command)
    }

    /// A GET for the catalog from the client's application, by one of its addresses.
    fn get(&self, vip: &str) -> Value {
        let at = if vip.contains(':') { format!("[{vip}]:8080") } else { format!("{vip}:8080") };
        self.client.ask(&json!({ "role": "call", "at": at, "host": "catalog.shop:8080" }))
    }

    fn plain(&self, from: &Pod, to: &Pod) -> Value {
        let at = format!("{}:8080", to.v4());
        from.ask(&json!({ "role": "call", "at": at, "host": "catalog.shop:8080" }))
    }

    /// As whoever the identity is, straight to the first server, past all proxies of the client's.
    fn tls(&self, identity: &Path, port: u16) -> Value {
        let at = format!("{}:{port}", self.servers[0].v4());
        let host = if port == 8080 { json!("catalog.shop:8080") } else { Value::Null };
        let role = json!({
            "role": "tls", "at": at, "host": host, "alpn": ISTIO_ALPNS, "identity": identity,
        });
        self.outsider.ask(&role)
    }

    /// How often the first server's application accepted a connection for bytes.
    fn accepted(&self) -> u64 {
        self.counted(0, "accepted")
    }

    /// By the application's own word, past all proxies.
    fn counted(&self, server: usize, what: &str) -> u64 {
        let role = json!({ "role": "call", "at": "127.0.0.1:8080", "host": "me" });
        self.servers[server].ask(&role)["body"][what].as_u64().unwrap()
    }

    /// Neither did an Envoy refuse what it was told, nor will the next one.
    fn nobody_complained(&self) {
        let primary = self.world.log("primary");
        assert!(!primary.contains("refused a response"), "{primary}");
        for pod in self.servers.iter().chain([&self.client]) {
            let told = self.world.log(&format!("envoy-{}", pod.name));
            assert!(!told.to_ascii_lowercase().contains("deprecated"), "{told}");
        }
    }

    fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        if !eventually(Duration::from_secs(40), holds) {
            let logs = ["primary", "envoy-client", "envoy-catalog-1", "envoy-catalog-2"];
            let logs = logs.map(|name| format!("--- {name}\n{}", self.world.log(name)));
            panic!("in vain waited until {what}:\n{}", logs.concat());
        }
    }
}

fn domain() -> TrustDomain {
    TrustDomain::new("cluster.local").unwrap()
}

fn service(name: &str, vips: &[&str]) -> String {
    let vips: Vec<_> = vips.iter().map(|vip| format!("'{vip}'")).collect();
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         clusterIPs: [{}]\n  ports:\n  - {{name: http, port: 8080}}\n  \
         - {{name: tcp-lines, port: 9000}}\n",
        vips.join(", ")
    )
}

fn slices(service: &str, pods: &[&Pod]) -> String {
    let mut text = String::new();
    for (family, address) in [("IPv4", Pod::v4 as fn(&Pod) -> _), ("IPv6", Pod::v6)] {
        write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  \
             name: {service}-{}\n  namespace: shop\n  \
             labels: {{kubernetes.io/service-name: {service}}}\naddressType: {family}\n\
             ports: [{{name: http, port: 8080}}, {{name: tcp-lines, port: 9000}}]\nendpoints:{}\n",
            family.to_lowercase(),
            if pods.is_empty() { " []" } else { "" }
        )
        .unwrap();
        for pod in pods {
            writeln!(
                text,
                "- {{addresses: ['{}'], targetRef: {{kind: Pod, name: {}}}}}",
                address(pod),
                pod.name
            )
            .unwrap();
        }
    }
    text
}

fn refused(answer: &Value) -> bool {
    answer["failure"].is_string()
}

#[test]
fn an_application_that_knows_no_mesh_is_in_one() {
    let Some(ground) = Ground::new() else { return };
    // By IPv4 and IPv6, by name and by address, the server sees who called.
    for vip in [CATALOG, CATALOG_V6] {
        let answer = ground.get(vip);
        assert_eq!(answer["status"], 200, "{answer:#}");
        assert!(answer["body"]["xfcc"].as_str().unwrap().contains(CLIENT_ID), "{answer:#}");
        assert_eq!(answer["headers"]["server"], "plain", "the application's own: {answer:#}");
        assert!(answer["headers"]["x-diolkos-reached"].is_null());
    }
    for host in ["catalog", "catalog.shop", "catalog.shop.svc", CATALOG, "CATALOG.Shop:8080"] {
        let at = format!("{CATALOG}:8080");
        let answer = ground.client.ask(&json!({ "role": "call", "at": at, "host": host }));
        let xfcc = answer["body"]["xfcc"].as_str().unwrap_or_default();
        assert!(xfcc.contains(CLIENT_ID), "{host}: {answer:#}");
    }
    // A forged caller is replaced.
    let forged = "X-Forwarded-Client-Cert: URI=spiffe://cluster.local/ns/shop/sa/admin\r\n";
    let at = format!("{CATALOG}:8080");
    let role = json!({ "role": "call", "at": at, "host": "catalog.shop", "headers": forged });
    let xfcc = ground.client.ask(&role)["body"]["xfcc"].as_str().unwrap().to_owned();
    assert!(xfcc.contains(CLIENT_ID) && !xfcc.contains("admin"), "{xfcc}");
    let role = json!({
        "role": "call", "at": format!("{}:8080", ground.servers[0].v4()), "headers": forged,
    });
    let answer = ground.outsider.ask(&role);
    assert_eq!((&answer["status"], &answer["body"]["xfcc"]), (&json!(200), &Value::Null));

    bytes_reach_the_service_and_the_pod_itself(&ground);
    only_what_may_be_repeated_is(&ground);
    what_is_no_service_is_reached_if_it_may_be(&ground);
    nobody_reaches_the_proxys_own_ports(&ground);
    ground.nobody_complained();
}

fn bytes_reach_the_service_and_the_pod_itself(ground: &Ground) {
    for vip in [format!("{CATALOG}:9000"), format!("[{CATALOG_V6}]:9000")] {
        let answer = ground.client.ask(&json!({ "role": "bytes", "at": vip }));
        assert!(answer["line"].as_str().is_some_and(|line| line.ends_with(" hello")), "{answer}");
    }
    let at = format!("{SELF}:8080");
    let role = json!({ "role": "call", "at": at, "host": "mirror" });
    let answer = ground.client.ask(&role);
    assert_eq!(answer["body"]["pod"], "client", "{answer:#}");
    assert!(answer["body"]["xfcc"].as_str().unwrap().contains(CLIENT_ID), "{answer:#}");
    let answer = ground.client.ask(&json!({ "role": "bytes", "at": format!("{SELF}:9000") }));
    assert_eq!(answer["line"], "client hello", "{answer:#}");
}

/// Nobody knows how far the application came with what it did not answer.
fn only_what_may_be_repeated_is(ground: &Ground) {
    let died = || ground.counted(0, "died") + ground.counted(1, "died");
    let mut before = 0;
    for (method, times) in [("GET", 3), ("POST", 1), ("PUT", 3), ("PATCH", 1)] {
        let role = json!({
            "role": "call", "at": format!("{CATALOG}:8080"), "host": "catalog.shop",
            "method": method, "path": "/die",
        });
        let answer = ground.client.ask(&role);
        assert_eq!(answer["status"], 503, "{method}: {answer:#}");
        assert!(answer["headers"]["x-diolkos-reached"].is_null(), "{answer:#}");
        assert_eq!(died() - before, times, "{method}");
        before += times;
    }
    // A broken answer too many puts a server aside for a while.
    ground.until("both servers answer", || {
        let pods = [(); 8].map(|()| ground.get(CATALOG)["body"]["pod"].to_string());
        pods.iter().any(|pod| *pod != pods[0])
    });
}

fn what_is_no_service_is_reached_if_it_may_be(ground: &Ground) {
    let app = ground.outsider.app(&ground.world);
    let [http, bytes] = [8080, 9000].map(|port| format!("{}:{port}", ground.outsider.v4()));
    let http = json!({ "role": "call", "at": http, "host": "elsewhere.example" });
    let bytes = json!({ "role": "bytes", "at": bytes });
    ground.until("an outsider is reached", || ground.client.ask(&http)["status"] == 200);
    assert_eq!(ground.client.ask(&http)["body"]["xfcc"], Value::Null);
    assert_eq!(ground.client.ask(&bytes)["line"], "outsider hello");

    ground.mesh("  outboundTraffic: registryOnly\n");
    ground.until("it may be no more", || ground.client.ask(&http)["status"] == 502);
    ground.until("nor with bytes", || refused(&ground.client.ask(&bytes)));
    assert_eq!(ground.get(CATALOG)["status"], 200);
    ground.mesh("");
    ground.until("it may be again", || ground.client.ask(&http)["status"] == 200);
    app.kill();
}

fn nobody_reaches_the_proxys_own_ports(ground: &Ground) {
    for port in [15_000, 15_001, 15_006, 15_020, 15_021, 15_090] {
        let at = format!("{}:{port}", ground.servers[0].v4());
        let answer = ground.outsider.ask(&json!({ "role": "call", "at": at, "host": "x" }));
        assert!(refused(&answer), "{port}: {answer:#}");
    }
    // Nor in circles.
    let own = ground.client.ask(&json!({ "role": "call", "at": "127.0.0.1:15001", "host": "x" }));
    assert!(refused(&own), "{own:#}");
    assert_eq!(ground.get(CATALOG)["status"], 200);
}

#[test]
fn strict_takes_in_nobody_whom_the_mesh_does_not_know() {
    let Some(ground) = Ground::new() else { return };
    let friend = ground.world.leaf("friend", "west", "shop/friend", &[]);
    let stranger = stranger(&ground.world);
    let server = &ground.servers[0];

    // Permissive: whoever comes without TLS, and whoever the mesh vouches for.
    assert_eq!(ground.plain(&ground.outsider, server)["status"], 200);
    let answer = ground.tls(&friend, 8080);
    assert!(answer["body"]["xfcc"].as_str().unwrap().contains("sa/friend"), "{answer:#}");
    let before = ground.accepted();
    assert!(ground.tls(&friend, 9000)["line"].is_string());
    assert_eq!(ground.accepted(), before + 1);
    for port in [8080, 9000] {
        assert!(refused(&ground.tls(&stranger, port)), "{port}");
    }
    assert_eq!(ground.accepted(), before + 1, "the application was not dialled for a stranger");

    let greeting = json!({ "role": "listen", "at": format!("{}:9100", server.v4()) });
    assert_eq!(ground.outsider.ask(&greeting)["line"], "welcome", "though the server speaks first");

    ground.policy("{mtls: {mode: STRICT}}");
    ground.until("plaintext is refused", || refused(&ground.plain(&ground.outsider, server)));
    let bytes = json!({ "role": "bytes", "at": format!("{}:9000", server.v4()) });
    assert!(refused(&ground.outsider.ask(&bytes)));
    assert_eq!(ground.tls(&friend, 8080)["status"], 200);
    for port in [8080, 9000, 9001] {
        assert!(refused(&ground.tls(&stranger, port)), "{port}");
    }
    assert_eq!(ground.accepted(), before + 1);
    assert_eq!(ground.get(CATALOG)["status"], 200, "the mesh itself goes on");
    assert!(refused(&ground.outsider.ask(&greeting)));
    // Pods of a headless service are themselves, and as strict.
    for pod in &ground.servers {
        let at = format!("{}:9000", pod.v4());
        let answer = ground.client.ask(&json!({ "role": "bytes", "at": at }));
        assert_eq!(answer["line"], format!("{} hello", pod.name));
    }

    // Disabled on one port only: there the mesh's clients speak plaintext too.
    ground.world.write(
        "clusters/west/port.yaml",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {name: port, namespace: shop}\nspec:\n  \
         selector: {matchLabels: {security.istio.io/tlsMode: istio}}\n  \
         portLevelMtls: {8080: {mode: DISABLE}}\n",
    );
    ground.until("plaintext is all there is", || {
        let answer = ground.get(CATALOG);
        answer["status"] == 200 && answer["body"]["xfcc"].is_null()
    });
    ground.until("for outsiders too", || ground.plain(&ground.outsider, server)["status"] == 200);
    assert!(refused(&ground.outsider.ask(&bytes)), "other ports are as strict as before");
    ground.nobody_complained();
}

/// Says that it is of the mesh's trust domain; its root says so too, and nobody else.
fn stranger(world: &World) -> PathBuf {
    let root = Authority::new_root("stranger", valid(SystemTime::now(), DAY)).unwrap();
    world.leaf_of(&root, "stranger", "shop/client", &[], valid(SystemTime::now(), DAY))
}

#[test]
fn a_restarted_primary_and_a_lost_server_cost_no_request_that_may_be_repeated() {
    let Some(mut ground) = Ground::new() else { return };
    let role = json!({
        "role": "load", "at": format!("{CATALOG}:8080"), "host": "catalog.shop", "pause_ms": 4,
    });
    let logs = [0, 1, 2, 3].map(|n| ground.world.path(&format!("load-{n}.log")));
    let loads = logs.map(|log| ground.client.talk(&role, &log));
    let after = |count: usize| -> Vec<Value> {
        let one = |load: &support::Talking| {
            let mut left = count;
            load.until("requests went on", |_| {
                left -= 1;
                left == 0
            })
        };
        loads.iter().flat_map(one).collect()
    };
    let mut lines = after(100);
    for _ in 0..3 {
        // The primary is all that runs on the node.
        ground.node.netns.kill_all();
        ground.processes.remove(0).kill();
        lines.extend(after(50));
        let primary = ground.primary();
        ground.processes.insert(0, primary);
        lines.extend(after(100));
    }
    // A server goes without a word, and only then does the primary hear of it.
    ground.servers[1].netns.kill_all();
    lines.extend(after(200));
    ground.catalog(&[0]);
    lines.extend(after(100));
    let failed: Vec<_> = lines.iter().filter(|line| line["answer"]["status"] != 200).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:#?}", failed.len(), lines.len(), failed[0]);
    let last = &lines[lines.len() - 1]["answer"]["body"];
    assert!(last["xfcc"].as_str().unwrap().contains(CLIENT_ID), "{last:#}");
}
