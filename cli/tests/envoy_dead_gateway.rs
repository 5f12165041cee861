//! R17: one of two gateways dies while a stock Envoy sends through both. What was under way may
//! fail; what comes later goes by the other.
//!
//! All of it runs in a network namespace of the test's own, for there packets can be lost.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

#[path = "support/netns.rs"]
mod netns;
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netns::Netns;
use serde_json::Value;
use support::{Process, Talking, World, eventually, gateway_manifest, http_get, service_manifest};

const WEST: u8 = 93;
const EAST: u8 = 94;
const PROXY: &str = "127.93.0.9:15080";
const INSIDE: &str = "DIOLKOS_TEST_INSIDE";
const REQUESTS_A_SECOND: &str = "50";
/// Longer than `diolkos call` waits for an answer.
const ANSWER: Duration = Duration::from_secs(11);
/// On the connections that there were when it died: of HTTP/1.1 one each, of HTTP/2 one for all.
const UNDER_WAY_MAX: usize = 20;
/// For how long nothing may fail any more.
const WATCHED: Duration = Duration::from_secs(10);

/// Until a gateway is left whose machine closes its port: connections are reset.
const RESET: Duration = Duration::from_secs(2);
/// Until a gateway is left from which nothing comes any more.
const SILENCE: Duration = Duration::from_secs(20);

#[test]
fn r17_a_gateway_that_was_killed_is_left_within_two_seconds() {
    within("killed");
}

#[test]
fn r17_a_gateway_that_fell_silent_is_left_within_twenty_seconds() {
    within("silent");
}

#[test]
fn plays_one_of_them_in_a_namespace() {
    let Ok(which) = std::env::var(INSIDE) else { return };
    let tools = netns::needs().unwrap();
    let mut ground = Ground::new(&tools.0);
    match which.as_str() {
        "killed" => ground.kill(),
        _ => ground.silence(&tools.1),
    }
}

fn within(which: &str) {
    if netns::needs().is_none() {
        return;
    }
    let netns = Netns::new();
    let mut command = netns.command(&std::env::current_exe().unwrap());
    command.args(["--exact", "plays_one_of_them_in_a_namespace", "--nocapture"]);
    assert!(command.env(INSIDE, which).status().unwrap().success(), "see above");
}

struct Ground {
    http1: Talking,
    http2: Talking,
    gateways: [Option<Process>; 2],
    world: World,
    _others: Vec<Process>,
}

impl Ground {
    fn new(envoy: &Path) -> Self {
        let world = World::new(&[("west", WEST), ("east", EAST)]);
        let catalog = service_manifest("catalog", "http", &[("c", "127.94.1.1", "catalog")]);
        let orders = service_manifest("orders", "http2", &[("o", "127.94.1.2", "orders")]);
        world.write("clusters/east/catalog.yaml", &catalog);
        world.write("clusters/east/orders.yaml", &orders);
        let addresses = ["127.94.0.2", "127.94.0.3"];
        world.write("clusters/east/gateway.yaml", &gateway_manifest("east", &addresses));
        let mut others = vec![world.primary("west", WEST), world.primary("east", EAST)];
        others.push(world.echo("east", EAST, 1, "catalog"));
        others.push(world.echo("east", EAST, 2, "orders"));
        let gateways = [2, 3].map(|last| Some(world.gateway("east", EAST, last)));
        others.push(world.envoy(WEST, envoy));
        let [http1, http2] = ["catalog", "orders"].map(|service| load(&world, service));
        let ground = Self { http1, http2, gateways, world, _others: others };
        ground.uses_both();
        ground
    }

    /// Both gateways carry connections of both loads.
    fn uses_both(&self) {
        let both = eventually(Duration::from_secs(90), || {
            let used = ["127.94.0.2", "127.94.0.3"]
                .map(|gateway| ["catalog", "orders"].map(|service| connections(service, gateway)));
            used.as_flattened().iter().all(|count| *count > 0)
        });
        assert!(both, "a gateway is not used:\n{}", http_get(admin(), "/clusters"));
    }

    fn kill(&mut self) {
        let died = now();
        self.gateways[0].take().unwrap().kill();
        self.is_left(RESET, died);
        self.gateways[0] = Some(self.world.gateway("east", EAST, 2));
        self.uses_both();
    }

    fn silence(&self, nft: &Path) {
        let filter = |rule: &str| {
            let status = Command::new(nft).args(rule.split(' ')).status().unwrap();
            assert!(status.success(), "nft {rule}");
        };
        filter("add table ip dead");
        filter("add chain ip dead in { type filter hook input priority 0 ; }");
        let died = now();
        for way in ["saddr", "daddr"] {
            filter(&format!("add rule ip dead in ip {way} 127.94.0.2 drop"));
        }
        self.is_left(SILENCE, died);
        filter("delete table ip dead");
        self.uses_both();
    }

    /// Next to nothing fails, and nothing that is begun after its time.
    fn is_left(&self, within: Duration, died: Duration) {
        let left = died + within;
        let end = left + WATCHED + ANSWER;
        for (load, name) in [(&self.http1, "HTTP/1.1"), (&self.http2, "HTTP/2")] {
            let mut lines = Vec::new();
            while lines.last().is_none_or(|line| started(line) < end) {
                lines.extend(load.until("requests go on", |_| true));
            }
            let failed = lines.iter().filter(|line| line["failure"].is_object());
            let failed: Vec<&Value> = failed.collect();
            let last = failed.iter().map(|line| started(line).saturating_sub(died)).max();
            println!(
                "{name}: {} of {} failed, the last begun after {last:?}",
                failed.len(),
                lines.len()
            );
            let late = failed.iter().find(|line| started(line) > left);
            assert!(late.is_none(), "{name}: begun late, and failed: {late:#?}");
            assert!(failed.len() <= UNDER_WAY_MAX, "{name}: {} failed", failed.len());
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn started(line: &Value) -> Duration {
    Duration::from_nanos(line["started_ns"].as_u64().unwrap())
}

fn load(world: &World, service: &str) -> Talking {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diolkos"));
    command.args(["--leash", "call", "--output", "json", "--count", "0"]);
    command.args(["--rate", REQUESTS_A_SECOND, "--proxy", PROXY]);
    command.arg(format!("http://{service}.shop:8080/"));
    let load = Talking::start(command, &world.path(&format!("call-{service}.log")));
    load.until("a request was answered", |line| line["echo"]["pod"].is_string());
    load
}

fn admin() -> SocketAddr {
    "127.93.0.9:15000".parse().unwrap()
}

/// Of Envoy's to the service's endpoint behind the gateway.
fn connections(service: &str, gateway: &str) -> u64 {
    let clusters = http_get(admin(), "/clusters");
    let of =
        format!("outbound|8080||{service}.shop.svc.cluster.local::{gateway}:15443::cx_active::");
    let count = clusters.lines().find_map(|line| line.strip_prefix(&of));
    count.map_or(0, |count| count.parse().unwrap())
}
