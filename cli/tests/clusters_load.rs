//! Nothing is lost while things break: requests go on between clusters on two networks while the
//! primary is killed, a remote API server is away, its credential is renewed and gateways are rolled.
//!
//! `DIOLKOS_TEST_LOAD=full` breaks them as often and for as long as the goal says, in ten minutes.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod clusters;
#[path = "clusters/load.rs"]
mod load;

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clusters::{Ground, descendants, eventually};
use load::Load;
use serde_json::{Value, json};

const NAME: &str = "load";
/// West's sidecars and gateway reach their primary through the gateway of east; one gateway each, so
/// that there is no other to go by.
const TOPOLOGY: &str = "
apiVersion: diolkos.dev/v1alpha1
kind: Topology
metadata:
  name: load
spec:
  summary: A remote on another network than its primary, with services that are only there
  meshes:
  - {id: mesh1, trustDomain: cluster.local, root: common, export: all}
  networks: [north, south]
  clusters:
  - {name: east, network: north, gateways: 1}
  - {name: west, network: south, gateways: 1, role: remote of east}
  workloads:
  - {name: client, namespace: shop, replicas: {east: 1, west: 1}, ports: {http: 8080}}
  - {name: catalog, namespace: shop, replicas: {east: 1, west: 1}, ports: {http: 8080}}
  - {name: orders, namespace: shop, replicas: {west: 1}, ports: {http: 8080, tcp: 9000}}
  - {name: stock, namespace: shop, replicas: {east: 1}, ports: {http: 8080, tcp: 9000}}
";

const EAST: &str = "east/shop/client";
const WEST: &str = "west/shop/client";
const SYSTEM: &str = "diolkos-system";
const GATEWAY: &str = "deployment/diolkos-eastwestgateway";
/// By which the pods of a primary are found, by istioctl too.
const PRIMARY: &str = "app=istiod";
const WITHIN: Duration = Duration::from_secs(60);
/// What one rotation more or less may leave behind: pages of the allocator, no cluster and no client.
const GROWTH_KIB_MAX: u64 = 4096;

struct Scale {
    rotations: u64,
    kills: u64,
    outage: Duration,
}

impl Scale {
    fn of_this_run() -> Self {
        match std::env::var("DIOLKOS_TEST_LOAD").as_deref() {
            Ok("full") => Self { rotations: 50, kills: 20, outage: Duration::from_secs(120) },
            _ => Self { rotations: 10, kills: 5, outage: Duration::from_secs(15) },
        }
    }
}

#[test]
fn nothing_is_lost_while_things_break() {
    let Some(ground) = Ground::find() else { return };
    let scale = Scale::of_this_run();
    let path = ground.path("load.yaml");
    fs::write(&path, TOPOLOGY).unwrap();
    ground.up(path.to_str().unwrap(), NAME);
    let mesh = Mesh { ground: &ground, started: Instant::now() };

    // 200 requests a second, and connections that stay.
    let [orders, stock] = ["tcp://orders.shop:9000", "tcp://stock.shop:9000"];
    let requests = [
        (EAST, 75, ["http://orders.shop:8080/", "http://catalog.shop:8080/"].as_slice()),
        (WEST, 50, &["http://stock.shop:8080/"]),
    ];
    let requests =
        requests.map(|(from, rate, urls)| Load::of_requests(&ground, NAME, from, rate, urls));
    let to_west = Load::of_connections(&ground, NAME, EAST, 5, &[orders, orders]);
    let to_east = Load::of_connections(&ground, NAME, WEST, 5, &[stock, stock]);
    let loads: Vec<&Load> = requests.iter().chain([&to_west, &to_east]).collect();
    go_on(&loads);

    let before = mesh.settled();
    mesh.rotate(scale.rotations, &before);
    unharmed(&loads);
    for _ in 0..scale.kills {
        mesh.kill_the_primary(&before);
        unharmed(&loads);
    }
    mesh.lose_an_api_server(scale.outage, &before);
    unharmed(&loads);
    let deadlines = ["west", "east"].map(|cluster| mesh.roll_the_gateway(cluster));
    mesh.drained();
    go_on(&loads);

    for load in requests {
        none(&load.end());
    }
    for (load, deadline) in [to_west, to_east].into_iter().zip(deadlines) {
        let failures = load.end();
        assert_eq!(failures.len(), 2, "one of each connection: {failures:?}");
        let early = |line: &&Value| line["started_ns"].as_u64().unwrap() < deadline;
        assert_eq!(failures.iter().find(early), None, "before {deadline}");
    }
    mesh.same_clusters(&before);
    mesh.tell("all held");
}

/// Each has more answers than before.
fn go_on(loads: &[&Load]) {
    let before: Vec<u64> = loads.iter().map(|load| load.answered()).collect();
    eventually(WITHIN, "all are answered", || {
        loads.iter().zip(&before).all(|(load, before)| load.answered() > *before)
    });
}

/// They go on, and nothing has failed so far.
fn unharmed(loads: &[&Load]) {
    go_on(loads);
    loads.iter().for_each(|load| none(&load.failures()));
}

fn none(failures: &[Value]) {
    let first = &failures[..failures.len().min(3)];
    assert!(failures.is_empty(), "{} failed; the first: {first:#?}", failures.len());
}

struct Mesh<'g> {
    ground: &'g Ground,
    started: Instant,
}

impl Mesh<'_> {
    fn tell(&self, what: &str) {
        println!("{:.1} s: {what}", self.started.elapsed().as_secs_f64());
    }

    /// A page of the primary, on its pod's loopback.
    fn page(&self, path: &str) -> Value {
        let url = format!("http://127.0.0.1:15014{path}");
        let line = self.ground.call_within(NAME, "east/diolkos-system/istiod", &url, 10_000);
        assert_eq!(line["status"], 200, "{line:#}");
        line["answer"].clone()
    }

    /// The primary's page, once it has read everything and told everybody.
    fn settled(&self) -> Value {
        let (mut quiet, mut pushes) = (0, 0);
        eventually(WITHIN, "the primary has told everybody everything", || {
            let now = self.pushes();
            quiet = if now == pushes { quiet + 1 } else { 0 };
            pushes = now;
            quiet >= 5 && self.is_synced()
        });
        self.page("/debug/diolkos.json")
    }

    fn is_synced(&self) -> bool {
        let page = self.page("/debug/diolkos.json");
        let clusters = page["clusters"].as_array().unwrap();
        clusters.iter().all(|cluster| cluster["source"]["state"] == "synced")
    }

    /// Responses that any client was sent.
    fn pushes(&self) -> u64 {
        let metrics = self.page("/metrics");
        let lines = metrics.as_str().unwrap().lines();
        let counts = lines.filter(|line| line.starts_with("diolkos_xds_pushes_total{"));
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Nobody lost a cluster, nor an endpoint of one.
    fn same_clusters(&self, before: &Value) {
        let known = |page: &Value| -> Vec<Value> {
            let clusters = page["clusters"].as_array().unwrap().iter();
            clusters.map(|of| json!([of["name"], of["services"], of["endpoints"]])).collect()
        };
        let now = self.page("/debug/diolkos.json");
        assert_eq!(known(&now), known(before), "{now:#}");
    }

    /// A new token for what is read already, again and again: nobody is told anything.
    fn rotate(&self, times: u64, before: &Value) {
        // The first may fill pools that stay full.
        self.rotate_once();
        let (pushes, memory) = (self.pushes(), self.primary_memory_kib());
        for _ in 0..times {
            self.rotate_once();
            self.same_clusters(before);
        }
        assert_eq!(self.pushes(), pushes, "no client was told anything");
        let after = self.primary_memory_kib();
        self.tell(&format!("{times} rotations, {memory} KiB before and {after} KiB after"));
        assert!(after <= memory + GROWTH_KIB_MAX, "{memory} KiB before, {after} KiB after");
    }

    fn rotate_once(&self) {
        let find = ["get", "secret", "-n", SYSTEM, "-l", "istio/multiCluster=true", "-o", "json"];
        let secrets: Value = serde_json::from_str(&self.kubectl("east", &find)).unwrap();
        let secret = &secrets["items"][0];
        let kubeconfig = STANDARD.decode(secret["data"]["west"].as_str().unwrap()).unwrap();
        let kubeconfig = String::from_utf8(kubeconfig).unwrap();
        let parsed: Value = serde_saphyr::from_str(&kubeconfig).unwrap();
        let old = parsed["users"][0]["user"]["token"].as_str().unwrap();
        let create = ["create", "token", "-n", SYSTEM, "diolkos-reader", "--duration=1h"];
        let kubeconfig = kubeconfig.replace(old, self.kubectl("west", &create).trim());
        let patch = json!({"data": {"west": STANDARD.encode(kubeconfig)}}).to_string();
        let name = secret["metadata"]["name"].as_str().unwrap();
        let generation = self.generation_of_west();
        self.kubectl(
            "east",
            &["patch", "secret", "-n", SYSTEM, name, "--type=merge", "-p", &patch],
        );
        eventually(WITHIN, "the new credential is in use", || {
            self.generation_of_west() > generation
        });
    }

    fn generation_of_west(&self) -> u64 {
        let page = self.page("/debug/diolkos.json");
        let clusters = page["clusters"].as_array().unwrap();
        let west = clusters.iter().find(|cluster| cluster["name"] == "west").unwrap();
        west["source"]["live"]["generation"].as_u64().unwrap()
    }

    fn primary_memory_kib(&self) -> u64 {
        let is_primary = |pid: &u32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).contains("\0primary\0--source=kubernetes\0")
                && !String::from_utf8_lossy(&words).contains("\0box\0")
        };
        let processes = descendants(self.ground.supervisor(NAME).0);
        let found: Vec<u32> =
            processes.into_iter().map(|(pid, _)| pid).filter(is_primary).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        let status = fs::read_to_string(format!("/proc/{}/status", found[0])).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Without a word, as a kernel does that runs out of memory.
    fn kill_the_primary(&self, before: &Value) {
        let path = "jsonpath={.items[*].status.containerStatuses[0]['restartCount','ready']}";
        let get = ["get", "pod", "-n", SYSTEM, "-l", PRIMARY, "-o", path];
        let restarts = || {
            let shown = self.kubectl("east", &get);
            let (count, ready) = shown.split_once(' ').unwrap();
            (count.parse::<u64>().unwrap(), ready == "true")
        };
        let (old, _) = restarts();
        self.ground.must(&["fault", "kill-pods", "east", PRIMARY]);
        eventually(WITHIN, "the primary is there again", || {
            let (count, ready) = restarts();
            count > old && ready
        });
        self.same_clusters(before);
        self.tell(&format!("killed, and there again; {} restarts", old + 1));
    }

    fn lose_an_api_server(&self, lasts: Duration, before: &Value) {
        self.ground.must(&["fault", "stop-api", "west"]);
        let stopped = Instant::now();
        let clusterz = || -> Vec<String> {
            let page = self.page("/debug/clusterz");
            let states = page.as_array().unwrap().iter();
            states.map(|of| format!("{} {}", of["id"], of["syncStatus"]).replace('"', "")).collect()
        };
        eventually(WITHIN + lasts, "the primary has lost sight of west", || {
            stopped.elapsed() >= lasts && clusterz() == ["east synced", "west timeout"]
        });
        self.same_clusters(before);
        self.tell(&format!("the API server of west away for {:?}", stopped.elapsed()));
        self.ground.must(&["fault", "heal"]);
        eventually(WITHIN, "the primary sees west again", || {
            clusterz() == ["east synced", "west synced"]
        });
        self.same_clusters(before);
    }

    /// By another pod. Until when the old one must keep its connections, in nanoseconds since 1970.
    fn roll_the_gateway(&self, cluster: &str) -> u64 {
        let path = "jsonpath={.spec.template.spec.containers[0].args}";
        let args = self.kubectl(cluster, &["get", "-n", SYSTEM, GATEWAY, "-o", path]);
        let args: Vec<String> = serde_json::from_str(&args).unwrap();
        let drain = args.iter().find_map(|arg| arg.strip_prefix("--drain-seconds=")).unwrap();
        let drain = Duration::from_secs(drain.parse().unwrap());
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + drain;
        self.kubectl(cluster, &["rollout", "restart", "-n", SYSTEM, GATEWAY]);
        self.kubectl(cluster, &["rollout", "status", "-n", SYSTEM, GATEWAY, "--timeout=60s"]);
        self.tell(&format!("the gateway of {cluster} rolled, with {drain:?} to drain"));
        u64::try_from(deadline.as_nanos()).unwrap()
    }

    /// No old gateway is left.
    fn drained(&self) {
        let get = ["get", "pod", "-n", SYSTEM, "-l", "istio=eastwestgateway", "-o", "name"];
        let count = |cluster: &str| self.kubectl(cluster, &get).lines().count();
        eventually(2 * WITHIN, "the old gateways are gone", || {
            ["east", "west"].iter().all(|cluster| count(cluster) == 1)
        });
        self.tell("the old gateways are gone");
    }

    fn kubectl(&self, cluster: &str, words: &[&str]) -> String {
        self.ground.kubectl(NAME, cluster, words)
    }
}
