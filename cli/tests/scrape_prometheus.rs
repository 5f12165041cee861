//! A real Prometheus reads what a primary and a gateway count.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::{Process, World, eventually, gateway_manifest, service_manifest};

const OCTET: u8 = 119;
const PRIMARY: &str = "127.119.0.1:15014";
const GATEWAY: &str = "127.119.0.20:15014";
const PROMETHEUS: &str = "127.119.0.30:9090";

fn world() -> World {
    let world = World::new(&[("east", OCTET)]);
    world.write("clusters/east/gateway.yaml", &gateway_manifest("east", &["127.119.0.20"]));
    let pods = [("catalog-east-1", "127.119.1.1", "catalog")];
    world.write("clusters/east/catalog.yaml", &service_manifest("catalog", "http", &pods));
    world
}

fn gateway(world: &World) -> Process {
    let identity = world.leaf("gateway", "east", "diolkos-system/eastwest", &[]);
    let process = world.own("gateway", |command| {
        let flags = "gateway --cluster east --pod eastwest-1 --ip 127.119.0.20 --source 127.119.0.20 \
                     --primary 127.119.0.1:15012";
        command.args(flags.split_whitespace()).args(["--admin", GATEWAY]);
        command.arg("--identity").arg(identity);
    });
    process.listening("127.119.0.20:15443".parse().unwrap())
}

/// `None`: no Prometheus was given.
fn prometheus(world: &World) -> Option<Process> {
    let program = std::env::var_os("DIOLKOS_TEST_PROMETHEUS")?;
    let config = format!(
        "global: {{ scrape_interval: 500ms, scrape_timeout: 500ms }}\nscrape_configs:\n\
         - job_name: diolkos\n  static_configs: [{{ targets: ['{PRIMARY}', '{GATEWAY}'] }}]\n"
    );
    world.write("prometheus.yaml", &config);
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", world.path("prometheus.yaml").display()));
    command.arg(format!("--storage.tsdb.path={}", world.path("prometheus").display()));
    command.arg(format!("--web.listen-address={PROMETHEUS}"));
    let process = Process::start("prometheus", &world.path("prometheus.log"), command);
    Some(process.listening(PROMETHEUS.parse().unwrap()))
}

/// HTTP/1.0, so that the answer comes in one piece.
fn asked(path: &str) -> Value {
    let mut stream = TcpStream::connect(PROMETHEUS).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {answer}"))
}

/// The sum over all that the query finds.
fn sum(query: &str) -> f64 {
    let answer = asked(&format!("/api/v1/query?query={query}"));
    let found = answer["data"]["result"].as_array().map_or(&[][..], Vec::as_slice);
    found.iter().filter_map(|one| one["value"][1].as_str()?.parse::<f64>().ok()).sum()
}

fn kind_of(metric: &str) -> Value {
    asked(&format!("/api/v1/targets/metadata?metric={metric}"))["data"][0]["type"].take()
}

#[test]
fn a_real_prometheus_reads_the_metrics_of_a_primary_and_of_a_gateway() {
    let world = world();
    let Some(_prometheus) = prometheus(&world) else {
        println!("skipped: DIOLKOS_TEST_PROMETHEUS names no prometheus");
        return;
    };
    let _primary = world.primary("east", OCTET);
    let _gateway = gateway(&world);
    let until = |what: &str, holds: &mut dyn FnMut() -> bool| {
        let met = eventually(Duration::from_secs(30), holds);
        assert!(met, "in vain waited until {what}: {}", asked("/api/v1/targets"));
    };
    until("both are read without an error", &mut || {
        let targets = asked("/api/v1/targets?state=active");
        let targets = targets["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        targets.len() == 2
            && targets.iter().all(|one| one["health"] == "up" && one["lastError"] == "")
    });
    until("the gateway has its route", &mut || sum("diolkos_gateway_routes") == 1.0);
    let before = sum("diolkos_gateway_refused_total");
    let mut stranger = TcpStream::connect("127.119.0.20:15443").unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    // Closed or reset: it is refused either way.
    let _ = stranger.read(&mut [0; 1]);
    until("the stranger is counted", &mut || sum("diolkos_gateway_refused_total") == before + 1.0);
    // Named without `_total`, as only OpenMetrics does it.
    assert_eq!(kind_of("diolkos_gateway_accepted"), "counter");
    assert_eq!(kind_of("diolkos_gateway_connections"), "gauge");
}
