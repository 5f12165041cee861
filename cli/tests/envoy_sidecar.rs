//! `diolkos sidecar` with a real Envoy: its certificate comes from the primary's certificate API,
//! and nothing that happens to certificate, primary or Envoy costs a request.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod support;
#[path = "support/vouching.rs"]
mod vouching;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{PRIMARY_NAME, Process, Talking, World, eventually, http_get, service_manifest};

const OCTET: u8 = 91;
const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";

#[test]
fn plays_the_primary() {
    vouching::play();
}

/// A primary with west's CA, two servers, and a client's sidecar.
struct Ground {
    primary: Option<Process>,
    sidecar: Sidecar,
    _servers: [Process; 2],
    world: World,
}

/// The process, and its number, to tell it things.
struct Sidecar {
    process: Process,
}

impl Ground {
    fn new() -> Option<Self> {
        let Some(envoy) = std::env::var_os("DIOLKOS_TEST_ENVOY") else {
            eprintln!(
                "skipped: DIOLKOS_TEST_ENVOY names no Envoy; `cargo xtask test envoy` installs one"
            );
            return None;
        };
        let world = World::new(&[("west", OCTET)]);
        let pods = [("catalog-1", "127.91.1.1", "catalog"), ("catalog-2", "127.91.1.2", "catalog")];
        world.write("clusters/west/catalog.yaml", &service_manifest("catalog", "http", &pods));
        let primary = primary(&world);
        let servers = [1, 2].map(|last| world.echo("west", OCTET, last, "catalog"));
        world.write("pod/token", "the client's token\n");
        world.write("pod/root-cert.pem", &world.root.root_pem());
        let sidecar = sidecar(&world, Path::new(&envoy));
        Some(Self { primary: Some(primary), sidecar, _servers: servers, world })
    }

    fn load(&self) -> Talking {
        let mut command = Command::new(env!("CARGO_BIN_EXE_diolkos"));
        command.args(["--leash", "call", "--output", "json", "--count", "0", "--rate", "200"]);
        command.args(["--proxy", &format!("127.{OCTET}.0.9:15080"), "http://catalog.shop:8080/"]);
        let load = Talking::start(command, &self.world.path("call.log"));
        load.until("a request was answered", |line| line["echo"]["pod"].is_string());
        load
    }
}

fn primary(world: &World) -> Process {
    let listen = SocketAddr::from(([127, OCTET, 0, 1], 15012));
    let mut command = Command::new(std::env::current_exe().unwrap());
    vouching::primary(
        &mut command,
        "west",
        &world.path("mesh.yaml"),
        &world.path("cacerts/west"),
        listen,
        &[("the client's token", "shop/client")],
    );
    Process::start("primary", &world.path("primary.log"), command).listening(listen)
}

fn sidecar(world: &World, envoy: &Path) -> Sidecar {
    let ip = format!("127.{OCTET}.0.9");
    let process = world.own("sidecar", |command| {
        command
            .args(["sidecar", "--cluster", "west", "--pod", "client-1", "--ip", &ip])
            .args(["--namespace", "shop", "--service-account", "client"])
            .args(["--primary", &format!("127.{OCTET}.0.1:15012")])
            .args(["--primary-name", PRIMARY_NAME, "--source", &ip])
            .args(["--envoy-admin", &admin().to_string(), "--concurrency", "1"])
            .args(["--health", &health().to_string(), "--probes", &format!("{ip}:15020")])
            .args(["--metadata", "INTERCEPTION_MODE=", "--metadata", "HTTP_PROXY_PORT=15080"])
            .arg("--token")
            .arg(world.path("pod/token"))
            .arg("--roots")
            .arg(world.path("pod/root-cert.pem"))
            .arg("--dir")
            .arg(world.path("run"))
            .arg("--envoy")
            .arg(envoy);
    });
    let process = process.listening(health());
    let is_ready = eventually(Duration::from_secs(30), || ready() == "ready");
    assert!(is_ready, "never ready ({}):\n{}", ready(), world.log("sidecar"));
    Sidecar { process }
}

fn admin() -> SocketAddr {
    SocketAddr::from(([127, OCTET, 0, 9], 15000))
}

fn health() -> SocketAddr {
    SocketAddr::from(([127, OCTET, 0, 9], 15021))
}

fn ready() -> String {
    http_get(health(), "/healthz/ready").trim().to_owned()
}

/// Of the certificate that Envoy uses now.
fn serial() -> String {
    let certs = http_get(admin(), "/certs");
    let (before, _) = certs.split_once(CLIENT).unwrap_or_else(|| panic!("{certs}"));
    let (_, last) = before.rsplit_once("serial_number").unwrap();
    last.chars().filter(char::is_ascii_hexdigit).collect()
}

fn metric(name: &str) -> f64 {
    let text = http_get(health(), "/metrics");
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn answered(load: &Talking, count: usize) -> Vec<Value> {
    let mut left = count;
    load.until("requests went on", |_| {
        left -= 1;
        left == 0
    })
}

fn failed(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line["failure"].is_object()).collect()
}

#[test]
fn a_sidecars_life_costs_no_request() {
    let Some(mut ground) = Ground::new() else { return };
    let load = ground.load();
    let mut lines = load.until("the server saw the client", |line| line["echo"]["peer"] == CLIENT);

    // Renewals, by new roots: each is a certificate with another key under running connections.
    for round in 0..3 {
        let before = serial();
        let comment = format!("# {round}\n{}", ground.world.root.root_pem());
        ground.world.write("pod/root-cert.pem", &comment);
        let renewed = eventually(Duration::from_secs(15), || serial() != before);
        assert!(renewed, "round {round}:\n{}", ground.world.log("sidecar"));
        lines.extend(answered(&load, 100));
    }
    assert!(metric("diolkos_sidecar_certificates_total") >= 4.0);

    // R14: the primary is away, and what was given lasts.
    ground.primary.take().unwrap().kill();
    ground.world.write("pod/root-cert.pem", &format!("# away\n{}", ground.world.root.root_pem()));
    let tried = || metric("diolkos_sidecar_certificate_failures_total") >= 2.0;
    assert!(eventually(Duration::from_secs(15), tried), "{}", ground.world.log("sidecar"));
    lines.extend(answered(&load, 200));
    assert_eq!(ready(), "ready", "a primary that is away makes nobody unready");
    let before = serial();
    ground.primary = Some(primary(&ground.world));
    assert!(eventually(Duration::from_secs(40), || serial() != before), "never renewed again");
    lines.extend(answered(&load, 100));
    let failures = failed(&lines);
    assert!(failures.is_empty(), "{} of {}: {:#?}", failures.len(), lines.len(), failures[0]);

    an_envoy_that_died_is_started_again(&ground.world);
    let back = |line: &Value| line["echo"]["peer"] == CLIENT;
    load.until("the server sees the client again", back);
    drop(load);
    it_drains(ground);
}

fn envoys(world: &World) -> Vec<String> {
    let log = world.log("sidecar");
    let pids = log.lines().filter(|line| line.contains("Envoy started"));
    pids.map(|line| line.rsplit("pid=").next().unwrap().trim().to_owned()).collect()
}

fn an_envoy_that_died_is_started_again(world: &World) {
    let first = plain(envoys(world).last().unwrap());
    assert!(Command::new("kill").args(["-9", &first]).status().unwrap().success());
    let again = eventually(Duration::from_secs(10), || envoys(world).len() == 2);
    assert!(again, "{}", world.log("sidecar"));
    assert!(eventually(Duration::from_secs(20), || ready() == "ready"), "{}", ready());
}

/// Without what colours a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// One connection is open: readiness goes at once, the sidecar when its time is up, and Envoy too.
fn it_drains(ground: Ground) {
    let open =
        std::net::TcpStream::connect((std::net::Ipv4Addr::new(127, OCTET, 0, 9), 15080)).unwrap();
    let envoy = plain(envoys(&ground.world).last().unwrap());
    let Ground { world, sidecar, primary: _primary, _servers } = ground;
    let began = Instant::now();
    sidecar.process.terminate();
    let draining = eventually(Duration::from_secs(3), || {
        std::net::TcpStream::connect(health()).is_ok() && ready() == "draining"
    });
    assert!(draining, "{}", world.log("sidecar"));
    let status = sidecar.process.ended(Duration::from_secs(15)).unwrap_or_else(|| {
        panic!("it never ended:\n{}", world.log("sidecar"));
    });
    assert!(status.success(), "{status}:\n{}", world.log("sidecar"));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "the drain has an end: {took:?}");
    assert!(!Path::new(&format!("/proc/{envoy}")).exists(), "Envoy {envoy} is left");
    assert!(fs::exists(world.path("run/bootstrap.json")).unwrap());
    drop(open);
}
