//! A tunnel through the gateway, by what the primary says of exports: a cluster that is not named
//! is refused at the gateway, whatever it guesses.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use support::valid;
use support::{
    DAY, Process, World, call, eventually, gateway_manifest, http_get, service_manifest,
};

const EAST: u8 = 210;
const GATEWAY: &str = "spiffe://cluster.local/ns/diolkos-system/sa/eastwest";

struct Ground {
    world: World,
    gateway: Process,
    _processes: Vec<Process>,
}

fn at(last: u8, port: u16) -> SocketAddr {
    ([127, EAST, 0, last], port).into()
}

/// Exported to some, or to everybody.
fn service(name: &str, last: u8, consumers: Option<&str>) -> String {
    let ip = format!("127.{EAST}.1.{last}");
    let manifest = service_manifest(name, "http", &[(&format!("{name}-1"), &ip, name)]);
    let Some(consumers) = consumers else { return manifest };
    let export = format!("kind: ServiceExport\nmetadata: {{name: {name}, namespace: shop}}");
    let named = format!(
        "kind: ServiceExport\nmetadata: {{name: {name}, namespace: shop, \
         annotations: {{diolkos.dev/consumers: '{consumers}'}}}}"
    );
    assert!(manifest.contains(&export));
    manifest.replace(&export, &named)
}

impl Ground {
    fn new() -> Self {
        let world = World::new(&[("east", EAST), ("west", EAST + 1), ("south", EAST + 2)]);
        let gateway = gateway_manifest("east", &[&at(20, 0).ip().to_string()]);
        world.write("clusters/east/gateway.yaml", &gateway);
        world.write("clusters/east/catalog.yaml", &service("catalog", 1, Some("west")));
        world.write("clusters/east/ledger.yaml", &service("ledger", 2, None));
        let primary = world.primary("east", EAST);
        let gateway = gateway_of(&world);
        let processes = vec![
            primary,
            world.echo("east", EAST, 1, "catalog"),
            world.echo("east", EAST, 2, "ledger"),
        ];
        Self { world, gateway, _processes: processes }
    }

    fn caller(&self, cluster: &str) -> PathBuf {
        self.world.leaf(&format!("web-{cluster}"), cluster, "shop/web", &[])
    }

    fn call(&self, identity: &Path, service: &str) -> Value {
        call(&[
            format!("--identity={}", identity.display()),
            format!("--hbone={}", at(20, 15008)),
            format!("--gateway-id={GATEWAY}"),
            format!("--expect=spiffe://cluster.local/ns/shop/sa/{service}"),
            format!("http://{service}.shop:8080/"),
        ])
    }

    fn until(&self, what: &str, identity: &Path, service: &str, wanted: impl Fn(&Value) -> bool) {
        let mut last = Value::Null;
        let met = eventually(Duration::from_secs(20), || {
            last = self.call(identity, service);
            wanted(&last)
        });
        let log = self.world.log("gateway-east");
        assert!(met, "in vain waited until {what}; the last answer: {last:#}\n{log}");
    }
}

fn gateway_of(world: &World) -> Process {
    let identity = world.leaf("gateway-east", "east", "diolkos-system/eastwest", &[]);
    let ip = at(20, 0).ip().to_string();
    let process = world.own("gateway-east", |command| {
        command
            .args(["gateway", "--cluster", "east", "--pod", "eastwest-1", "--ip", &ip])
            .args(["--source", &ip, "--primary", &at(1, 15012).to_string()])
            .args(["--hbone", &at(20, 15008).to_string()])
            .args(["--admin", &at(20, 15014).to_string(), "--drain-seconds", "1", "--identity"])
            .arg(identity);
    });
    process.listening(at(20, 15443)).listening(at(20, 15008))
}

fn reached(answer: &Value) -> bool {
    answer["echo"]["peer"] == "spiffe://cluster.local/ns/shop/sa/web"
}

/// To whom it is not exported, it does not exist.
fn refused(answer: &Value) -> bool {
    let why = answer["failure"]["why"].as_str().unwrap_or_default();
    answer["failure"]["refused_by"] == "gateway"
        && why.contains("404")
        && why.contains("no such service is exported to the caller's cluster")
}

#[test]
fn a_cluster_reaches_by_tunnel_what_is_exported_to_it_and_nothing_else() {
    let ground = Ground::new();
    let [west, south] = ["west", "south"].map(|cluster| ground.caller(cluster));
    ground.until("west reaches the catalog", &west, "catalog", reached);
    ground.until("south reaches the ledger", &south, "ledger", reached);
    let guessed = ground.call(&south, "catalog");
    assert!(refused(&guessed), "{guessed:#}");
    ground.world.logged("gateway-east", "not_exported");
    let log = ground.world.logged("gateway-east", "cluster=\"south\"");
    assert!(log.contains("caller=spiffe://cluster.local/ns/shop/sa/web"), "{log}");

    // What nobody exported is as unknown as what nobody has.
    let unknown = ground.call(&west, "cellar");
    assert!(refused(&unknown), "{unknown:#}");

    // Of this mesh's root, but of none of its clusters.
    let validity = valid(SystemTime::now(), DAY);
    let world = &ground.world;
    let nobody = world.leaf_of(&world.root, "nobody", "shop/web", &[], validity);
    let stranger = ground.call(&nobody, "ledger");
    let why = stranger["failure"]["why"].as_str().unwrap();
    assert!(why.contains("403") && why.contains("no cluster of this mesh"), "{stranger:#}");

    // Another list counts from the next request on.
    world.write("clusters/east/catalog.yaml", &service("catalog", 1, Some("south")));
    ground.until("south reaches the catalog", &south, "catalog", reached);
    ground.until("west is refused", &west, "catalog", refused);

    let metrics = http_get(at(20, 15014), "/metrics");
    for counted in [
        "diolkos_gateway_hbone_refused_total{reason=\"stranger\"} 1",
        "diolkos_gateway_hbone_refused_total{reason=\"unknown_service\"}",
        "diolkos_gateway_hbone_opened_total",
        "diolkos_gateway_hbone_bytes_total{direction=\"to_client\"}",
    ] {
        assert!(metrics.contains(counted), "{counted} is not in\n{metrics}");
    }

    let debug = http_get(at(20, 15014), "/debug/diolkos.json");
    assert!(debug.contains("\"not_exported\":"), "{debug}");

    ground.gateway.terminate();
    let ended = ground.gateway.ended(Duration::from_secs(15));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}
