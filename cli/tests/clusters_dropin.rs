//! In the place of Istio's own east-west gateway: `diolkos gateway` on a real istiod, which reads a
//! real API server. Only the gateway is ours.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

#[path = "support/istio.rs"]
mod istio;
#[path = "support/netns.rs"]
mod netns;
#[path = "support/plain.rs"]
mod plain;
#[path = "support/pod.rs"]
mod pod;
mod support;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use istio::{Cluster, ISTIOD, Tools, diolkos};
use serde_json::{Value, json};
use support::{Process, eventually};

const PATIENCE: Duration = Duration::from_secs(60);
const GATEWAY: &str = "10.66.0.20:15443";
const ADMIN: &str = "127.0.0.1:15014";
const MTLS: &str = "app: app, security.istio.io/tlsMode: istio";

/// Of Istio's samples: `expose-services.yaml` and `expose-istiod.yaml`.
const EXPOSED: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: cross-network-gateway, namespace: istio-system}
spec:
  selector: {istio: eastwestgateway}
  servers:
  - port: {number: 15443, name: tls, protocol: TLS}
    tls: {mode: AUTO_PASSTHROUGH}
    hosts: ["*.local"]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: istiod-gateway, namespace: istio-system}
spec:
  selector: {istio: eastwestgateway}
  servers:
  - port: {number: 15012, name: tls-istiod, protocol: TLS}
    tls: {mode: PASSTHROUGH}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: istiod-vs, namespace: istio-system}
spec:
  hosts: ["*"]
  gateways: [istiod-gateway]
  tls:
  - match: [{port: 15012, sniHosts: ["*"]}]
    route:
    - destination: {host: istiod.istio-system.svc.cluster.local, port: {number: 15012}}
"#;

const SYSTEM: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: istio-system, labels: {topology.istio.io/network: west}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: istio-eastwestgateway, namespace: istio-system}
---
apiVersion: v1
kind: Service
metadata: {name: istiod, namespace: istio-system}
spec: {ports: [{name: tls-istiod, port: 15012}]}
";

const SUBSETS: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: catalog, namespace: shop}
spec:
  host: catalog.shop.svc.cluster.local
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

/// The gateway of another network.
const NORTH: &str = "
apiVersion: v1
kind: Service
metadata:
  name: north-gateway
  namespace: istio-system
  labels: {topology.istio.io/network: north}
spec:
  externalIPs: [10.66.9.9]
  ports: [{name: tls, port: 15443}]
";

/// On the same port, what Envoy would do and this gateway does not.
const ODD: &str = r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: odd, namespace: istio-system}
spec:
  selector: {istio: eastwestgateway}
  servers:
  - port: {number: 15443, name: tls-odd, protocol: TLS}
    tls: {mode: PASSTHROUGH}
    hosts: [odd.test]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: odd, namespace: istio-system}
spec:
  hosts: [odd.test]
  gateways: [odd]
  tls:
  - match: [{port: 15443, sniHosts: [odd.test]}]
    route: [{destination: {host: catalog.shop.svc.cluster.local, port: {number: 8080}}}]
";

#[test]
fn plays_its_role_in_a_pod() {
    plain::play();
}

fn refs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn sni(service: &str, subset: &str) -> String {
    format!("outbound_.8080_.{subset}_.{service}.shop.svc.cluster.local")
}

struct Ground {
    cluster: Cluster,
    /// A workload of the mesh.
    friend: PathBuf,
    _gateway: Option<Process>,
}

impl Ground {
    fn up() -> Option<Self> {
        let mut cluster = Cluster::start(Tools::find()?);
        cluster.apply(SYSTEM);
        cluster.apply(EXPOSED);
        cluster.start_istiod();
        let friend = cluster.world.leaf("friend", "west", "shop/friend", &[]);
        let mut ground = Self { cluster, friend, _gateway: None };
        let token = ground.token();
        let flags = [&["--listen", GATEWAY, "--admin", ADMIN], &refs(&token)[..]].concat();
        ground._gateway = Some(ground.gateway("gateway", "10.66.0.20", &flags));
        Some(ground)
    }

    /// As in a pod of Istio's own, whose environment is its word beside where the istiod is.
    fn gateway(&self, name: &str, address: &str, more: &[&str]) -> Process {
        let world = &self.cluster.world;
        world.write("pod/labels", "istio=\"eastwestgateway\"\napp=\"istio-eastwestgateway\"\n");
        let mut command = diolkos(&self.cluster);
        command.args(["--leash", "gateway", "--istiod", ISTIOD]).args(more);
        command.arg("--labels").arg(world.path("pod/labels"));
        command.envs([
            ("POD_NAME", name),
            ("POD_NAMESPACE", "istio-system"),
            ("INSTANCE_IP", address),
            ("SERVICE_ACCOUNT", "istio-eastwestgateway"),
            ("TRUST_DOMAIN", "cluster.local"),
            ("ISTIO_META_CLUSTER_ID", "west"),
            ("ISTIO_META_NETWORK", "west"),
            ("ISTIO_META_REQUESTED_NETWORK_VIEW", "west"),
            ("ISTIO_META_MESH_ID", "mesh1"),
            ("ISTIO_META_POD_PORTS", r#"[{"containerPort":15443,"protocol":"TCP"}]"#),
            ("ISTIO_META_APP_CONTAINERS", ""),
            ("ISTIO_META_INTERCEPTION_MODE", "REDIRECT"),
            ("ISTIO_META_UNPRIVILEGED_POD", "true"),
            ("ISTIO_META_WORKLOAD_NAME", "istio-eastwestgateway"),
            ("ISTIO_META_NODE_NAME", "node"),
            (
                "ISTIO_META_OWNER",
                "kubernetes://apis/apps/v1/namespaces/istio-system/deployments/istio-eastwestgateway",
            ),
        ]);
        Process::start(name, &world.path(&format!("{name}.log")), command)
    }

    /// Flags for the token that a kubelet would project, and for the roots.
    fn token(&self) -> [String; 2] {
        let world = &self.cluster.world;
        let account = ["-n", "istio-system", "istio-eastwestgateway", "--audience=istio-ca"];
        let token = self.cluster.kubectl(&[&["create", "token"], &account[..]].concat()).unwrap();
        world.write("pod/istio-token", &token);
        world.write("pod/root-cert.pem", &world.root.root_pem());
        let path = |name: &str| world.path(name).display().to_string();
        [
            format!("--token={}", path("pod/istio-token")),
            format!("--roots={}", path("pod/root-cert.pem")),
        ]
    }

    /// A server with the mesh's mutual TLS.
    fn server(&self, name: &str, address: &str) -> Process {
        let world = &self.cluster.world;
        let identity = world.leaf(name, "west", "shop/app", &[]);
        let mut command = diolkos(&self.cluster);
        command.args(["--leash", "echo", "--cluster", "west", "--pod", name]);
        command.args(["--listen", &format!("{address}:8080"), "--identity"]).arg(identity);
        Process::start(name, &world.path(&format!("{name}.log")), command)
    }

    /// The gateway's own word, in JSON.
    fn table(&self) -> Value {
        self.table_of(ADMIN)
    }

    fn table_of(&self, admin: &str) -> Value {
        let args = ["gateway", "sni", "--admin", admin, "--output", "json"];
        let output = diolkos(&self.cluster).args(args).stdin(Stdio::null()).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn named(&self, name: &str) -> Value {
        self.named_of(ADMIN, name)
    }

    fn named_of(&self, admin: &str, name: &str) -> Value {
        let table = self.table_of(admin);
        let names = table["names"].as_array().into_iter().flatten();
        names.into_iter().find(|named| named["name"] == name).cloned().unwrap_or(Value::Null)
    }

    /// The addresses that a name leads to.
    fn targets(&self, name: &str) -> Vec<String> {
        self.targets_of(ADMIN, name)
    }

    fn targets_of(&self, admin: &str, name: &str) -> Vec<String> {
        let named = self.named_of(admin, name);
        let targets = named["targets"].as_array().into_iter().flatten();
        targets.map(|target| target["address"].as_str().unwrap().to_owned()).collect()
    }

    fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        let met = eventually(PATIENCE, holds);
        let log = |name: &str| self.cluster.world.log(name);
        let istiod = log("istiod");
        let last: Vec<&str> = istiod.lines().rev().take(20).collect();
        assert!(
            met,
            "in vain waited until {what}\n{:#}\n{}\n{last:#?}",
            self.table(),
            log("gateway")
        );
    }

    fn leads(&self, name: &str, to: &[&str]) {
        let to: Vec<String> = to.iter().map(|address| format!("{address}:8080")).collect();
        self.until(&format!("{name} leads to {to:?}"), || self.targets(name) == to);
    }

    /// What comes of asking by a name: who answers, or whether a byte came back at all.
    fn knock(&self, name: &str, alpn: &str, friend: bool) -> Result<String, bool> {
        let mut one = json!({
            "at": GATEWAY, "sni": name, "alpn": [alpn], "host": "catalog.shop:8080",
        });
        if friend {
            one["identity"] = json!(self.friend);
        }
        let answer = pod::ask(&self.cluster.netns, &json!({ "role": "knock", "tries": [one] }));
        let seen = &answer["seen"][0];
        let pod = seen["answer"]["body"]["pod"].as_str();
        pod.map(str::to_owned).ok_or(seen["heard"] == true)
    }

    fn answers(&self, name: &str, pod: &str) {
        assert_eq!(self.knock(name, "istio", true), Ok(pod.to_owned()), "{name}");
    }

    /// Closed without a byte.
    fn refused(&self, name: &str) {
        assert_eq!(self.knock(name, "istio", true), Err(false), "{name}");
    }
}

#[test]
fn it_stands_in_for_istios_own_gateway_on_a_real_istiod() {
    let Some(mut ground) = Ground::up() else { return };
    let (catalog, ledger) = (sni("catalog", ""), sni("ledger", ""));
    let _first = ground.server("catalog-1", "10.66.1.1");
    services_without_mutual_tls_have_a_reason_instead_of_a_route(&ground);

    ground.cluster.pod("catalog-1", "10.66.1.1", &format!("{MTLS}, version: v1"));
    ground.cluster.service("catalog", &[("catalog-1", "10.66.1.1")]);
    ground.leads(&catalog, &["10.66.1.1"]);
    assert_eq!(ground.named(&catalog)["targets"][0]["last_dial"], Value::Null);
    ground.answers(&catalog, "catalog-1");
    let dialed = &ground.named(&catalog)["targets"][0]["last_dial"];
    assert_eq!(dialed["connected"], true, "{dialed}");
    nobody_else_gets_through(&ground, &catalog);

    let second = ground.server("catalog-2", "10.66.1.2");
    subsets_and_endpoints_are_followed(&ground, &catalog);
    a_dead_target_is_seen_and_gone_around(&ground, &catalog, second);

    ground.refused(&ledger);
    ground.cluster.service("ledger", &[("catalog-1", "10.66.1.1")]);
    ground.leads(&ledger, &["10.66.1.1"]);
    ground.answers(&ledger, "catalog-1");
    ground.cluster.delete(&["-n", "shop", "service/ledger", "endpointslice/ledger-1"]);
    ground.until("ledger is gone", || ground.named(&ledger).is_null());
    ground.refused(&ledger);

    other_networks_are_left_to_their_own_gateways(&ground, &catalog);
    a_chain_that_is_not_for_us_is_refused_by_name_and_spoils_nothing(&ground, &catalog);
    the_istiod_does_not_mind_its_pings(&ground);
    what_istiod_said_last_holds_while_it_is_away_and_what_changed_is_made_up_for(&mut ground);
}

fn services_without_mutual_tls_have_a_reason_instead_of_a_route(ground: &Ground) {
    ground.cluster.pod("plain-1", "10.66.1.9", "app: plain");
    ground.cluster.service("plain", &[("plain-1", "10.66.1.9")]);
    let plain = sni("plain", "");
    ground.until("plain is told of", || {
        let why = ground.named(&plain)["why"].clone();
        why == "it has no endpoint here that takes mutual TLS"
    });
    ground.refused(&plain);
    // The istiod's other listener is not this gateway's: it says so, and refuses nothing.
    let table = ground.table();
    let others = table["not_in_force"].as_array().unwrap();
    let [other] = others.as_slice() else { panic!("{table:#}") };
    assert_eq!(
        (other["resource"].as_str(), other["refused"].as_bool()),
        (Some("0.0.0.0_15012"), Some(false))
    );
    assert!(other["reason"].as_str().unwrap().contains("AUTO_PASSTHROUGH"), "{other}");
}

fn nobody_else_gets_through(ground: &Ground, catalog: &str) {
    let pipes = "outbound|8080||catalog.shop.svc.cluster.local";
    for name in [pipes, "catalog.shop.svc.cluster.local", &sni("nobody", ""), &sni("catalog", "v9")]
    {
        ground.refused(name);
    }
    assert_eq!(ground.knock(catalog, "h2", true), Err(false), "without the mesh's protocols");
    // A stranger is let to the server, which says no.
    assert_eq!(ground.knock(catalog, "istio", false), Err(true));
}

fn subsets_and_endpoints_are_followed(ground: &Ground, catalog: &str) {
    ground.cluster.pod("catalog-2", "10.66.1.2", &format!("{MTLS}, version: v2"));
    let both = [("catalog-1", "10.66.1.1"), ("catalog-2", "10.66.1.2")];
    ground.cluster.service("catalog", &both);
    ground.leads(catalog, &["10.66.1.1", "10.66.1.2"]);
    ground.refused(&sni("catalog", "v2"));
    ground.cluster.apply(SUBSETS);
    ground.leads(&sni("catalog", "v1"), &["10.66.1.1"]);
    ground.leads(&sni("catalog", "v2"), &["10.66.1.2"]);
    for _ in 0..4 {
        ground.answers(&sni("catalog", "v1"), "catalog-1");
        ground.answers(&sni("catalog", "v2"), "catalog-2");
    }
    ground.refused(&sni("catalog", "v3"));
}

fn a_dead_target_is_seen_and_gone_around(ground: &Ground, catalog: &str, second: Process) {
    second.kill();
    let states = || -> Vec<Value> {
        let named = ground.named(catalog);
        let targets = named["targets"].as_array().unwrap().iter();
        targets.map(|target| target["last_dial"]["connected"].clone()).collect()
    };
    ground.until("the dead one was tried", || {
        ground.answers(catalog, "catalog-1");
        states() == [json!(true), json!(false)]
    });
    ground.cluster.service("catalog", &[("catalog-1", "10.66.1.1")]);
    ground.leads(catalog, &["10.66.1.1"]);
    ground
        .until("its subset has nobody", || ground.named(&sni("catalog", "v2"))["why"].is_string());
}

/// Or two networks' gateways would send a client to and fro.
fn other_networks_are_left_to_their_own_gateways(ground: &Ground, catalog: &str) {
    ground.cluster.apply(NORTH);
    let north = format!("{MTLS}, version: v1, topology.istio.io/network: north");
    ground.cluster.pod("catalog-3", "10.66.1.3", &north);
    let both = [("catalog-1", "10.66.1.1"), ("catalog-3", "10.66.1.3")];
    ground.cluster.service("catalog", &both);
    // Those that want to see both: one shows its token alone, one a certificate made elsewhere.
    let account = "istio-system/istio-eastwestgateway";
    let made = ground.cluster.world.leaf("made", "west", account, &[]);
    let [token, roots] = ground.token();
    let made = format!("--identity={}", made.display());
    let both =
        ["--network-view=west,north", "--listen=10.66.0.21:15443", "--admin=127.0.0.1:15114"];
    for (name, own) in [
        ("token-alone", vec!["--token-only", &token, &roots]),
        ("made-elsewhere", vec![made.as_str()]),
    ] {
        let curious = ground.gateway(name, "10.66.0.21", &[&both[..], &own].concat());
        ground.until(&format!("{name} sees the gateway of north"), || {
            let mut seen = ground.targets_of("127.0.0.1:15114", catalog);
            seen.sort();
            seen == ["10.66.1.1:8080", "10.66.9.9:15443"]
        });
        assert!(!ground.cluster.world.log(name).contains("certificate issued"));
        curious.kill();
    }
    ground.leads(catalog, &["10.66.1.1"]);
    ground.cluster.delete(&["-n", "istio-system", "service/north-gateway"]);
    ground.cluster.service("catalog", &[("catalog-1", "10.66.1.1")]);
    ground.leads(catalog, &["10.66.1.1"]);
}

fn a_chain_that_is_not_for_us_is_refused_by_name_and_spoils_nothing(
    ground: &Ground,
    catalog: &str,
) {
    ground.cluster.apply(ODD);
    let refused = || -> Vec<Value> {
        let table = ground.table();
        let all = table["not_in_force"].as_array().into_iter().flatten();
        all.filter(|one| one["refused"] == true).cloned().collect()
    };
    ground.until("the chain is refused", || {
        let all = refused();
        all.len() == 1 && all[0]["chain"] == "odd.test" && all[0]["resource"] == "0.0.0.0_15443"
    });
    let told = "ACK ERROR gateway.istio-system-";
    ground.until("the istiod heard of it", || ground.cluster.world.log("istiod").contains(told));
    // To a person as well, and to a script by the code.
    let asked =
        diolkos(&ground.cluster).args(["gateway", "sni", "--admin", ADMIN]).output().unwrap();
    let text = String::from_utf8(asked.stdout).unwrap();
    assert_eq!(asked.status.code(), Some(3), "{text}");
    assert!(text.contains("LDS 0.0.0.0_15443, filter chain odd.test: refused: "), "{text}");
    ground.answers(catalog, "catalog-1");
    ground.refused("odd.test");
    // Refused or not, what comes with it and after it is followed.
    let beside = sni("beside", "");
    ground.cluster.service("beside", &[("catalog-1", "10.66.1.1")]);
    ground.leads(&beside, &["10.66.1.1"]);
    ground.answers(&beside, "catalog-1");
    let kinds = ["gateways.networking.istio.io/odd", "virtualservices.networking.istio.io/odd"];
    ground.cluster.delete(&[&["-n", "istio-system"], &kinds[..]].concat());
    ground.until("nothing is refused any more", || refused().is_empty());
}

/// More than two of them in half its keepalive time, and it ends the stream: seen with one every
/// four seconds, after seventeen.
fn the_istiod_does_not_mind_its_pings(ground: &Ground) {
    const LONG: Duration = Duration::from_secs(20);
    let page = json!({
        "role": "call", "at": ADMIN, "host": "127.0.0.1", "path": "/debug/diolkos.json",
    });
    ground.until("a stream lives for long", || {
        let xds = pod::ask(&ground.cluster.netns, &page)["body"]["xds"].clone();
        assert_eq!(xds["last_disconnect"], Value::Null, "{xds}");
        let since =
            SystemTime::UNIX_EPOCH + Duration::from_secs(xds["since_seconds"].as_u64().unwrap());
        since.elapsed().is_ok_and(|age| age > LONG)
    });
}

fn what_istiod_said_last_holds_while_it_is_away_and_what_changed_is_made_up_for(
    ground: &mut Ground,
) {
    let (catalog, v1, late) = (sni("catalog", ""), sni("catalog", "v1"), sni("late", ""));
    ground.cluster.kill_istiod();
    ground.until("it sees the istiod gone", || ground.table()["connected"] == false);
    ground.cluster.service("late", &[("catalog-1", "10.66.1.1")]);
    ground.cluster.delete(&["-n", "shop", "destinationrules.networking.istio.io/catalog"]);
    ground.answers(&catalog, "catalog-1");
    ground.answers(&v1, "catalog-1");
    ground.refused(&late);

    ground.cluster.start_istiod();
    ground.until("all that changed meanwhile is followed", || {
        // Not for a moment is anything lost that stays.
        ground.answers(&catalog, "catalog-1");
        ground.targets(&late) == ["10.66.1.1:8080"] && ground.named(&v1).is_null()
    });
    assert_eq!(ground.table()["connected"], true);
    ground.answers(&late, "catalog-1");
    ground.refused(&v1);
}
